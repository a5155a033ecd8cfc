"""ChatStream: the one pump that moves chunks, and the one place where a reply ends."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Callable, NoReturn, Optional, TypeVar

from cloudllm_sync.codecs import ReplyFacts
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.errors import (
    APIError,
    CloudLLMError,
    RequestTimeoutError,
    StreamCancelled,
    StreamError,
    StreamInterrupted,
    cancelled_by,
)
from cloudllm_sync.streaming.observer import CallInfo, Observer, notify, notify_end
from cloudllm_sync.streaming.readings import TextOf, objects_of
from cloudllm_sync.streaming.sources import NOTHING_YET, ChunkList, Source, is_busy, late_text
from cloudllm_sync.transport.cancellation import using
from cloudllm_sync.values import Message, MessageChunk, TokenUsage

__all__ = ["ChatStream", "Settle"]

_Object = TypeVar("_Object")

Settle = Callable[[Optional[Message], Optional[CloudLLMError]], None]
"""Told once how a reply ended: the whole message, or the error. What it raises, the reader gets."""

Replace = Callable[[CloudLLMError], Optional[Callable[[], "ChatStream"]]]
"""Told of an error; gives what opens a stream to go on with, or None to let the error be."""


class ChatStream(Iterator[MessageChunk]):
    """A reply on its way: an iterator of chunks, and a context manager.

    Whoever calls `next()` reads from the connection; no other thread works. One thread at a time
    may iterate. `cancel()` and `partial` are for any thread.

    The iteration ends normally only if the provider has proved that the reply is whole. Everything
    else raises a CloudLLMError with what had arrived as its `partial`, whenever it is asked.

    Use it in a `with` block, or read it to its end, or `close()` it: a stream that is just dropped
    is cancelled with a ResourceWarning.
    """

    def __init__(
        self,
        source: Source,
        *,
        info: CallInfo | None = None,
        observers: tuple[Observer, ...] = (),
    ) -> None:
        self._source = source
        self._info = info
        self._observers = observers
        self._arrived = Accumulator()
        self._add_text = self._arrived.add_text
        self._progress = source.progress
        self._chunks = source.chunks()
        self._started = False
        self._message: Optional[Message] = None
        self._error: Optional[CloudLLMError] = None
        self._pid = os.getpid()
        self._settlers: list[Settle] = []
        self._replace: Optional[Replace] = None
        self._attempts_before = 0

    @classmethod
    def of(cls, chunks: Iterable[MessageChunk]) -> ChatStream:
        """A stream of chunks that are made elsewhere, for clients of your own.

        It is whole if a chunk with a finish reason was among them.
        """
        return cls(ChunkList(chunks))

    # --- reading ---

    def __iter__(self) -> ChatStream:
        return self

    def __next__(self) -> MessageChunk:
        # The hot path: for every token. It must not lock, log, call a clock or build anything.
        try:
            for chunk in self._chunks:  # one step of it: a call of next() costs more
                if (
                    chunk.finish_reason is None
                    and chunk.usage is None
                    and chunk.tool_call_delta is None
                    and not chunk.reasoning
                    and not chunk.refusal
                ):
                    self._add_text(chunk.content)
                else:
                    self._add_more(chunk)
                if not self._started:
                    self._first_chunk()
                return chunk
        except CloudLLMError as error:
            if not self._came_too_late(error):
                return self._after_failure(error)
        except BaseException as error:
            if not is_busy(error):
                self._fail_for(error)
            raise
        return self._after_last_chunk()

    def _add_more(self, chunk: MessageChunk) -> None:
        """A chunk that is not just text."""
        if chunk is NOTHING_YET:
            return
        self._arrived.add(chunk)
        if chunk.finish_reason is not None:
            self._progress.finish_came = True
            self._add_text = late_text(self._arrived.add_text, self._progress)
        elif chunk.usage is None:
            self._progress.finish_came = False

    def next_within(self, seconds: float) -> Optional[MessageChunk]:
        """The next chunk, or None if none has come within so many seconds.

        For threads that have something else to do meanwhile; 0 gives only what has arrived. The
        stream's own clocks go on. Where it is not `is_timed`, it waits as `next()` does.

        Raises:
            CloudLLMError: As `next()`; and StopIteration, too.
        """
        if not self.is_timed:
            return self.__next__()
        self._progress.reader_until = time.monotonic() + seconds if seconds > 0 else 0
        try:
            chunk = self.__next__()
        finally:
            self._progress.reader_until = math.inf
        return None if chunk is NOTHING_YET else chunk

    def text(self) -> Iterator[str]:
        """The visible text only, piece by piece.

        What it gives has a `close()` that closes the stream: a web server calls it on the body of
        a response when the browser leaves.
        """
        return TextOf(self, self.close)

    def objects(self, kind: type[_Object]) -> Iterator[_Object]:
        """The reply as an object of a class, again whenever more of it has arrived.

        Until the last one, fields that have not arrived are at their defaults, or None (lists are
        empty), and text may be unfinished. The last one is whole and checked. Long replies are
        read less often, so that all readings cost no more than 33 times the last one.

        Raises:
            CloudLLMError: The reply did not become whole.
            ValueError: It is whole, and does not fit: as `Message.parsed()`.
            ImportError: The library that reads unfinished JSON, an extra, is missing.
        """
        return objects_of(self.text(), self.result, kind)

    def result(self) -> Message:
        """Read to the end; the whole reply, the same object on every call.

        Raises:
            CloudLLMError: The reply did not become whole.
        """
        for _ in self:
            pass
        assert self._message is not None
        return self._message

    # --- looking ---

    @property
    def partial(self) -> Message:
        """The reply as far as it has come; may be asked from any thread."""
        return self._message or self._arrived.message(self._source.facts)

    @property
    def finish_reason(self) -> str | None:
        """Why the reply ended; None until that is known, or where the provider does not say."""
        return self._arrived.finish_reason

    @property
    def usage(self) -> TokenUsage | None:
        """Tokens used; None until the provider has reported them, which is at the end."""
        return self._arrived.usage or self._source.facts.usage

    @property
    def ended_well(self) -> bool:
        """Whether the reply has become whole."""
        return self._message is not None

    @property
    def facts(self) -> ReplyFacts:
        """What the reply says about itself so far, for clients that pass a stream on."""
        return self._source.facts

    @property
    def request_id(self) -> str | None:
        """The provider's name for the request, for its support."""
        return self._source.request_id

    # --- ending ---

    def cancel(self) -> None:
        """End the reply from any thread; returns at once. Nothing happens to one that has ended.

        The thread that reads gets StreamCancelled within milliseconds, whatever it waits for.
        """
        self._source.cancellation.cancel()

    def close(self) -> None:
        """End the reply from the reading thread. Idempotent.

        A reply whose finish reason has been seen, and nothing behind it but usage, counts as whole;
        any other as cancelled.
        """
        if self._message is not None or self._error is not None:
            return
        if self._arrived.finish_reason is not None and not self._source.cancellation.requested:
            self._chunks = iter(())
            self._source.abort()
            error = self._source.verdict()
            if error is None:
                self._complete()
                return
            if not isinstance(error, StreamInterrupted):
                self._fail(error)
                return
        cancellation = self._source.cancellation
        closed = StreamCancelled("the reply was closed before its end")
        self._fail(cancellation.error() if cancellation.requested else closed)

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_settlers", None) is None or os.getpid() != self._pid:
            return  # a forked child has the parent's streams, and maybe their locks as taken
        if self._message or self._error:
            self._settle(None, self._error)  # Ctrl-C came before all were told
            return
        unfinished = self._arrived.finish_reason is None
        self.close()  # first: a filter may turn the warning into an error
        if unfinished:
            warnings.warn(
                "a ChatStream was dropped before its end, which cancels it: read it to the end, "
                "or use it in a with block",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError("ChatStream holds a connection, and does not pickle: pickle its result()")

    @property
    def is_timed(self) -> bool:
        """Whether `next_within()` keeps its time: not before the first chunk, nor with `of()`."""
        return self._started and self._source.is_timed

    def settle_with(self, settle: Settle) -> None:
        """Have `settle` told how the reply ends, before the reader is.

        If it raises, the reader gets that error in place of the end. A stream that has ended
        already tells it at once.
        """
        if self._message is not None or self._error is not None:
            settle(self._message, self._error)
        else:
            self._settlers.append(settle)

    def replace_with(self, replace: Replace) -> None:
        """Have `replace` asked, once, if this one fails before its first chunk."""
        self._replace = replace

    def _after_last_chunk(self) -> MessageChunk:
        """The chunks are used up: the end, an error, or another attempt."""
        if self._error is not None:
            raise self._error
        if self._message is not None:
            raise StopIteration
        try:
            error = self._source.verdict()
            if error is not None and not self._started and self._source.reopen(error):
                self._chunks = self._source.chunks()
                return self.__next__()
        except CloudLLMError as failure:
            error = failure
        except BaseException as failure:
            self._fail_for(failure)
            raise
        if error is not None:
            return self._after_failure(error)
        self._source.release()
        self._complete()
        raise StopIteration

    def _after_failure(self, error: CloudLLMError) -> MessageChunk:
        """The error; or the first chunk of another stream, if one is to take over."""
        replace, self._replace = self._replace, None
        open_other = None
        if replace is not None and not self._started:
            error = self._source.describe(error)
            open_other = replace(error)
        if open_other is None:
            raise self._fail(error) from error.__cause__
        self._source.abort()
        self._tell(None, error)
        self._info = None  # its end has been told
        self._attempts_before = error.attempts
        try:
            with using(self._source.cancellation):
                self._take_over(open_other())
        except CloudLLMError as failure:
            self._attempts_before = failure.attempts
            raise self._fail(failure) from failure.__cause__
        except BaseException as failure:
            self._fail_for(failure)
            raise
        return self.__next__()

    def _take_over(self, other: ChatStream) -> None:
        self._source, self._progress = other._source, other._progress
        self._info, self._observers = other._info, other._observers
        self._chunks = other._chunks
        other._error = StreamCancelled("another stream reads on")  # so that it does not end it

    def _came_too_late(self, error: CloudLLMError) -> bool:
        """Whether what came or did not come after the proof that all is there was at fault."""
        if not isinstance(error, (StreamError, RequestTimeoutError)):
            return False
        verdict = self._source.verdict()
        return verdict is None or isinstance(verdict, APIError)  # said before it was lost

    def _first_chunk(self) -> None:
        self._started = True
        info = self._info
        if info is not None:
            notify(self._observers, lambda observer: observer.on_first_chunk(info))

    def _complete(self) -> None:
        """The one good end."""
        message = self._arrived.message(self._source.facts)
        try:
            self._settle(message, None)
        except CloudLLMError as error:
            self._error = error
            self._tell(None, error)
            raise
        except BaseException as cause:
            # Ctrl-C in a store: whether the turn was kept is the store's to say, not to do again.
            self._error = cancelled_by(cause, "the reply was interrupted while it was being kept")
            self._tell(None, self._error)
            raise
        self._message = message
        self._tell(message, None)

    def _fail(self, error: CloudLLMError) -> CloudLLMError:
        """The one bad end; gives the error back, with what had arrived."""
        if self._error is not None or self._message is not None:
            return error
        self._chunks = iter(())
        self._source.abort()
        if error.partial is None and not self._arrived.is_empty():
            error.partial = self._arrived.message(self._source.facts)
        self._error = self._source.describe(error)
        error.attempts += self._attempts_before
        try:
            self._settle(None, error)
        finally:  # Ctrl-C in a store
            self._tell(None, error)
        return error

    def _settle(self, message: Message | None, error: CloudLLMError | None) -> None:
        """Tell those who have not been told: wherever Ctrl-C comes, nobody is told twice."""
        while self._settlers:
            self._settlers.pop(0)(message, error)

    def _fail_for(self, cause: BaseException) -> None:
        """Something that is no failure of the reply, Ctrl-C say, ended the reading."""
        self._fail(cancelled_by(cause, f"the reader was interrupted by {type(cause).__name__}"))

    def _tell(self, message: Message | None, error: CloudLLMError | None) -> None:
        if self._info is not None:
            notify_end(self._observers, self._info, message, error)
