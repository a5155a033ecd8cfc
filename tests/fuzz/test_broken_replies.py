"""Broken replies of every wire give chunks or an error of ours, and `check()` holds of all."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from fuzz.breaking import HOSTILE, break_bytes, break_events, broken_everywhere, split
from fuzz.checks import CODECS, check, read
from fuzz.samples import BODIES, EVENTS, recordings
from fuzz.targets import TARGETS

WIRES = list(CODECS)
same_every_time = settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck)
)


def shape_of(event):
    """What tells kinds of events apart: the names of their fields, without their values."""

    def names(value):
        if isinstance(value, dict):
            return {name: names(item) for name, item in value.items()}
        return [names(item) for item in value[:1]] if isinstance(value, list) else 0

    start = event.find(b"{")
    return json.dumps(names(json.loads(event[start:]))) if start >= 0 else event


def each_kind_once(wire):
    """A reply that is short, but has every kind of event."""
    events = [event for name in ("everything", "refusal") for event in EVENTS[wire][name]]
    return list({shape_of(event): event for event in reversed(events)}.values())[::-1]


@pytest.mark.parametrize("wire", WIRES)
def test_every_value_of_a_stream_may_be_any_other(wire):
    """A fifth of the hostile values at each place, every one of them at many."""
    events = each_kind_once(wire)
    for at, event in enumerate(events):
        for broken in itertools.islice(broken_everywhere(event), at % 5, None, 5):
            check(read(wire, *events[:at], broken, *events[at + 1 :]))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", ["everything", "refusal", "error"])
def test_every_value_of_a_body_may_be_any_other(wire, name):
    """Whole replies, and errors with status 200."""
    for broken in broken_everywhere(BODIES[wire][name]):
        check(read(wire, broken))


def deepest():
    """How deep a list Python's JSON reader takes, from here."""
    low, high = 10, 200_000
    while low < high - 1:
        middle = (low + high) // 2
        try:
            json.loads("[" * middle + "]" * middle)
            low = middle
        except RecursionError:
            high = middle
    return low


PLACES = {
    "openai": [
        '{"error": %s}',
        '{"error": {"detail": [{"loc": %s}]}}',
        '{"choices": [{"delta": {"tool_calls": [{"id": %s, "function": {"arguments": %s}}]}}]}',
        '{"choices": [{"delta": {"reasoning_details": %s, "content": %s}}], "usage": %s}',
    ],
    "responses": [
        '{"type": "response.failed", "response": {"error": {"a": %s}}}',
        '{"type": "response.output_item.done", "item": {"type": "function_call", "arguments": %s}}',
        '{"type": "response.output_item.added", "item": {"id": %s, "type": %s}}',
        '{"type": "response.output_text.delta", "item_id": %s, "delta": "a"}',
    ],
    "anthropic": [
        '{"type": "error", "error": %s}',
        '{"type": "content_block_start", "content_block": {"type": "tool_use", "input": %s}}',
        '{"type": "content_block_start", "content_block": {"type": "thinking", "citations": [%s]}}',
        '{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"a": %s}}',
    ],
    "gemini": [
        '{"error": {"details": %s, "a": %s}}',
        '{"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": %s}}]}}]}',
        '{"candidates": [{"content": {"parts": [{"a": %s}]}, "finishReason": "STOP"}]}',
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["[]", "{}"])
@pytest.mark.parametrize("wire", WIRES)
def test_what_is_nested_as_deep_as_can_be_read_ends_well(wire, kind):
    """Where it can be read only just, it cannot be written: there are other callers in between."""
    begin, end = ("[", "]") if kind == "[]" else ('{"a":', "}")
    limit = deepest()
    for place, depth in itertools.product(PLACES[wire], range(limit - 25, limit + 2)):
        event = place.replace("%s", begin * depth + "1" + end * depth)
        check(read(wire, f"data: {event}\n\n".encode(), *EVENTS[wire]["text"][-2:]))


def test_hostile_values_are_json_or_python_takes_them_for_it():
    """Or they would all end at the same line; two are over Python's limits, and one is no value."""
    refused = []
    for token in filter(None, HOSTILE):
        try:
            json.loads(token)
        except (ValueError, RecursionError):
            refused.append(token[:1])

    assert set(refused) <= {"9", "{", "["}
    assert len(refused) <= 3


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_of_a_fuzzer_find_nothing(name):
    """The targets that fuzz/run.py guides by coverage, with bytes that nobody guides."""

    @same_every_time
    @given(st.binary(max_size=60))
    def target(data):
        TARGETS[name](data)

    target()


def mixed(wire, seed):
    """A body that is made of a good reply by a few dice."""
    dice = random.Random(seed)
    events = EVENTS[wire][dice.choice(list(EVENTS[wire]))]
    strangers = [event for other in WIRES for event in EVENTS[other]["everything"]]
    body = b"".join(break_events(events, strangers, dice.randrange, dice.randrange(1, 6)))
    body = break_bytes(body, dice.randrange, dice.choice([0, 0, 1, 3]))
    return split(body, dice.randrange, dice.randrange(4))


@pytest.mark.parametrize("wire", WIRES)
def test_broken_streams_give_chunks_or_an_error(wire):
    """Events and bytes dropped, repeated, moved, cut and changed, in any pieces."""
    for seed in range(300):
        check(read(wire, *mixed(wire, seed)))


@pytest.mark.parametrize("wire", WIRES)
def test_broken_recordings_give_chunks_or_an_error(wire):
    """What real servers sent, broken in the same ways."""
    bodies = recordings(wire)
    if not bodies:
        pytest.skip("no corpus: set CLOUDLLM_CORPUS")
    for number, body in enumerate(bodies):
        dice = random.Random(number)
        events = [event + b"\n\n" for event in body.replace(b"\r", b"").split(b"\n\n")]
        for _ in range(3):
            broken = break_events(events, events, dice.randrange, dice.randrange(1, 6))
            check(read(wire, *broken))
            check(read(wire, break_bytes(body, dice.randrange, 3)))
