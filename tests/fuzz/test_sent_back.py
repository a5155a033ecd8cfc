"""A reply that was taken can be part of the next request, or the conversation could not go on."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync import Message, Role
from cloudllm_sync.codecs import ChatRequest
from cloudllm_sync.values import ChatOptions
from fuzz.checks import CODECS, read


def event(body):
    """The event, named as Claude names it."""
    kind = body.get("type", "message")
    return f"event: {kind}\ndata: {json.dumps(body)}\n\n".encode()


def sent_after(wire, *said):
    """The next request's body, the calls of the reply being answered."""
    reading = read(wire, *map(event, said))
    assert reading.complete
    results = [Message(Role.TOOL, "7", tool_call_id=call.id) for call in reading.message.tool_calls]
    messages = (Message(Role.USER, "hi"), reading.message, *results)
    request = ChatRequest("m", messages, (), ChatOptions(), stream=True)
    return json.loads(CODECS[wire].encode(request).body)


def block(index, content):
    return {"type": "content_block_start", "index": index, "content_block": content}


ENDING = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}}
TEXT = {"type": "text", "text": ""}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}
CALL = {"type": "tool_use", "id": "a", "name": "look", "input": {}}


def test_claude_block_without_a_type_is_left_out():
    """The others go back; only they mean something to Claude."""
    said = [block(0, THOUGHT), block(1, {}), block(2, CALL), ENDING]

    assert [THOUGHT, CALL] == sent_after("anthropic", *said)["messages"][1]["content"]


@pytest.mark.parametrize("odd", [None, [], {}, 5, ["a"]])
def test_claude_call_whose_id_is_no_text_gets_one_of_ours(odd):
    """The blocks, which do not know that id, stay behind."""
    said = [block(0, THOUGHT), block(1, {**CALL, "id": odd}), ENDING]
    turns = sent_after("anthropic", *said)["messages"]
    (call,), (result,) = turns[1]["content"], turns[2]["content"]

    assert ("tool_use", "look", {}) == (call["type"], call["name"], call["input"])
    assert call["id"] == result["tool_use_id"]
    assert isinstance(call["id"], str)


@pytest.mark.parametrize("odd", [None, True, 0, 2.5, "", "a", [], ["a"]])
def test_gemini_call_that_is_no_object_is_no_call(odd):
    """It is sent back as it came, beside the call that is one."""
    call = {"functionCall": {"name": "look", "args": {}}}
    parts = [{"functionCall": odd}, call]
    said = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}

    assert parts == sent_after("gemini", said)["contents"][1]["parts"]


@pytest.mark.parametrize(
    ("wire", "step"),
    [
        pytest.param(
            "openai",
            lambda n: {
                "choices": [
                    {
                        "index": 0,
                        "delta": {
                            "reasoning_content": f"{n} ",
                            "tool_calls": [{"index": n, "id": f"c{n}", "function": {"name": "f"}}],
                        },
                        "finish_reason": f"reason {n}",
                    }
                ]
            },
            id="openai",
        ),
        pytest.param("anthropic", lambda n: block(n, {**THOUGHT, "n": n}), id="anthropic"),
        pytest.param(
            "gemini",
            lambda n: {
                "candidates": [
                    {
                        "content": {"parts": [{"functionCall": {"name": "f", "args": {"n": n}}}]},
                        "finishReason": f"reason {n}",
                    }
                ]
            },
            id="gemini",
        ),
    ],
)
def test_state_is_whole_however_many_reasons_to_finish_came(wire, step):
    """It is put together at the first few of them, and at the end."""
    said = []
    for number in range(40):
        said.append(step(number))
        if wire == "anthropic":
            said.append({"type": "message_delta", "delta": {"stop_reason": f"reason {number}"}})
    end = [b"data: [DONE]\n\n"]
    state = read(wire, *map(event, said), *end).message.provider_state

    expected = {
        "openai": {"reasoning_content": "".join(f"{n} " for n in range(40))},
        "anthropic": {"anthropic_blocks": [{**THOUGHT, "n": n} for n in range(40)]},
        "gemini": {
            "gemini_parts": [{"functionCall": {"name": "f", "args": {"n": n}}} for n in range(40)]
        },
    }
    assert expected[wire] == state


def test_texts_that_end_in_half_a_character_end_however_many_reasons_came():
    """What is held back comes out at the end."""
    reasons = [
        {"type": "message_delta", "delta": {"stop_reason": f"reason {n}"}} for n in range(40)
    ]
    late = block(0, {**TEXT, "text": "a\ud83c"})
    reading = read("anthropic", *map(event, [*reasons[:-1], late, reasons[-1]]))

    assert reading.message.content == "a\ufffd"
