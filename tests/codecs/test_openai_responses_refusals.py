"""What servers refuse of the Responses API's requests, and the client that asks again."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync.clients.responses import Model, OpenAIResponsesClient
from cloudllm_sync.codecs import ChatRequest
from cloudllm_sync.codecs.openai_responses import OpenAIResponsesCodec
from cloudllm_sync.errors import BadRequestError, ServerError
from cloudllm_sync.testing import FakeServer, Raw
from cloudllm_sync.values import ChatOptions, Message, Role


def request(**options):
    return ChatRequest("m", (Message(Role.USER, "Hi"),), (), ChatOptions(**options), True)


REQUEST = request()
REASONING_REQUEST = request(reasoning_effort="low")


def refusal(message):
    return BadRequestError("no", status_code=400, body=json.dumps({"error": {"message": message}}))


NO_ENCRYPTED = refusal("Encrypted content is not supported with this model.")
NO_SUMMARY = refusal("Your organization must be verified to generate reasoning summaries.")


def amend(error, codec=None, **options):
    codec = codec or OpenAIResponsesCodec("Acme")
    wire = codec.encode(request(**options))
    amended = codec.amend(wire, error)
    return amended and (json.loads(amended[0].body), amended[1])


def test_encrypted_reasoning_is_left_out_once_refused():
    """Models that do not reason refuse it; the next request of the client knows."""
    body, codec = amend(NO_ENCRYPTED, reasoning_effort="low")

    assert "include" not in body
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert b'"include"' not in codec.encode(REQUEST).body
    assert amend(NO_ENCRYPTED, codec) is None


def test_summary_is_left_out_once_refused():
    """Organisations that are not verified get none."""
    body, codec = amend(NO_SUMMARY, reasoning_effort="low")

    assert body["reasoning"] == {"effort": "low"}
    assert body["include"] == ["reasoning.encrypted_content"]
    assert b'"summary"' not in codec.encode(REASONING_REQUEST).body
    assert amend(NO_SUMMARY, codec, reasoning_effort="low") is None


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (refusal("something else"), {"reasoning_effort": "low"}),
        (ServerError("no", status_code=500, body="encrypted_content"), {}),
        (NO_SUMMARY, {}),
        (NO_SUMMARY, {"reasoning_effort": "none"}),
        (NO_SUMMARY, {"extra_body": {"reasoning": {"summary": "detailed"}}}),
        (NO_ENCRYPTED, {"extra_body": {"include": ["x", "reasoning.encrypted_content"]}}),
    ],
)
def test_other_refusals_stand(error, options):
    """What the caller asked for himself is not taken away, and other errors are his."""
    assert amend(error, **options) is None


def event(kind, **fields):
    return b"data: %s\n\n" % json.dumps({"type": f"response.{kind}", **fields}).encode()


REPLY = Raw(event("output_text.delta", delta="Hello", output_index=0), event("completed"))


@pytest.fixture
def server():
    with FakeServer() as server:
        yield server


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setattr("cloudllm_sync.transport.retry._BASE_S", 0.0)
    with OpenAIResponsesClient(Model.GPT_4O, api_key="sk-x", base_url=server.base_url) as client:
        yield client


def test_client_asks_again_and_remembers(server, client):
    """One refusal is enough for all requests of a client."""
    body = json.dumps({"error": {"message": str(NO_ENCRYPTED.body)}}).encode()
    server.add(Raw(body, status=400, content_type="application/json"), REPLY, REPLY)
    replies = [client.send_message("Hi").content for _ in range(2)]

    assert replies == ["Hello", "Hello"]
    assert [sent.path for sent in server.requests] == ["/v1/responses"] * 3
    assert ["include" in sent.json for sent in server.requests] == [True, False, False]
    assert {sent.json["model"] for sent in server.requests} == {"gpt-4o"}


def test_failure_before_any_text_is_tried_again(server, client):
    """The provider says in the stream what others say by a status of 500."""
    failure = {"status": "failed", "error": {"code": "server_error", "message": "Oh no"}}
    server.add(Raw(event("created"), event("failed", response=failure)), REPLY)

    with client.send_message_stream("Hi") as stream:
        assert "".join(stream.text()) == "Hello"


def test_failure_after_text_keeps_the_text(server, client):
    """It is not tried again: the text has been handed on."""
    error = {"type": "error", "error": {"code": "server_error", "message": "Oh no"}}
    text = event("output_text.delta", delta="Hel", output_index=0)
    server.add(Raw(text, b"event: error\ndata: %s\n\n" % json.dumps(error).encode()))

    with pytest.raises(ServerError, match="Oh no") as caught:
        client.send_message_stream("Hi").result()
    assert caught.value.partial.content == "Hel"
    assert len(server.requests) == 1
