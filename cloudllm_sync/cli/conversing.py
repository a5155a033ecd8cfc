"""The conversation of a terminal: its session, its model, and where it is kept."""

from __future__ import annotations

import contextlib
from typing import Optional

import attrs

from cloudllm_sync.cli.choosing import opened_client
from cloudllm_sync.cli.conversations import opened_store
from cloudllm_sync.clients.client import Client
from cloudllm_sync.errors import CloudLLMError, ConfigurationError
from cloudllm_sync.session.session import LLMSession
from cloudllm_sync.session.stores import SessionStore, StoredSession
from cloudllm_sync.session.stores.memory import MemoryStore
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.values import Message, Role

__all__ = ["Conversing"]


class Conversing:
    """A session that may change its model and its name. It is in memory until it is saved."""

    def __init__(self, client: Client, *, system: str, max_tokens: int) -> None:
        self._client = client
        self._system = system
        self._max_tokens = max_tokens
        self._store: SessionStore = MemoryStore()
        self._asked: Optional[str] = None  # last, here
        self._before = 0  # how many messages were there then
        self._stack = contextlib.ExitStack()
        self.name: Optional[str] = None
        """What it is saved as."""
        self.session = self._session("unsaved", self._store)

    @property
    def model(self) -> str:
        """Provider and model."""
        return f"{self._client.provider_name}:{self._client.model_name}"

    @property
    def turns(self) -> tuple[Message, ...]:
        """What was said."""
        said = (Role.USER, Role.ASSISTANT)
        return tuple(message for message in self.session.history if message.role in said)

    def ask(self, text: str) -> ChatStream:
        """Ask; what had come of a reply that is stopped stays."""
        self._asked = text
        self._before = self._store.load(self.session.session_id, newest=0).length
        return self.session.stream(text)

    def retry(self) -> ChatStream:
        """Ask the last question again; a new reply takes the place of the old one, if one comes.

        Raises:
            ConfigurationError: Nothing was asked.
        """
        stored = self._store.load(self.session.session_id)
        places = [at for at, one in enumerate(stored.messages) if one.role is Role.USER]
        if self._asked is not None:
            last = stored.messages[places[-1]].content if places else None
            # The same may have been asked before, and answered then.
            if last != self._asked or stored.length <= self._before:
                return self.ask(self._asked)
        elif not places:
            raise ConfigurationError("nothing was asked yet")
        return self._ask_again(stored, places[-1])

    def _ask_again(self, stored: StoredSession, place: int) -> ChatStream:
        """The question at this place; aside, so that all stays as it is until a reply has come."""
        name, store, aside = self.session.session_id, self._store, MemoryStore()
        question, kept = stored.messages[place], stored.messages[:place]
        aside.replace(name, 0, attrs.evolve(stored, messages=kept, length=place))
        self._asked, self._before = question.content, place
        session = self._session(name, aside)
        stream = session.stream(question.content, attachments=question.attachments)

        def settle(message: Optional[Message], error: Optional[CloudLLMError]) -> None:
            retried = aside.load(name)
            if retried.length > place:
                store.replace(name, stored.version, retried)
                self.session = self._session(name, store)

        stream.settle_with(settle)
        return stream

    def save(self, name: str) -> None:
        """Keep it from now on, under a name.

        Raises:
            ConfigurationError: Another conversation has the name, or it is none.
        """
        store = opened_store()
        there = store.load(name)
        if there.length or there.version:
            raise ConfigurationError(f"{name!r} is kept already: /load it, or choose another name")
        store.replace(name, there.version, self._store.load(self.session.session_id))
        self._store, self.name = store, name
        self.session = self._session(name, store)

    def load(self, name: str) -> None:
        """Go on with a conversation that is kept; an unknown name begins one.

        Raises:
            ConfigurationError: The one that is left would be lost, or it is no name.
        """
        if self.name is None and self.turns:
            raise ConfigurationError("this chat is kept nowhere: /save NAME first, or /quit")
        store = opened_store()
        self.session = self._session(name, store)
        self._store, self.name, self._asked = store, name, None

    def use(self, model: str) -> None:
        """Have another model answer from now on.

        Raises:
            ConfigurationError: There is none of that name, or no key for it.
        """
        client = self._stack.enter_context(opened_client(model))
        self._client = client
        self.session = self._session(self.session.session_id, self._store)

    def close(self) -> None:
        """Close the clients that were opened here."""
        self._stack.close()

    def _session(self, name: str, store: SessionStore) -> LLMSession:
        return LLMSession(
            self._client,
            self._system,
            self._max_tokens,
            session_id=name,
            store=store,
            partial="keep",
            turn_timeout=0,
        )
