"""From a reply to the bytes of a response: by a worker thread, or by the web server's own.

A worker begins: until the first chunk a reply may take as long as a model thinks, and several
attempts. Then the server's thread reads on, if the reply lets itself be waited for with a time
limit: to wake a second thread for every token costs more than all else that a view does.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator
from typing import Callable, Optional, Protocol, Union

from cloudllm_sync.errors import CloudLLMError, cancelled_by
from cloudllm_sync.streaming.growth import Growth
from cloudllm_sync.streaming.handle import Reply, StreamHandle, live_replies
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.transport.cancellation import current_cancellation
from cloudllm_sync.values import Message, MessageChunk
from cloudllm_sync.web.protocols import Encoder

__all__ = [
    "OwnReading",
    "Reading",
    "TimedReply",
    "WorkerReading",
    "context_for_workers",
    "read_on",
]

_log = logging.getLogger("cloudllm_sync.web")

TimedReply = Union[ChatStream, Growth]
_TIMED = (ChatStream, Growth)

# What a browser may be behind before the provider has to wait: some seconds of any model.
_MOST_WAITING_BYTES = 256 * 1024
_MOST_AT_ONCE_BYTES = 64 * 1024


class Reading(Protocol):
    """Whoever reads a reply and encodes it, as the server's thread sees it."""

    is_over: bool
    """Whether all has been taken, to the end."""
    hands_over: bool
    """Whether the server's thread has taken all of this reading, and is to read on itself."""

    def take(self, seconds: float) -> Optional[bytes]:
        """What there is, in one piece; None if nothing comes for so long."""

    def leave(self, *, finishes: bool) -> None:
        """Nobody takes any more. The reply is read to its end all the same, or cancelled."""


class WorkerReading:
    """A worker reads, up to the chunk behind which it can hand over; a queue is between."""

    def __init__(self, reply: Reply, encoder: Encoder, context: contextvars.Context) -> None:
        self.is_over = False
        self.hands_over = False
        self._reply = reply
        self._encoder = encoder
        self._context = context
        # From the worker: bytes, and None at the end.
        self._pieces: queue.SimpleQueue[Optional[bytes]] = queue.SimpleQueue()
        self._put_bytes = 0  # written by the worker only
        self._taken_bytes = 0  # written by the server's thread only
        self._is_full = False  # written by the worker only
        self._has_room = threading.Event()
        self._lock = threading.Lock()
        self._left = False  # written by the server's thread, under _lock, once
        self._stopped = False  # written by the worker, under _lock, once: somebody is to read on
        self._handle = context.run(
            StreamHandle,
            self._begun,
            on_chunk=self._put_chunk,
            on_finish=self._put_finish,
            on_error=self._put_error,
        )

    # --- the web server's thread ---

    def take(self, seconds: float) -> Optional[bytes]:
        """All that waits: browsers that lag, and fast models, cost less."""
        try:
            piece = self._pieces.get(timeout=seconds)
        except queue.Empty:
            if self._handle.done() and self._pieces.empty():
                self.is_over = True  # a stream of a user's own that has no end
                return b""
            return None
        pieces = []
        while piece is not None:
            pieces.append(piece)
            try:
                piece = self._pieces.get_nowait()
            except queue.Empty:
                break
        else:
            self.hands_over = self._stopped
            self.is_over = not self._stopped
        data = b"".join(pieces)
        self._taken_bytes += len(data)
        if self._is_full:
            self._has_room.set()
        return data

    def leave(self, *, finishes: bool) -> None:
        """By the worker; it returns at once."""
        with self._lock:
            self._left = True
        self._has_room.set()
        if not finishes:
            self._reply.cancel()
        if self._stopped:
            read_on(self._reply, self._context)

    # --- the worker ---

    def _begun(self) -> Reply:
        current_cancellation().on_cancel(self._reply.cancel)  # the interpreter's exit
        # A tool call that was begun in an earlier response is gone on with, not begun again.
        for chunk in getattr(self._reply, "skipped", tuple)():
            if chunk.tool_call_delta is not None:
                self._encoder.chunk(chunk, None)
        return _Beginning(self._reply, self._may_stop)

    def _may_stop(self) -> bool:
        if not isinstance(self._reply, _TIMED) or not self._reply.is_timed:
            return False
        with self._lock:
            self._stopped = not self._left
        return self._stopped

    def _put_chunk(self, chunk: MessageChunk) -> None:
        data = self._encoder.chunk(chunk, getattr(self._reply, "last_event_id", None))
        if data:
            self._put(data)

    def _put_finish(self, message: Message) -> None:
        self._put_end(b"" if self._stopped else self._encoder.finish(message))

    def _put_error(self, error: CloudLLMError) -> None:
        self._put_end(self._encoder.error(error))

    def _put_end(self, data: bytes) -> None:
        self._pieces.put(data)
        self._pieces.put(None)

    def _put(self, data: bytes) -> None:
        if self._left:
            return  # read to its end for nobody
        self._put_bytes += len(data)
        self._pieces.put(data)
        while self._put_bytes - self._taken_bytes > _MOST_WAITING_BYTES and not self._left:
            # In this order: whoever makes room now has seen _is_full, or is seen by the next look.
            self._has_room.clear()
            self._is_full = True
            if self._put_bytes - self._taken_bytes > _MOST_WAITING_BYTES and not self._left:
                self._has_room.wait()
        self._is_full = False


class OwnReading:
    """The server's thread reads on, a reply that has begun."""

    hands_over = False

    def __init__(self, reply: TimedReply, encoder: Encoder, context: contextvars.Context) -> None:
        self.is_over = False
        self._reply = reply
        self._encoder = encoder
        self._context = context
        self._ended = threading.Event()
        live_replies.add(self)

    def take(self, seconds: float) -> Optional[bytes]:
        """All that has arrived, which is waited for by the thread that calls."""
        pieces: list[bytes] = []
        try:
            self._take_into(pieces, seconds)
        except StopIteration:
            pieces.append(self._finished())
        except Exception as error:
            pieces.append(self._failed(error))
        return b"".join(pieces) if pieces else None

    def _take_into(self, pieces: list[bytes], seconds: float) -> None:
        next_within, encoded = self._reply.next_within, self._encoder.chunk
        room = _MOST_AT_ONCE_BYTES
        until = time.monotonic() + seconds
        while room > 0:
            chunk = next_within(seconds)
            if chunk is None:
                return
            piece = encoded(chunk)
            if piece:
                pieces.append(piece)
                room -= len(piece)
                seconds = 0
            elif not pieces:  # it says nothing in this protocol
                seconds = until - time.monotonic()

    def _finished(self) -> bytes:
        try:
            last = self._encoder.finish(self._reply.result())
        except Exception as error:
            return self._failed(error)  # of a handle's reply, which just ends
        self._end()
        return last

    def _failed(self, error: Exception) -> bytes:
        self._reply.close()
        self._end()
        if not isinstance(error, CloudLLMError):
            _log.error("reading a reply raised", exc_info=error)
            error = cancelled_by(error, f"reading the reply raised {type(error).__name__}")
        return self._encoder.error(error)

    def _end(self) -> None:
        self.is_over = True
        live_replies.discard(self)
        self._ended.set()

    def leave(self, *, finishes: bool) -> None:
        """By a worker; it returns at once."""
        live_replies.discard(self)
        if not finishes:
            self._reply.cancel()
        read_on(self._reply, self._context)

    # --- the interpreter's exit ---

    def cancel(self) -> None:
        """End the reply, from any thread."""
        self._reply.cancel()

    def join(self, timeout: Optional[float] = None) -> bool:
        """Wait until the end has been taken."""
        return self._ended.wait(timeout)


class _Beginning:
    """A reply, up to the chunk after which `may_stop()` says so."""

    def __init__(self, reply: Reply, may_stop: Callable[[], bool]) -> None:
        self._reply = reply
        self._may_stop = may_stop
        self._stopped = False
        self.cancel = reply.cancel
        self.close = reply.close

    @property
    def partial(self) -> Message:
        return self._reply.partial

    def __iter__(self) -> Iterator[MessageChunk]:
        for chunk in self._reply:
            yield chunk
            if self._may_stop():
                self._stopped = True
                return

    def result(self) -> Message:
        return self._reply.partial if self._stopped else self._reply.result()


def context_for_workers() -> contextvars.Context:
    """An empty one, so that a worker keeps neither the request nor what belongs to it.

    Only OpenTelemetry's span is the current one: what is asked in later rounds of a run, and what
    tools do, belongs to the request.
    """
    context = contextvars.Context()
    tracing = sys.modules.get("opentelemetry.context")
    if tracing is not None:  # else nobody makes spans
        context.run(tracing.attach, tracing.get_current())
    return context


def read_on(reply: Reply, context: contextvars.Context) -> None:
    """Have a worker read the reply to its end, for nobody."""
    if isinstance(reply, Growth):
        return  # its handle does so anyway

    def opened() -> Reply:
        current_cancellation().on_cancel(reply.cancel)
        return reply

    context.run(StreamHandle, opened)
