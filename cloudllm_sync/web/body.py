"""The body of a response: a reply on its way to one browser, with something to say meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Optional, cast

from cloudllm_sync.streaming.handle import Reply
from cloudllm_sync.web.protocols import Encoder
from cloudllm_sync.web.reading import (
    OwnReading,
    Reading,
    TimedReply,
    WorkerReading,
    context_for_workers,
    read_on,
)

__all__ = ["DISCONNECT_POLICIES", "Body"]

DISCONNECT_POLICIES = ("cancel", "finish")

# The first write to a browser that has gone is answered by its machine, and only the next one fails
# (RFC 9293, 3.5.2), or the one after that where a server has a thread that writes (waitress). So a
# heartbeat is three.
_BEATS = 3
_BETWEEN_BEATS_S = 0.06


class Body(Iterator[bytes]):
    """The bytes of a response, as they come; web servers call `close()` when the browser leaves.

    Nothing is read before the first `next()`.
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
        self._context = context_for_workers()
        self._reading: Optional[Reading] = None
        self._ended = False

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        if self._ended:
            raise StopIteration
        reading = self._reading
        if reading is None:
            self._reading = WorkerReading(self._reply, self._encoder, self._context)
            return self._encoder.start()
        if self._min_interval_s:
            self._let_more_come()
        data = reading.take(_BETWEEN_BEATS_S if self._beats else self._heartbeat_s)
        if reading.is_over:
            self._ended = True
            if not data:
                raise StopIteration
        if reading.hands_over:
            reply = cast(TimedReply, self._reply)
            self._reading = OwnReading(reply, self._encoder, self._context)
            if not data:
                return self.__next__()
        if data is None:
            self._beats = (self._beats + 1) % _BEATS
            return self._encoder.heartbeat()
        self._beats = 0
        if self._min_interval_s:
            self._next_at = time.monotonic() + self._min_interval_s
        return data

    def close(self) -> None:
        """The browser has left, or has all. Idempotent, and returns at once.

        By the policy a reply that still runs is cancelled, or read to its end by a worker.
        """
        if self._ended:
            return
        self._ended = True
        if self._reading is not None:
            self._reading.leave(finishes=self._finishes)
        elif self._finishes:
            read_on(self._reply, self._context)
        else:
            self._reply.close()

    def _let_more_come(self) -> None:
        """Wait, if the last piece has just gone out."""
        early_s = self._next_at - time.monotonic()
        if early_s > 0:
            time.sleep(early_s)
