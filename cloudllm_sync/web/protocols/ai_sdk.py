"""The AI SDK's UI message stream, which its `useChat` reads.

Source: npm package `ai`, versions 5 to 7: `uiMessageChunkSchema` and `processUIMessageStream`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import attrs

from cloudllm_sync.errors import StreamCancelled
from cloudllm_sync.values import Message, MessageChunk, TokenUsage, ToolCall, ToolCallDelta
from cloudllm_sync.web.protocols.error_texts import ErrorText, safe_text
from cloudllm_sync.web.protocols.events import (
    CONTENT_TYPE,
    DONE,
    HEARTBEAT,
    event,
    is_text_only,
    joined,
    json_of,
)
from cloudllm_sync.web.protocols.tool_calls import CallPieces

__all__ = ["AISDKEncoder"]

_FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "content_filter": "content-filter",
    "error": "error",
}
_BAD_INPUT = "The arguments of the call are no JSON object."


@attrs.define(slots=True)
class _Call:
    id: str
    name: str
    arguments: list[str]
    available: bool = False


class AISDKEncoder:
    """The encoder of "ai-sdk".

    Text and reasoning become parts, one open at a time; a refusal is text. A call's input is
    available once the reply has a finish reason; what a run says after that is another step.
    """

    name = "ai-sdk"
    content_type = CONTENT_TYPE
    headers: Mapping[str, str] = {"x-vercel-ai-ui-message-stream": "v1"}

    def __init__(self, *, response_id: str = "", error_text: Optional[ErrorText] = None) -> None:
        self._response_id = response_id
        self._error_text = error_text
        self._open = ""  # the kind of part that is open: text, reasoning or none
        self._parts = 0
        self._delta_head = b""
        self._step_is_over = False
        self._pieces = CallPieces()
        self._calls: dict[int, _Call] = {}

    def start(self) -> bytes:
        """The beginnings of the message and of its first step."""
        named = {"messageId": self._response_id} if self._response_id else {}
        return event({"type": "start", **named}) + event({"type": "start-step"})

    def chunk(self, chunk: MessageChunk, event_id: str | None = None) -> bytes:
        """Deltas, with the beginnings and ends of parts that they need."""
        if self._open == "text" and is_text_only(chunk):
            said = self._delta_head + json_of(chunk.content) + b"}\n\n"
            return said if event_id is None else joined((said,), event_id)
        events = [
            *self._say("reasoning", chunk.reasoning),
            *self._say("text", chunk.content),
            *self._say("text", chunk.refusal),
        ]
        if chunk.tool_call_delta is not None:
            piece = self._pieces.add(chunk.tool_call_delta)
            events += self._add_call(piece) if piece else []
        if chunk.finish_reason is not None:
            events += self._end_round()
        return joined(events, event_id)

    def heartbeat(self) -> bytes:
        """A comment."""
        return HEARTBEAT

    def finish(self, message: Message) -> bytes:
        """The ends of everything, sources, finish reason and usage."""
        sources = [
            event({"type": "source-url", "sourceId": f"source-{number}", "url": url})
            for number, url in enumerate(message.citations, 1)
        ]
        last: dict[str, Any] = {
            "type": "finish",
            "finishReason": _FINISH.get(message.finish_reason or "", "other"),
        }
        metadata = {"model": message.model, "usage": _usage(message.usage)}
        known = {name: value for name, value in metadata.items() if value is not None}
        if known:
            last["messageMetadata"] = known
        ends = (event({"type": "finish-step"}), event(last), DONE)
        return b"".join((*self._end_round(), *sources, *ends))

    def error(self, error: BaseException) -> bytes:
        """An error, or an abort where it was cancelled; calls stay unfinished."""
        if isinstance(error, StreamCancelled):
            last = {"type": "abort"}
        else:
            last = {"type": "error", "errorText": safe_text(error, self._error_text)}
        return b"".join((*self._close_part(), event(last), DONE))

    def _say(self, kind: str, text: str) -> list[bytes]:
        if not text:
            return []
        events = [] if self._open == kind else self._open_part(kind)
        events.append(self._delta_head + json_of(text) + b"}\n\n")
        return events

    def _open_part(self, kind: str) -> list[bytes]:
        events = [*self._close_part(), *self._begin_step()]
        self._open = kind
        self._parts += 1
        self._delta_head = (
            f'data: {{"type":"{kind}-delta","id":"{kind}-{self._parts}","delta":'.encode()
        )
        return [*events, event({"type": f"{kind}-start", "id": f"{kind}-{self._parts}"})]

    def _close_part(self) -> list[bytes]:
        if not self._open:
            return []
        kind, self._open = self._open, ""
        return [event({"type": f"{kind}-end", "id": f"{kind}-{self._parts}"})]

    def _begin_step(self) -> list[bytes]:
        """Another step, if a finish reason has ended the one before."""
        if not self._step_is_over:
            return []
        self._step_is_over = False
        return [event({"type": "finish-step"}), event({"type": "start-step"})]

    def _add_call(self, piece: ToolCallDelta) -> list[bytes]:
        events = self._close_part()
        call = self._calls.get(piece.index)
        if call is None:
            call = self._calls[piece.index] = _Call(piece.id or "", piece.name or "", [])
            names = {"toolCallId": call.id, "toolName": call.name}
            events += self._begin_step()
            events.append(event({"type": "tool-input-start", **names}))
        if piece.arguments:
            call.arguments.append(piece.arguments)
            call.available = False  # some servers send more behind the finish reason
            delta = {"toolCallId": call.id, "inputTextDelta": piece.arguments}
            events.append(event({"type": "tool-input-delta", **delta}))
        return events

    def _end_round(self) -> list[bytes]:
        events = self._close_part()
        for piece in self._pieces.end_round():
            events += self._add_call(piece)
        for call in self._calls.values():
            if not call.available:
                call.available = True
                events.append(_input_of(call))
        self._step_is_over = True
        return events


def _input_of(call: _Call) -> bytes:
    """The whole input of a call; as an error where it is no object, as after a length cut."""
    arguments = "".join(call.arguments)
    names = {"toolCallId": call.id, "toolName": call.name}
    try:
        parsed = ToolCall(call.id, call.name, arguments).parsed()
        return event({"type": "tool-input-available", **names, "input": parsed})
    except ValueError:
        failed = {"input": arguments, "errorText": _BAD_INPUT}
        return event({"type": "tool-input-error", **names, **failed})


def _usage(usage: TokenUsage | None) -> dict[str, int] | None:
    """In the words of the AI SDK's `LanguageModelUsage`."""
    if usage is None:
        return None
    counts = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cachedInputTokens": usage.cached_input_tokens,
        "reasoningTokens": usage.reasoning_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}
