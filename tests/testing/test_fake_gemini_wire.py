"""The bytes that replies become in Gemini's generateContent format."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync.testing import Reply, gemini_body, gemini_events
from cloudllm_sync.values import TokenUsage, ToolCall

CALLS = (ToolCall("call_1", "find", '{"city": "Köln"}'), ToolCall("", "now", ""))


def said(reply: Reply) -> list[dict]:
    """The payloads; every event must be unnamed and end in CRLF."""
    payloads = []
    for event in gemini_events(reply):
        assert event.startswith(b"data: ")
        assert event.endswith(b"\r\n\r\n")
        payloads.append(json.loads(event[6:]))
    return payloads


def parts(event: dict) -> list[dict]:
    return event["candidates"][0].get("content", {}).get("parts", [])


def whole(reply: Reply) -> dict:
    return json.loads(gemini_body(reply))


def test_every_token_is_an_event_and_the_last_one_finishes():
    """Nothing opens the stream; the last event has an empty text."""
    events = said(Reply("a b", reasoning="hm", model="m"))

    assert [parts(event) for event in events] == [
        [{"text": "hm", "thought": True}],
        [{"text": "a"}],
        [{"text": " b"}],
        [{"text": ""}],
    ]
    assert [event["candidates"][0].get("finishReason") for event in events] == [
        None,
        None,
        None,
        "STOP",
    ]
    assert {event["modelVersion"] for event in events} == {"m"}


def test_usage_is_cumulative_and_counts_thoughts_apart():
    """Every event has it, the last one counts."""
    usage = TokenUsage(20, 9, 29, 4, None, 2)
    sent = [event["usageMetadata"] for event in said(Reply("a", reasoning="hm", usage=usage))]

    assert [counts["totalTokenCount"] for counts in sent] == [21, 22, 29]
    assert sent[-1] == {
        "promptTokenCount": 20,
        "candidatesTokenCount": 7,
        "totalTokenCount": 29,
        "cachedContentTokenCount": 4,
        "thoughtsTokenCount": 2,
    }


def test_usage_that_is_not_known_is_absent():
    """From the stream and from the whole body."""
    reply = Reply("a", usage=None)

    assert "usage" not in json.dumps([said(reply), whole(reply)])


def test_calls_come_whole_in_the_event_before_the_last():
    """All in one; the first is signed, an empty id is left out."""
    events = said(Reply("so", tool_calls=CALLS))
    first, second = parts(events[-2])

    assert first["functionCall"] == {"id": "call_1", "name": "find", "args": {"city": "Köln"}}
    assert first["thoughtSignature"]
    assert second == {"functionCall": {"name": "now", "args": {}}}
    assert events[-1]["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize("said_in", [gemini_events, gemini_body])
def test_arguments_that_are_no_object_are_refused(said_in):
    """Gemini has no other way to say them."""
    with pytest.raises(ValueError, match="find"):
        said_in(Reply(tool_calls=(ToolCall("c", "find", '{"ci'),)))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("a"), "STOP"),
        (Reply(tool_calls=CALLS), "STOP"),
        (Reply("a", finish_reason="length"), "MAX_TOKENS"),
        (Reply("a", finish_reason="content_filter"), "SAFETY"),
        (Reply("a", finish_reason="RECITATION"), "RECITATION"),
        (Reply(refusal="no"), "SAFETY"),
        (Reply("a", finish_reason=""), None),
    ],
)
def test_finish_reason_is_googles_word(reply, reason):
    """The same in a stream and in a whole body."""
    assert said(reply)[-1]["candidates"][0].get("finishReason") == reason
    assert whole(reply)["candidates"][0].get("finishReason") == reason


def test_refusal_is_a_candidate_without_content():
    """Its words are the finish message."""
    (event,) = said(Reply(refusal="I can not"))

    assert event["candidates"] == [
        {"index": 0, "finishReason": "SAFETY", "finishMessage": "I can not"}
    ]


def test_citations_are_grounding_chunks_of_the_last_event():
    """The segment that they support ends where the text does, in bytes."""
    reply = Reply("Köln", citations=("https://a.example",))
    grounding = said(reply)[-1]["candidates"][0]["groundingMetadata"]

    assert grounding["groundingChunks"][0]["web"]["uri"] == "https://a.example"
    assert grounding["groundingSupports"][0]["segment"]["endIndex"] == 5
    assert whole(reply)["candidates"][0]["groundingMetadata"] == grounding


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "x"}, {"code": 500, "message": "x", "status": "INTERNAL"}),
        (
            {"message": "x", "type": "overloaded_error"},
            {"code": 503, "message": "x", "status": "UNAVAILABLE", "type": "overloaded_error"},
        ),
        (
            {"message": "x", "code": 429, "status": "RESOURCE_EXHAUSTED"},
            {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"},
        ),
    ],
)
def test_error_in_the_stream_is_its_end(error, expected):
    """The text so far, the error, nothing after it; code and status are there in any case."""
    reply = Reply("a b", error=error)

    assert said(reply)[2:] == [{"error": expected}]
    assert whole(reply) == {"error": expected}


@pytest.mark.parametrize("line_end", ["\n", "\r"])
def test_other_line_ends_can_be_asked_for(line_end):
    """CRLF is only what the real one sends."""
    assert all(
        e.endswith(b"}" + line_end.encode() * 2)
        for e in gemini_events(Reply("a", line_end=line_end))
    )


def test_whole_body_has_all_of_the_reply():
    """One candidate with a thought, the text and the calls."""
    body = whole(Reply("a b", reasoning="hm so", tool_calls=CALLS, model="m"))
    thought, text, *calls = parts(body)

    assert (thought, text) == ({"text": "hm so", "thought": True}, {"text": "a b"})
    assert [part["functionCall"]["name"] for part in calls] == ["find", "now"]
    assert body["modelVersion"] == "m"


def test_reply_that_says_nothing_has_no_parts():
    """As Gemini does at a token limit of nothing."""
    (candidate,) = whole(Reply("", finish_reason="length"))["candidates"]

    assert candidate == {
        "content": {"role": "model"},
        "index": 0,
        "finishReason": "MAX_TOKENS",
    }
