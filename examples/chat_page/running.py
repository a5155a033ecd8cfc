"""Which reply is on its way in which conversation: what a page asks when it is loaded again."""

from __future__ import annotations

import json
from typing import Any, Optional, Protocol

# Nobody takes a worker off this list that was killed: as long as the relay keeps its reply.
_KEPT_S = 3600
_DROP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class Running(Protocol):
    """By conversation, the key of the reply, and what was asked."""

    def put(self, chat: str, asked: dict[str, str], *, if_free: bool = False) -> None:
        """Note it; where something is noted already, only unless `if_free`."""

    def get(self, chat: str) -> Optional[dict[str, str]]:
        """What is noted."""

    def drop(self, chat: str, asked: dict[str, str]) -> None:
        """It is over. Whatever was noted since stays."""


def open_running(url: str) -> Running:
    """Where the relay is, so that all who follow replies find them."""
    return _Here() if url.startswith("memory:") else _InRedis(url)


class _Here:
    """For the threads of one process."""

    def __init__(self) -> None:
        self._asked: dict[str, dict[str, str]] = {}  # single dict operations only

    def put(self, chat: str, asked: dict[str, str], *, if_free: bool = False) -> None:
        if if_free:
            self._asked.setdefault(chat, asked)
        else:
            self._asked[chat] = asked

    def get(self, chat: str) -> Optional[dict[str, str]]:
        return self._asked.get(chat)

    def drop(self, chat: str, asked: dict[str, str]) -> None:
        if self._asked.get(chat) is asked:
            del self._asked[chat]


class _InRedis:
    """For all who reach it."""

    def __init__(self, url: str) -> None:
        import redis

        self._redis: Any = redis.Redis.from_url(url, decode_responses=True)
        self._drop: Any = self._redis.register_script(_DROP)

    def put(self, chat: str, asked: dict[str, str], *, if_free: bool = False) -> None:
        self._redis.set(_name(chat), json.dumps(asked), ex=_KEPT_S, nx=if_free)

    def get(self, chat: str) -> Optional[dict[str, str]]:
        asked = self._redis.get(_name(chat))
        return json.loads(asked) if asked else None

    def drop(self, chat: str, asked: dict[str, str]) -> None:
        self._drop(keys=[_name(chat)], args=[json.dumps(asked)])


def _name(chat: str) -> str:
    return f"chat_page:running:{chat}"
