"""What the model says, in Gemini's generateContent format: events and whole bodies; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cloudllm_sync.testing.event_text import Json, PacedEvents, event_bytes, json_bytes, known
from cloudllm_sync.testing.reply import Reply, finish_word, pieces
from cloudllm_sync.values import TokenUsage, ToolCall

__all__ = ["gemini_body", "gemini_events", "paced_array", "paced_events"]

_ID = "fake-response"
_MODEL = "fake-model"
_SIGNATURE = "ZmFrZSBzaWduYXR1cmU="
_WORDS = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
}
# What Google calls the errors that other wires know by these types.
_STATUSES = {
    "authentication_error": (401, "UNAUTHENTICATED"),
    "invalid_request_error": (400, "INVALID_ARGUMENT"),
    "overloaded_error": (503, "UNAVAILABLE"),
    "permission_error": (403, "PERMISSION_DENIED"),
    "rate_limit_error": (429, "RESOURCE_EXHAUSTED"),
}


def gemini_events(reply: Reply) -> list[bytes]:
    """The events of a streamed reply, each with its blank line; the line ends are CRLF.

    There is none that opens the stream: the first has the first token. All calls come whole, in
    the event before the last. A refusal is a SAFETY finish, its words are the `finishMessage`.

    Raises:
        ValueError: The arguments of a tool call are no JSON object; here they have to be one.

    Source: wire/WIRE.md, section 4, after Google's API reference.
    """
    return [data for data, _ in paced_events(reply)]


def gemini_body(reply: Reply) -> bytes:
    """The whole reply as one JSON body (GenerateContentResponse), or its error.

    Raises:
        ValueError: As `gemini_events()`.

    Source: wire/WIRE.md, section 4.
    """
    if reply.error is not None:
        return json_bytes(_error(reply.error))
    parts = [{"text": text, "thought": True} for text in _joined(pieces(reply.reasoning))]
    parts += [{"text": text} for text in _joined(pieces(reply.text))]
    candidate = _candidate(reply, [*parts, *_calls(reply)])
    usage = _usage(reply.reported_usage)
    return json_bytes(_response(reply, {**candidate, **_ending(reply)}, usage))


def paced_events(reply: Reply) -> PacedEvents:
    """The events as in `gemini_events()`, each with whether it is a token, for the delays."""
    line_end = reply.line_end or "\r\n"
    return [(event_bytes(said, line_end), token) for said, token in _chunks(reply)]


def paced_array(reply: Reply) -> PacedEvents:
    """The same as one JSON array in pieces, as Gemini streams where `alt=sse` is not asked for."""
    chunks = list(_chunks(reply))
    before = [b"[", *[b",\r\n"] * (len(chunks) - 1)]
    said = [(mark + json_bytes(chunk), token) for mark, (chunk, token) in zip(before, chunks)]
    return [*said, (b"]", False)]


def _chunks(reply: Reply) -> Iterator[tuple[Json, bool]]:
    usage = reply.reported_usage
    thoughts, texts = pieces(reply.reasoning), pieces(reply.text)

    def chunk(parts: list[Json], thought: int, said: int) -> Json:
        counts = _usage(usage, (thought, said))
        return _response(reply, _candidate(reply, parts), counts)

    for number, piece in enumerate(thoughts, 1):
        yield chunk([{"text": piece, "thought": True}], number, 0), True
    for number, piece in enumerate(texts, 1):
        yield chunk([{"text": piece}], len(thoughts), number), True
    calls = _calls(reply)
    if calls:
        yield chunk(calls, len(thoughts), len(texts)), True
    if reply.error is not None:
        yield _error(reply.error), False
        return
    last = _candidate(reply, [] if pieces(reply.refusal) else [{"text": ""}])
    yield _response(reply, {**last, **_ending(reply)}, _usage(usage)), False


def _error(error: Mapping[str, Any]) -> Json:
    """An error, with the code and status that Google's always have."""
    code, status = _STATUSES.get(str(error.get("type")), (500, "INTERNAL"))
    return {"error": {"code": code, "message": "", "status": status, **error}}


def _joined(said: tuple[str, ...]) -> list[str]:
    return ["".join(said)] if said else []


def _response(reply: Reply, candidate: Json, usage: Json | None) -> Json:
    response = {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": _MODEL if reply.model is None else reply.model,
        "responseId": _ID,
    }
    return known(response)


def _candidate(reply: Reply, parts: list[Json]) -> Json:
    """A candidate; one that was stopped for safety has no content."""
    if parts:
        return {"content": {"parts": parts, "role": "model"}, "index": 0}
    return {"index": 0} if pieces(reply.refusal) else {"content": {"role": "model"}, "index": 0}


def _ending(reply: Reply) -> Json:
    message = "Model generated function call(s)." if reply.tool_calls else None
    ending = {
        "finishReason": finish_word(reply, _WORDS),
        "finishMessage": "".join(pieces(reply.refusal)) or message,
        "groundingMetadata": _grounding(reply) if reply.citations else None,
    }
    return known(ending)


def _calls(reply: Reply) -> list[Json]:
    """The calls as parts; the first one of a step is signed."""
    parts: list[Json] = [{"functionCall": _call(call)} for call in reply.tool_calls]
    if parts:
        parts[0]["thoughtSignature"] = _SIGNATURE
    return parts


def _call(call: ToolCall) -> Json:
    return known({"id": call.id or None, "name": call.name, "args": call.parsed()})


def _grounding(reply: Reply) -> Json:
    text = "".join(pieces(reply.text))
    # Google counts in bytes of UTF-8.
    segment = {"endIndex": len(text.encode("utf-8", "surrogatepass")), "text": text}
    indices = list(range(len(reply.citations)))
    return {
        "groundingChunks": [{"web": {"uri": url, "title": url}} for url in reply.citations],
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": indices}],
    }


def _usage(usage: TokenUsage | None, so_far: tuple[int, int] | None = None) -> Json | None:
    """The counts, cumulative: after so many tokens of thought and of text, or at the end.

    Thoughts stand beside the candidates, not within.
    """
    if usage is None:
        return None
    reasoning, total = usage.reasoning_tokens, usage.total_tokens
    candidates = usage.output_tokens - (reasoning or 0)
    if so_far is not None:
        reasoning = None if reasoning is None else min(so_far[0], reasoning)
        candidates = min(so_far[1], candidates)
        total = usage.input_tokens + (reasoning or 0) + candidates
    counts = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": candidates,
        "totalTokenCount": total,
        "cachedContentTokenCount": usage.cached_input_tokens,
        "thoughtsTokenCount": reasoning,
    }
    return known(counts)
