"""What the chat page asks for, whatever the web framework: conversations and running replies."""

from __future__ import annotations

import threading
import uuid
from typing import Any

from cloudllm_sync import (
    Client,
    CloudLLMError,
    LLMSession,
    Message,
    Role,
    SessionBusyError,
    SessionStore,
)
from cloudllm_sync.relay import Relay, RelayKeyError

_TITLE_CHARACTERS = 40


class Chats:
    """Conversations in a store, and the replies that are on their way just now.

    A reply is read on a thread of its own and published: the page may be closed and opened again,
    in two tabs, too. `running` is this process's; where several serve the page, keep it in Redis.
    """

    def __init__(self, client: Client, store: SessionStore, relay: Relay) -> None:
        self._client = client
        self._store = store
        self._relay = relay
        self._lock = threading.Lock()
        self._running: dict[str, dict[str, str]] = {}  # by conversation; guarded by _lock

    def session(self, chat: str) -> LLMSession:
        """A conversation. A second turn is refused at once; what was stopped is kept."""
        return LLMSession(
            self._client, session_id=chat, store=self._store, turn_timeout=0, partial="keep"
        )

    def begin(self, chat: str, text: str) -> str:
        """Ask; the key under which the reply is to be followed.

        Raises:
            CloudLLMError: The provider refused, or another turn is running.
        """
        stream = self.session(chat).stream(text)
        key = str(uuid.uuid4())
        with self._lock:
            self._running[chat] = {"key": key, "text": text}
        threading.Thread(target=self._publish, args=(chat, key, stream), daemon=True).start()
        return key

    def _publish(self, chat: str, key: str, stream: Any) -> None:
        try:
            self._relay.publish(stream, key)
        except CloudLLMError:
            pass  # whoever follows is told
        finally:
            with self._lock:
                if self._running.get(chat, {}).get("key") == key:
                    del self._running[chat]

    def all(self) -> list[dict[str, str]]:
        """Every conversation that has a turn, the latest first."""
        latest = sorted(self._store.sessions(), key=lambda info: info.updated_at, reverse=True)
        names = [info.session_id for info in latest]
        return [{"id": name, "title": _title(self._store.load(name).messages)} for name in names]

    def one(self, chat: str) -> dict[str, Any]:
        """The messages of a conversation, and its running reply."""
        with self._lock:
            running = self._running.get(chat)
        history = self.session(chat).history
        shown = [message for message in history if message.role in (Role.USER, Role.ASSISTANT)]
        return {
            "title": _title(history),
            "messages": [
                {"role": message.role.value, "text": message.content, "note": _note(message)}
                for message in shown
            ],
            "running": running,
        }

    def delete(self, chat: str) -> None:
        """Forget a conversation."""
        self._store.delete(chat)


def refusal(error: CloudLLMError) -> tuple[str, int]:
    """What to tell the page of an error, and with which status."""
    if isinstance(error, SessionBusyError):
        return "Another reply is on its way.", 409
    return str(error), 404 if isinstance(error, RelayKeyError) else 502


def _title(messages: tuple[Message, ...]) -> str:
    first = next((one.content for one in messages if one.role is Role.USER), "New conversation")
    return first if len(first) <= _TITLE_CHARACTERS else f"{first[:_TITLE_CHARACTERS]}…"


def _note(message: Message) -> str:
    if message.finish_reason == "cancelled":
        return "\nStopped"
    usage = message.usage
    return f"\n{usage.input_tokens} tokens read, {usage.output_tokens} written" if usage else ""
