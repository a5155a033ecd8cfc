"""Text and thinking of the Messages API in every shape that no recording covers."""

from __future__ import annotations

import pytest
from anthropic_reading import (
    CALL,
    STOP,
    Reading,
    arguments,
    begin,
    closed,
    delta,
    named,
    opened,
    reason,
    text,
)

from cloudllm_sync.codecs import ServerSentEvent
from cloudllm_sync.values import MessageChunk


def test_text_comes_delta_by_delta():
    """One chunk for each piece of text; pings, starts and stops are none."""
    reading = Reading(
        begin(), named("ping"), opened(0, text=""), text(0, "Hel"), text(0, "lo"), text(0, ""),
        closed(0), reason(), STOP,
    )  # fmt: skip

    assert reading.chunks == [
        MessageChunk("Hel"),
        MessageChunk("lo"),
        MessageChunk(finish_reason="stop", raw_finish_reason="end_turn"),
    ]
    assert reading.decoder.ended
    assert reading.decoder.complete()
    assert reading.message.response_id == "msg_1"
    assert reading.message.model == "claude-x"


@pytest.mark.parametrize("name", ["message", "content_block_stop", "ping", "odd"])
def test_type_in_the_data_is_trusted_and_the_name_is_not(name):
    """Proxies lose or swap event names."""
    events = [begin(), opened(0), text(0, "a"), text(0, "b"), reason(), STOP]
    reading = Reading(*(ServerSentEvent(event.data, name) for event in events))

    assert reading.message.content == "ab"
    assert reading.message.finish_reason == "stop"


def test_name_stands_in_for_a_missing_type():
    """The name equals the type where both are sent."""
    data = b'{"index":0,"delta":{"type":"text_delta","text":"a"}}'
    reading = Reading(begin(), ServerSentEvent(data, "content_block_delta"), reason())

    assert reading.message.content == "a"


def test_text_in_content_block_start_is_text():
    """The start of a block may hold its text already."""
    reading = Reading(
        begin(), opened(0, text="a"), text(0, "b"), opened(1, "thinking", thinking="c"), reason()
    )

    assert reading.message.content == "ab"
    assert reading.message.reasoning == "c"


def test_blocks_may_interleave():
    """Deltas belong to the block of their index, not to the last one opened."""
    reading = Reading(
        begin(), opened(0, "thinking", thinking="", signature=""), opened(1), opened(2, **CALL),
        text(1, "a"), delta(0, "thinking_delta", thinking="x"), arguments(2, '{"k":'),
        text(1, "b"), delta(0, "thinking_delta", thinking="y"), arguments(2, "1}"),
        delta(0, "thinking_delta", thinking="z"), delta(0, "signature_delta", signature="s"),
        reason("tool_use"),
    )  # fmt: skip

    assert reading.message.content == "ab"
    assert reading.message.reasoning == "xyz"
    assert reading.calls == [("toolu_1", "f", '{"k":1}')]
    assert reading.blocks == [
        {"type": "thinking", "thinking": "xyz", "signature": "s"},
        {"type": "text", "text": "ab"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"k": 1}},
    ]


def test_deltas_without_a_start_are_read():
    """Half a protocol is no reason to lose text; arguments of no call are."""
    reading = Reading(
        text(0, "a"), delta(1, "thinking_delta", thinking="b"), arguments(2, "{}"), closed(3),
        delta(0, "thinking_delta", thinking="c"), text(0, "d"), reason(),
    )  # fmt: skip

    assert reading.message.content == "ad"
    assert reading.message.reasoning == "bc"
    assert reading.calls == []


@pytest.mark.parametrize("index", [None, "", "x", [], {}])
def test_missing_index_is_that_of_the_block_before(index):
    """Any field may be absent or odd."""
    reading = Reading(begin(), opened(3, **CALL), arguments(index, "{}"), reason())

    assert reading.calls == [("toolu_1", "f", "{}")]


def test_index_as_text_is_a_number():
    """Numbers may be strings and the reverse."""
    reading = Reading(begin(), opened(0, **CALL), opened("1"), text("1", "a"), reason())

    assert reading.message.content == "a"


def test_one_index_used_twice_is_two_blocks():
    """As after a restart that nobody announced."""
    reading = Reading(begin(), opened(0), text(0, "a"), opened(0), text(0, "b"), reason())

    assert reading.message.content == "ab"


def test_long_event_is_read_like_a_short_one():
    """Long ones take the careful way."""
    reading = Reading(begin(), opened(0), text(0, "a"), text(0, "b" * 9000), text(0, "c"), reason())

    assert reading.message.content == "a" + "b" * 9000 + "c"


def test_padding_inside_the_json_is_whitespace():
    """Anthropic pads its data lines with spaces."""
    data = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"b"}   }  '
    padded = ServerSentEvent(data, "content_block_delta")
    reading = Reading(begin(), opened(0), text(0, "a"), padded, reason())

    assert reading.message.content == "ab"


def test_halves_of_a_character_in_two_deltas_are_joined():
    """Each channel has its own; other blocks may come between."""
    reading = Reading(
        begin(), opened(0), opened(1, "thinking", thinking=""), opened(2, **CALL),
        text(0, "x"), text(0, "a\ud83c"), delta(1, "thinking_delta", thinking="b\ud83c"),
        arguments(2, '"\ud83c'), text(0, "\udf27c"), delta(1, "thinking_delta", thinking="\udf27"),
        arguments(2, '\udf27"'), reason("tool_use"),
    )  # fmt: skip

    assert reading.message.content == "xa\U0001f327c"
    assert reading.message.reasoning == "b\U0001f327"
    assert reading.calls == [("toolu_1", "f", '"\U0001f327"')]
    assert reading.blocks[0]["text"] == "xa\U0001f327c"


@pytest.mark.parametrize("end", [[closed(0), reason()], [reason()], [STOP]])
def test_half_a_character_at_the_end_is_replaced(end):
    """Text always encodes to UTF-8."""
    reading = Reading(begin(), opened(0), text(0, "a"), text(0, "b\ud83c"), *end)

    assert reading.message.content == "ab\ufffd"
