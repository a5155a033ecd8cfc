"""Gemini's function calls: whole, in pieces, with ids and without; and the parts sent back."""

from __future__ import annotations

import json

import attrs
import pytest

from cloudllm_sync.codecs import ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.gemini import GeminiCodec
from cloudllm_sync.errors import StreamProtocolError
from cloudllm_sync.values import ToolCallDelta


@attrs.frozen
class Reading:
    """What a decoder made of its events."""

    chunks: list
    message: object
    state: object

    @property
    def calls(self):
        return [(call.id, call.name, call.arguments) for call in self.message.tool_calls]

    @property
    def deltas(self):
        return [chunk.tool_call_delta for chunk in self.chunks if chunk.tool_call_delta]

    @property
    def parts(self):
        return self.state["gemini_parts"]


STOP = {"candidates": [{"finishReason": "STOP"}]}


def read(*events):
    """Events, or lists of parts that make up one."""
    decoder = GeminiCodec("Gemini").decoder()
    chunks = []
    for event in events:
        if isinstance(event, list):
            event = {"candidates": [{"content": {"parts": event}}], "responseId": "r"}
        data = event if isinstance(event, bytes) else json.dumps(event).encode()
        chunks += decoder.feed(ServerSentEvent(data))
    chunks += decoder.finish()
    arrived = Accumulator()
    for chunk in chunks:
        arrived.add(chunk)
    return Reading(chunks, arrived.message(decoder.facts), decoder.facts.provider_state)


def call(name=None, args=None, *, more=None, pieces=None, call_id=None, **beside):
    said = {"name": name, "args": args, "willContinue": more, "partialArgs": pieces, "id": call_id}
    return {"functionCall": {key: v for key, v in said.items() if v is not None}, **beside}


def piece(path, text=None, more=None, **values):
    said = {"jsonPath": path, "stringValue": text, "willContinue": more}
    return {**{key: value for key, value in said.items() if value is not None}, **values}


def streamed(*pieces):
    """The arguments that these pieces make."""
    reading = read([call("f", more=True)], *([call(pieces=[p], more=True)] for p in pieces), STOP)
    return json.loads(reading.message.tool_calls[0].arguments)


def test_whole_call_is_one_delta():
    """The id is made where the provider gives none, and told apart by the reply's own id."""
    reading = read([call("f", {"a": "ü"})], STOP)

    assert reading.deltas == [ToolCallDelta(0, "gemini_call_r_0", "f", '{"a":"ü"}')]
    assert reading.message.finish_reason == "tool_calls"


def test_parallel_calls_are_numbered():
    """Within one event, over several, and after the reason."""
    reading = read([call("f"), call("f")], STOP, [call("g", call_id="x9")])

    assert reading.calls == [
        ("gemini_call_r_0", "f", "{}"),
        ("gemini_call_r_1", "f", "{}"),
        ("x9", "g", "{}"),
    ]
    assert len(reading.parts) == 3


@pytest.mark.parametrize("end", [STOP, b"[DONE]"], ids=str)
def test_call_after_the_reason_changes_it(end):
    """STOP came first; that it was for calls shows later."""
    reasons = [chunk.finish_reason for chunk in read(STOP, [call("f")], end).chunks]

    assert reasons == ["stop", None, "tool_calls"]


def test_call_after_the_reason_has_none_of_its_own():
    """Others may have been to come: the reply is not whole."""
    reasons = [chunk.finish_reason for chunk in read(STOP, [call("f")]).chunks]

    assert reasons == ["stop", None]


def test_reply_without_an_id_gives_ids_still():
    """Numbered within the reply."""
    event = {"candidates": [{"content": {"parts": [call("f")]}, "finishReason": "STOP"}]}

    assert read(event).calls == [("gemini_call_0", "f", "{}")]


@pytest.mark.parametrize(
    ("args", "text"),
    [(None, "{}"), ({}, "{}"), ("", "{}"), ('{"a": 1}', '{"a": 1}'), ([1], "[1]"), (0, "0")],
)
def test_arguments_of_any_kind_are_text(args, text):
    """Absent means none; text and all else stay as they are."""
    assert read([call("f", args)], STOP).calls[0][2] == text


def test_call_without_a_name_is_passed_over():
    """Nobody could answer it."""
    assert read([call(), call(args={"a": 1})], STOP).calls == []


def test_id_that_comes_twice_is_given_to_the_first():
    """The other has one of ours, which is not sent back: Gemini matches it by its name."""
    calls = read([call("f", call_id="a"), call("g", call_id="a")], STOP).calls

    assert [("a", "f", "{}"), ("gemini_call_r_1", "g", "{}")] == calls


def test_numeric_id_is_text():
    """Ids may be numbers; a name that is no text is none."""
    assert read([call("f", call_id=7), call(True)], STOP).calls == [("7", "f", "{}")]


def test_arguments_in_pieces_make_a_tree():
    """As Vertex sends them: strings in parts, numbers whole, lists by index."""
    reading = read(
        [call("f", more=True, thoughtSignature="sig")],
        [call(pieces=[piece("$.a.b[0].c", "Pa", True)], more=True)],
        [call(pieces=[piece("$.a.b[0].c", "ris", True)], more=True)],
        [call(pieces=[piece("$.a.b[0].c", "")], more=True)],
        [call(pieces=[piece("$.a.b[1].c", numberValue=2)], more=True)],
        [call(pieces=[piece("$.t", boolValue=True), piece("$.n", nullValue="NULL_VALUE")],
              more=True)],
        [call()],
        STOP,
    )  # fmt: skip
    args = {"a": {"b": [{"c": "Paris"}, {"c": 2}]}, "t": True, "n": None}

    assert json.loads(reading.calls[0][2]) == args
    assert reading.deltas[0] == ToolCallDelta(0, "gemini_call_r_0", "f", "")
    assert [delta.arguments for delta in reading.deltas[:-1]] == [""] * 6
    assert reading.parts == [
        {"functionCall": {"name": "f", "args": args}, "thoughtSignature": "sig"}
    ]


@pytest.mark.parametrize("end", [[], [[call()]], [[call(), call()]]])
def test_call_may_lack_its_closing_part(end):
    """The reason ends it as well; another closing part is no call."""
    pieces = [piece("$.a", "x", True)]
    reading = read([call("f", more=True)], [call(pieces=pieces, more=True)], *end, STOP)

    assert reading.calls == [("gemini_call_r_0", "f", '{"a":"x"}')]
    assert reading.message.finish_reason == "tool_calls"


def test_next_name_ends_a_call():
    """Two calls without closing parts."""
    reading = read(
        [call("f", more=True)],
        [call(pieces=[piece("$.a", "x", True)], more=True)],
        [call("g", more=True)],
        [call(pieces=[piece("$.b", "y")])],
        STOP,
    )

    assert [said[1:] for said in reading.calls] == [("f", '{"a":"x"}'), ("g", '{"b":"y"}')]


def test_name_repeated_with_its_id_goes_on():
    """A server that repeats id and name on each piece means one call."""
    reading = read(
        [call("f", call_id="x", more=True)],
        [call("f", call_id="x", pieces=[piece("$.a", "x")], more=True, thoughtSignature="s")],
        [call("f", call_id="x")],
        STOP,
    )

    assert reading.calls == [("x", "f", '{"a":"x"}')]
    assert reading.parts[0]["thoughtSignature"] == "s"


def test_cut_call_is_ended_by_the_end():
    """Its arguments are what had come."""
    reading = read([call("f", {"z": 1}, more=True)], [call(pieces=[piece("$.a", "x", True)])])

    assert reading.calls == [("gemini_call_r_0", "f", '{"z":1,"a":"x"}')]
    assert reading.message.finish_reason is None


def test_odd_names_and_ids_are_none():
    """An object is neither."""
    assert read([call({}), call("f", call_id=[])], STOP).calls == [("gemini_call_r_0", "f", "{}")]


def test_call_left_open_is_ended_by_the_end():
    """No closing part, no reason."""
    assert read([call("f", more=True)]).calls == [("gemini_call_r_0", "f", "{}")]


@pytest.mark.parametrize(
    ("path", "args"),
    [
        ("$.a", {"a": 1}),
        ("a.b", {"a": {"b": 1}}),
        (".a", {"a": 1}),
        ("$['a b'].c", {"a b": {"c": 1}}),
        ('$["x.y"][1]', {"x.y": [None, 1]}),
        (r"$['it\'s']", {"it's": 1}),
        ("$['']", {"": 1}),
        ("$.a-b[0][1]", {"a-b": [[None, 1]]}),
    ],
)
def test_paths_of_every_notation(path, args):
    """Dots, brackets, quotes, escapes."""
    assert streamed(piece(path, numberValue=1)) == args


@pytest.mark.parametrize("path", [None, "", "$", "$[0]", "$.a[", "$.a[-1]", "$..a", "$.a[9999]", 5])
def test_path_that_cannot_be_followed_is_refused(path):
    """Arguments with a hole would be worse than an error."""
    with pytest.raises(StreamProtocolError):
        streamed({"jsonPath": path, "numberValue": 1})


def test_later_values_replace_earlier_ones():
    """A string that is over, one that is not, a value in the way of an object."""
    assert streamed(piece("$.a", "x"), piece("$.a", "y")) == {"a": "y"}
    assert streamed(piece("$.a", "x", True), piece("$.a", boolValue=False)) == {"a": False}
    assert streamed(piece("$.a", numberValue=1), piece("$.a.b", numberValue=2)) == {"a": {"b": 2}}


def test_pieces_that_say_nothing_are_passed_over():
    """No value, no object, no list."""
    reading = read([call("f", pieces=[None, piece("$.a")])], [call("g", pieces="x")], STOP)

    assert [said[1:] for said in reading.calls] == [("f", "{}"), ("g", "{}")]


def test_halves_of_a_character_are_joined():
    """Strings are put together before they are made text."""
    assert streamed(piece("$.a", "\ud83d", True), piece("$.a", "\ude00")) == {"a": "\U0001f600"}


def test_arguments_nested_too_deep_are_refused():
    """No interpreter could say them in JSON."""
    with pytest.raises(StreamProtocolError):
        streamed(piece("$" + ".a" * 50_000, numberValue=1))


def test_parts_are_kept_for_the_tool_loop():
    """Text is joined, what carries a signature is not; the order stays."""
    reading = read(
        [{"text": "h", "thought": True}],
        [{"text": "m", "thought": True}],
        [{"text": "A"}],
        [{"text": "B"}, {"text": ""}],
        [{"text": "C", "thoughtSignature": "s1"}],
        [{"toolCall": {"toolType": "GOOGLE_SEARCH_WEB"}, "thoughtSignature": "s2"}],
        [{"text": "D"}],
        [call("f", {"a": 1}, thoughtSignature="s3"), call("g", call_id="x")],
        [{"text": "", "thoughtSignature": "s4"}],
        STOP,
    )

    assert reading.parts == [
        {"text": "hm", "thought": True},
        {"text": "AB"},
        {"text": "C", "thoughtSignature": "s1"},
        {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB"}, "thoughtSignature": "s2"},
        {"text": "D"},
        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s3"},
        {"functionCall": {"name": "g", "id": "x"}},
        {"text": "", "thoughtSignature": "s4"},
    ]
    assert reading.message.content == "ABCD"
