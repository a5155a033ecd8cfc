"""What the model says, in Anthropic's Messages format: events and whole bodies; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloudllm_sync.testing.event_text import (
    Json,
    PacedEvents,
    json_bytes,
    known,
    named_event_bytes,
)
from cloudllm_sync.testing.reply import Reply, argument_fragments, finish_word, pieces
from cloudllm_sync.values import TokenUsage, ToolCall

__all__ = ["anthropic_body", "anthropic_events", "paced_events"]

_ID = "msg_fake"
_REQUEST_ID = "req_fake"
_MODEL = "fake-model"
_SIGNATURE = "ZmFrZSBzaWduYXR1cmU="
_WORDS = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
    "refusal": "refusal",
}


def anthropic_events(reply: Reply) -> list[bytes]:
    """The events of a streamed reply, each with its name and its blank line.

    A refusal's words go where Claude explains itself, into `stop_details`; they are no text.

    Source: wire/WIRE.md, section 3, after Anthropic's API reference, Streaming Messages.
    """
    return [data for data, _ in paced_events(reply)]


def anthropic_body(reply: Reply) -> bytes:
    """The whole reply as one JSON body (`message`), or its error.

    Raises:
        ValueError: The arguments of a tool call are no JSON object; here they have to be one.

    Source: wire/WIRE.md, section 3.
    """
    if reply.error is not None:
        return json_bytes(_error(reply))
    body = {**_message(reply), "content": _content(reply), **_ending(reply)}
    if reply.reported_usage is not None:
        body["usage"] = _usage(reply.reported_usage)
    return json_bytes(body)


def paced_events(reply: Reply) -> PacedEvents:
    """The events as in `anthropic_events()`, each with whether it is a token, for the delays."""
    line_end = reply.line_end or "\n"
    return [(named_event_bytes(said, line_end), token) for said, token in _events(reply)]


def _events(reply: Reply) -> Iterator[tuple[Json, bool]]:
    usage = reply.reported_usage
    message = _message(reply)
    if usage is not None:
        message["usage"] = {**_prompt_usage(usage), "output_tokens": min(1, usage.output_tokens)}
    yield {"type": "message_start", "message": message}, False
    for index, (opening, deltas) in enumerate(_blocks(reply)):
        at = {"index": index}
        yield {"type": "content_block_start", **at, "content_block": opening}, False
        if index == 0:
            yield {"type": "ping"}, False
        for delta, token in deltas:
            yield {"type": "content_block_delta", **at, "delta": delta}, token
        yield {"type": "content_block_stop", **at}, False
    if reply.error is not None:
        yield _error(reply), False
        return
    ending = {"type": "message_delta", "delta": _ending(reply)}
    yield (ending if usage is None else {**ending, "usage": _usage(usage)}), False
    if reply.done:
        yield {"type": "message_stop"}, False


def _message(reply: Reply) -> Json:
    return {
        "id": _ID,
        "type": "message",
        "role": "assistant",
        "model": _MODEL if reply.model is None else reply.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _ending(reply: Reply) -> Json:
    ending: Json = {"stop_reason": finish_word(reply, _WORDS), "stop_sequence": None}
    refusal = "".join(pieces(reply.refusal))
    if refusal:
        ending["stop_details"] = {"type": "refusal", "category": None, "explanation": refusal}
    return ending


def _error(reply: Reply) -> Json:
    error = {"details": None, "type": "api_error", **(reply.error or {})}
    return {"type": "error", "error": error, "request_id": _REQUEST_ID}


def _content(reply: Reply) -> list[Json]:
    """The blocks of a whole reply."""
    blocks: list[Json] = []
    if pieces(reply.reasoning):
        thought = "".join(pieces(reply.reasoning))
        blocks.append({"type": "thinking", "thinking": thought, "signature": _SIGNATURE})
    if pieces(reply.text) or reply.citations:
        block = {"type": "text", "text": "".join(pieces(reply.text))}
        blocks.append({**block, "citations": _citations(reply)} if reply.citations else block)
    return blocks + [{**_tool_use(call), "input": call.parsed()} for call in reply.tool_calls]


def _blocks(reply: Reply) -> Iterator[tuple[Json, list[tuple[Json, bool]]]]:
    """How each block of a stream opens, and its deltas, each with whether it is a token."""
    if pieces(reply.reasoning):
        signed = {"type": "signature_delta", "signature": _SIGNATURE}
        deltas = _deltas("thinking_delta", "thinking", pieces(reply.reasoning))
        yield {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, (signed, False)]
    if pieces(reply.text) or reply.citations:
        opening: Json = {"type": "text", "text": ""}
        cited = [({"type": "citations_delta", "citation": c}, False) for c in _citations(reply)]
        deltas = _deltas("text_delta", "text", pieces(reply.text))
        yield ({**opening, "citations": []} if cited else opening), [*deltas, *cited]
    for call in reply.tool_calls:
        fragments = ("", *argument_fragments(call.arguments))
        yield _tool_use(call), _deltas("input_json_delta", "partial_json", fragments)


def _deltas(kind: str, field: str, said: Iterable[str]) -> list[tuple[Json, bool]]:
    return [({"type": kind, field: piece}, True) for piece in said]


def _tool_use(call: ToolCall) -> Json:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}


def _citations(reply: Reply) -> list[Json]:
    return [
        {
            "type": "web_search_result_location",
            "cited_text": "",
            "url": url,
            "title": url,
            "encrypted_index": _SIGNATURE,
        }
        for url in reply.citations
    ]


def _usage(usage: TokenUsage) -> Json:
    """All counts; the cached parts of the prompt stand beside `input_tokens`, not within."""
    counts = {**_prompt_usage(usage), "output_tokens": usage.output_tokens}
    if usage.reasoning_tokens is not None:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return counts


def _prompt_usage(usage: TokenUsage) -> Json:
    read, written = usage.cached_input_tokens, usage.cache_write_tokens
    counts = {
        "input_tokens": usage.input_tokens - (read or 0) - (written or 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
    }
    return known(counts)
