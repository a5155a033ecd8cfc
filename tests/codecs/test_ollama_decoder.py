"""Ollama's lines and bodies: text, thoughts, calls, ends, usage, errors."""

from __future__ import annotations

import json
from typing import Optional

import attrs
import pytest

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, Decoder, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.json_text import CHECKED_BYTES
from cloudllm_sync.codecs.ollama import OllamaCodec
from cloudllm_sync.codecs.ollama_decoder import _as_json
from cloudllm_sync.errors import CloudLLMError, ServerError, StreamProtocolError
from cloudllm_sync.values import Message, MessageChunk, TokenUsage


@attrs.frozen
class Reading:
    """What a decoder made of its events."""

    chunks: list[MessageChunk]
    message: Message
    decoder: Decoder

    @property
    def error(self) -> Optional[CloudLLMError]:
        return self.decoder.error

    @property
    def calls(self):
        return [(call.id, call.name, call.arguments) for call in self.message.tool_calls]


def as_event(said) -> ServerSentEvent:
    if isinstance(said, ServerSentEvent):
        return said
    return ServerSentEvent(said if isinstance(said, bytes) else json.dumps(said).encode())


def read(*events) -> Reading:
    decoder = OllamaCodec("Ollama").decoder()
    chunks: list[MessageChunk] = []
    for event in events:
        chunks += decoder.feed(as_event(event))
        if decoder.ended:
            break
    chunks += decoder.finish()
    arrived = Accumulator()
    for chunk in chunks:
        arrived.add(chunk)
    return Reading(chunks, arrived.message(decoder.facts), decoder)


def named(name, data):
    return ServerSentEvent(data if isinstance(data, bytes) else json.dumps(data).encode(), name)


def whole(body):
    return named(WHOLE_BODY, body)


WHEN = "2026-08-01T10:20:30.123456Z"


def line(content="", **message):
    said = {"role": "assistant", "content": content, **message}
    return {"model": "m:1b", "created_at": WHEN, "message": said, "done": False}


def last(reason="stop", content="", **more):
    return {**line(content), "done": True, "done_reason": reason, **more}


def call(name, arguments, **more):
    return {"function": {"name": name, "arguments": arguments}, **more}


STOP = MessageChunk(finish_reason="stop", raw_finish_reason="stop")
USAGE = MessageChunk(usage=TokenUsage(7, 2, 9))


def test_text_comes_piece_by_piece():
    """One chunk for each line, then the reason, then the usage."""
    reading = read(line("He"), line("l"), line(""), last(prompt_eval_count=7, eval_count=2))

    assert [MessageChunk("He"), MessageChunk("l"), STOP, USAGE] == reading.chunks
    assert "m:1b" == reading.message.model
    assert (True, True) == (reading.decoder.ended, reading.decoder.complete())


def test_thoughts_are_reasoning():
    """Before the text, or beside it."""
    reading = read(
        line(thinking="Hm"),
        line(thinking=", well"),
        line("Y", thinking="."),
        line("es", thinking=""),
        line(".", thinking=None),
        last(),
    )

    assert [
        MessageChunk("", "Hm"),
        MessageChunk("", ", well"),
        MessageChunk("", "."),
        MessageChunk("Y"),
        MessageChunk("es"),
        MessageChunk("."),
        STOP,
    ] == reading.chunks


def test_last_line_may_have_text():
    """As where nothing is streamed."""
    assert [MessageChunk("Hi"), STOP] == read(last(content="Hi")).chunks


def test_calls_come_whole_and_may_lack_an_id():
    """It is made of time and place then, unlike those of other turns."""
    reading = read(
        line("I look.", tool_calls=[call("weather", {"city": "Köln"}, id="call_1")]),
        line(tool_calls=[call("weather", {"city": "Paris"}), call("clock", {}, id="")]),
        line(tool_calls=[call("clock", None, id=7), call("clock", '{"at": 1}', id=True)]),
        last(),
    )

    assert [
        ("call_1", "weather", '{"city":"Köln"}'),
        ("ollama_call_20260801102030123456_1", "weather", '{"city":"Paris"}'),
        ("ollama_call_20260801102030123456_2", "clock", "{}"),
        ("7", "clock", ""),
        ("ollama_call_20260801102030123456_4", "clock", '{"at": 1}'),
    ] == reading.calls
    assert ("tool_calls", "stop") == (
        reading.message.finish_reason,
        reading.message.raw_finish_reason,
    )


def test_call_without_time_has_a_made_id_all_the_same():
    """Only its place tells it then."""
    reading = read({"message": {"tool_calls": [call("f", {})]}}, {"done": True})

    assert [("ollama_call__0", "f", "{}")] == reading.calls
    assert ("tool_calls", None) == (
        reading.message.finish_reason,
        reading.message.raw_finish_reason,
    )


@pytest.mark.parametrize(
    "calls", [{}, [None], [{}], [{"function": []}], [{"function": {"name": ""}}], "f"]
)
def test_call_that_names_nothing_is_none(calls):
    """It could not be made."""
    assert [MessageChunk("a"), STOP] == read(line("a", tool_calls=calls), last()).chunks


def test_lone_surrogates_in_calls_become_replacement_characters():
    """In names, ids, and arguments of both kinds."""
    calls = [call("f\ud800", {"a": "\ud800"}, id="c\udc00"), call("g", "\udc00", id="d")]

    assert [("c\ufffd", "f\ufffd", '{"a":"\ufffd"}'), ("d", "g", "\ufffd")] == read(
        line(tool_calls=calls)
    ).calls


def test_arguments_nested_too_deep_are_refused():
    """json.loads can go deeper than json.dumps."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(StreamProtocolError, match="arguments of a tool call are nested too deep"):
        _as_json(deep)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("load", "unknown"),
        ("unload", "unknown"),
        ("x\ud800", "unknown"),
    ],
)
def test_reason_is_normalised(reason, word):
    """The provider's own word stands beside it."""
    reading = read(line("a"), last(reason))

    assert (word, reason.replace("\ud800", "\ufffd")) == (
        reading.message.finish_reason,
        reading.message.raw_finish_reason,
    )


@pytest.mark.parametrize("reason", [None, "", 7])
def test_old_server_gives_no_reason_but_an_end(reason):
    """`done` is the proof."""
    reading = read(line("a"), last(reason))

    assert [MessageChunk("a")] == reading.chunks
    assert reading.decoder.complete()


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"prompt_eval_count": 7, "eval_count": 2}, TokenUsage(7, 2, 9)),
        ({"eval_count": 2}, TokenUsage(0, 2, 2)),
        ({"prompt_eval_count": 7}, TokenUsage(7, 0, 7)),
        ({"prompt_eval_count": None, "eval_count": "x"}, None),
        ({}, None),
    ],
)
def test_usage_is_in_the_last_line(counts, usage):
    """A prompt that was cached is not counted."""
    reading = read({**line("a"), "eval_count": 1}, last(**counts))

    assert usage == reading.message.usage


def test_generated_text_is_read():
    """/api/generate has all in one object."""
    reading = read(
        {"model": "m", "response": "", "thinking": "Hm", "done": False},
        {"model": "m", "response": "He", "done": False},
        {"model": "m", "response": "y", "done": True, "done_reason": "stop", "context": [1]},
    )

    assert [MessageChunk("", "Hm"), MessageChunk("He"), MessageChunk("y"), STOP] == reading.chunks


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b" \n",
        b"{}",
        b"[]",
        b"7",
        b'{"message": null}',
        b'{"message": {}}',
        b'{"message": "x"}',
        b'{"message": {"content": null}}',
        b'{"message": {"content": 7, "thinking": []}}',
        b'{"error": null, "done": null}',
        b'{"done": "yes"}',
        b'{"status": "pulling manifest"}',
        named("ping", b"{"),
        named(BARE_JSON, {"a": 1}),
        named(BARE_JSON, b"{"),
    ],
)
def test_what_says_nothing_is_skipped(odd):
    """Before the text, and amid it."""
    reading = read(odd, line("a"), odd, line("b"), odd, last())

    assert [MessageChunk("a"), MessageChunk("b"), STOP] == reading.chunks


def test_lines_without_an_end_are_no_reply():
    """Not even with an end mark that is not Ollama's."""
    assert not read(line("a")).decoder.complete()
    assert not read(line("a"), b"[DONE]", last()).decoder.complete()


def test_surrogates_split_over_two_lines_are_joined():
    """Text and thought each on their own; half of one at the end is U+FFFD."""
    reading = read(
        line("a\ud83d"),
        line("\udc4b", thinking="\ud83d"),
        line("b"),
        line(thinking="\udc4bc\ud83d"),
        last(),
    )

    assert "a👋b" == reading.message.content
    assert "👋c\ufffd" == reading.message.reasoning


def test_half_a_surrogate_pair_is_replaced_where_it_stood():
    """By the next text, not at the end."""
    assert "a\ufffdbc" == read(line("a\ud83d"), line("b"), line("c"), last()).message.content


@pytest.mark.parametrize("padding", [0, CHECKED_BYTES])
def test_odd_bytes_are_read_all_the_same(padding):
    """Numbers that nobody reads, depth that nobody needs, bytes that are not UTF-8."""
    deep = b'{"message":{"content":"b\xff"},"x":%b1%b,"p":"%b"}'
    nested = deep % (b"[" * 500, b"]" * 500, b" " * padding)

    assert "ab\ufffdc" == read(line("a"), nested, line("c"), last()).message.content


@pytest.mark.parametrize(
    "broken",
    [
        b"{",
        b"words",
        b'{"message": {"content": "a" "b"}}',
        b'{"message": {"content": "a"}, "x": %b1%b}' % (b"[" * 100_000, b"]" * 100_000),
        b'{"message": {"content": "a"}, "x": %b}' % (b"1" * 10_000),
        whole(b"{"),
    ],
)
@pytest.mark.parametrize("before", [(), (line("a"),)])
def test_what_is_no_json_is_a_protocol_error(before, broken):
    """Also too deep, and a number too long."""
    with pytest.raises(StreamProtocolError, match="Ollama sent"):
        read(*before, broken)


@pytest.mark.parametrize(
    "error",
    [
        {"error": "the model fell over"},
        {"error": {"message": "the model fell over"}},
        {**line("x"), "error": "the model fell over"},
        named("error", b"the model fell over"),
        named("error", {"error": "the model fell over"}),
        named("error", {"why": "the model fell over"}),
        named(BARE_JSON, {"error": "the model fell over"}),
        whole({"error": "the model fell over"}),
        whole([{"error": "the model fell over"}]),
    ],
)
@pytest.mark.parametrize("before", [(), (line("a"), line("b"))])
def test_error_ends_the_reply(before, error):
    """With the server's words, after what had come."""
    reading = read(*before, error, last())

    assert type(reading.error) is ServerError
    assert "the model fell over" in str(reading.error)
    assert reading.message.content.startswith("ab" if before else "")
    assert reading.decoder.ended
    assert not reading.decoder.complete()


def test_whole_body_is_a_reply():
    """Text, thought, calls, reason, usage."""
    body = last(prompt_eval_count=7, eval_count=2)
    body["message"] = {"content": "Hi", "thinking": "Hm", "tool_calls": [call("f", {}, id="c")]}
    reading = read(whole(body))

    assert ("Hi", "Hm", "tool_calls", TokenUsage(7, 2, 9)) == (
        reading.message.content,
        reading.message.reasoning,
        reading.message.finish_reason,
        reading.message.usage,
    )
    assert [("c", "f", "{}")] == reading.calls
    assert reading.decoder.complete()


@pytest.mark.parametrize(
    "body", [{"message": {"content": "Hi"}}, {"response": "Hi", "done": False}]
)
def test_whole_body_is_its_own_end(body):
    """Whatever it says of it."""
    reading = read(whole(body))

    assert "Hi" == reading.message.content
    assert reading.decoder.complete()


@pytest.mark.parametrize("body", [{}, [], {"version": "0.12.0"}, [{"message": {}}], 7])
def test_whole_body_without_a_reply_is_refused(body):
    """It came from another address."""
    with pytest.raises(StreamProtocolError, match="neither a reply nor an error"):
        read(whole(body))
