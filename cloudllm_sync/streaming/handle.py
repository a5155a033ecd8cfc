"""StreamHandle: a stream read by a thread of its own, which calls back."""

from __future__ import annotations

import atexit
import contextvars
import logging
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Callable, NoReturn, Optional, Protocol

from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.errors import CloudLLMError, StreamCancelled, cancelled_by
from cloudllm_sync.transport.cancellation import Cancellation, using
from cloudllm_sync.transport.clocks import as_seconds, as_wait
from cloudllm_sync.transport.forks import renew_in_children
from cloudllm_sync.values import Message, MessageChunk

__all__ = ["OnChunk", "OnError", "OnFinish", "Reply", "StreamHandle", "live_replies"]

OnChunk = Callable[[MessageChunk], object]
OnFinish = Callable[[Message], object]
OnError = Callable[[CloudLLMError], object]

_log = logging.getLogger("cloudllm_sync.callbacks")

# How long the interpreter's exit waits for the last callbacks.
_EXIT_S = 2.0
_LISTEN_S = 0.25


class Reply(Protocol):
    """What a worker can read: a ChatStream, a RunStream, a reply that another process reads."""

    @property
    def partial(self) -> Message:
        """The reply as far as it has come; may be asked from any thread."""

    def __iter__(self) -> Iterator[MessageChunk]:
        """The chunks, to the end."""

    def result(self) -> Message:
        """The whole reply."""

    def cancel(self) -> None:
        """End it, from any thread."""

    def close(self) -> None:
        """End it, from the reading thread."""


def _ignore(chunk: MessageChunk) -> None:
    pass


class _Live(Protocol):
    """A reply that some thread reads."""

    def cancel(self) -> None:
        """End it, from any thread."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait for its end."""


class _LiveReplies:
    """The replies that daemon threads read, for the interpreter's exit."""

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: workers and sockets are the parent's; a cancel would shut them."""
        self._lock = threading.RLock()  # re-entrant, as the one in forks.py
        self._handles: weakref.WeakSet[_Live] = weakref.WeakSet()  # guarded by _lock

    def add(self, handle: _Live) -> None:
        with self._lock:
            self._handles.add(handle)

    def discard(self, handle: _Live) -> None:
        with self._lock:
            self._handles.discard(handle)

    def all(self) -> list[_Live]:
        with self._lock:
            return list(self._handles)


live_replies = _LiveReplies()


class StreamHandle:
    """A reply that a worker thread reads, with the method names of concurrent.futures.Future.

    The callbacks come in order, one at a time, all on the worker: any number of `on_chunk`, then
    exactly one of `on_finish` and `on_error`. By then a session's turn is over, so that the last
    callback may begin the next one. They run in a copy of the caller's context variables.

    If `on_chunk` raises, the reply is cancelled and `on_error` gets StreamCancelled with that
    cause. What the last callback raises is logged and returned by `exception()`.
    """

    def __init__(
        self,
        open_stream: Callable[[], Reply],
        *,
        on_chunk: OnChunk | None = None,
        on_finish: OnFinish | None = None,
        on_error: OnError | None = None,
    ) -> None:
        self._open_stream = open_stream
        self._on_chunk = on_chunk
        self._on_finish = on_finish
        self._on_error = on_error
        self._cancellation = Cancellation()
        # Written by the worker only, before _done is set; `partial` may read _stream any time.
        self._stream: Optional[Reply] = None
        self._message: Optional[Message] = None
        self._error: Optional[CloudLLMError] = None
        self._raised: Optional[BaseException] = None
        self._done = threading.Event()
        self._watchers: list[Callable[[], None]] = []  # grows only, by single appends
        context = contextvars.copy_context()
        self._worker = threading.Thread(
            target=context.run, args=(self._run,), name="cloudllm-stream", daemon=True
        )
        renew_in_children(self)
        live_replies.add(self)
        self._worker.start()

    def renew(self) -> None:
        """In a forked child: a reply whose worker is not there has ended."""
        is_over = self._done.is_set()
        self._done = threading.Event()
        if not is_over and self._worker is threading.current_thread():
            return  # a callback has forked
        if self._message is None and self._error is None:
            self._error = StreamCancelled("the reply is read by the parent of this process")
        self._done.set()

    # --- for any thread ---

    def result(self, timeout: float | None = None) -> Message:
        """The whole reply, once the last callback has returned.

        Args:
            timeout: Seconds to wait, None for as long as it takes.

        Raises:
            CloudLLMError: What `on_error` got.
            TimeoutError: It took longer; the reply goes on.
        """
        self._wait(timeout)
        if self._error is not None:
            raise self._error
        assert self._message is not None
        return self._message

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What `on_error` got, or what the last callback raised, or None.

        Raises:
            TimeoutError: It took longer than `timeout` seconds; the reply goes on.
        """
        self._wait(timeout)
        return self._raised or self._error

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the last callback to return; whether it has, within `timeout` seconds."""
        if threading.current_thread() is self._worker:
            return self._done.is_set()  # a callback cannot wait for itself to return
        return self._done_within(timeout)

    def done(self) -> bool:
        """Whether the last callback has returned."""
        return self._done.is_set()

    def cancel(self) -> None:
        """End the reply; returns at once. Nothing happens to one that has ended."""
        self._cancellation.cancel()

    @property
    def partial(self) -> Message:
        """The reply as far as it has come."""
        stream = self._stream
        return Accumulator().message() if stream is None else stream.partial

    def watch(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, by the worker, for every chunk and at the end; at once if it is over.

        It must neither wait nor raise.
        """
        self._watchers.append(wake)
        if self._done.is_set():
            wake()

    def __reduce__(self) -> NoReturn:
        raise TypeError("StreamHandle holds a thread, and does not pickle: pickle its result()")

    def _wait(self, timeout: float | None) -> None:
        # The last callback may ask for the result: it is there, though the callback is not over.
        if threading.current_thread() is self._worker:
            if self._message is None and self._error is None:
                raise RuntimeError("a callback cannot wait for its own stream to end")
            return
        if not self._done_within(timeout):
            raise TimeoutError(f"the reply has not ended within {timeout:g} s")

    def _done_within(self, timeout: float | None) -> bool:
        """A Ctrl-C that comes just before a wait is heard when that ends: the main thread, which
        hears them, waits many short times.
        """
        if threading.current_thread() is not threading.main_thread():
            return self._done.wait(as_wait(timeout))
        until = time.monotonic() + as_seconds(timeout)
        while not self._done.wait(max(0.0, min(_LISTEN_S, until - time.monotonic()))):
            if not time.monotonic() < until:  # NaN is no time at all
                return False
        return True

    # --- the worker ---

    def _run(self) -> None:
        try:
            self._read()
            self._call_last()
        finally:
            self._done.set()
            self._wake_watchers()
            live_replies.discard(self)

    def _read(self) -> None:
        on_chunk, watchers = self._on_chunk or _ignore, self._watchers
        try:
            with using(self._cancellation):
                self._stream = stream = self._open_stream()
            for chunk in stream:
                try:
                    on_chunk(chunk)
                except BaseException as error:
                    self._cancellation.cancel(error)
                    stream.close()
                if watchers:
                    self._wake_watchers()
            self._message = stream.result()
        except CloudLLMError as error:
            self._error = error
        except BaseException as error:
            # A client of a user's own may raise anything; on_error is called all the same.
            self._error = cancelled_by(error, f"reading the reply raised {type(error).__name__}")

    def _wake_watchers(self) -> None:
        for wake in self._watchers:
            wake()

    def _call_last(self) -> None:
        try:
            if self._error is not None:
                if self._on_error is not None:
                    self._on_error(self._error)
            elif self._on_finish is not None and self._message is not None:
                self._on_finish(self._message)
        except BaseException as error:
            self._raised = error
            _log.exception("the last callback of a stream raised")


def _end_live_streams() -> None:
    """At exit: a daemon thread would lose its last callback, any other would hang the exit."""
    live = live_replies.all()
    for handle in live:
        handle.cancel()
    deadline = time.monotonic() + _EXIT_S
    for handle in live:
        handle.join(max(0.0, deadline - time.monotonic()))


atexit.register(_end_live_streams)
