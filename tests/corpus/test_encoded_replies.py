"""Every recorded reply, sent on as an endpoint for OpenAI's clients, and read by our own client."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync import CloudLLMError, OpenAICompatibleClient
from cloudllm_sync.testing import Raw
from cloudllm_sync.web.protocols import PROTOCOLS, encoder_for
from cloudllm_sync.web.protocols.openai_chat import completion


@pytest.fixture(scope="module")
def arrives(server):
    """Has our own client read what a view sends; gives the reply, or the error."""
    with OpenAICompatibleClient("m", base_url=server.base_url, max_retries=0) as client:

        def read(body, content_type):
            server.add(Raw(body, content_type=content_type))
            try:
                return client.send_message_stream("Hi").result()
            except CloudLLMError as error:
                return error

        yield read


@pytest.fixture
def outcome_of(replay):
    """What becomes of a recording."""
    return lambda case: replay(
        case, lambda case: Raw(case.body, content_type=case.wire.content_type), "pulled"
    )


def encoded(protocol, outcome):
    """The whole response of a view."""
    encoder = encoder_for(protocol, model="m")
    said = encoder.start() + b"".join(map(encoder.chunk, outcome.chunks))
    if outcome.error is None:
        return said + encoder.finish(outcome.message)
    return said + encoder.error(outcome.error)


def told(message):
    """What a client of OpenAI's gets to know of a reply."""
    calls = [(call.id, call.name, call.arguments) for call in message.tool_calls]
    return {
        "content": message.content,
        "reasoning": message.reasoning,
        "refusal": message.refusal,
        "tool_calls": calls,
        "finish_reason": message.finish_reason or "stop",  # they wait for one
        "citations": message.citations,
        "usage": message.usage,
    }


def test_reply_sent_on_in_openais_format_is_the_same_reply(stream_case, outcome_of, arrives):
    """Text, reasoning, calls, finish reason, sources and usage; a failure stays a failure."""
    outcome = outcome_of(stream_case)

    found = arrives(encoded("openai", outcome), "text/event-stream")

    if outcome.error is not None:
        assert type(outcome.error) is type(found)
        assert outcome.message is None or outcome.message.content == found.partial.content
    else:
        assert told(outcome.message) == told(found)


def test_whole_reply_sent_on_in_openais_format_is_the_same_reply(stream_case, outcome_of, arrives):
    """As a body that is not streamed."""
    outcome = outcome_of(stream_case)
    if outcome.error is not None:
        return

    found = arrives(completion(outcome.message), "application/json")

    assert told(outcome.message) == told(found)
    assert (outcome.message.model, outcome.message.response_id or "chatcmpl-0") == (
        found.model,
        found.response_id,
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reply_is_encoded_in_every_protocol(stream_case, outcome_of, protocol):
    """All of its text, in events that are JSON, and an end."""
    outcome = outcome_of(stream_case)

    body = encoded(protocol, outcome)

    content = "".join(chunk.content for chunk in outcome.chunks)
    if protocol == "text":
        end = b"" if outcome.error is None else encoder_for("text").error(outcome.error)
        assert content.encode() + end == body
        return
    data = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
    events = [json.loads(said) for said in data if said != b"[DONE]"]
    said = {
        "sse": lambda event: event.get("content", ""),
        "ai-sdk": lambda event: event["delta"] if event["type"] == "text-delta" else "",
        "openai": lambda event: "".join(
            choice["delta"].get("content", "") for choice in event.get("choices", ())
        ),
    }[protocol]
    refusal = "".join(chunk.refusal for chunk in outcome.chunks) if protocol == "ai-sdk" else ""
    assert content + refusal == "".join(map(said, events))
