"""The bytes that replies become in Anthropic's Messages format."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync.testing import Reply, anthropic_body, anthropic_events
from cloudllm_sync.values import TokenUsage, ToolCall

CALLS = (ToolCall("call_1", "find", '{"city": "Köln"}'), ToolCall("call_2", "now", ""))


def said(reply: Reply) -> list[dict]:
    """The payloads; every event must be named as its payload."""
    payloads = []
    for event in anthropic_events(reply):
        name, data = event.decode().removesuffix("\n\n").split("\n")
        payloads.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {payloads[-1]['type']}"
    return payloads


def deltas(reply: Reply) -> list[tuple[int, dict]]:
    return [(e["index"], e["delta"]) for e in said(reply) if e["type"] == "content_block_delta"]


def whole(reply: Reply) -> dict:
    return json.loads(anthropic_body(reply))


def test_events_come_in_the_documented_order():
    """A ping follows the first block's start; there is no [DONE]."""
    assert [event["type"] for event in said(Reply("a b", reasoning="hm"))] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_message_start_has_no_content_and_no_reason():
    """All of it is still to come."""
    message = said(Reply("a", model="m"))[0]["message"]

    assert message == {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 0, "output_tokens": 1},
    }


def test_thinking_is_a_block_of_its_own_with_a_signature():
    """Before the text, signed before its stop."""
    sent = deltas(Reply("yes", reasoning="hm so"))

    assert [(at, delta["type"]) for at, delta in sent] == [
        (0, "thinking_delta"),
        (0, "thinking_delta"),
        (0, "signature_delta"),
        (1, "text_delta"),
    ]


def test_each_call_is_a_block():
    """It opens with an empty input; the arguments come as pieces of JSON, the first one empty."""
    reply = Reply("so", tool_calls=CALLS)
    opened = [e["content_block"] for e in said(reply) if e["type"] == "content_block_start"]
    pieces = [(at, d["partial_json"]) for at, d in deltas(reply) if "partial_json" in d]

    assert opened[1:] == [
        {"type": "tool_use", "id": "call_1", "name": "find", "input": {}},
        {"type": "tool_use", "id": "call_2", "name": "now", "input": {}},
    ]
    assert pieces[0] == (1, "")
    assert "".join(piece for at, piece in pieces if at == 1) == CALLS[0].arguments
    assert [piece for at, piece in pieces if at == 2] == [""]


def test_arguments_cut_short_can_be_streamed():
    """As after a length cut."""
    cut = Reply(tool_calls=(ToolCall("c", "find", '{"ci'),), finish_reason="length")

    assert "".join(delta["partial_json"] for _, delta in deltas(cut)) == '{"ci'
    with pytest.raises(ValueError, match="find"):
        anthropic_body(cut)


def test_usage_leaves_the_cached_prompt_out_of_the_input():
    """In the first event and, with the output, in the one before the last."""
    events = said(Reply("a", usage=TokenUsage(20, 9, 29, 4, 6, 3)))
    prompt = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 6,
        "cache_read_input_tokens": 4,
    }

    assert events[0]["message"]["usage"] == {**prompt, "output_tokens": 1}
    assert events[-2]["usage"] == {
        **prompt,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 3},
    }


def test_counts_that_are_not_known_are_absent():
    """The others stay."""
    usage = whole(Reply("a", usage=TokenUsage(7, 5, 12)))["usage"]

    assert usage == {"input_tokens": 7, "output_tokens": 5}


def test_usage_that_is_not_known_is_absent():
    """From the stream and from the whole body."""
    reply = Reply("a", usage=None)

    assert "usage" not in json.dumps([said(reply), whole(reply)])


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("a"), "end_turn"),
        (Reply(tool_calls=CALLS), "tool_use"),
        (Reply("a", finish_reason="length"), "max_tokens"),
        (Reply("a", finish_reason="content_filter"), "refusal"),
        (Reply("a", finish_reason="pause_turn"), "pause_turn"),
        (Reply(refusal="no"), "refusal"),
        (Reply("a", finish_reason=""), None),
    ],
)
def test_stop_reason_is_anthropics_word(reply, reason):
    """The same in a stream and in a whole body."""
    assert said(reply)[-2]["delta"]["stop_reason"] == reason
    assert whole(reply)["stop_reason"] == reason


def test_refusal_is_explained_beside_the_content():
    """Its words are no text."""
    reply = Reply("half", refusal="I can not")
    details = {"type": "refusal", "category": None, "explanation": "I can not"}

    assert said(reply)[-2]["delta"]["stop_details"] == whole(reply)["stop_details"] == details
    assert whole(reply)["content"] == [{"type": "text", "text": "half"}]


def test_citations_are_deltas_of_the_text_block():
    """Each with its address."""
    sent = deltas(Reply("see", citations=("https://a.example", "https://b.example")))

    assert [delta["citation"]["url"] for _, delta in sent[1:]] == [
        "https://a.example",
        "https://b.example",
    ]
    assert {at for at, _ in sent} == {0}


def test_error_in_the_stream_is_its_end():
    """The text so far, the error event, nothing after it."""
    error = {"type": "overloaded_error", "message": "Overloaded"}
    events = said(Reply("a b", error=error))

    assert events[-1] == {
        "type": "error",
        "error": {"details": None, **error},
        "request_id": "req_fake",
    }
    assert events[-2]["type"] == "content_block_stop"
    assert whole(Reply("a b", error=error)) == events[-1]


def test_end_mark_can_be_left_out():
    """A proxy may lose it."""
    assert anthropic_events(Reply("a", done=False)) == anthropic_events(Reply("a"))[:-1]


def test_whole_body_has_all_of_the_reply():
    """Thinking, text and calls, the arguments as objects."""
    body = whole(Reply("a b", reasoning="hm", tool_calls=CALLS, citations=("https://a.example",)))

    assert [block["type"] for block in body["content"]] == [
        "thinking",
        "text",
        "tool_use",
        "tool_use",
    ]
    assert body["content"][1]["citations"][0]["url"] == "https://a.example"
    assert [block["input"] for block in body["content"][2:]] == [{"city": "Köln"}, {}]
    assert body["usage"]["output_tokens"] == 8


def test_reply_that_says_nothing_has_no_blocks():
    """Claude may end its turn at once."""
    assert [event["type"] for event in said(Reply(""))] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    assert whole(Reply(""))["content"] == []
