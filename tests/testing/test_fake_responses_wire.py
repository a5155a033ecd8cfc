"""The bytes that replies become in the format of OpenAI's Responses API."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync.testing import Reply, responses_body, responses_events
from cloudllm_sync.values import TokenUsage, ToolCall

CALLS = (ToolCall("call_1", "find", '{"city": "Köln"}'), ToolCall("call_2", "now", ""))


def said(reply: Reply) -> list[dict]:
    """The payloads; every event must be named as its payload, and numbered."""
    payloads = []
    for event in responses_events(reply):
        name, data = event.decode().removesuffix("\n\n").split("\n")
        payloads.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {payloads[-1]['type']}"
    assert [payload["sequence_number"] for payload in payloads] == list(range(len(payloads)))
    return payloads


def kinds(reply: Reply) -> list[str]:
    return [event["type"].removeprefix("response.") for event in said(reply)]


def whole(reply: Reply) -> dict:
    return json.loads(responses_body(reply))


def test_events_of_a_text_come_in_the_documented_order():
    """The item and its part are opened and closed around the deltas; there is no [DONE]."""
    assert kinds(Reply("a b", citations=("https://a.example",))) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def test_reasoning_is_a_summary_in_an_item_before_the_message():
    """With the encrypted form that a tool loop sends back."""
    events = said(Reply("a", reasoning="hm so"))
    item = next(e["item"] for e in events if e["type"] == "response.output_item.done")

    assert [e["type"].removeprefix("response.") for e in events[2:9]] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    assert item["summary"] == [{"type": "summary_text", "text": "hm so"}]
    assert item["encrypted_content"]
    assert [e["output_index"] for e in events if "output_index" in e] == [0] * 7 + [1] * 6


def test_calls_are_items_of_their_own():
    """Id and name come with the item, the arguments in deltas; there is no message beside them."""
    events = said(Reply(tool_calls=CALLS))
    added = [e["item"] for e in events if e["type"] == "response.output_item.added"]
    pieces = [e["delta"] for e in events if e["type"].endswith("arguments.delta")]
    done = [e["arguments"] for e in events if e["type"].endswith("arguments.done")]

    assert [(i["type"], i["call_id"], i["name"], i["arguments"]) for i in added] == [
        ("function_call", "call_1", "find", ""),
        ("function_call", "call_2", "now", ""),
    ]
    assert "".join(pieces) == CALLS[0].arguments
    assert done == [call.arguments for call in CALLS]


def test_refusal_is_a_part_of_the_message():
    """With deltas of its own."""
    reply = Reply(refusal="I can not")
    (item,) = whole(reply)["output"]

    assert kinds(reply)[3:9] == [
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
    ]
    assert item["content"] == [{"type": "refusal", "refusal": "I can not"}]


def test_last_event_has_the_whole_response():
    """The same as the body of a reply that is not streamed, usage included."""
    reply = Reply("a", reasoning="hm", tool_calls=CALLS, usage=TokenUsage(20, 9, 29, 4, None, 3))
    last = said(reply)[-1]["response"]

    assert last == whole(reply)
    assert [item["type"] for item in last["output"]] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert last["usage"] == {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 29,
    }


def test_usage_is_in_the_last_event_only():
    """And null where it is not known."""
    events = said(Reply("a", usage=None))

    assert [e["response"]["usage"] for e in (events[0], events[1], events[-1])] == [None] * 3


@pytest.mark.parametrize(
    ("reply", "status", "details"),
    [
        (Reply("a"), "completed", None),
        (Reply(tool_calls=CALLS), "completed", None),
        (Reply(refusal="no"), "completed", None),
        (Reply("a", finish_reason="length"), "incomplete", {"reason": "max_output_tokens"}),
        (Reply("a", finish_reason="content_filter"), "incomplete", {"reason": "content_filter"}),
        (Reply("a", finish_reason="incomplete"), "incomplete", None),
    ],
)
def test_finish_reason_is_a_status(reply, status, details):
    """What is no status is why the response is incomplete; its items are, too."""
    last = said(reply)[-1]

    assert last["type"] == f"response.{status}"
    assert last["response"] == whole(reply)
    assert (last["response"]["status"], last["response"]["incomplete_details"]) == (status, details)
    assert {item["status"] for item in last["response"]["output"]} == {status}


def test_stream_without_a_finish_reason_has_no_end():
    """The last item is the last event."""
    assert kinds(Reply("a", finish_reason=""))[-1] == "output_item.done"
    assert whole(Reply("a", finish_reason=""))["status"] is None


def test_error_in_the_stream_is_followed_by_the_failure():
    """The text so far, the error, and the response that failed of it."""
    error = {"type": "server_error", "code": "overloaded", "message": "Overloaded"}
    reply = Reply("a b", error=error)
    *_, text, reported, failed = said(reply)

    assert text["type"] == "response.output_item.done"
    assert (reported["type"], reported["error"]) == ("error", {**error, "param": None})
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "overloaded", "message": "Overloaded"}
    assert whole(reply) == failed["response"]


def test_reply_that_says_nothing_is_an_empty_message():
    """An output without items would be no answer."""
    (item,) = whole(Reply(""))["output"]

    assert item["content"] == [{"type": "output_text", "text": "", "annotations": []}]
