"""What the model says, in the format of OpenAI's Responses API: events and whole bodies; pure."""

from __future__ import annotations

from collections.abc import Iterator

from cloudllm_sync.testing.event_text import (
    Json,
    PacedEvents,
    json_bytes,
    known,
    named_event_bytes,
)
from cloudllm_sync.testing.reply import Reply, argument_fragments, finish_word, pieces
from cloudllm_sync.values import TokenUsage

__all__ = ["paced_events", "responses_body", "responses_events"]

_ID = "resp_fake"
_CREATED = 1_767_225_600
_MODEL = "fake-model"
_ENCRYPTED = "ZmFrZSByZWFzb25pbmc="
_WORDS = {"stop": "completed", "tool_calls": "completed", "length": "max_output_tokens"}

_Said = Iterator[tuple[Json, bool]]


def responses_events(reply: Reply) -> list[bytes]:
    """The events of a streamed reply, each with its name and its blank line.

    The first two open it. Every item of the output has an event before and one after its deltas;
    the last event has the whole response. There is no `[DONE]`.

    Source: wire/WIRE.md, section 10, after OpenAI's API reference, Responses, streaming.
    """
    return [data for data, _ in paced_events(reply)]


def responses_body(reply: Reply) -> bytes:
    """The whole reply as one JSON body (`response`); an error is one that failed.

    Source: wire/WIRE.md, section 10.
    """
    return json_bytes(_failed(reply) if reply.error is not None else _finished(reply))


def paced_events(reply: Reply) -> PacedEvents:
    """The events as in `responses_events()`, each with whether it is a token, for the delays."""
    line_end = reply.line_end or "\n"
    return [
        (named_event_bytes({**said, "sequence_number": number}, line_end), token)
        for number, (said, token) in enumerate(_events(reply))
    ]


def _events(reply: Reply) -> _Said:
    opening = _response(reply, "in_progress")
    yield {"type": "response.created", "response": opening}, False
    yield {"type": "response.in_progress", "response": opening}, False
    for index, item in enumerate(_output(reply)):
        at = {"output_index": index}
        yield {"type": "response.output_item.added", **at, "item": _begun(item)}, False
        yield from _PARTS[item["type"]](reply, item, {"item_id": item["id"], **at})
        yield {"type": "response.output_item.done", **at, "item": item}, False
    if reply.error is not None:
        fields = {"type": "server_error", "code": None, "message": None, "param": None}
        yield {"type": "error", "error": {**fields, **reply.error}}, False
        yield {"type": "response.failed", "response": _failed(reply)}, False
        return
    response = _finished(reply)
    if response["status"] is not None:
        yield {"type": f"response.{response['status']}", "response": response}, False


def _reasoning_events(reply: Reply, item: Json, at: Json) -> _Said:
    at = {**at, "summary_index": 0}
    (part,) = item["summary"]
    kind = "response.reasoning_summary"
    yield {"type": f"{kind}_part.added", **at, "part": {**part, "text": ""}}, False
    for piece in pieces(reply.reasoning):
        yield {"type": f"{kind}_text.delta", **at, "delta": piece}, True
    yield {"type": f"{kind}_text.done", **at, "text": part["text"]}, False
    yield {"type": f"{kind}_part.done", **at, "part": part}, False


def _message_events(reply: Reply, item: Json, at: Json) -> _Said:
    for index, part in enumerate(item["content"]):
        at = {**at, "content_index": index}
        is_text = part["type"] == "output_text"
        field = "text" if is_text else "refusal"
        begun = {**part, field: "", **({"annotations": []} if is_text else {})}
        yield {"type": "response.content_part.added", **at, "part": begun}, False
        for piece in pieces(reply.text if is_text else reply.refusal):
            yield {"type": f"response.{part['type']}.delta", **at, "delta": piece}, True
        for number, annotation in enumerate(part.get("annotations", ())):
            added = {"annotation_index": number, "annotation": annotation}
            yield {"type": "response.output_text.annotation.added", **at, **added}, False
        yield {"type": f"response.{part['type']}.done", **at, field: part[field]}, False
        yield {"type": "response.content_part.done", **at, "part": part}, False


def _call_events(reply: Reply, item: Json, at: Json) -> _Said:
    kind = "response.function_call_arguments"
    for piece in argument_fragments(item["arguments"]):
        yield {"type": f"{kind}.delta", **at, "delta": piece}, True
    yield {"type": f"{kind}.done", **at, "arguments": item["arguments"]}, False


_PARTS = {
    "reasoning": _reasoning_events,
    "message": _message_events,
    "function_call": _call_events,
}


def _output(reply: Reply) -> list[Json]:
    """The items of the whole reply."""
    items: list[Json] = []
    if pieces(reply.reasoning):
        summary = [{"type": "summary_text", "text": "".join(pieces(reply.reasoning))}]
        items.append({"id": "rs_fake", "type": "reasoning", "summary": summary})
        items[0]["encrypted_content"] = _ENCRYPTED
    status = "completed" if finish_word(reply, _WORDS) == "completed" else "incomplete"
    content = _content(reply)
    if content:
        message = {"id": "msg_fake", "type": "message", "role": "assistant"}
        items.append({**message, "status": status, "content": content})
    for number, call in enumerate(reply.tool_calls):
        said = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
        item = {"id": f"fc_fake_{number}", "type": "function_call", "status": status}
        items.append({**item, **said})
    return items


def _begun(item: Json) -> Json:
    """The item before its deltas."""
    empty = {"summary": [], "content": [], "arguments": "", "status": "in_progress"}
    return {**item, **{name: value for name, value in empty.items() if name in item}}


def _content(reply: Reply) -> list[Json]:
    """The parts of the message; none where the reply is only calls."""
    text, refusal = "".join(pieces(reply.text)), "".join(pieces(reply.refusal))
    parts: list[Json] = []
    if text or reply.citations or not (refusal or reply.tool_calls):
        annotations = [
            {"type": "url_citation", "start_index": 0, "end_index": len(text), "url": u, "title": u}
            for u in reply.citations
        ]
        parts.append({"type": "output_text", "text": text, "annotations": annotations})
    if refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    return parts


def _response(reply: Reply, status: str | None) -> Json:
    return {
        "id": _ID,
        "object": "response",
        "created_at": _CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": _MODEL if reply.model is None else reply.model,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
        "metadata": {},
    }


def _finished(reply: Reply) -> Json:
    """The response at its end; a word that is no status is why it is incomplete."""
    word = finish_word(reply, _WORDS)
    is_status = word in (None, "completed", "incomplete")
    response = _response(reply, word if is_status else "incomplete")
    if not is_status:
        response["incomplete_details"] = {"reason": word}
    usage = reply.reported_usage
    return {**response, "output": _output(reply), "usage": usage and _usage(usage)}


def _failed(reply: Reply) -> Json:
    """The response of an error; its code says what kind."""
    error = reply.error or {}
    said = {"code": error.get("code") or error.get("type"), "message": error.get("message")}
    return {**_response(reply, "failed"), "error": said}


def _usage(usage: TokenUsage) -> Json:
    read, written = usage.cached_input_tokens, usage.cache_write_tokens
    details = {"cached_tokens": read, "cache_write_tokens": written}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": known(details),
        "output_tokens": usage.output_tokens,
        "output_tokens_details": known({"reasoning_tokens": usage.reasoning_tokens}),
        "total_tokens": usage.total_tokens,
    }
