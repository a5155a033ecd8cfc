"""The encoders for OpenAI's format: what a reply looks like in events and in one body."""

from __future__ import annotations

import json

import pytest
from bare_http import connected, payloads, post, said

from cloudllm_sync.testing import FakeServer, Reply, error_reply, openai_body, openai_events
from cloudllm_sync.values import TokenUsage, ToolCall

CALLS = (ToolCall("call_1", "find", '{"city": "Köln"}'), ToolCall("call_2", "now", ""))


def deltas(reply: Reply) -> list[dict]:
    events = payloads(b"".join(openai_events(reply)))
    return [c["delta"] for e in events if isinstance(e, dict) for c in e.get("choices", ())]


def whole(reply: Reply) -> dict:
    return json.loads(openai_body(reply))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, wide world", ["Hello,", " wide", " world"]),
        ("  a\n\nb ", ["  a", "\n\nb", " "]),
        (["He", "llo", ""], ["He", "llo", ""]),
        ("", []),
    ],
)
def test_string_is_split_in_tokens_and_a_sequence_is_not(text, expected):
    """Words keep the space before them; deltas that were given stay as they are."""
    content = [delta["content"] for delta in deltas(Reply(text))[1:-1]]

    assert content == expected


def test_stream_opens_with_the_role_and_ends_with_the_finish_reason():
    """The first event has no text, the last one before the usage has only the reason."""
    events = payloads(b"".join(openai_events(Reply("hi"))))

    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert events[-3]["choices"][0]["delta"] == {}
    assert [e["choices"][0]["finish_reason"] for e in events[:3]] == [None, None, "stop"]
    assert events[-1] == "[DONE]"


def test_usage_is_null_but_for_a_last_event_without_choices():
    """As OpenAI does it with include_usage."""
    events = payloads(b"".join(openai_events(Reply("a b c", reasoning="hm so"))))

    assert all(event["usage"] is None for event in events[:-2])
    assert events[-2]["choices"] == []
    assert events[-2]["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }


@pytest.mark.parametrize(
    "events",
    [openai_events(Reply("a"), include_usage=False), openai_events(Reply("a", usage=None))],
)
def test_usage_that_is_not_wanted_or_not_known_is_absent(events):
    """No event has the field."""
    chunks = payloads(b"".join(events))[:-1]

    assert not any("usage" in chunk for chunk in chunks)
    assert all(chunk["choices"] for chunk in chunks)


def test_usage_given_is_sent():
    """Known parts only."""
    usage = whole(Reply("a", usage=TokenUsage(7, 5, 12, None, 2)))["usage"]

    assert usage == {
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "total_tokens": 12,
        "prompt_tokens_details": {"cache_write_tokens": 2},
        "completion_tokens_details": {},
    }


def test_usage_reported_is_known_beforehand():
    """A test can compare with it."""
    assert Reply("a b", tool_calls=CALLS[1:]).reported_usage == TokenUsage(10, 3, 13, 0, None, 0)
    assert Reply("a b", usage=None).reported_usage is None


def test_usage_of_another_kind_is_refused():
    """A slip is raised where it is written."""
    with pytest.raises(ValueError, match="counted"):
        Reply("a", usage="none")


def test_tool_calls_are_streamed_by_index():
    """Id and name open a call; fragments of the arguments follow."""
    parts = [d["tool_calls"][0] for d in deltas(Reply(tool_calls=CALLS)) if "tool_calls" in d]
    function = {"name": "find", "arguments": ""}

    assert parts[0] == {"index": 0, "id": "call_1", "type": "function", "function": function}
    assert [part["index"] for part in parts] == [0] * (len(parts) - 1) + [1]
    assert all(set(part) == {"index", "function"} for part in parts[1:-1])
    assert len(parts) > 3
    assert "".join(p["function"]["arguments"] for p in parts[:-1]) == CALLS[0].arguments
    assert parts[-1]["function"] == {"name": "now", "arguments": ""}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("a"), "stop"),
        (Reply("a", tool_calls=CALLS), "tool_calls"),
        (Reply("a", tool_calls=CALLS, finish_reason="stop"), "stop"),
        (Reply("a", finish_reason="length"), "length"),
        (Reply("a", finish_reason=""), None),
    ],
)
def test_finish_reason_is_given_or_follows_from_the_calls(reply, reason):
    """The same word in a stream and in a whole body; an empty one is not sent."""
    events = payloads(b"".join(openai_events(reply, include_usage=False)))[:-1]
    sent = [event["choices"][0]["finish_reason"] for event in events]

    assert [word for word in sent if word] == ([reason] if reason else [])
    assert whole(reply)["choices"][0]["finish_reason"] == reason


def test_reasoning_comes_before_the_text():
    """In the field that most compatible servers use."""
    sent = deltas(Reply("yes", reasoning="hm so"))

    assert sent[1:-1] == [
        {"reasoning_content": "hm"},
        {"reasoning_content": " so"},
        {"content": "yes"},
    ]


def test_refusal_leaves_the_content_null():
    """A refusal has fragments of its own."""
    sent = deltas(Reply(refusal="I can not"))

    assert sent[0]["content"] is None
    assert [delta["refusal"] for delta in sent[1:-1]] == ["I", " can", " not"]


def test_citations_are_annotations():
    """URLs come as url_citation, in a stream and in a whole body."""
    reply = Reply("see there", citations=("https://a.example", "https://b.example"))
    (annotations,) = [d["annotations"] for d in deltas(reply) if "annotations" in d]

    assert annotations == whole(reply)["choices"][0]["message"]["annotations"]
    assert [a["url_citation"]["url"] for a in annotations] == list(reply.citations)
    assert {a["type"] for a in annotations} == {"url_citation"}


def test_error_in_the_stream_is_its_end():
    """The text so far, the error object, nothing after it."""
    error = {"message": "overloaded", "code": 529}
    events = openai_events(Reply("a b", error=error))

    assert json.loads(events[-1][6:]) == {"error": error}
    assert len(events) == 4
    assert b"[DONE]" not in b"".join(events)


def test_error_in_a_whole_body_stands_alone():
    """There is no half reply in one JSON body."""
    assert whole(Reply("a b", error={"message": "no"})) == {"error": {"message": "no"}}


def test_end_mark_can_be_left_out():
    """Some servers never send it."""
    assert openai_events(Reply("a", done=False)) == openai_events(Reply("a"))[:-1]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_are_those_asked_for(line_end):
    """Every line, and the blank one after it."""
    events = openai_events(Reply("a b", line_end=line_end))
    end = line_end.encode()

    assert all(event.startswith(b"data: ") and event.endswith(end * 2) for event in events)
    assert not any(mark in event[: -2 * len(end)] for event in events for mark in b"\r\n")


def test_text_goes_out_as_utf_8():
    """Characters that line splitters stumble over are raw; nothing is escaped that need not be."""
    text = "K\u00f6ln \u2028\u0085 \U0001f600"
    body = openai_body(Reply(text))

    assert text.encode() in body
    assert json.loads(body)["choices"][0]["message"]["content"] == text


def test_half_a_surrogate_pair_is_escaped():
    """Two deltas may share a character; the bytes stay valid."""
    halves = deltas(Reply(["\ud83d", "\ude00"]))[1:-1]

    assert [delta["content"] for delta in halves] == ["\ud83d", "\ude00"]


def test_whole_body_has_all_of_the_reply():
    """One message with text, reasoning and calls, and the usage."""
    body = whole(Reply("a b", reasoning="hm", tool_calls=CALLS, model="m"))
    message = body["choices"][0]["message"]

    assert (body["object"], body["model"]) == ("chat.completion", "m")
    assert (message["content"], message["reasoning_content"]) == ("a b", "hm")
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == [
        call.arguments for call in CALLS
    ]
    assert body["usage"]["total_tokens"] > 10


def test_whole_body_of_calls_alone_has_null_content():
    """As OpenAI answers."""
    assert whole(Reply(tool_calls=CALLS))["choices"][0]["message"]["content"] is None
    assert whole(Reply(refusal="no way"))["choices"][0]["message"]["refusal"] == "no way"


@pytest.mark.parametrize("values", [{"text": [1]}, {"citations": "https://a.example"}])
def test_deltas_that_are_no_strings_are_refused(values):
    """A slip is raised where it is written."""
    with pytest.raises(TypeError):
        Reply(**values)


def test_request_decides_about_stream_usage_and_model():
    """stream, stream_options.include_usage and model of the request are followed."""
    with FakeServer(default="hi") as server, connected(server) as connection:
        _, whole_body = post(connection, {"model": "m"})
        _, plain = post(connection, {"stream": True})
        _, counted = post(connection, {"stream": True, "stream_options": {"include_usage": True}})

    assert json.loads(whole_body)["model"] == "m"
    assert "usage" not in payloads(plain)[-2]
    assert payloads(counted)[-2]["usage"]["completion_tokens"] == 1
    assert said(plain) == said(counted) == "hi"


def test_request_that_is_no_json_gets_a_whole_reply():
    """Nothing was asked to be streamed."""
    with FakeServer("hi") as server, connected(server) as connection:
        connection.request("POST", "/", "[" * 100_000)
        body = connection.getresponse().read()

    assert json.loads(body)["choices"][0]["message"]["content"] == "hi"


def test_error_reply_is_an_error_in_openai_shape():
    """Status, headers and the four fields."""
    entry = error_reply(
        429, "slow down", type="requests", code="rate", headers={"Retry-After": "1"}
    )
    with FakeServer(entry, "hi") as server, connected(server) as connection:
        response, body = post(connection)
        post(connection)

        assert server.connections == 1
    assert (response.status, response.reason) == (429, "Too Many Requests")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["retry-after"] == "1"
    assert json.loads(body)["error"] == {
        "message": "slow down", "type": "requests", "param": None, "code": "rate"
    }  # fmt: skip
