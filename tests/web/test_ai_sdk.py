"""What the AI SDK makes of a response: its own chat reads, of each version that can."""

from __future__ import annotations

import pytest

from cloudllm_sync import (
    Message,
    MessageChunk,
    RateLimitError,
    Role,
    StreamCancelled,
    TokenUsage,
    ToolCallDelta,
)
from cloudllm_sync.web.protocols import encoder_for

STEP = {"type": "step-start"}
FINISH = MessageChunk(finish_reason="tool_calls")


def call_piece(index, call_id=None, name=None, arguments=""):
    return MessageChunk(tool_call_delta=ToolCallDelta(index, call_id, name, arguments))


def reply(**fields):
    return Message(Role.ASSISTANT, "", **{"finish_reason": "stop", **fields})


def part(kind, said, state="done", **fields):
    return {"type": kind, "text": said, "state": state, **fields}


@pytest.fixture(params=[5, 6, 7])
def shown(request, ai_sdk):
    """Has a version of the AI SDK read a response that ends so; gives what a page would show."""

    def read(*chunks, last, **options):
        encoder = encoder_for("ai-sdk", **options)
        body = encoder.start() + encoder.heartbeat() + b"".join(map(encoder.chunk, chunks))
        body += encoder.finish(last) if isinstance(last, Message) else encoder.error(last)
        headers = {"content-type": encoder.content_type, **encoder.headers}
        found = ai_sdk.read(request.param, headers, body)
        for said in found["parts"]:
            said.pop("id", None)  # of reasoning, in newer versions
        return found

    return read


def test_text_is_one_part(shown):
    """Line ends, separators and characters of four bytes come out as they went in."""
    texts = ["Hé\n", "\r\n\u2028", "😀 ", "\ud800", 'data: [DONE]\n\n{"__proto__": 1}']

    found = shown(*map(MessageChunk, texts), last=reply())

    said = 'Hé\n\r\n\u2028😀 \ufffddata: [DONE]\n\n{"__proto__": 1}'
    assert [STEP, part("text", said)] == found["parts"]
    assert ("ready", None, "stop") == (found["status"], found["error"], found["finishReason"])


def test_reasoning_is_a_part_of_its_own(shown):
    """Each time that it begins anew."""
    chunks = [
        MessageChunk(reasoning="Hm"),
        MessageChunk("So", reasoning="."),
        MessageChunk(reasoning="Or"),
        MessageChunk(refusal="No"),
    ]

    found = shown(*chunks, last=reply())

    assert [
        STEP,
        part("reasoning", "Hm."),
        part("text", "So"),
        part("reasoning", "Or"),
        part("text", "No"),
    ] == found["parts"]


def test_tool_calls_are_ready_to_be_run(shown):
    """Side by side, with parsed input; onToolCall is called once for each."""
    chunks = [
        MessageChunk("Look"),
        call_piece(0, "a", "find", '{"q": '),
        call_piece(1, "b", "now"),
        call_piece(0, arguments='"x"}'),
        FINISH,
        MessageChunk(usage=TokenUsage(1, 2, 3)),
    ]

    found = shown(*chunks, last=reply(finish_reason="tool_calls"))

    ready = {"state": "input-available"}
    assert [
        STEP,
        part("text", "Look"),
        {"type": "tool-find", "toolCallId": "a", "input": {"q": "x"}, **ready},
        {"type": "tool-now", "toolCallId": "b", "input": {}, **ready},
    ] == found["parts"]
    assert [["a", {"q": "x"}], ["b", {}]] == found["calls"]
    assert ("ready", "tool-calls") == (found["status"], found["finishReason"])


def test_tool_call_that_was_cut_is_an_error_of_that_call(shown):
    """The rest of the message stands."""
    chunks = [call_piece(0, "a", "find", '{"q": '), MessageChunk(finish_reason="length")]

    found = shown(*chunks, last=reply(finish_reason="length"))

    (_, call) = found["parts"]
    text = call.get("rawInput", call.get("input"))  # until version 6, and since
    assert ("tool-find", "output-error", '{"q": ') == (call["type"], call["state"], text)
    assert ("ready", [], "length") == (found["status"], found["calls"], found["finishReason"])


def test_rounds_of_a_run_are_steps(shown):
    """Each with its own calls, though they are counted from 0 in each."""
    chunks = [
        call_piece(0, "a", "find", "{}"),
        FINISH,
        call_piece(0, "b", "now", "{}"),
        FINISH,
        MessageChunk("Noon"),
        MessageChunk(finish_reason="stop"),
    ]

    found = shown(*chunks, last=reply())

    ready = {"state": "input-available", "input": {}}
    assert [
        STEP,
        {"type": "tool-find", "toolCallId": "a", **ready},
        STEP,
        {"type": "tool-now", "toolCallId": "b", **ready},
        STEP,
        part("text", "Noon"),
    ] == found["parts"]


def test_message_has_its_id_its_sources_and_its_usage(shown):
    """What a page may show beside the text."""
    last = reply(
        model="m", usage=TokenUsage(7, 5, 12, reasoning_tokens=2), citations=("https://a",)
    )

    found = shown(MessageChunk("Hi"), last=last, response_id="r1")

    usage = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12, "reasoningTokens": 2}
    source = {"type": "source-url", "sourceId": "source-1", "url": "https://a"}
    assert ("r1", {"model": "m", "usage": usage}) == (found["id"], found["metadata"])
    assert [STEP, part("text", "Hi"), source] == found["parts"]


def test_error_is_shown_and_what_came_before_stays(shown):
    """In words for readers."""
    chunks = [MessageChunk("Hel"), call_piece(0, "a", "find", '{"q"')]

    found = shown(*chunks, last=RateLimitError("secret"))

    assert ("error", "The model is busy, try again later.") == (found["status"], found["error"])
    assert part("text", "Hel") == found["parts"][1]
    assert ("input-streaming", []) == (found["parts"][2]["state"], found["calls"])


def test_abort_is_no_error_and_what_came_before_stays(shown):
    """The chat is ready for the next message."""
    found = shown(MessageChunk(reasoning="Hm"), MessageChunk("Hel"), last=StreamCancelled())

    assert [STEP, part("reasoning", "Hm"), part("text", "Hel")] == found["parts"]
    assert ("ready", None, "abort") == (found["status"], found["error"], found["chunks"][-1])
