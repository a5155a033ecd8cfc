"""Text, reasoning, refusals and citations of the Responses API, event by event."""

from __future__ import annotations

import json
from itertools import chain

import attrs
import pytest

from cloudllm_sync.codecs import ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.openai_responses import OpenAIResponsesCodec
from cloudllm_sync.values import Message


@attrs.frozen
class Reading:
    """What a decoder made of its events."""

    chunks: list
    message: Message
    decoder: object

    @property
    def calls(self):
        return [(call.id, call.name, call.arguments) for call in self.message.tool_calls]


def as_event(said):
    if isinstance(said, ServerSentEvent):
        return said
    if isinstance(said, str):
        return ServerSentEvent(said.encode())
    return ServerSentEvent(json.dumps(said).encode(), said.get("type", "message"))


def read(*events):
    decoder = OpenAIResponsesCodec("Acme").decoder()
    chunks = []
    for event in events:
        chunks += decoder.feed(as_event(event))
        if decoder.ended:
            break
    chunks += decoder.finish()
    arrived = Accumulator()
    for chunk in chunks:
        arrived.add(chunk)
    return Reading(chunks, arrived.message(decoder.facts), decoder)


def said(kind, **fields):
    return {"type": f"response.{kind}", **fields}


def text(delta, item=0, part=0, **fields):
    return said("output_text.delta", delta=delta, output_index=item, content_index=part, **fields)


def added(item, index=0, **fields):
    return said("output_item.added", output_index=index, item=item, **fields)


def done(item, index=0):
    return said("output_item.done", output_index=index, item=item)


def call(call_id="call_1", name="f", arguments="", **fields):
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        **fields,
    }


def message(*parts):
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": list(parts)}


def output_text(words, *urls):
    cited = [{"type": "url_citation", "url": url} for url in urls]
    return {"type": "output_text", "text": words, "annotations": cited}


def response(status="completed", **fields):
    return {"object": "response", "id": "r", "model": "m", "status": status, **fields}


def end(status="completed", **fields):
    return said(status, response=response(status, **fields))


END = end()


def test_named_and_unnamed_events_are_read():
    """Some proxies drop the names; the type is in the data too."""
    unnamed = [json.dumps(text(delta)) for delta in "abc"]

    assert read(text("1"), text("2"), *unnamed, END).message.content == "12abc"


def test_type_may_stand_in_the_name_only():
    """As an event stream names its events anyway."""
    event = ServerSentEvent(
        b'{"delta": "a", "output_index": 0}', event="response.output_text.delta"
    )

    assert read(event, event, END).message.content == "aa"


def test_every_delta_is_one_chunk():
    """Nothing is held back or put together."""
    reading = read(text("a"), text(""), text("b"), text("c", 1), text("d", 1, 1), END)

    assert [chunk.content for chunk in reading.chunks[:-1]] == ["a", "b", "c", "d"]


def test_numbers_may_be_missing_or_text():
    """An item is then the one that the id says, or the last one."""
    events = [
        text("a", "0", "0"),
        text("b", None, None),
        said("output_text.delta", delta="c"),
        said("output_text.done", text="abc", output_index="0"),
        said("output_text.done", text="abc"),
        END,
    ]

    assert read(*events).message.content == "abc"


def test_items_without_numbers_are_told_apart_by_id():
    """They are numbered as they come."""
    events = [
        said("output_item.added", item={"type": "message", "id": "a"}),
        said("output_item.added", item={"type": "message", "id": "b"}),
        said("output_text.delta", delta="1", item_id="a"),
        said("output_text.done", text="2", item_id="b"),
        said("output_text.done", text="1", item_id="a"),
        END,
    ]

    assert read(*events).message.content == "12"


@pytest.mark.parametrize("delta", [None, 5, ["a"], {"text": "a"}])
def test_text_of_a_wrong_type_is_no_text(delta):
    """Odd types are passed over."""
    assert read(text(delta), END).message.content == ""


def test_changing_item_ids_do_not_matter():
    """Copilot gives every event an id of its own."""
    events = [
        added(call(arguments="", id="x1")),
        said("function_call_arguments.delta", delta="{", output_index=0, item_id="x2"),
        said("function_call_arguments.delta", delta="}", output_index=0, item_id="x3"),
        said("function_call_arguments.done", arguments="{}", output_index=0, item_id="x4"),
        done(call(arguments="{}", id="x5")),
        end(output=[call(arguments="{}", id="x6")]),
    ]

    assert read(*events).calls == [("call_1", "f", "{}")]


PARTS = {
    "content": ("output_text", "content_index", "text", {"type": "output_text", "text": "ab"}),
    "refusal": ("refusal", "content_index", "refusal", {"type": "refusal", "refusal": "ab"}),
}
REASONING = {
    "summary": ("reasoning_summary_text", "summary_index", {"type": "summary_text", "text": "ab"}),
    "content": ("reasoning_text", "content_index", {"type": "reasoning_text", "text": "ab"}),
}


@pytest.mark.parametrize("channel", PARTS)
@pytest.mark.parametrize("first", range(4))
def test_same_text_is_read_once_from_wherever_it_comes_first(channel, first):
    """Deltas, the end of the part, the item, the whole response: servers leave out any of them."""
    stem, part, field, whole = PARTS[channel]
    where = {"output_index": 3, part: 0}
    events = [
        [said(f"{stem}.delta", delta=half, **where) for half in "ab"],
        [said(f"{stem}.done", **where, **{field: "ab"})],
        [done(message(whole), 3)],
        [end(output=[message(whole)])],
    ]
    reading = read(*chain(*events[first:]))

    assert getattr(reading.message, channel) == "ab"
    assert reading.decoder.complete()


@pytest.mark.parametrize("field", REASONING)
@pytest.mark.parametrize("first", range(4))
def test_same_reasoning_is_read_once(field, first):
    """Summaries, and the full text that open models show."""
    stem, part, whole = REASONING[field]
    where = {"output_index": 0, part: 1}
    item = {"type": "reasoning", "id": "rs", field: [whole]}
    events = [
        [said(f"{stem}.delta", delta=half, **where) for half in "ab"],
        [said(f"{stem}.done", text="ab", **where)],
        [done(item)],
        [end(output=[item])],
    ]

    assert read(*chain(*events[first:])).message.reasoning == "ab"


def test_parts_of_a_summary_are_joined_with_nothing_between():
    """Each of them may come by deltas or at once."""
    events = [
        said("reasoning_summary_text.delta", delta="a", output_index=0, summary_index=0),
        said("reasoning_summary_text.done", text="a", output_index=0, summary_index=0),
        said("reasoning_summary_text.done", text="b", output_index=0, summary_index=1),
        said("reasoning_text.delta", delta="c", output_index=0, content_index=0),
        END,
    ]

    assert read(*events).message.reasoning == "abc"


def test_surrogate_halves_of_two_deltas_are_joined():
    """And a half that stays alone becomes U+FFFD."""
    events = [text("a"), text("\ud83d"), text("\ude00"), text("b"), text("\ud83d"), END]
    reading = read(*events)

    assert reading.message.content == "a\U0001f600b\ufffd"
    assert reading.message.content.encode()


def test_half_characters_of_calls_and_thoughts():
    """Every text has its own halves."""
    events = [
        said("reasoning_text.delta", delta="\ud83d", output_index=0),
        added(call(), 1),
        said("function_call_arguments.delta", delta='"\ud83d', output_index=1),
        END,
    ]
    reading = read(*events)

    assert reading.message.reasoning == "\ufffd"
    assert reading.calls == [("call_1", "f", '"\ufffd')]


def test_citations_are_unique_and_in_order():
    """From events, items and the response."""
    events = [
        said("output_text.annotation.added", annotation={"type": "url_citation", "url": "b"}),
        said("output_text.annotation.added", annotation={"type": "file_citation"}),
        said("output_text.annotation.added", annotation=None),
        done(message(output_text("x", "b", "a"), None, {"annotations": "odd"})),
        end(output=[message(output_text("x", "a", "c"))]),
    ]

    assert read(*events).message.citations == ("b", "a", "c")
