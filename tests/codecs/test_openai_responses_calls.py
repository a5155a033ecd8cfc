"""Tool calls of the Responses API, and the items that go back with their results."""

from __future__ import annotations

import json

import attrs
import pytest

from cloudllm_sync.codecs import ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.openai_responses import OpenAIResponsesCodec
from cloudllm_sync.errors import (
    StreamProtocolError,
)
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


def test_parallel_calls_interleaved():
    """They are told apart by output_index and numbered from 0."""
    events = [
        added(call("a", "f"), 1),
        added(call("b", "g"), 4),
        said("function_call_arguments.delta", delta='{"x"', output_index=4),
        said("function_call_arguments.delta", delta="{", output_index=1),
        said("function_call_arguments.delta", delta=": 1}", output_index=4),
        said("function_call_arguments.delta", delta="}", output_index=1),
        END,
    ]
    reading = read(*events)

    assert reading.calls == [("a", "f", "{}"), ("b", "g", '{"x": 1}')]
    assert {chunk.tool_call_delta.index for chunk in reading.chunks[:-1]} == {0, 1}
    assert reading.message.finish_reason == "tool_calls"
    assert reading.message.raw_finish_reason == "completed"


@pytest.mark.parametrize(
    "events",
    [
        [added(call()), said("function_call_arguments.done", arguments="{}", output_index=0)],
        [added(call()), done(call(arguments="{}"))],
        [done(call(arguments="{}"))],
        [added(call(arguments="{}")), done(call(arguments="{}"))],
        [added(call()), done(call(arguments={}))],
        [
            said("function_call_arguments.delta", delta="{}", output_index=0),
            done(call(arguments="{}")),
        ],
        [
            added(call(arguments="{}")),
            said("function_call_arguments.delta", delta="{}", output_index=0),
            said("function_call_arguments.done", arguments="{}", output_index=0),
        ],
        [added({**call(), "call_id": None, "name": None}), done(call(arguments="{}"))],
    ],
)
@pytest.mark.parametrize("output", [None, [], [call(arguments="{}")]])
def test_call_is_read_once_from_wherever_it_comes_first(events, output):
    """LM Studio sends no deltas; name and id may come at either end of the item."""
    assert read(*events, end(output=output)).calls == [("call_1", "f", "{}")]


def test_call_of_the_whole_response_only():
    """As a server that does not really stream sends it."""
    calls = [call("a", arguments="{}"), message(output_text("Hm")), call("b", arguments="")]
    reading = read(end(output=calls))

    assert reading.calls == [("a", "f", "{}"), ("b", "f", "")]
    assert reading.message.content == "Hm"


def test_arguments_of_the_whole_response_fill_a_call_without_any():
    """Wherever the response lists the call, as items may be missing there."""
    events = [added(call("a"), 5), end(output=[call("a", arguments="{}"), call("z")])]

    assert read(*events).calls == [("a", "f", "{}")]


def test_new_call_at_a_known_index_is_another():
    """Some servers count every item as 0."""
    events = [
        added(call("a", "f")),
        said("function_call_arguments.delta", delta="{}", output_index=0),
        added(call("b", "g")),
        said("function_call_arguments.delta", delta="[]", output_index=0),
        END,
    ]

    assert read(*events).calls == [("a", "f", "{}"), ("b", "g", "[]")]


def test_call_without_call_id_has_the_id_of_its_item():
    """So that its result can name it."""
    assert read(added(call(None)), done(call(None, arguments="1")), END).calls == [
        ("fc_1", "f", "1")
    ]


def test_arguments_nested_too_deep():
    """They are refused in the project's own words."""
    deep = "[" * 30_000 + "]" * 30_000
    event = json.dumps(done(call(arguments="@"))).replace('"@"', deep)

    with pytest.raises(StreamProtocolError, match="nested too deep"):
        read(event)


def test_arguments_that_json_can_read_but_not_write_are_refused(monkeypatch):
    """The writer's limit of depth is lower than the reader's on some versions of Python."""

    def too_deep(value, **options):
        raise RecursionError

    event = as_event(done(call(arguments={})))
    monkeypatch.setattr(json, "dumps", too_deep)

    with pytest.raises(StreamProtocolError, match="arguments of a tool call"):
        read(event)


def custom(name="sql", **fields):
    return {"type": "custom_tool_call", "call_id": "c", "name": name, "input": "", **fields}


@pytest.mark.parametrize("tools", [None, [], [{"type": "custom", "name": "sql"}]])
def test_custom_call_that_was_offered_is_the_client_s(tools):
    """Its input is plain text."""
    events = [
        said("created", response={"tools": tools}),
        added(custom()),
        said("custom_tool_call_input.delta", delta="SELECT", output_index=0),
        said("custom_tool_call_input.done", input="SELECT", output_index=0),
        done(custom(input="SELECT")),
        END,
    ]

    assert read(*events).calls == [("c", "sql", "SELECT")]


def test_custom_call_that_was_not_offered_runs_at_the_server():
    """xAI reports its search of X that way."""
    search = custom("x_keyword_search", input="{}")
    events = [
        said("created", response={"tools": [{"type": "x_search"}]}),
        added(search),
        said("custom_tool_call_input.delta", delta="{}", output_index=0),
        done(search),
        end(tools=[], output=[search]),
    ]
    reading = read(*events)

    assert reading.calls == []
    assert reading.message.finish_reason == "stop"


@pytest.mark.parametrize(
    "item",
    [
        {"type": "web_search_call", "call_id": "w", "name": "web_search", "arguments": "{}"},
        {"type": "mcp_call", "name": "f", "arguments": "{}"},
        {"type": ["odd"]},
        {},
    ],
)
def test_what_the_server_runs_is_no_call(item):
    """Nor is an item nobody knows."""
    events = [
        added(item),
        said("mcp_call_arguments.delta", delta="{}", output_index=0),
        said("web_search_call.searching", output_index=0),
        done(item),
        end(output=[item, None, 5]),
    ]
    reading = read(*events)

    assert reading.calls == []
    assert reading.message.provider_state is None


def test_items_of_a_reply_with_calls_are_kept_in_order():
    """They go back in the next request, as they were when they were done."""
    reasoning = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "new"}
    events = [
        added({**reasoning, "encrypted_content": "old"}, 0),
        done(call(arguments="{}"), 1),
        done(reasoning, 0),
        end(output=[]),
    ]

    assert read(*events).message.provider_state == {
        "openai_output": [reasoning, call(arguments="{}")]
    }


def test_items_may_come_in_the_whole_response_only():
    """Then these are kept."""
    items = [{"type": "reasoning", "encrypted_content": "x"}, call(arguments="{}")]

    assert read(end(output=items)).message.provider_state == {"openai_output": items}


def test_reply_without_calls_keeps_no_items():
    """They are of use in tool loops only."""
    assert read(done(message(output_text("a"))), END).message.provider_state is None
