"""What the model says, in OpenAI's Chat Completions format: events, whole bodies, errors; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cloudllm_sync.testing.event_text import PacedEvents, event_bytes, json_bytes, known
from cloudllm_sync.testing.reply import Reply, argument_fragments, pieces
from cloudllm_sync.testing.steps import Raw
from cloudllm_sync.values import TokenUsage, ToolCall

__all__ = ["error_reply", "openai_body", "openai_events", "paced_events"]

_ID = "chatcmpl-fake"
_CREATED = 1_767_225_600
_MODEL = "fake-model"


def openai_events(reply: Reply, include_usage: bool = True) -> list[bytes]:
    """The events of a streamed reply, each with its blank line, `[DONE]` included.

    For tests that put steps between them: `Raw(*events[:3], Stall())`.

    Args:
        reply: What the model says; how it is delivered does not matter here, but `line_end` does.
        include_usage: As in the request's `stream_options`: `usage` is null in all events but an
            extra one without choices at the end.

    Source: OpenAI API reference, Chat Completions, streaming.
    """
    return [data for data, _ in paced_events(reply, include_usage)]


def openai_body(reply: Reply) -> bytes:
    """The whole reply as one JSON body (`chat.completion`), or its error.

    Source: OpenAI API reference, Chat Completions.
    """
    if reply.error is not None:
        return json_bytes({"error": dict(reply.error)})
    choice = {
        "index": 0,
        "message": _message(reply),
        "logprobs": None,
        "finish_reason": reply.raw_finish_reason,
    }
    body = {**_head(reply, "chat.completion"), "choices": [choice]}
    if reply.reported_usage is not None:
        body["usage"] = _usage(reply.reported_usage)
    return json_bytes(body)


def error_reply(
    status: int,
    message: str,
    *,
    type: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Raw:
    """An HTTP error with a body in OpenAI's shape.

    Source: OpenAI API reference, error codes.
    """
    error = {"message": message, "type": type, "param": None, "code": code}
    return Raw(
        json_bytes({"error": error}),
        status=status,
        headers=headers,
        framing="length",
        content_type="application/json",
    )


def paced_events(reply: Reply, include_usage: bool) -> PacedEvents:
    """The events as in `openai_events()`, each with whether it is a token, for the delays."""
    usage = reply.reported_usage if include_usage else None
    head = _head(reply, "chat.completion.chunk")
    tail: dict[str, Any] = {} if usage is None else {"usage": None}
    line_end = reply.line_end or "\n"

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event_bytes({**head, "choices": [choice], **tail}, line_end)

    events = [(chunk(_opening(reply)), False)]
    events += [(chunk(delta), True) for delta in _deltas(reply)]
    if reply.error is not None:
        return [*events, (event_bytes({"error": dict(reply.error)}, line_end), False)]
    if reply.raw_finish_reason is not None:
        events.append((chunk({}, reply.raw_finish_reason), False))
    if usage is not None:
        last = {**head, "choices": [], "usage": _usage(usage)}
        events.append((event_bytes(last, line_end), False))
    if reply.done:
        events.append((f"data: [DONE]{line_end * 2}".encode(), False))
    return events


def _head(reply: Reply, kind: str) -> dict[str, Any]:
    model = _MODEL if reply.model is None else reply.model
    return {"id": _ID, "object": kind, "created": _CREATED, "model": model}


def _opening(reply: Reply) -> dict[str, Any]:
    return {"role": "assistant", "content": None if _is_silent(reply) else "", "refusal": None}


def _is_silent(reply: Reply) -> bool:
    """Whether the content is null, as it is beside tool calls and refusals without a text."""
    return not pieces(reply.text) and bool(reply.tool_calls or pieces(reply.refusal))


def _deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    for piece in pieces(reply.reasoning):
        yield {"reasoning_content": piece}
    for piece in pieces(reply.text):
        yield {"content": piece}
    if reply.citations:
        yield {"annotations": _annotations(reply)}
    for piece in pieces(reply.refusal):
        yield {"refusal": piece}
    for index, call in enumerate(reply.tool_calls):
        yield {"tool_calls": [{"index": index, **_tool_call(call, "")}]}
        for fragment in argument_fragments(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}


def _message(reply: Reply) -> dict[str, Any]:
    text, refusal = "".join(pieces(reply.text)), "".join(pieces(reply.refusal))
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if _is_silent(reply) else text,
        "refusal": refusal or None,
        "annotations": _annotations(reply),
    }
    reasoning = "".join(pieces(reply.reasoning))
    if reasoning:
        message["reasoning_content"] = reasoning
    if reply.tool_calls:
        message["tool_calls"] = [_tool_call(call, call.arguments) for call in reply.tool_calls]
    return message


def _tool_call(call: ToolCall, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _annotations(reply: Reply) -> list[dict[str, Any]]:
    end = sum(map(len, pieces(reply.text)))
    return [
        {
            "type": "url_citation",
            "url_citation": {"url": url, "title": url, "start_index": 0, "end_index": end},
        }
        for url in reply.citations
    ]


def _usage(usage: TokenUsage) -> dict[str, Any]:
    prompt = {
        "cached_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
    }
    completion = {"reasoning_tokens": usage.reasoning_tokens}
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": known(prompt),
        "completion_tokens_details": known(completion),
    }
