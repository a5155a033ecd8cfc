"""The body of a response: a reply on its way to one browser.

A worker thread reads the reply and encodes it; the thread of the web server takes what is there,
and has something to say when nothing is.
"""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Iterator
from typing import Optional

from cloudllm_sync.errors import CloudLLMError
from cloudllm_sync.streaming.handle import Reply, StreamHandle
from cloudllm_sync.transport.cancellation import current_cancellation
from cloudllm_sync.values import Message, MessageChunk
from cloudllm_sync.web.protocols import Encoder

__all__ = ["DISCONNECT_POLICIES", "Body"]

DISCONNECT_POLICIES = ("cancel", "finish")

# What a browser may be behind before the provider has to wait: some seconds of any model.
_MOST_WAITING_BYTES = 256 * 1024

# The first write to a browser that has gone is answered by its machine, and only the next one fails
# (RFC 9293, 3.5.2), or the one after that where a server has a thread that writes (waitress). So a
# heartbeat is three.
_BEATS = 3
_BETWEEN_BEATS_S = 0.06


class Body(Iterator[bytes]):
    """The bytes of a response, as they come; web servers call `close()` when the browser leaves.

    Nothing is read before the first `next()`. The worker runs in an empty context, so that it keeps
    neither the request nor what belongs to it.
    """

    def __init__(
        self,
        reply: Reply,
        encoder: Encoder,
        *,
        heartbeat_s: float,
        on_disconnect: str,
        min_interval_s: float,
    ) -> None:
        self._reply = reply
        self._encoder = encoder
        self._heartbeat_s = heartbeat_s
        self._finishes = on_disconnect == "finish"
        self._min_interval_s = min_interval_s
        self._next_at = 0.0  # when the next piece may go out
        self._beats = 0  # of a heartbeat that has begun
        self._handle: Optional[StreamHandle] = None
        self._ended = False
        # From the worker: bytes, and None at the end.
        self._pieces: queue.SimpleQueue[Optional[bytes]] = queue.SimpleQueue()
        self._put_bytes = 0  # written by the worker only
        self._taken_bytes = 0  # written by the server's thread only
        self._is_full = False  # written by the worker only
        self._has_room = threading.Event()
        self._left = False  # written by the server's thread only, once

    # --- the web server's thread ---

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        if self._ended or self._left:
            raise StopIteration
        if self._handle is None:
            self._start()
            return self._encoder.start()
        try:
            piece = self._pieces.get(timeout=_BETWEEN_BEATS_S if self._beats else self._heartbeat_s)
        except queue.Empty:
            if self._handle.done() and self._pieces.empty():
                self._ended = True  # a stream of a user's own that has no end
                raise StopIteration from None
            self._beats = (self._beats + 1) % _BEATS
            return self._encoder.heartbeat()
        self._beats = 0
        if self._min_interval_s:
            self._gather()
        data = self._with_all_that_waits(piece)
        if self._ended and not data:
            raise StopIteration
        return data

    def close(self) -> None:
        """The browser has left, or has all. Idempotent, and returns at once.

        By the policy a reply that still runs is cancelled, or read to its end by the worker.
        """
        if self._left or self._ended:
            return
        self._left = True
        self._has_room.set()
        if self._finishes:
            if self._handle is None:
                self._start()
        elif self._handle is None:
            self._reply.close()
        else:
            self._reply.cancel()

    def _start(self) -> None:
        self._handle = contextvars.Context().run(
            StreamHandle,
            self._opened,
            on_chunk=self._put_chunk,
            on_finish=self._put_finish,
            on_error=self._put_error,
        )

    def _gather(self) -> None:
        """Let more come, if the last piece has just gone out."""
        early_s = self._next_at - time.monotonic()
        if early_s > 0:
            time.sleep(early_s)
        self._next_at = time.monotonic() + self._min_interval_s

    def _with_all_that_waits(self, piece: Optional[bytes]) -> bytes:
        """One write for all: browsers that lag, and fast models, cost less."""
        pieces = []
        while piece is not None:
            pieces.append(piece)
            try:
                piece = self._pieces.get_nowait()
            except queue.Empty:
                break
        else:
            self._ended = True
        data = b"".join(pieces)
        self._taken_bytes += len(data)
        if self._is_full:
            self._has_room.set()
        return data

    # --- the worker ---

    def _opened(self) -> Reply:
        current_cancellation().on_cancel(self._reply.cancel)  # the interpreter's exit
        # A tool call that was begun in an earlier response is gone on with, not begun again.
        for chunk in getattr(self._reply, "skipped", tuple)():
            if chunk.tool_call_delta is not None:
                self._encoder.chunk(chunk, None)
        return self._reply

    def _put_chunk(self, chunk: MessageChunk) -> None:
        data = self._encoder.chunk(chunk, getattr(self._reply, "last_event_id", None))
        if data:
            self._put(data)

    def _put_finish(self, message: Message) -> None:
        self._put_end(self._encoder.finish(message))

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
