"""The bytes that replies become in Ollama's /api/chat format, and the requests that get them."""

from __future__ import annotations

import json

import pytest
from bare_http import connected, post

from cloudllm_sync.testing import FakeServer, Reply, ollama_body, ollama_events
from cloudllm_sync.values import TokenUsage, ToolCall

CALLS = (ToolCall("call_1", "find", '{"city": "Köln"}'), ToolCall("", "now", ""))
REPLY = Reply("Hello there", reasoning="hm", model="m")


def said(reply: Reply) -> list[dict]:
    """The documents; every line must hold one, and end."""
    lines = ollama_events(reply)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    return [json.loads(line) for line in lines]


def messages(reply: Reply) -> list[dict]:
    return [line["message"] for line in said(reply)]


def whole(reply: Reply) -> dict:
    return json.loads(ollama_body(reply))


def test_every_token_is_a_line_and_the_last_one_is_done():
    """Nothing opens the stream; the last line has an empty text and the counts."""
    lines = said(REPLY)

    assert [("", "hm"), ("Hello", None), (" there", None), ("", None)] == [
        (line["message"]["content"], line["message"].get("thinking")) for line in lines
    ]
    assert [False, False, False, True] == [line["done"] for line in lines]
    assert {"m"} == {line["model"] for line in lines}
    assert ("stop", 10, 3) == (
        lines[-1]["done_reason"],
        lines[-1]["prompt_eval_count"],
        lines[-1]["eval_count"],
    )


def test_every_call_is_a_line():
    """Whole, an empty id left out; the reason stays `stop`."""
    lines = said(Reply(tool_calls=CALLS))

    assert [
        [{"id": "call_1", "function": {"index": 0, "name": "find", "arguments": {"city": "Köln"}}}],
        [{"function": {"index": 1, "name": "now", "arguments": {}}}],
    ] == [line["message"]["tool_calls"] for line in lines[:-1]]
    assert "stop" == lines[-1]["done_reason"]


@pytest.mark.parametrize("make", [said, whole])
def test_arguments_that_are_no_object_cannot_be_said(make):
    """Here they have to be one."""
    with pytest.raises(ValueError, match="'find'"):
        make(Reply(tool_calls=(ToolCall("c", "find", '{"ci'),)))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("a"), "stop"),
        (Reply("a", finish_reason="length"), "length"),
        (Reply("a", finish_reason="unload"), "unload"),
        (Reply("a", tool_calls=CALLS), "stop"),
    ],
)
def test_reason_is_the_wires_word(reply, reason):
    """Or the script's own."""
    assert reason == said(reply)[-1]["done_reason"] == whole(reply)["done_reason"]


def test_reply_without_a_reason_is_never_done():
    """The stream only ends."""
    assert [False] == [line["done"] for line in said(Reply("a", finish_reason=""))]
    assert whole(Reply("a", finish_reason=""))["done"] is False


def test_usage_that_is_not_known_is_absent():
    """From the stream and from the whole body."""
    for last in (said(Reply("a", usage=None))[-1], whole(Reply("a", usage=None))):
        assert {"prompt_eval_count", "eval_count"}.isdisjoint(last)


def test_usage_that_is_given_is_sent():
    """The two counts that there are."""
    last = said(Reply("a", usage=TokenUsage(20, 9, 29, 4, None, 2)))[-1]

    assert (20, 9) == (last["prompt_eval_count"], last["eval_count"])


def test_refusal_is_text():
    """There is no other place for it."""
    reply = Reply(refusal="I can not")

    assert ["I", " can", " not", ""] == [message["content"] for message in messages(reply)]
    assert "I can not" == whole(reply)["message"]["content"]


@pytest.mark.parametrize("error", [{"type": "x", "message": "Overloaded"}, {"type": "x"}])
def test_error_is_words_alone(error):
    """After the text, and instead of it in a whole body."""
    reply = Reply("a", error=error)

    assert {"error": error.get("message", "")} == said(reply)[-1] == whole(reply)
    assert 2 == len(said(reply))


def test_whole_body_has_all_of_it():
    """One line of all lines."""
    body = whole(Reply("a b", reasoning="hm", tool_calls=CALLS, model="m"))

    assert ("a b", "hm", 2) == (
        body["message"]["content"],
        body["message"]["thinking"],
        len(body["message"]["tool_calls"]),
    )
    assert body["done"] is True
    assert {"role", "content"} == set(whole(Reply("a"))["message"])


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_lines_end_as_the_reply_says(line_end):
    """LF unless it says otherwise."""
    assert all(
        line.endswith(b"}" + line_end.encode())
        for line in ollama_events(Reply("a", line_end=line_end))
    )


@pytest.mark.parametrize("asked", [{}, {"stream": True}, {"model": "other", "stream": None}])
def test_stream_is_what_a_request_gets(asked):
    """Even one that does not ask for it."""
    with FakeServer(REPLY) as server, connected(server) as connection:
        response, body = post(connection, asked, "/api/chat")

    assert b"".join(ollama_events(REPLY)) == body
    assert "application/x-ndjson" == response.headers["content-type"]


def test_whole_body_has_to_be_asked_for():
    """By `stream: false`."""
    with FakeServer(REPLY) as server, connected(server) as connection:
        response, body = post(connection, {"stream": False}, "/any/api/chat")

    assert ollama_body(REPLY) == body
    assert "application/json" == response.headers["content-type"]


def test_reply_is_from_the_model_that_was_asked():
    """Unless it names one."""
    with FakeServer("hi") as server, connected(server) as connection:
        _, body = post(connection, {"model": "a/b", "stream": False}, "/api/chat")

    assert "a/b" == json.loads(body)["model"]
