"""What a site's views use: one client, one store, and what its settings say of responses."""

from __future__ import annotations

from typing import Any, Callable, Optional, TypeVar

from cloudllm_sync.clients.client import Client
from cloudllm_sync.session.conversation import Partial
from cloudllm_sync.session.session import LLMSession
from cloudllm_sync.session.stores import SessionStore, checked_session_id
from cloudllm_sync.session.stores.memory import MemoryStore
from cloudllm_sync.session.stores.opening import open_store
from cloudllm_sync.session.strategies import ContextStrategy
from cloudllm_sync.values import ChatOptions
from cloudllm_sync.web.protocols.error_texts import ErrorText
from cloudllm_sync.web.response import Parts, response_parts
from cloudllm_sync.web.settings import Settings, make_client

__all__ = ["Site"]

_Made = TypeVar("_Made", Client, SessionStore)


class Site:
    """Client and store of a site, each made at its first use, and kept.

    So a server that loads the application before it forks has nothing open that its workers would
    share; what was made before all the same makes itself anew in each of them.
    """

    def __init__(self, settings: Settings, *, form: str) -> None:
        self.settings = settings
        self._form = form
        self._made: dict[str, Any] = {}  # single dict operations only

    @property
    def client(self) -> Client:
        """The client of the model that is set.

        Raises:
            ConfigurationError: None is set, or its key is missing.
        """
        return self._one("client", lambda: make_client(self.settings, form=self._form))

    @property
    def store(self) -> SessionStore:
        """The store that is set, or else this process's memory.

        Raises:
            ImportError: What the store needs is not installed.
            StoreError: It cannot be opened.
        """
        url = self.settings.store
        return self._one("store", lambda: MemoryStore() if url is None else open_store(url))

    def session(
        self,
        session_id: str,
        *,
        system_prompt: Optional[str],
        max_tokens: Optional[int],
        options: Optional[ChatOptions],
        partial: Partial,
        turn_timeout: float,
        context: Optional[ContextStrategy],
    ) -> LLMSession:
        """A conversation of the store; the arguments are LLMSession's, None is what is set.

        Raises:
            ConfigurationError: As LLMSession, and as `client`.
        """
        settings = self.settings
        return LLMSession(
            self.client,
            settings.system_prompt if system_prompt is None else system_prompt,
            settings.max_tokens if max_tokens is None else max_tokens,
            session_id=checked_session_id(session_id),
            store=self.store,
            options=options,
            partial=partial,
            turn_timeout=turn_timeout,
            context=context,
        )

    def response_parts(
        self,
        reply: Any,
        *,
        protocol: Optional[str],
        heartbeat_s: Optional[float],
        on_disconnect: Optional[str],
        min_interval_s: Optional[float],
        error_text: Optional[ErrorText],
        model: str,
        include_usage: bool,
    ) -> Parts:
        """`response_parts()`, where None is what is set."""
        settings = self.settings
        return response_parts(
            reply,
            protocol=settings.protocol if protocol is None else protocol,
            heartbeat_s=settings.heartbeat_s if heartbeat_s is None else heartbeat_s,
            on_disconnect=settings.on_disconnect if on_disconnect is None else on_disconnect,
            min_interval_s=settings.min_interval_s if min_interval_s is None else min_interval_s,
            error_text=error_text,
            model=model,
            include_usage=include_usage,
        )

    def close(self) -> None:
        """Close what was made; whoever asks again gets it anew."""
        while self._made:
            self._made.popitem()[1].close()

    def _one(self, what: str, make: Callable[[], _Made]) -> _Made:
        found: Optional[_Made] = self._made.get(what)
        if found is not None:
            return found
        made = make()
        first: _Made = self._made.setdefault(what, made)
        if first is not made:
            made.close()  # another thread was first
        return first
