"""The openai package as a client of a view: what it posts is read, what it gets is written here."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync import (
    Attachment,
    ChatOptions,
    Message,
    MessageChunk,
    RateLimitError,
    Role,
    StreamCancelled,
    TokenUsage,
    ToolCall,
    ToolCallDelta,
    ToolDefinition,
)
from cloudllm_sync.codecs import ChatRequest
from cloudllm_sync.testing import FakeServer, Raw
from cloudllm_sync.web.protocols import encoder_for
from cloudllm_sync.web.protocols.openai_chat import completion, error_body
from cloudllm_sync.web.protocols.openai_request import request_of, wants_usage

openai = pytest.importorskip("openai", reason="needs the package openai")

HI = [{"role": "user", "content": "Hi"}]
USAGE = TokenUsage(7, 5, 12, cached_input_tokens=3, reasoning_tokens=1)
CALLS = (
    MessageChunk(tool_call_delta=ToolCallDelta(4, "a", "find", '{"q": ')),
    MessageChunk(tool_call_delta=ToolCallDelta(5, None, "now", "")),
    MessageChunk(tool_call_delta=ToolCallDelta(4, None, None, '"x"}')),
    MessageChunk(finish_reason="tool_calls"),
)


def reply(content="Hello", **fields):
    return Message(Role.ASSISTANT, content, **{"finish_reason": "stop", **fields})


@pytest.fixture(scope="module")
def server():
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.base_url, api_key="test", max_retries=0) as client:
        yield client


@pytest.fixture
def answer(server):
    """Scripts the next response of the view."""

    def script(*chunks, last, **options):
        encoder = encoder_for("openai", model="m", response_id="r", created=9, **options)
        end = encoder.finish(last) if isinstance(last, Message) else encoder.error(last)
        events = [encoder.start(), encoder.heartbeat(), *map(encoder.chunk, chunks)]
        body = [event for event in events if event]
        server.add(Raw(*body, end, content_type=encoder.content_type))

    return script


def streamed(client, **options):
    with client.chat.completions.create(model="m", messages=HI, stream=True, **options) as stream:
        return list(stream)


def test_text_arrives_in_chunks(client, answer):
    """One for each, with line ends and emoji as they were."""
    answer(MessageChunk("Hé\n"), MessageChunk("\r\n\u2028😀"), last=reply(usage=USAGE))

    role, *texts, last = streamed(client)

    assert "assistant" == role.choices[0].delta.role
    assert ["Hé\n", "\r\n\u2028😀"] == [chunk.choices[0].delta.content for chunk in texts]
    assert ("stop", 12) == (last.choices[0].finish_reason, last.usage.total_tokens)
    assert {("r", "m", 9, "chat.completion.chunk")} == {
        (chunk.id, chunk.model, chunk.created, chunk.object) for chunk in (role, *texts, last)
    }


def test_usage_has_a_chunk_of_its_own_where_it_is_asked_for(client, answer):
    """As OpenAI sends it."""
    answer(MessageChunk("Hello"), last=reply(usage=USAGE), include_usage=True)

    *_, finish, last = streamed(client, stream_options={"include_usage": True})

    assert (None, "stop", []) == (finish.usage, finish.choices[0].finish_reason, last.choices)
    assert (7, 5, 3, 1) == (
        last.usage.prompt_tokens,
        last.usage.completion_tokens,
        last.usage.prompt_tokens_details.cached_tokens,
        last.usage.completion_tokens_details.reasoning_tokens,
    )


@pytest.mark.parametrize("include_usage", [True, False])
def test_stream_helper_puts_the_reply_together(client, answer, include_usage):
    """Text, refusal, calls and usage, by the package's own accumulation."""
    answer(
        MessageChunk(reasoning="Hm"),
        MessageChunk("Hel"),
        MessageChunk("lo", refusal="No"),
        *CALLS,
        last=reply(finish_reason="tool_calls", usage=USAGE),
        include_usage=include_usage,
    )

    with client.chat.completions.stream(model="m", messages=HI) as stream:
        whole = stream.get_final_completion()

    said = whole.choices[0].message
    assert ("Hello", "No", "Hm") == (said.content, said.refusal, said.reasoning_content)
    assert [("a", "find", '{"q": "x"}'), ("call_5", "now", "")] == [
        (call.id, call.function.name, call.function.arguments) for call in said.tool_calls
    ]
    assert ("tool_calls", 12) == (whole.choices[0].finish_reason, whole.usage.total_tokens)


@pytest.mark.parametrize(
    ("error", "words", "kind"),
    [
        (RateLimitError("secret"), "The model is busy, try again later.", "rate_limit_error"),
        (StreamCancelled("secret"), "The reply was stopped.", "cancelled"),
    ],
)
def test_failure_in_mid_stream_is_raised(client, answer, error, words, kind):
    """What came before it has been handed on."""
    answer(MessageChunk("Hel"), last=error)
    found = []

    with pytest.raises(openai.APIError) as caught:
        with client.chat.completions.create(model="m", messages=HI, stream=True) as stream:
            for chunk in stream:
                found.append(chunk.choices[0].delta.content)

    assert (words, kind) == (caught.value.message, caught.value.type)
    assert ["", "Hel"] == found


def test_failure_before_the_stream_is_raised_by_its_status(client, server):
    """With the body that a view answers with."""
    body = error_body(RateLimitError("secret"))
    server.add(Raw(body, status=429, content_type="application/json"))

    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="m", messages=HI)

    assert "The model is busy, try again later." == caught.value.body["message"]
    assert "rate_limit_exceeded" == caught.value.code


def test_whole_reply_is_a_completion(client, server):
    """In one body, calls and usage included."""
    calls = (ToolCall("a", "find", '{"q": "x"}'),)
    last = reply(tool_calls=calls, finish_reason="tool_calls", usage=USAGE)
    server.add(Raw(completion(last, model="m", created=9), content_type="application/json"))

    whole = client.chat.completions.create(model="m", messages=HI)

    said = whole.choices[0].message
    (call,) = said.tool_calls
    assert ("Hello", "tool_calls") == (said.content, whole.choices[0].finish_reason)
    assert ("a", "find", '{"q": "x"}') == (call.id, call.function.name, call.function.arguments)
    assert (9, "m", 12) == (whole.created, whole.model, whole.usage.total_tokens)


def test_request_of_the_package_is_read(client, server, answer):
    """Everything that it lets its users say, and that options here can say."""
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    answer(last=reply())
    url = "data:image/png;base64,iVBORw0KGgo="
    call = {"id": "a", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    parts = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": url}}]

    client.chat.completions.create(
        model="m",
        messages=[
            {"role": "developer", "content": "Be brief"},
            {"role": "user", "content": parts},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "found"},
        ],
        stream=True,
        stream_options={"include_usage": True},
        max_completion_tokens=9,
        temperature=0.5,
        stop="x",
        tools=[{"type": "function", "function": {"name": "find", "parameters": schema}}],
        tool_choice={"type": "function", "function": {"name": "find"}},
    ).close()
    body = server.requests[-1].body

    assert ChatRequest(
        "m",
        (
            Message(Role.SYSTEM, "Be brief"),
            Message(
                Role.USER,
                "Look",
                attachments=(Attachment.from_bytes(b"\x89PNG\r\n\x1a\n", "image/png"),),
            ),
            Message(Role.ASSISTANT, "", tool_calls=(ToolCall("a", "find", "{}"),)),
            Message(Role.TOOL, "found", tool_call_id="a"),
        ),
        (ToolDefinition("find", "", schema),),
        ChatOptions(max_output_tokens=9, temperature=0.5, stop="x", tool_choice="find"),
        stream=True,
    ) == request_of(body)
    assert wants_usage(body)
    assert "stream_options" in json.loads(body)
