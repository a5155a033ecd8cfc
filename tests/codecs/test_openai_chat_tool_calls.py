"""Tool calls of Chat Completions, in every way that servers cut, count and repeat them."""

from __future__ import annotations

import json
import time

import pytest

from cloudllm_sync.codecs.openai_chat_parts import ToolCallTracker
from cloudllm_sync.errors import StreamProtocolError


def fragment(index=None, call_id=None, name=None, arguments=None):
    """A tool-call fragment without the fields that are None."""
    function = {"name": name, "arguments": arguments}
    said = {"index": index, "id": call_id, "type": "function"}
    said = {field: value for field, value in said.items() if value is not None}
    return {**said, "function": {k: v for k, v in function.items() if v is not None}}


ONE = [("a", "f", '{"x":1}')]
TWO = [("a", "f", "{}"), ("b", "g", "[1]")]

# Each: deltas of one reply, as lists of fragments, and the calls they mean.
SHAPES = {
    "pieces by index": (
        [
            [fragment(0, "a", "f", "")],
            [fragment(0, arguments='{"x"')],
            [fragment(0, None, None, ":1}")],
        ],
        ONE,
    ),
    "whole in one fragment": ([[fragment(0, "a", "f", '{"x":1}')]], ONE),
    "several in one list": ([[fragment(0, "a", "f", "{}"), fragment(1, "b", "g", "[1]")]], TWO),
    "interleaved": (
        [
            [fragment(0, "a", "f"), fragment(1, "b", "g")],
            [fragment(1, arguments="[1"), fragment(0, arguments="{")],
            [fragment(0, arguments="}"), fragment(1, arguments="]")],
        ],
        TWO,
    ),
    "index always 0, new id and name": (
        [
            [fragment(0, "a", "f", "{}")],
            [fragment(0, "b", "g", "[")],
            [fragment(0, arguments="1]")],
        ],
        TWO,
    ),
    "no index, by id": (
        [
            [fragment(None, "a", "f", "{")],
            [fragment(None, "b", "g", "[1]")],
            [fragment(None, "a", None, "}")],
        ],
        TWO,
    ),
    "id alone, the function later": (
        [
            [{"index": 0, "id": "a", "type": "function"}],
            [{"index": 0, "id": None, "function": {"name": "f", "arguments": '{"x":1}'}}],
        ],
        ONE,
    ),
    "index as text and as a number": (
        [[fragment("0", "a", "f", "{")], [fragment(0, arguments='"x":1}')]],
        ONE,
    ),
    "placeholders beside a call": (
        [
            [{"index": 0, "id": "", "function": {"name": "", "arguments": ""}}],
            [{"index": 1, "function": {}}, fragment(2, "a", "f", '{"x":1}')],
            [{"index": 3, "id": None, "function": {"name": None, "arguments": None}}],
        ],
        ONE,
    ),
    "no index, in one list": (
        [[fragment(None, "a", "f", "{}"), fragment(None, "b", "g", "[1]")]],
        TWO,
    ),
    "no index and no id on pieces": (
        [[fragment(None, "a", "f", "")], [fragment(arguments='{"x"')], [fragment(arguments=":1}")]],
        ONE,
    ),
    "indexes from 1 with a gap": (
        [[fragment(1, "a", "f", "{}")], [fragment(3, "b", "g", "[1]")]],
        TWO,
    ),
    "index as text": ([[fragment("0", "a", "f", "{}")], [fragment("1", "b", "g", "[1]")]], TWO),
    "index empty": ([[fragment("", "a", "f", "{}")], [fragment("", "b", "g", "[1]")]], TWO),
    "index null": ([[{"index": None, **fragment(None, "a", "f", '{"x":1}')}]], ONE),
    "index a fraction": ([[fragment(0.5, "a", "f", '{"x":1}')]], ONE),
    "name repeated": (
        [[fragment(0, "a", "f", '{"x"')], [fragment(0, None, "f", ":1}")]],
        ONE,
    ),
    "id and name repeated": (
        [[fragment(0, "a", "f", '{"x"')], [fragment(0, "a", "f", ":1}")]],
        ONE,
    ),
    "id and name empty later": (
        [[fragment(0, "a", "f", '{"x"')], [fragment(0, "", "", ":1}")]],
        ONE,
    ),
    "id and name null later": (
        [
            [fragment(0, "a", "f", '{"x"')],
            [{"index": 0, "id": None, "function": {"name": None, "arguments": ":1}"}}],
        ],
        ONE,
    ),
    "id after the name": ([[fragment(0, None, "f")], [fragment(0, "a", None, '{"x":1}')]], ONE),
    "arguments an object": ([[fragment(0, "a", "f", {"x": 1})]], [("a", "f", '{"x": 1}')]),
    "arguments null": (
        [[{"index": 0, "id": "a", "function": {"name": "f", "arguments": None}}]],
        [("a", "f", "")],
    ),
    "arguments absent": ([[fragment(0, "a", "f")]], [("a", "f", "")]),
    "arguments cut by a length limit": ([[fragment(0, "a", "f", '{"x')]], [("a", "f", '{"x')]),
    "id a number": ([[fragment(0, 0, "f", "{}")]], [("0", "f", "{}")]),
    "id absent": ([[fragment(0, None, "f", "{}")]], [("call_0", "f", "{}")]),
    "two without id or index": (
        [[fragment(None, None, "f", "{}"), fragment(None, None, "g", "[1]")]],
        [("call_0", "f", "{}"), ("call_1", "g", "[1]")],
    ),
    "two without id or index in two deltas": (
        [[fragment(None, None, "f", "{}")], [fragment(None, None, "g", "[1]")]],
        [("call_0", "f", "{}"), ("call_1", "g", "[1]")],
    ),
    "arguments before the name": (
        [[fragment(arguments='{"x"')], [fragment(None, "a", "f", ":1}")]],
        [("call_0", "", '{"x"'), ("a", "f", ":1}")],
    ),
    "a list that is an object": ([fragment(0, "a", "f", '{"x":1}')], ONE),
    "junk between fragments": (
        [[None, 5, "f", {"index": 0}, {"function": None}, fragment(0, "a", "f", '{"x":1}')]],
        ONE,
    ),
    "no list at all": (["f"], []),
}


@pytest.mark.parametrize(("deltas", "expected"), SHAPES.values(), ids=SHAPES)
def test_calls_are_told_apart_and_put_together(deltas, expected, read_deltas):
    """Whatever the server counts by, each call has its own id, name and arguments."""
    reading = read_deltas(*({"tool_calls": fragments} for fragments in deltas))

    assert expected == reading.calls


@pytest.mark.parametrize(("deltas", "expected"), SHAPES.values(), ids=SHAPES)
def test_id_and_name_are_handed_on_once(deltas, expected, read_deltas):
    """A consumer of deltas may join them as they are."""
    reading = read_deltas(*({"tool_calls": fragments} for fragments in deltas))
    parts = [chunk.tool_call_delta for chunk in reading.chunks if chunk.tool_call_delta]

    for index in range(len(expected)):
        own = [part for part in parts if part.index == index]
        assert len([part.id for part in own if part.id]) <= 1
        assert len([part.name for part in own if part.name]) <= 1


@pytest.mark.parametrize(
    "fragments",
    [
        [{"index": 0, "id": "", "function": {"name": "", "arguments": ""}}],
        [{"index": 0, "type": "function", "function": None}],
        [{}],
    ],
)
def test_placeholder_is_no_call(fragments, read_events):
    """A call that nobody made would keep a session waiting for its result."""
    delta = {"content": "a", "tool_calls": fragments}
    reading = read_events({"choices": [{"delta": delta, "finish_reason": "stop"}]})

    assert reading.calls == []
    assert reading.message.finish_reason == "stop"


@pytest.mark.parametrize("numbered", [False, True], ids=["by id", "by index"])
def test_cost_of_calls_grows_with_their_number_only(numbered):
    """Eight times the calls cost about eight times the CPU, not sixty-four times."""
    small, large = (cpu_of_calls(count, numbered) for count in (2_000, 16_000))

    assert large < 24 * small


def cpu_of_calls(count, numbered):
    """CPU of telling this many calls of two fragments apart; the least of three runs."""
    spent = []
    for _ in range(3):
        tracker = ToolCallTracker()
        began = time.process_time()
        for call in range(count):
            for part in (fragment(None, f"c{call}", "f"), fragment(None, f"c{call}", None, "{}")):
                tracker.deltas([{**part, "index": call if numbered else None}], None)
        tracker.rest()
        spent.append(time.process_time() - began)
    return min(spent)


def test_calls_are_numbered_by_their_first_fragments(read_deltas):
    """Numbers begin at 0 and have no gaps, whatever the server's were."""
    reading = read_deltas(
        {"tool_calls": [fragment(7, "a", "f")]},
        {"tool_calls": [fragment(2, "b", "g")]},
        {"tool_calls": [fragment(7, arguments="{}")]},
    )

    indexes = [chunk.tool_call_delta.index for chunk in reading.chunks if chunk.tool_call_delta]
    assert indexes == [0, 1, 0]


def test_object_arguments_nested_too_deep_are_a_protocol_error():
    """json.loads can go deeper than json.dumps."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(StreamProtocolError, match="arguments of a tool call are nested too deep"):
        ToolCallTracker().deltas([fragment(0, "a", "f", deep)], None)


def test_object_arguments_keep_their_characters(read_deltas):
    """Re-serialised arguments are not escaped."""
    reading = read_deltas({"tool_calls": [fragment(0, "a", "f", {"city": "Köln 🌧"})]})

    assert reading.calls == [("a", "f", '{"city": "Köln 🌧"}')]


@pytest.mark.parametrize("raw", ["stop", "eos", "tool_calls", "function_call", None, ""])
def test_reply_with_calls_ends_with_tool_calls(raw, read_events):
    """A word of the stop class, or none at all, does not hide that calls wait for results."""
    reading = read_events(
        {"choices": [{"delta": {"tool_calls": [fragment(0, "a", "f", "{}")]}}]},
        {"choices": [{"delta": {}, "finish_reason": raw}]},
        "[DONE]",
    )

    assert reading.message.finish_reason == "tool_calls"
    assert reading.message.raw_finish_reason == (raw or None)
    assert reading.decoder.complete()


def test_calls_after_the_reason_change_it(read_events):
    """The order of a server's events does not hide that calls wait for results."""
    reading = read_events(
        {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]},
        {"choices": [{"delta": {"tool_calls": [fragment(0, "a", "f", "{}")]}}]},
        "[DONE]",
    )

    assert reading.message.finish_reason == "tool_calls"
    assert reading.message.raw_finish_reason == "stop"


def test_length_stays_length_with_calls(read_events):
    """A call that a limit has cut is not one to make."""
    reading = read_events(
        {
            "choices": [
                {"delta": {"tool_calls": [fragment(0, "a", "f", '{"x')]}, "finish_reason": "length"}
            ]
        }
    )

    assert reading.message.finish_reason == "length"


def test_old_function_call_is_a_call(read_deltas):
    """`function_call` comes in pieces, too, and without an id."""
    reading = read_deltas(
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"x"'}},
        {"function_call": {"name": "", "arguments": ":1}"}},
    )

    assert reading.calls == [("call_0", "f", '{"x":1}')]


@pytest.mark.parametrize("placeholder", [{"name": "", "arguments": ""}, {}, None, "", []])
def test_placeholder_function_call_is_no_call(placeholder, read_whole):
    """Snowflake sends an empty one beside every reply."""
    message = {"content": "hi", "function_call": placeholder}
    reading = read_whole({"choices": [{"message": message, "finish_reason": "stop"}]})

    assert reading.calls == []
    assert reading.message.finish_reason == "stop"


def test_call_halves_of_a_character_are_joined(read_deltas):
    """Arguments may be cut between two escaped halves."""
    cut = [json.dumps({"x": "🌧"})[at:end] for at, end in ((0, 12), (12, None))]
    halves = [r'{"x":"' + "\ud83c", "\udf27" + '"}']
    reading = read_deltas(
        {"tool_calls": [fragment(0, "a", "f", halves[0])]},
        {"tool_calls": [fragment(0, arguments=halves[1])]},
        {"tool_calls": [fragment(1, "b", "g", cut[0])]},
        {"tool_calls": [fragment(1, arguments=cut[1])]},
    )

    assert reading.calls[0] == ("a", "f", '{"x":"🌧"}')
    assert reading.message.tool_calls[1].parsed() == {"x": "🌧"}


def test_half_a_character_at_the_end_of_arguments_is_replaced(read_deltas):
    """Arguments that end in mid-character lose nothing that came before, and say so."""
    reading = read_deltas(
        {"tool_calls": [fragment(0, "a", "f", '{"x":"\ud83c'), fragment(1, "b", "g", "{}")]}
    )

    assert reading.calls == [("a", "f", '{"x":"\ufffd'), ("b", "g", "{}")]


def test_lone_halves_in_ids_names_and_objects_are_replaced(read_deltas):
    """Nothing of a call fails to encode."""
    reading = read_deltas({"tool_calls": [fragment(0, "\ud83c", "\udf27", {"x": "\ud83c"})]})

    assert reading.calls == [("\ufffd", "\ufffd", '{"x": "\ufffd"}')]
