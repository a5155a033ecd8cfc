"""A reply that a handle's worker reads, followed by another thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Optional

from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.streaming.handle import StreamHandle
from cloudllm_sync.values import Message, MessageChunk, ToolCallDelta

__all__ = ["Growth", "grown"]

# Each look joins all that has come. No more than a tenth of the time goes into looking.
_REST = 9.0


class Growth(Iterator[MessageChunk]):
    """The chunks of a handle's reply, for one thread: first all that has come, then what comes.

    Several chunks may arrive as one. Whoever follows late misses nothing, and who follows slowly
    holds nobody up. However the reply ends, the chunks just end: `result()` knows more.
    """

    is_timed = True
    """Whether `next_within()` keeps its time, as of a ChatStream."""

    def __init__(self, handle: StreamHandle) -> None:
        self._handle = handle
        self._seen = Accumulator().message()
        self._chunks: Iterator[MessageChunk] = iter(())  # of the last look
        self._is_over = False
        self._rest_s = 0.0
        self._has_grown = threading.Event()
        self._has_grown.set()
        handle.watch(self._has_grown.set)

    @property
    def partial(self) -> Message:
        """The reply as far as it has come."""
        return self._handle.partial

    def __next__(self) -> MessageChunk:
        while True:
            chunk = self._next(None)
            if chunk is not None:
                return chunk

    def next_within(self, seconds: float) -> Optional[MessageChunk]:
        """The next chunk, or None if none has come within so many seconds.

        Raises:
            StopIteration: There are no more.
        """
        return self._next(seconds)

    def _next(self, seconds: Optional[float]) -> Optional[MessageChunk]:
        """One look at the most, once those of the last are used up."""
        chunk = next(self._chunks, None)
        if chunk is not None:
            return chunk
        if self._is_over:
            raise StopIteration
        time.sleep(self._rest_s)
        self._rest_s = 0.0
        if not self._has_grown.wait(seconds):
            return None
        self._look()
        chunk = next(self._chunks, None)
        if chunk is None and self._is_over:
            raise StopIteration
        return chunk

    def _look(self) -> None:
        self._has_grown.clear()
        self._is_over = self._handle.done()
        began = time.monotonic()
        now = self._handle.partial
        self._rest_s = _REST * (time.monotonic() - began)
        self._chunks = grown(self._seen, now)
        self._seen = now

    def result(self) -> Message:
        """What the handle gives.

        Raises:
            CloudLLMError: The reply did not become whole.
        """
        return self._handle.result()

    def cancel(self) -> None:
        """End the reply, for all."""
        self._handle.cancel()

    def close(self) -> None:
        """End the reply, for all."""
        self._handle.cancel()


def grown(before: Message, after: Message) -> Iterator[MessageChunk]:
    """The chunks that make `after` of `before`, which is an earlier state of the same reply."""
    content = after.content[len(before.content) :]
    reasoning = after.reasoning[len(before.reasoning) :]
    refusal = after.refusal[len(before.refusal) :]
    if content or reasoning or refusal:
        yield MessageChunk(content, reasoning, refusal)
    for index, call in enumerate(after.tool_calls):
        known = before.tool_calls[index] if index < len(before.tool_calls) else None
        arguments = call.arguments[len(known.arguments) if known else 0 :]
        if known is None:
            delta = ToolCallDelta(index, call.id, call.name, arguments)
            yield MessageChunk(tool_call_delta=delta)
        elif arguments:
            yield MessageChunk(tool_call_delta=ToolCallDelta(index, None, None, arguments))
    if after.finish_reason != before.finish_reason:
        yield MessageChunk(
            finish_reason=after.finish_reason, raw_finish_reason=after.raw_finish_reason
        )
    if after.usage is not None and after.usage != before.usage:
        yield MessageChunk(usage=after.usage)
