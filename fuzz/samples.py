"""Good replies to break: one that says everything a wire can say, and recordings if there are."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence

from cloudllm_sync import TokenUsage, ToolCall
from cloudllm_sync.testing import (
    Reply,
    anthropic_body,
    anthropic_events,
    gemini_body,
    gemini_events,
    openai_body,
    openai_events,
    responses_body,
    responses_events,
)

__all__ = ["BODIES", "EVENTS", "REPLIES", "recordings"]

_CALLS = (
    ToolCall("call_1", "look", '{"place": "Zürich", "deep": {"a": [1, null]}}'),
    ToolCall("call_2", "wait", "{}"),
)
_USAGE = TokenUsage(20, 9, 29, 4, 2, 3)
REPLIES: Mapping[str, Reply] = {
    "text": Reply("Hello, wörld \U0001f327!"),
    "everything": Reply(
        ("It ", "rains \U0001f327", " in ", "Zürich"),
        reasoning="Let me think",
        tool_calls=_CALLS,
        citations=("https://a.example/1", "https://a.example/2"),
        usage=_USAGE,
    ),
    "calls": Reply(tool_calls=_CALLS, usage=None),
    "refusal": Reply(refusal="I will not"),
    "length": Reply("Once upon", finish_reason="length"),
    "error": Reply("Once", error={"message": "Overloaded", "type": "overloaded_error"}),
}
_STREAMED = {
    "openai": openai_events,
    "responses": responses_events,
    "anthropic": anthropic_events,
    "gemini": gemini_events,
}
_WHOLE = {
    "openai": openai_body,
    "responses": responses_body,
    "anthropic": anthropic_body,
    "gemini": gemini_body,
}
EVENTS: Mapping[str, Mapping[str, Sequence[bytes]]] = {
    wire: {name: events(reply) for name, reply in REPLIES.items()}
    for wire, events in _STREAMED.items()
}
"""By wire and name, the events of streamed replies."""
BODIES: Mapping[str, Mapping[str, bytes]] = {
    wire: {name: body(reply) for name, reply in REPLIES.items()} for wire, body in _WHOLE.items()
}
"""By wire and name, whole replies."""
_PREFIXES = {
    "openai": "chat-",
    "responses": "responses-",
    "anthropic": "messages-",
    "gemini": "generate-",
}


def recordings(wire: str) -> list[bytes]:
    """The recorded streams of a wire, shortest first; none where CLOUDLLM_CORPUS is not set."""
    root = os.environ.get("CLOUDLLM_CORPUS")
    if not root:
        return []
    paths = pathlib.Path(root).glob(f"*/{_PREFIXES[wire]}*.sse")
    return sorted((path.read_bytes() for path in paths), key=len)
