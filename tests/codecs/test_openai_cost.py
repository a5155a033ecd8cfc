"""What a reply or a request costs grows with its length, not with the square of it."""

from __future__ import annotations

import json
import time

import pytest

from cloudllm_sync.codecs import ChatRequest, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.conversation import check_order
from cloudllm_sync.codecs.openai_chat import OpenAIChatCodec
from cloudllm_sync.codecs.openai_responses import OpenAIResponsesCodec
from cloudllm_sync.values import ChatOptions, Message, Role, ToolCall

pytestmark = pytest.mark.cost

CHAT, RESPONSES = OpenAIChatCodec("Acme"), OpenAIResponsesCodec("Acme")
SMALL, LARGE = 1_500, 12_000


def delta(**fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def said(kind, **fields):
    return {"type": f"response.{kind}", **fields}


def item(number, **fields):
    return said("output_item.done", output_index=number, item={"id": f"i{number}", **fields})


def url(number):
    return {"type": "url_citation", "url_citation": {"url": f"https://a/{number}"}}


def function(number):
    return {"type": "function_call", "call_id": f"c{number}", "name": "f", "arguments": "{}"}


# Each: a codec, and the event of a number.
EVENTS = {
    "chat, text": (CHAT, lambda n: delta(content="some text")),
    "chat, halves of characters": (CHAT, lambda n: delta(content="a\ud83c")),
    "chat, reasoning": (CHAT, lambda n: delta(reasoning_content="some text")),
    "chat, reasons": (CHAT, lambda n: {"choices": [{"delta": {}, "finish_reason": f"r{n}"}]}),
    "chat, reasons and details": (
        CHAT,
        lambda n: {
            "choices": [{"delta": {"reasoning_details": [{"text": "a"}]}, "finish_reason": f"r{n}"}]
        },
    ),
    "chat, citations": (CHAT, lambda n: delta(annotations=[url(n)])),
    "chat, usage": (CHAT, lambda n: {"choices": [], "usage": {"prompt_tokens": n}}),
    "chat, calls": (
        CHAT,
        lambda n: delta(tool_calls=[{"index": n, "id": f"c{n}", "function": {"name": "f"}}]),
    ),
    "chat, one long call": (
        CHAT,
        lambda n: delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": "ab"}}]),
    ),
    "chat, odd events": (CHAT, lambda n: {"object": "new", "error": None}),
    "responses, text": (RESPONSES, lambda n: said("output_text.delta", delta="a", output_index=0)),
    "responses, texts": (
        RESPONSES,
        lambda n: said("output_text.delta", delta="a", output_index=n, content_index=n),
    ),
    "responses, thoughts": (
        RESPONSES,
        lambda n: said("reasoning_summary_text.done", text="a", output_index=0, summary_index=n),
    ),
    "responses, items": (RESPONSES, lambda n: item(n, type="message", content=[])),
    "responses, calls": (RESPONSES, lambda n: item(n, **function(n))),
    "responses, citations": (
        RESPONSES,
        lambda n: said("output_text.annotation.added", annotation=url(n)),
    ),
}


def cpu_of_reading(codec, events):
    """CPU of a reply of these events, with an end."""
    end = json.dumps(said("completed", response={"output": []}))
    began = time.process_time()
    decoder, arrived = codec.decoder(), Accumulator()
    for event in [*events, ServerSentEvent(end.encode()), ServerSentEvent(b"[DONE]")]:
        for chunk in decoder.feed(event):
            arrived.add(chunk)
    for chunk in decoder.finish():
        arrived.add(chunk)
    arrived.message(decoder.facts)
    return time.process_time() - began


@pytest.mark.parametrize(("codec", "event_of"), EVENTS.values(), ids=EVENTS)
def test_cost_of_a_reply_grows_with_its_length_only(codec, event_of):
    """Eight times the events cost about eight times the CPU, not sixty-four times."""
    events = [ServerSentEvent(json.dumps(event_of(n)).encode()) for n in range(LARGE)]
    small, large = (
        min(cpu_of_reading(codec, events[:count]) for _ in range(3)) for count in (SMALL, LARGE)
    )

    assert large < 24 * small


def steps(count):
    """A tool loop of so many steps."""
    for number in range(count):
        call = ToolCall(f"c{number}", "f", "{}")
        yield Message(Role.ASSISTANT, "", tool_calls=[call])
        yield Message(Role.TOOL, "fine", tool_call_id=call.id)


def parallel(count):
    """So many calls at once, with their results in the other order."""
    calls = [ToolCall(f"c{number}", "f", "{}") for number in range(count)]
    yield Message(Role.ASSISTANT, "", tool_calls=calls)
    for call in reversed(calls):
        yield Message(Role.TOOL, "fine", tool_call_id=call.id)


def cpu_of_writing(codec, messages):
    began = time.process_time()
    check_order(messages)
    codec.encode(ChatRequest("m", messages, (), ChatOptions(), True))
    return time.process_time() - began


@pytest.mark.parametrize("codec", [CHAT, RESPONSES], ids=["chat", "responses"])
@pytest.mark.parametrize("shape", [steps, parallel])
def test_cost_of_a_request_grows_with_its_length_only(codec, shape):
    """As above, for what is sent."""
    small, large = (
        min(cpu_of_writing(codec, (Message(Role.USER, "hi"), *shape(count))) for _ in range(5))
        for count in (SMALL, LARGE)
    )

    assert large < 24 * small
