"""Whole replies and error bodies of the Responses API."""

from __future__ import annotations

import json

import attrs
import pytest

from cloudllm_sync.codecs import WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.openai_responses import OpenAIResponsesCodec
from cloudllm_sync.errors import (
    StreamProtocolError,
)
from cloudllm_sync.values import Message


@attrs.frozen
class Reading:
    """What a decoder made of its events."""

    chunks: list
    message: Message
    decoder: object

    @property
    def error(self):
        return self.decoder.error

    @property
    def calls(self):
        return [(call.id, call.name, call.arguments) for call in self.message.tool_calls]


def as_event(said):
    if isinstance(said, ServerSentEvent):
        return said
    if isinstance(said, str):
        return ServerSentEvent(said.encode())
    return ServerSentEvent(json.dumps(said).encode(), said.get("type", "message"))


def read(*events):
    decoder = OpenAIResponsesCodec("Acme").decoder()
    chunks = []
    for event in events:
        chunks += decoder.feed(as_event(event))
        if decoder.ended:
            break
    chunks += decoder.finish()
    arrived = Accumulator()
    for chunk in chunks:
        arrived.add(chunk)
    return Reading(chunks, arrived.message(decoder.facts), decoder)


def read_whole(body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(ServerSentEvent(data, WHOLE_BODY))


def call(call_id="call_1", name="f", arguments="", **fields):
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        **fields,
    }


def message(*parts):
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": list(parts)}


def output_text(words, *urls):
    cited = [{"type": "url_citation", "url": url} for url in urls]
    return {"type": "output_text", "text": words, "annotations": cited}


def response(status="completed", **fields):
    return {"object": "response", "id": "r", "model": "m", "status": status, **fields}


USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 17,
}


def test_whole_reply():
    """Everything in one body."""
    body = response(
        output=[
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "m"}]},
            message(output_text("a", "u"), {"type": "refusal", "refusal": "no"}),
            message(output_text("b"), {"type": "new", "text": "x"}, {"type": "output_text"}),
            call(arguments="{}"),
        ],
        usage=USAGE,
        error=None,
    )
    reading = read_whole(body)
    reply = reading.message

    assert (reply.content, reply.reasoning, reply.refusal) == ("ab", "hmm", "no")
    assert reading.calls == [("call_1", "f", "{}")]
    assert (reply.finish_reason, reply.usage.total_tokens) == ("tool_calls", 17)
    assert (reply.citations, reply.model, reply.response_id) == (("u",), "m", "r")
    assert reading.decoder.complete()


@pytest.mark.parametrize("status", ["queued", "in_progress", None, ""])
def test_whole_reply_that_is_not_over_has_no_reason(status):
    """As a background response is answered at once."""
    reading = read_whole(response(status))

    assert reading.message.finish_reason is None
    assert reading.decoder.complete()


def test_whole_reply_needs_only_its_output():
    """Some servers leave the rest out."""
    assert read_whole({"output": [message(output_text("a"))]}).message.content == "a"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Oh no", "code": "c"}},
        [{"error": {"message": "Oh no", "code": "c"}}],
        {"error": "Oh no", "code": "c"},
        response("failed", error={"message": "Oh no", "code": "c"}, output=[]),
    ],
)
def test_whole_body_may_be_an_error(body):
    """With a status of 200."""
    reading = read_whole(body)

    assert "Oh no" in str(reading.error)
    assert reading.error.code == "c"
    assert reading.chunks == []


@pytest.mark.parametrize("body", [{}, [], {"models": []}, 5, None, "text"])
def test_other_json_is_a_protocol_error(body):
    """Neither a reply nor an error."""
    with pytest.raises(StreamProtocolError, match="check base_url"):
        read_whole(body)
