"""Events whose data is not what the provider documents: no JSON, too deep, of the wrong kinds."""

from __future__ import annotations

import gc
import json
import re

import pytest
from families import PIECES, TEXT, sse

from cloudllm_sync import StreamProtocolError
from cloudllm_sync.testing import Raw

NO_JSON = {
    "cut": b'{"choices": [{"delta": {"content": "x"',
    "quotes": b"{'single': 'quotes'}",
    "deep": b"[" * 100_000,
    "deep and closed": b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "long number": b'{"choices": [], "n": ' + b"9" * 10_000 + b"}",
    "long negative number": b'{"choices": [], "n": -' + b"9" * 10_000 + b"}",
    "words": b"not JSON at all",
    "a byte": b"x",
    "two documents": b'{"a": 1}{"b": 2}',
    "a comma too many": b'{"a": 1,}',
    "NUL in a string": b'{"a": "x\0y"}',
    "NUL before it": b"\0{}",
    "UTF-16": '{"a": 1}'.encode("utf-16-le"),
}


@pytest.fixture
def uncollected():
    """A collection amid nested lists would leave finalizers, of other tests, too, no stack."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("data", NO_JSON)
def test_event_that_is_no_json_is_a_protocol_error(fails, family, data):
    """Neither RecursionError nor ValueError gets out."""
    bad = b"data: " + NO_JSON[data] + b"\n\n"
    raw = Raw(family.begun, bad, family.second, family.rest)

    fails(raw, error=StreamProtocolError, partial=PIECES[0])


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("data", NO_JSON)
@pytest.mark.each_wire_once
def test_body_that_is_no_json_is_a_protocol_error(fails, family, data):
    """A whole body is read as an event is."""
    body = NO_JSON[data] if NO_JSON[data][:1] in b"{[" else b"{" + NO_JSON[data]
    raw = Raw(body, content_type="application/json")

    fails(raw, error=StreamProtocolError, gone=False)


VALUES = {
    "null": None,
    "a number": 7,
    "a long number": 10**30,
    "a string": "text",
    "true": True,
    "a list": [1, "text", None],
    "lists in lists": [[[]]],
    "an object": {"x": {"y": None}},
}


def fields_of(event):
    """The paths of all fields in the JSON of an event."""

    def walk(value, path):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield (*path, key)
            if isinstance(inner, (dict, list)):
                yield from walk(inner, (*path, key))

    return list(walk(json.loads(data_of(event)), ()))


def data_of(event):
    return event[event.index(b"data: ") + 6 :].strip()


def with_field(event, path, value):
    """The event with another value in that place."""
    payload = json.loads(data_of(event))
    holder = payload
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return event.replace(data_of(event), json.dumps(payload).encode())


@pytest.mark.each_wire_once
@pytest.mark.parametrize("value", VALUES)
def test_field_of_a_wrong_kind_is_an_error_of_ours_or_skipped(
    read, serve, make_client, family, value
):
    """Every field of every event in turn; what an event says may be lost, and nothing made up.

    `read` lets nothing out but a CloudLLMError.
    """
    events = [event for event in family.events if b"{" in event]
    scripts = []
    for number, event in enumerate(events):
        for path in fields_of(event):
            odd = with_field(event, path, VALUES[value])
            scripts.append(Raw(*events[:number], odd, *events[number + 1 :], family.end))
    client = make_client(serve(*scripts, "fine again"), max_retries=0)
    outcomes = [read(client) for _ in scripts]

    assert [o for o in outcomes if (o.error is None) == (o.message is None)] == []
    said = "|".join([*PIECES, "text"])
    assert {re.sub(said, "", outcome.text) for outcome in outcomes} == {""}
    assert read(client).text == "fine again"


@pytest.mark.one_lane
def test_second_choice_is_not_mixed_into_the_first(succeeds, family):
    """Its chunks come between, and it may end before."""

    def other(delta, finish_reason=None):
        choice = {"index": 1, "delta": delta, "finish_reason": finish_reason}
        return sse({"choices": [choice]})

    parts = [
        part
        for event in family.events[:-1]
        for part in (other({"content": "other"}), event, other({}, "stop"))
    ]

    succeeds(Raw(*parts, family.end), text=TEXT)


@pytest.mark.parametrize("repeated", ["opening", "finish"])
def test_event_that_comes_twice_says_no_more(succeeds, family, repeated):
    """Proxies repeat what opens and what ends a reply."""
    opening = family.opening * (2 if repeated == "opening" else 1)
    finish = family.finish * (2 if repeated == "finish" else 1)
    raw = Raw(opening, family.first, family.second, finish, family.end)

    succeeds(raw, text=TEXT)


def test_numbers_that_json_does_not_have_are_no_crash(succeeds, family):
    """Python writes NaN and Infinity; they stand in fields that nobody reads."""
    new = b'data: {"new_field":[NaN,Infinity,-Infinity,1e999],'

    succeeds(Raw(*(event.replace(b"data: {", new) for event in family.events)), text=TEXT)
