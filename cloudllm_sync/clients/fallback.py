"""FallbackClient: several clients as one; the next answers when one cannot."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional

import attrs

from cloudllm_sync.clients.client import Messages
from cloudllm_sync.clients.wrapper import ClientWrapper
from cloudllm_sync.codecs import ReplyFacts
from cloudllm_sync.codecs.conversation import as_messages
from cloudllm_sync.errors import (
    APIError,
    CloudLLMError,
    ConfigurationError,
    StreamError,
    StreamInterrupted,
    TransportError,
)
from cloudllm_sync.streaming.handle import OnChunk, OnError, OnFinish, StreamHandle
from cloudllm_sync.streaming.sources import NoClocks
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.transport.cancellation import current_cancellation, using
from cloudllm_sync.values import ChatOptions, Message, MessageChunk, Timeouts, ToolDefinition

__all__ = ["FallbackClient"]

_log = logging.getLogger("cloudllm_sync.fallback")

# What another provider may do better. A cancel is not among them, nor a request that no wire says.
_MOVE_ON = (APIError, TransportError, StreamError)


class FallbackClient:
    """Asks the first client; if it refuses, or cannot be reached, or fails before the first chunk
    of its reply has been handed on, the next one, and so on. Never after: half a reply of one
    model is not continued by another. `Message.model` says who answered.

    Each client retries by its own rules first. If none can answer, the last one's error is raised.

    Raises:
        ConfigurationError: No clients.
    """

    def __init__(self, clients: Sequence[ClientWrapper]) -> None:
        self._clients = tuple(clients)
        if not self._clients:
            raise ConfigurationError("FallbackClient needs at least one client")

    @property
    def model_name(self) -> str:
        """The first client's model."""
        return self._clients[0].model_name

    @property
    def provider_name(self) -> str:
        """The clients' providers, in order."""
        return ", ".join(client.provider_name for client in self._clients)

    def send_message(
        self,
        messages: Messages,
        tools: Optional[Sequence[ToolDefinition]] = None,
        *,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> Message:
        """The whole reply of the first client that gives one.

        Raises:
            CloudLLMError: The last client's failure.
        """
        asked = as_messages(messages)
        wishes = _given(options, timeouts)
        for client in self._clients[:-1]:
            try:
                return _signed(client.send_message(asked, tools, **wishes), client)
            except _MOVE_ON as error:
                _log.warning("%s failed, asking the next: %s", client.provider_name, error)
        last = self._clients[-1]
        return _signed(last.send_message(asked, tools, **wishes), last)

    def send_message_stream(
        self,
        messages: Messages,
        tools: Optional[Sequence[ToolDefinition]] = None,
        *,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> ChatStream:
        """The reply as it comes, of the first client that begins one.

        Clients that cannot stream are passed over.

        Raises:
            CloudLLMError: The last client's failure.
        """
        asked = as_messages(messages)
        wishes = _given(options, timeouts)

        def opener(client: ClientWrapper) -> Callable[[], Optional[ChatStream]]:
            return lambda: client.send_message_stream(asked, tools, **wishes)

        source = _FirstToAnswer([(client, opener(client)) for client in self._clients])
        source.open_next()
        return ChatStream(source)

    def start_message_stream(
        self,
        messages: Messages,
        tools: Optional[Sequence[ToolDefinition]] = None,
        *,
        on_chunk: Optional[OnChunk] = None,
        on_finish: Optional[OnFinish] = None,
        on_error: Optional[OnError] = None,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> StreamHandle:
        """`send_message_stream()` by callbacks on a worker thread; returns at once."""
        asked = as_messages(messages)
        return StreamHandle(
            lambda: self.send_message_stream(asked, tools, options=options, timeouts=timeouts),
            on_chunk=on_chunk,
            on_finish=on_finish,
            on_error=on_error,
        )


def _given(options: Optional[ChatOptions], timeouts: Optional[Timeouts]) -> dict[str, Any]:
    """Only what was given: a client of a user's own may know no options."""
    wishes = {"options": options, "timeouts": timeouts}
    return {name: wish for name, wish in wishes.items() if wish is not None}


def _signed(message: Message, client: ClientWrapper) -> Message:
    return message if message.model else attrs.evolve(message, model=client.model_name)


_Candidate = tuple[ClientWrapper, Callable[[], Optional[ChatStream]]]


class _FirstToAnswer:
    """The chunks of the first stream that gives one."""

    def __init__(self, candidates: Sequence[_Candidate]) -> None:
        self._candidates = list(candidates)
        self._stream: Optional[ChatStream] = None
        self._client: Optional[ClientWrapper] = None
        self.cancellation = current_cancellation()
        self.progress = NoClocks()
        self._ended = False

    def open_next(self) -> None:
        """Have the next candidate that can begin a stream begin one.

        Raises:
            CloudLLMError: The last candidate's failure.
        """
        while True:
            if not self._candidates:
                raise ConfigurationError("none of the clients can stream: use send_message()")
            self._client, open_stream = self._candidates.pop(0)
            try:
                with using(self.cancellation):
                    self._stream = open_stream()
            except _MOVE_ON as error:
                self._move_on(error)
                continue
            if self._stream is not None:
                return

    def _move_on(self, error: CloudLLMError) -> None:
        """Raise the error if it was the last candidate's."""
        if not self._candidates or self.cancellation.requested:
            raise error
        name = self._client.provider_name if self._client is not None else ""
        _log.warning("%s failed, asking the next: %s", name, error)

    @property
    def facts(self) -> ReplyFacts:
        """What the reply says about itself."""
        if self._stream is None or self._client is None:
            return ReplyFacts()
        known = self._stream.partial
        return ReplyFacts(
            known.model or self._client.model_name,
            known.response_id,
            dict.fromkeys(known.citations),
            dict(known.provider_state) if known.provider_state is not None else None,
            known.usage,
        )

    @property
    def request_id(self) -> Optional[str]:
        """The answering provider's name for the request."""
        return self._stream.request_id if self._stream is not None else None

    def chunks(self) -> Iterator[MessageChunk]:
        """The chunks; another candidate takes over until the first has come."""
        while True:
            stream = self._stream
            assert stream is not None
            try:
                first = next(stream, None)
            except _MOVE_ON as error:
                self._move_on(error)
                self.open_next()
                continue
            if first is not None:
                yield first
                yield from stream
            self._ended = True
            return

    def verdict(self) -> Optional[CloudLLMError]:
        """Whole if the stream inside has come to its end, which it does only when it is whole."""
        if self._ended or (self._stream is not None and self._stream.ended_well):
            return None
        return StreamInterrupted("the reply has not ended")

    def reopen(self, error: CloudLLMError) -> bool:
        """Never: taking over is done where the chunks come from."""
        return False

    def describe(self, error: CloudLLMError) -> CloudLLMError:
        """The error as it is; the client inside has described it."""
        return error

    def release(self) -> None:
        """Nothing: the stream inside has ended."""

    def abort(self) -> None:
        """Close the stream inside."""
        if self._stream is not None:
            self._stream.close()
