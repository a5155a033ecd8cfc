"""The events and bodies of Chat Completions: text, ends, errors, and what is passed over."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync.codecs import BARE_JSON, ServerSentEvent
from cloudllm_sync.values import MessageChunk, TokenUsage, ToolCall


def choice(delta=None, finish_reason=None, index=0, **more):
    return {"index": index, "delta": delta, "finish_reason": finish_reason, **more}


def text(said, **more):
    return {"choices": [choice({"content": said})], **more}


STOP = {"choices": [choice({}, "stop")]}
DONE = "[DONE]"


def named(name, data):
    return ServerSentEvent(data if isinstance(data, bytes) else json.dumps(data).encode(), name)


def test_text_comes_piece_by_piece(read_events):
    """One chunk for each delta, the reason last."""
    reading = read_events(text(""), text("He"), text("llo"), STOP, DONE)

    assert reading.chunks == [
        MessageChunk("He"),
        MessageChunk("llo"),
        MessageChunk(finish_reason="stop", raw_finish_reason="stop"),
    ]
    assert reading.decoder.complete()


def test_refusal_is_not_content(read_deltas):
    """What the model declines to say has a field of its own."""
    reading = read_deltas({"content": None, "refusal": "I "}, {"refusal": "won't"})

    assert reading.message.refusal == "I won't"
    assert reading.message.content == ""


def test_everything_in_one_event_is_read(read_events):
    """Content, calls, reason and usage may share an event."""
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    delta = {
        "content": "c",
        "reasoning": "r",
        "tool_calls": [call, {**call, "index": 1, "id": "b"}],
    }
    counted = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    reading = read_events({"choices": [choice(delta, "stop")], "usage": counted, "id": "i"})

    assert (reading.message.content, reading.message.reasoning) == ("c", "r")
    assert reading.calls == [("a", "f", "{}"), ("b", "f", "{}")]
    assert reading.message.finish_reason == "tool_calls"
    assert reading.message.usage == TokenUsage(2, 3, 5)
    assert reading.message.response_id == "i"


CALL = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
COUNTED = {"prompt_tokens": 2, "completion_tokens": 3}


@pytest.mark.parametrize(
    ("event", "field", "expected"),
    [
        (text("b", usage=COUNTED), "usage", TokenUsage(2, 3, 5)),
        (text("b", x_groq={"usage": COUNTED}), "usage", TokenUsage(2, 3, 5)),
        ({"choices": [choice({"content": "b"}, usage=COUNTED)]}, "usage", TokenUsage(2, 3, 5)),
        (text("b", citations=["u"]), "citations", ("u",)),
        ({"choices": [choice({"content": "b"}, "stop")]}, "finish_reason", "stop"),
        (
            {"choices": [choice({"content": "X"}, index=1)] * 2 + text("b")["choices"]},
            "model",
            None,
        ),
        ({"choices": [choice({"content": "b", "reasoning": "r"})]}, "reasoning", "r"),
        ({"choices": [choice({"content": "b", "reasoning_content": "r"})]}, "reasoning", "r"),
        (
            {"choices": [choice({"content": "b", "reasoning_details": [{"text": "r"}]})]},
            "reasoning",
            "r",
        ),
        ({"choices": [choice({"content": "b", "refusal": "r"})]}, "refusal", "r"),
        (
            {"choices": [choice({"content": "b", "annotations": [{"url": "u"}]})]},
            "citations",
            ("u",),
        ),
        (
            {"choices": [choice({"content": "b", "tool_calls": [CALL]})]},
            "tool_calls",
            (ToolCall("a", "f", "{}"),),
        ),
        (
            {"choices": [choice({"content": "b", "function_call": CALL["function"]})]},
            "tool_calls",
            (ToolCall("call_0", "f", "{}"),),
        ),
    ],
)
def test_what_stands_beside_text_is_not_lost(event, field, expected, read_events):
    """Also once text has come, when most events have nothing else."""
    reading = read_events(text("a"), event, text("c"))

    assert reading.message.content == "abc"
    assert expected == getattr(reading.message, field)


def test_text_after_half_a_character_is_in_order(read_events):
    """What is held back comes first, though the next piece is plain."""
    assert read_events(text("a"), text("b\ud83c"), text("c")).message.content == "ab\ufffdc"


def test_text_of_another_choice_alone_is_not_mixed_in(read_events):
    """An event that has only the second choice."""
    other = {"choices": [choice({"content": "X"}, index=1)]}

    assert read_events(text("a"), other, text("b")).message.content == "ab"


def test_repeated_finish_reason_is_handed_on_once(read_events):
    """OpenRouter repeats it with the usage."""
    counted = {"prompt_tokens": 2, "completion_tokens": 3}
    reading = read_events(text("a"), STOP, {**STOP, "usage": counted}, DONE)

    assert [chunk.finish_reason for chunk in reading.chunks] == [None, "stop", None]
    assert reading.message.usage == TokenUsage(2, 3, 5)


def test_another_finish_reason_wins(read_events):
    """The last word counts."""
    reading = read_events(text("a"), STOP, {"choices": [choice({}, "length")]})

    assert reading.message.finish_reason == "length"


@pytest.mark.parametrize("index", [1, "1", 2, -1, [0], {}, "x"])
def test_other_choices_are_not_mixed_in(index, read_events):
    """Of several choices that interleave, the first is the reply."""
    other = choice({"content": "X", "tool_calls": [{"function": {"name": "f"}}]}, "length", index)
    reading = read_events(
        {"choices": [choice({"content": "a"}), other]},
        {"choices": [other]},
        {"choices": [other, choice({"content": "b"})]},
        STOP,
        {"choices": [other]},
    )

    assert (reading.message.content, reading.message.finish_reason) == ("ab", "stop")
    assert reading.calls == []


@pytest.mark.parametrize("index", [0, None, "0", "", 0.0])
def test_first_choice_is_known_however_it_is_counted(index, read_events):
    """0, as text, empty or null."""
    assert read_events({"choices": [choice({"content": "a"}, index=index)]}).chunks != []


def test_choice_without_an_index_is_the_first(read_events):
    """Servers with one choice may not count."""
    reading = read_events({"choices": [{"delta": {"content": "a"}}]}, text("b"))

    assert reading.message.content == "ab"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"id": "i"},
        {"choices": None},
        {"choices": []},
        {"choices": {}},
        {"choices": "a"},
        {"choices": 5},
        {"choices": [None, 5, "a", []]},
        {"choices": [{}]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": "a"}]},
        {"choices": [{"delta": []}]},
        {"choices": [choice({"content": None, "role": "assistant"})]},
        {"choices": [choice({"unknown": {"content": "a"}})]},
        {"choices": [choice({}, "")]},
        {"choices": [choice({}, 5)]},
        {"choices": [choice({}, ["stop"])]},
        {"choices": [choice({"content": ""})], "error": None},
        {"choices": [], "error": ""},
        {"choices": [], "error": {}},
        {"error": False},
        {"object": "error"},
        {"prompt_filter_results": [{"index": 0}], "choices": [], "id": "", "model": ""},
        [],
        [5],
        [[], []],
        None,
        5,
        '"text"',
        b"",
        b" \r\n ",
        b"{}",
        named("ping", {"type": "ping"}),
        named("ping", b"12:00"),
        named("ping", b""),
        named(BARE_JSON, {"log": "started"}),
        named(BARE_JSON, b"{not json"),
        ServerSentEvent(b'{"id":"i"}', terminated=False),
    ],
)
def test_what_says_nothing_is_passed_over(event, read_events):
    """Fields that are absent, null, empty, unknown or odd do no harm to the reply."""
    reading = read_events(text("a"), event, text("b"), event, STOP, event, DONE)

    assert reading.error is None
    assert (reading.message.content, reading.message.finish_reason) == ("ab", "stop")


@pytest.mark.parametrize("index", [None, ""])
def test_choices_without_an_index_are_told_apart_by_position(index, read_whole):
    """Of several replies that are not counted, the first is the reply."""
    said = [{"index": index, "message": {"content": text}} for text in "ab"]

    assert read_whole({"choices": said}).message.content == "a"


def test_id_may_be_a_number(read_events):
    """Numbers in ids may be text, and the reverse."""
    assert read_events(text("a", id=17)).message.response_id == "17"


def test_first_id_and_model_that_are_not_empty_count(read_events):
    """Azure begins with empty ones."""
    reading = read_events(
        {"id": "", "model": "", "choices": []},
        text("a", id="i", model=5),
        text("b", id="j"),
        {**STOP, "id": "k", "model": "m"},
        {**STOP, "model": "n"},
    )

    assert (reading.message.response_id, reading.message.model) == ("i", "m")


def test_message_beside_a_delta_is_not_read(read_events):
    """Perplexity repeats the text so far."""
    events = [
        {"choices": [choice({"content": "a"}, message={"content": "a"})]},
        {"choices": [choice({"content": "b"}, message={"content": "ab"})]},
        {"choices": [choice({"content": ""}, "stop", message={"content": "ab"})]},
    ]

    assert read_events(*events).message.content == "ab"


def test_whole_message_in_an_event_is_a_reply(read_events):
    """A server may put an unstreamed reply into one event; it must not come out empty."""
    event = {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}

    assert read_events(event, DONE).message.content == "hi"


def test_message_after_deltas_is_not_read_again(read_events):
    """It repeats what has come."""
    last = {"choices": [{"index": 0, "message": {"content": "ab"}, "finish_reason": "stop"}]}

    assert read_events(text("a"), text("b"), last).message.content == "ab"


@pytest.mark.parametrize(
    ("events", "complete"),
    [
        ([text("a"), STOP, DONE], True),
        ([text("a"), STOP], True),
        ([STOP], True),
        ([text("a"), DONE], True),
        ([text("a")], False),
        ([DONE], False),
        ([" [DONE] "], False),
        ([text(""), DONE], False),
        ([{"choices": [], "usage": {"prompt_tokens": 5}}, DONE], False),
        ([], False),
    ],
)
def test_reply_is_whole_only_with_proof(events, complete, read_events):
    """A finish reason, or an end mark after some content; never an end mark alone."""
    assert complete == read_events(*events).decoder.complete()


def test_nothing_is_read_after_the_end_mark(read_events):
    """What follows belongs to nobody."""
    reading = read_events(text("a"), DONE, text("b"))

    assert reading.decoder.ended
    assert reading.message.content == "a"


@pytest.mark.parametrize("field", ["content", "reasoning", "reasoning_content", "refusal"])
def test_halves_of_a_character_in_two_deltas_are_joined(field, read_deltas):
    """An empty delta between them does not part them."""
    halves = ["a\ud83c", "", "\udf27b"]
    reading = read_deltas(*({field: half} for half in halves))

    name = "reasoning" if field == "reasoning_content" else field
    assert getattr(reading.message, name) == "a🌧b"


@pytest.mark.parametrize("field", ["content", "reasoning", "refusal"])
@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a\ud83c"], "a\ufffd"),
        (["\udf27b"], "\ufffdb"),
        (["\ud83c", "b"], "\ufffdb"),
        (["\ud83c\ud83c\udf27"], "\ufffd🌧"),
        (["\ud83c", "\ud83c", "\udf27"], "\ufffd🌧"),
        (["\udf27", "\ud83c"], "\ufffd\ufffd"),
    ],
)
def test_lone_halves_are_replaced(field, pieces, expected, read_deltas):
    """U+FFFD for each, nothing around them is lost."""
    reading = read_deltas(*({field: piece} for piece in pieces))

    assert expected == getattr(reading.message, field)


def test_halves_of_different_fields_are_not_joined(read_deltas):
    """Each text has its own."""
    reading = read_deltas({"content": "\ud83c"}, {"reasoning": "\udf27"}, {"content": "\udf27"})

    assert (reading.message.content, reading.message.reasoning) == ("🌧", "\ufffd")


def test_names_with_lone_halves_are_replaced(read_events):
    """Model, id and the provider's finish reason encode, too."""
    reading = read_events(
        text("a", id="\ud83c", model="\udf27"), {"choices": [choice({}, "\ud83c")]}
    )

    message = reading.message
    assert (message.response_id, message.model) == ("\ufffd", "\ufffd")
    assert (message.raw_finish_reason, message.finish_reason) == ("\ufffd", "unknown")


def test_raw_separators_in_text_are_kept(read_events):
    """U+2028 and the like are characters of a string."""
    event = '{"choices":[{"delta":{"content":"a\u2028b\u0085c\x0c"}}]}'.replace("\x0c", "\\f")

    assert read_events(event).message.content == "a\u2028b\u0085c\x0c"


def test_bytes_that_are_not_utf_8_are_replaced(read_events):
    """One U+FFFD, and the text goes on."""
    event = b'{"choices":[{"delta":{"content":"a\xffb"}}]}'

    assert read_events(event).message.content == "a\ufffdb"


def test_whole_reply_is_read_like_a_stream(read_whole):
    """The same fields in `message`."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"content": "c", "reasoning_content": "r", "refusal": None, "tool_calls": [call]}
    body = {
        "id": "i",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
    }
    reading = read_whole(body)

    assert (reading.message.content, reading.message.reasoning) == ("c", "r")
    assert reading.calls == [("a", "f", "{}")]
    assert (reading.message.model, reading.message.response_id) == ("m", "i")
    assert reading.message.usage == TokenUsage(2, 3, 5)
    assert reading.decoder.ended
    assert reading.decoder.complete()


@pytest.mark.parametrize(
    "said",
    [
        {"message": {"content": "", "refusal": None}, "finish_reason": "content_filter"},
        {"finish_reason": "content_filter"},
        {"message": None, "finish_reason": "content_filter"},
    ],
)
def test_filtered_whole_reply_may_have_no_message(said, read_whole):
    """Azure leaves it out."""
    reading = read_whole({"choices": [said]})

    assert reading.message.finish_reason == "content_filter"
    assert reading.decoder.complete()


def test_whole_reply_may_come_as_a_delta(read_whole):
    """A single chunk without event framing."""
    assert read_whole(text("a")).message.content == "a"


def test_empty_body_proves_nothing(read_whole):
    """No bytes, no reply."""
    assert not read_whole(b" \n").decoder.complete()
