"""FallbackClient: several clients as one; the next answers when one cannot."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import NoReturn, Optional

import attrs

from cloudllm_sync.clients.asking import Asking, Question, signed
from cloudllm_sync.clients.many import ManyAtOnce
from cloudllm_sync.clients.wrapper import ClientWrapper, Messages
from cloudllm_sync.codecs import ReplyFacts
from cloudllm_sync.errors import CloudLLMError, ConfigurationError, StreamInterrupted
from cloudllm_sync.streaming.handle import OnChunk, OnError, OnFinish, StreamHandle
from cloudllm_sync.streaming.sources import NOTHING_YET, NoClocks
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.transport.credentials import hides_arguments
from cloudllm_sync.values import ChatOptions, Message, MessageChunk, Timeouts, ToolDefinition

__all__ = ["FallbackClient"]


class FallbackClient(ManyAtOnce):
    """Asks the first client; if that one refuses, or cannot be reached, or fails before the first
    chunk of its reply has been handed on, the next one, and so on. Never after: half a reply of
    one model is not continued by another. `Message.model` says who answered.

    A refusal is any APIError (a wrong key and a conversation too long for that model are among
    them), or an option that this client's wire cannot say. Any other ConfigurationError is a
    mistake of the program's and is raised at once. So is whatever else a client of your own
    raises: it says that it cannot answer by a CloudLLMError, or by an OSError, which becomes a
    ConnectError here.

    Each client retries by its own rules first. The `total_s` of a call is for all of its clients
    together; the other clocks, and a client's own `total_s`, are for each of them.

    If nobody can answer, the last error that came from a provider is raised. Its text names the
    others, it is chained to those before it, and its `attempts` count all requests.

    Raises:
        ConfigurationError: No clients, or something that is none.
    """

    def __init__(self, clients: Iterable[ClientWrapper]) -> None:
        if not isinstance(clients, Iterable):
            raise ConfigurationError(
                f"FallbackClient needs a sequence of clients, not {type(clients).__name__}"
            )
        self._clients = tuple(clients)
        if not self._clients:
            raise ConfigurationError("FallbackClient needs at least one client")
        for client in self._clients:
            if not hasattr(client, "send_message"):
                raise ConfigurationError(
                    f"FallbackClient needs clients, not {type(client).__name__}: open_client() "
                    "makes one of a string"
                )

    @property
    def model_name(self) -> str:
        """The first client's model."""
        return self._clients[0].model_name

    @property
    def provider_name(self) -> str:
        """The clients' providers, in order."""
        return ", ".join(client.provider_name for client in self._clients)

    @hides_arguments
    def send_message(
        self,
        messages: Messages,
        tools: Optional[Iterable[ToolDefinition]] = None,
        *,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> Message:
        """The whole reply of the first client that gives one.

        Raises:
            CloudLLMError: No client answered, see the class.
        """
        question = Question.of(messages, tools, options, timeouts)
        del messages, tools  # tools that report errors show local variables
        asking = Asking(self._clients, question)
        while True:
            client = asking.next_client()
            try:
                return asking.reply_of(client)
            except CloudLLMError as error:
                asking.move_on(client, error)

    @hides_arguments
    def send_message_stream(
        self,
        messages: Messages,
        tools: Optional[Iterable[ToolDefinition]] = None,
        *,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> ChatStream:
        """The reply as it comes, of the first client that begins one.

        Clients that cannot stream are passed over.

        Raises:
            CloudLLMError: No client began a reply, see the class; StreamingNotSupportedError if
                none of them can stream.
        """
        question = Question.of(messages, tools, options, timeouts)
        del messages, tools  # as above
        return self._stream(question)

    @hides_arguments
    def start_message_stream(
        self,
        messages: Messages,
        tools: Optional[Iterable[ToolDefinition]] = None,
        *,
        on_chunk: Optional[OnChunk] = None,
        on_finish: Optional[OnFinish] = None,
        on_error: Optional[OnError] = None,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> StreamHandle:
        """`send_message_stream()` by callbacks on a worker thread; returns at once.

        Raises:
            ConfigurationError: The request cannot be made. All that comes later goes to
                `on_error`.
        """
        question = Question.of(messages, tools, options, timeouts)
        return StreamHandle(
            lambda: self._stream(question),
            on_chunk=on_chunk,
            on_finish=on_finish,
            on_error=on_error,
        )

    def close(self) -> None:
        """Close all the clients; running streams go on."""
        with contextlib.ExitStack() as stack:  # one that fails to close does not keep the others
            for client in self._clients:
                stack.callback(getattr(client, "close", _nothing))

    def __enter__(self) -> FallbackClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"FallbackClient({list(self._clients)!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "FallbackClient holds clients, and does not pickle: make it where it is used"
        )

    def _stream(self, question: Question) -> ChatStream:
        source = _FirstToAnswer(Asking(self._clients, question))
        source.open_next()
        return ChatStream(source)


def _nothing() -> None:
    """What there is to do for a client that has no close()."""


class _FirstToAnswer:
    """The chunks of the first stream that gives one."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        # Replaced as a whole: `partial` may be asked for by any thread.
        self._answering: Optional[tuple[ClientWrapper, ChatStream]] = None
        self.cancellation = asking.cancellation
        self.progress = NoClocks()
        self._ended = False

    def open_next(self) -> None:
        """Have the next client that can begin a stream begin one.

        Raises:
            CloudLLMError: None could.
        """
        while True:
            client = self._asking.next_client()
            try:
                stream = self._asking.stream_of(client)
            except CloudLLMError as error:
                self._asking.move_on(client, error)
                continue
            self._answering = client, stream
            # One that was not made here, or not by this package, may know no cancel of ours.
            self.cancellation.on_cancel(stream.cancel)
            return

    @property
    def facts(self) -> ReplyFacts:
        """What the reply says about itself."""
        if self._answering is None:
            return ReplyFacts()
        client, stream = self._answering
        known = stream.facts
        return known if known.model else attrs.evolve(known, model=client.model_name)

    @property
    def request_id(self) -> Optional[str]:
        """The answering provider's name for the request."""
        return self._answering[1].request_id if self._answering is not None else None

    def chunks(self) -> Iterator[MessageChunk]:
        """The chunks; another client takes over until the first has come."""
        while self._answering is not None:
            client, stream = self._answering
            try:
                with self._asking.watched(client):
                    first = next(stream, None)
            except CloudLLMError as error:
                self._asking.move_on(client, error)
            else:
                if first is not None:
                    yield first
                    yield from self._rest_of(stream)
                self._ended = True
                return
            self.open_next()

    def _rest_of(self, stream: ChatStream) -> Iterator[MessageChunk]:
        progress = self.progress
        try:
            while True:
                if progress.reader_until == math.inf:
                    yield next(stream)
                else:
                    chunk = stream.next_within(progress.reader_until - time.monotonic())
                    yield NOTHING_YET if chunk is None else chunk
        except StopIteration:
            return

    @property
    def is_timed(self) -> bool:
        """Whether the stream inside is."""
        return self._answering is not None and self._answering[1].is_timed

    def verdict(self) -> Optional[CloudLLMError]:
        """Whole if the stream inside has come to its end, which it does only when it is whole."""
        if self._ended or (self._answering is not None and self._answering[1].ended_well):
            return None
        return StreamInterrupted("the reply has not ended")

    def reopen(self, error: CloudLLMError) -> bool:
        """Never: taking over is done where the chunks come from."""
        return False

    def describe(self, error: CloudLLMError) -> CloudLLMError:
        """The error as the client inside has described it, and who had begun to answer."""
        if error.partial is not None and self._answering is not None:
            error.partial = signed(error.partial, self._answering[0])
        return error

    def release(self) -> None:
        """Take back what a cancel would do; the stream inside has ended."""
        if self._answering is not None:
            self.cancellation.forget(self._answering[1].cancel)

    def abort(self) -> None:
        """Close the stream inside."""
        if self._answering is not None:
            self._answering[1].close()
