"""Server-sent events for a browser's own `EventSource`::

    data: {"content":"Hel"}                  any of content, reasoning, refusal, tool_call
    :
    event: finish                            {"finish_reason", "usage", "model"}
    event: failed                            {"type", "message", "partial", "retryable"}
    event: cancelled                         the same

What is said comes without a name, so that `onmessage` gets it; then comes exactly one of the three
others. It is `failed` and not `error`, as `onerror` listens to that name for the connection's own
errors. `EventSource` connects again when the body ends: call its `close()` at each of the three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import attrs

from cloudllm_sync.errors import StreamCancelled
from cloudllm_sync.values import Message, MessageChunk, ToolCallDelta
from cloudllm_sync.web.protocols.error_texts import ErrorText, class_name, safe_text
from cloudllm_sync.web.protocols.events import (
    CONTENT_TYPE,
    HEARTBEAT,
    event,
    is_text_only,
    joined,
    json_of,
)
from cloudllm_sync.web.protocols.tool_calls import CallPieces

__all__ = ["PlainSSEEncoder"]


def _known(value: Any) -> dict[str, Any]:
    """The fields of a value that are not None."""
    return attrs.asdict(value, filter=lambda _, item: item is not None)


class PlainSSEEncoder:
    """The encoder of "sse"."""

    name = "sse"
    content_type = CONTENT_TYPE
    headers: Mapping[str, str] = {}

    def __init__(self, *, error_text: Optional[ErrorText] = None) -> None:
        self._error_text = error_text
        self._calls = CallPieces()

    def start(self) -> bytes:
        """A comment."""
        return HEARTBEAT

    def chunk(self, chunk: MessageChunk, event_id: str | None = None) -> bytes:
        """What is said in it; finish reason and usage come at the end."""
        if is_text_only(chunk):
            said = b'data: {"content":' + json_of(chunk.content) + b"}\n\n"
            return said if event_id is None else joined((said,), event_id)
        fields: dict[str, Any] = {
            name: text
            for name in ("content", "reasoning", "refusal")
            if (text := getattr(chunk, name))
        }
        events = [event(fields)] if fields else []
        if chunk.tool_call_delta is not None:
            piece = self._calls.add(chunk.tool_call_delta)
            events += [_call_event(piece)] if piece else []
        if chunk.finish_reason is not None:
            events += map(_call_event, self._calls.end_round())
        return joined(events, event_id)

    def heartbeat(self) -> bytes:
        """A comment."""
        return HEARTBEAT

    def finish(self, message: Message) -> bytes:
        """What is known of the whole reply."""
        held = b"".join(map(_call_event, self._calls.end_round()))
        about = {
            "finish_reason": message.finish_reason,
            "usage": None if message.usage is None else _known(message.usage),
            "model": message.model,
        }
        return held + event(about, "finish")

    def error(self, error: BaseException) -> bytes:
        """What went wrong, and whether something had arrived before."""
        about = {
            "type": class_name(error),
            "message": safe_text(error, self._error_text),
            "partial": getattr(error, "partial", None) is not None,
            "retryable": bool(getattr(error, "retryable", False)),
        }
        return event(about, "cancelled" if isinstance(error, StreamCancelled) else "failed")


def _call_event(piece: ToolCallDelta) -> bytes:
    return event({"tool_call": _known(piece)})
