"""A reply that a handle's worker reads, followed by another thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.streaming.handle import StreamHandle
from cloudllm_sync.values import Message, MessageChunk, ToolCallDelta

__all__ = ["Growth", "grown"]

# Each look joins all that has come. No more than a tenth of the time goes into looking.
_REST = 9.0


class Growth:
    """The chunks of a handle's reply, for one thread: first all that has come, then what comes.

    Several chunks may arrive as one. Whoever follows late misses nothing, and who follows slowly
    holds nobody up.
    """

    def __init__(self, handle: StreamHandle) -> None:
        self._handle = handle

    @property
    def partial(self) -> Message:
        """The reply as far as it has come."""
        return self._handle.partial

    def __iter__(self) -> Iterator[MessageChunk]:
        handle = self._handle
        has_grown = threading.Event()
        handle.watch(has_grown.set)
        seen = Accumulator().message()
        while True:
            has_grown.clear()
            is_over = handle.done()
            began = time.monotonic()
            now = handle.partial
            rest_s = _REST * (time.monotonic() - began)
            yield from grown(seen, now)
            seen = now
            if is_over:
                return
            time.sleep(rest_s)
            has_grown.wait()

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
