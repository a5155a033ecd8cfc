"""OpenAI's Chat Completions, so that the view is an endpoint for whatever speaks to OpenAI.

Source: OpenAI API reference, Chat Completions: the chat completion and chunk objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from cloudllm_sync.codecs.json_text import write_json
from cloudllm_sync.errors import (
    BadRequestError,
    ConfigurationError,
    ConnectError,
    ContextLengthError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    SessionBusyError,
    StreamCancelled,
    StreamInterrupted,
)
from cloudllm_sync.values import Message, MessageChunk, TokenUsage, ToolCall, ToolCallDelta
from cloudllm_sync.web.protocols.error_texts import ErrorText, safe_text
from cloudllm_sync.web.protocols.events import (
    CONTENT_TYPE,
    DONE,
    HEARTBEAT,
    event,
    is_text_only,
    json_of,
)
from cloudllm_sync.web.protocols.tool_calls import CallPieces

__all__ = ["OpenAIChatEncoder", "completion", "error_body"]

_UNNAMED = "chatcmpl-0"
# Some clients refuse words that OpenAI does not use. A pause wants to be gone on with, as a cut by
# length does; `error` is OpenRouter's, and what nobody knows is taken for the usual end.
_FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "pause": "length",
    "error": "error",
}
# Type and code. A key that the provider refuses is this server's fault, not that of its client.
_ERRORS: dict[type[BaseException], tuple[str, Optional[str]]] = {
    BaseException: ("server_error", None),
    ConfigurationError: ("invalid_request_error", None),
    BadRequestError: ("invalid_request_error", None),
    ContextLengthError: ("invalid_request_error", "context_length_exceeded"),
    RateLimitError: ("rate_limit_error", "rate_limit_exceeded"),
    QuotaExceededError: ("insufficient_quota", "insufficient_quota"),
    ConnectError: ("server_error", "connection_error"),
    RequestTimeoutError: ("server_error", "timeout"),
    SessionBusyError: ("server_error", "session_busy"),
    StreamInterrupted: ("server_error", "stream_interrupted"),
    StreamCancelled: ("cancelled", "cancelled"),
}


class OpenAIChatEncoder:
    """The encoder of "openai": the streamed form of a completion.

    No event has an id: the openai package takes a heartbeat after one for an event without data.
    """

    name = "openai"
    content_type = CONTENT_TYPE
    headers: Mapping[str, str] = {}

    def __init__(
        self,
        *,
        model: str = "",
        response_id: str = "",
        created: int = 0,
        include_usage: bool = False,
        error_text: Optional[ErrorText] = None,
    ) -> None:
        self._error_text = error_text
        self._include_usage = include_usage
        self._calls = CallPieces()
        head = _head("chat.completion.chunk", response_id, created, model)
        self._head = b"data: " + write_json(head)[:-1]  # the object is open
        self._choice = self._head + b',"choices":[{"index":0,"delta":'
        self._text_head = self._choice + b'{"content":'

    def start(self) -> bytes:
        """The role."""
        return self._delta({"role": "assistant", "content": ""})

    def chunk(self, chunk: MessageChunk, event_id: str | None = None) -> bytes:
        """A chunk of what is said; finish reason and usage come at the end."""
        if is_text_only(chunk):
            return self._text_head + json_of(chunk.content) + b'},"finish_reason":null}]}\n\n'
        said = {
            "reasoning_content": chunk.reasoning,
            "content": chunk.content,
            "refusal": chunk.refusal,
        }
        delta: dict[str, Any] = {name: text for name, text in said.items() if text}
        pieces: list[ToolCallDelta] = []
        if chunk.tool_call_delta is not None:
            piece = self._calls.add(chunk.tool_call_delta)
            pieces += [piece] if piece else []
        if chunk.finish_reason is not None:
            pieces += self._calls.end_round()
        if pieces:
            delta["tool_calls"] = [_call_piece(piece) for piece in pieces]
        return self._delta(delta) if delta else b""

    def heartbeat(self) -> bytes:
        """A comment."""
        return HEARTBEAT

    def finish(self, message: Message) -> bytes:
        """Finish reason, citations and usage, and the end mark."""
        last: dict[str, Any] = {}
        pieces = self._calls.end_round()
        if pieces:
            last["tool_calls"] = [_call_piece(piece) for piece in pieces]
        if message.citations:
            last["annotations"] = _annotations(message)
        usage = None if message.usage is None else write_json(_usage(message.usage))
        rides = usage is not None and not self._include_usage
        end = self._delta(last, _finish(message), usage if rides else None)
        if self._include_usage:
            end += self._head + b',"choices":[],"usage":' + (usage or b"null") + b"}\n\n"
        return end + DONE

    def error(self, error: BaseException) -> bytes:
        """An event that the openai package raises as APIError.

        No end mark follows: to some clients it is the proof of a whole reply.
        """
        return event({"error": _error(error, self._error_text)})

    def _delta(
        self, delta: Mapping[str, Any], finish: str | None = None, usage: bytes | None = None
    ) -> bytes:
        reason = b"null" if finish is None else json_of(finish)
        tail = b"" if usage is None else b',"usage":' + usage
        parts = (self._choice, write_json(delta), b',"finish_reason":', reason, b"}]", tail)
        return b"".join(parts) + b"}\n\n"


def completion(
    message: Message, *, model: str = "", response_id: str = "", created: int = 0
) -> bytes:
    """A whole reply as the body of an answer that is not streamed.

    Args:
        message: The reply.
        model: The model's name; the reply's own without it.
        response_id: The reply's id; its own without it.
        created: Seconds since 1970.
    """
    said: dict[str, Any] = {
        "role": "assistant",
        "content": message.content if message.content or not message.tool_calls else None,
        "refusal": message.refusal or None,
    }
    if message.reasoning:
        said["reasoning_content"] = message.reasoning
    if message.citations:
        said["annotations"] = _annotations(message)
    if message.tool_calls:
        said["tool_calls"] = [_whole_call(call) for call in message.tool_calls]
    choice = {"index": 0, "message": said, "finish_reason": _finish(message), "logprobs": None}
    named = (response_id or message.response_id or "", created, model or message.model or "")
    body = {**_head("chat.completion", *named), "choices": [choice]}
    if message.usage is not None:
        body["usage"] = _usage(message.usage)
    return write_json(body)


def error_body(error: BaseException, *, error_text: Optional[ErrorText] = None) -> bytes:
    """The body of an answer with an error's status."""
    return write_json({"error": _error(error, error_text)})


def _head(kind: str, response_id: str, created: int, model: str) -> dict[str, Any]:
    return {"id": response_id or _UNNAMED, "object": kind, "created": created, "model": model}


def _finish(message: Message) -> str:
    return _FINISH.get(message.finish_reason or "", "stop")


def _error(error: BaseException, own: Optional[ErrorText]) -> dict[str, Any]:
    kind, code = next(_ERRORS[cls] for cls in type(error).__mro__ if cls in _ERRORS)
    return {"message": safe_text(error, own), "type": kind, "param": None, "code": code}


def _call_piece(piece: ToolCallDelta) -> dict[str, Any]:
    function = {"arguments": piece.arguments}
    if piece.id is None:
        return {"index": piece.index, "function": function}
    named = {"id": piece.id, "type": "function", "function": {"name": piece.name, **function}}
    return {"index": piece.index, **named}


def _whole_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _annotations(message: Message) -> list[dict[str, Any]]:
    place = {"start_index": 0, "end_index": len(message.content)}
    return [
        {"type": "url_citation", "url_citation": {"url": url, "title": url, **place}}
        for url in message.citations
    ]


def _usage(usage: TokenUsage) -> dict[str, Any]:
    said: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    details = {
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    for name, counts in details.items():
        known = {part: count for part, count in counts.items() if count is not None}
        if known:
            said[name] = known
    return said
