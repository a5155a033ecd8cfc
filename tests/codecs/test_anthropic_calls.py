"""Calls in replies of the Messages API: their numbers, their arguments."""

from __future__ import annotations

import pytest
from anthropic_reading import (
    CALL,
    STOP,
    Reading,
    arguments,
    begin,
    closed,
    opened,
    reason,
    text,
)

from cloudllm_sync.codecs import WHOLE_BODY, ServerSentEvent
from cloudllm_sync.errors import StreamProtocolError


def test_client_calls_are_numbered_from_0_whatever_their_blocks():
    """Text and server tools have block indexes, too, but are no calls."""
    server = {"id": "srv", "name": "web_search", "input": {}}
    reading = Reading(
        begin(), opened(0), text(0, "a"), opened(1, "server_tool_use", **server),
        arguments(1, ""), arguments(1, '{"query":"x"}'), closed(1),
        opened(2, "web_search_tool_result", tool_use_id="srv", content=[]), closed(2),
        opened(3, **CALL), arguments(3, ""), arguments(3, '{"a":'), arguments(3, "2}"), closed(3),
        opened(4, **{**CALL, "id": "toolu_2"}), arguments(4, "{}"), closed(4),
        reason("tool_use"), STOP,
    )  # fmt: skip
    deltas = [chunk.tool_call_delta for chunk in reading.chunks if chunk.tool_call_delta]

    assert [delta.index for delta in deltas] == [0, 0, 0, 1, 1]
    assert reading.calls == [("toolu_1", "f", '{"a":2}'), ("toolu_2", "f", "{}")]
    assert reading.blocks[1]["input"] == {"query": "x"}
    assert reading.blocks[2] == {
        "type": "web_search_tool_result",
        "tool_use_id": "srv",
        "content": [],
    }


@pytest.mark.parametrize(
    ("given", "deltas", "expected"),
    [
        ({}, [], "{}"),
        (None, [], "{}"),
        ({}, [""], "{}"),
        ({"city": "Köln"}, [], '{"city": "Köln"}'),
        ('{"a":1}', [], '{"a":1}'),
        ({"a": 0}, ['{"a":', "1}"], '{"a":1}'),
        ({}, [None, {"a": 1}], "{}"),
    ],
)
@pytest.mark.parametrize("stops", [True, False])
def test_arguments_come_from_deltas_or_else_from_input(given, deltas, expected, stops):
    """A call without arguments may have no deltas; some servers send `input` whole."""
    reading = Reading(
        begin(),
        opened(0, **{**CALL, "input": given}),
        *(arguments(0, piece) for piece in deltas),
        *([closed(0)] if stops else []),
        reason("tool_use"),
        STOP,
    )

    assert reading.calls == [("toolu_1", "f", expected)]
    assert reading.message.finish_reason == "tool_calls"
    assert reading.blocks is None


def test_arguments_cut_by_the_limit_are_handed_on_as_they_are():
    """The caller sees what the model wrote; the block has no input that could be sent back."""
    reading = Reading(
        begin(), opened(0, "thinking", thinking=""), opened(1, **CALL), arguments(1, '{"a":"b'),
        closed(1), reason("max_tokens"),
    )  # fmt: skip

    assert reading.calls == [("toolu_1", "f", '{"a":"b')]
    assert reading.message.finish_reason == "length"
    assert reading.blocks[1]["input"] == {}


def test_end_turn_with_client_calls_is_tool_calls():
    """Some servers in Anthropic's skin say so."""
    reading = Reading(begin(), opened(0, **CALL), closed(0), reason("end_turn"))

    assert reading.message.finish_reason == "tool_calls"


def test_input_of_any_depth_is_arguments_or_a_protocol_error():
    """Reading and writing JSON give up at depths that are not quite the same."""
    for depth in [*range(500, 1000), 100_000]:
        data = b'{"type":"message","content":[{"type":"tool_use","name":"f","input":%s%s}]}'
        event = ServerSentEvent(data % (b"[" * depth, b"]" * depth), WHOLE_BODY)
        try:
            arguments = Reading(event).calls[0][2]
        except StreamProtocolError:
            continue

        assert arguments in ("[" * depth + "]" * depth, "{}")
