"""What the model says, in Ollama's /api/chat format: lines and whole bodies; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cloudllm_sync.testing.event_text import Json, PacedEvents, json_bytes, known
from cloudllm_sync.testing.reply import Reply, finish_word, pieces
from cloudllm_sync.values import ToolCall

__all__ = ["ollama_body", "ollama_events", "paced_events"]

_CREATED = "2026-01-01T00:00:00.000000Z"
_MODEL = "fake-model"
_WORDS = {"tool_calls": "stop"}


def ollama_events(reply: Reply) -> list[bytes]:
    """The lines of a streamed reply, each with its end: JSON documents without field names.

    There is none that opens the stream: the first has the first token. Every call comes whole, in
    a line of its own. The last line has `done` and the counts. A refusal is text.

    Raises:
        ValueError: The arguments of a tool call are no JSON object; here they have to be one.

    Source: wire/WIRE.md, section 9, after Ollama's API reference.
    """
    return [data for data, _ in paced_events(reply)]


def ollama_body(reply: Reply) -> bytes:
    """The whole reply as one JSON body, or its error.

    Raises:
        ValueError: As `ollama_events()`.

    Source: wire/WIRE.md, section 9.
    """
    if reply.error is not None:
        return json_bytes(_error(reply.error))
    line = _line(
        reply,
        content="".join((*pieces(reply.text), *pieces(reply.refusal))),
        thinking="".join(pieces(reply.reasoning)) or None,
        tool_calls=[_call(number, call) for number, call in enumerate(reply.tool_calls)] or None,
    )
    return json_bytes({**line, **_ending(reply)})


def paced_events(reply: Reply) -> PacedEvents:
    """The lines as in `ollama_events()`, each with whether it is a token, for the delays."""
    line_end = (reply.line_end or "\n").encode()
    return [(json_bytes(said) + line_end, token) for said, token in _lines(reply)]


def _lines(reply: Reply) -> Iterator[tuple[Json, bool]]:
    for piece in pieces(reply.reasoning):
        yield _line(reply, thinking=piece), True
    for piece in (*pieces(reply.text), *pieces(reply.refusal)):
        yield _line(reply, content=piece), True
    for number, call in enumerate(reply.tool_calls):
        yield _line(reply, tool_calls=[_call(number, call)]), True
    if reply.error is not None:
        yield _error(reply.error), False
    elif reply.raw_finish_reason is not None:
        yield {**_line(reply), **_ending(reply)}, False


def _line(
    reply: Reply,
    *,
    content: str = "",
    thinking: str | None = None,
    tool_calls: list[Json] | None = None,
) -> Json:
    said = {"role": "assistant", "content": content, "thinking": thinking, "tool_calls": tool_calls}
    model = _MODEL if reply.model is None else reply.model
    return {"model": model, "created_at": _CREATED, "message": known(said), "done": False}


def _ending(reply: Reply) -> Json:
    """What the last line has besides; a reply without a reason is never done."""
    usage = reply.reported_usage
    ending = {
        "done": reply.raw_finish_reason is not None,
        "done_reason": finish_word(reply, _WORDS),
        "prompt_eval_count": None if usage is None else usage.input_tokens,
        "eval_count": None if usage is None else usage.output_tokens,
    }
    return known(ending)


def _call(number: int, call: ToolCall) -> Json:
    function = {"index": number, "name": call.name, "arguments": call.parsed()}
    return known({"id": call.id or None, "function": function})


def _error(error: Mapping[str, Any]) -> Json:
    """Ollama's errors are their words alone."""
    return {"error": str(error.get("message") or "")}
