"""Replies of the Messages API in every shape that no recording covers."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.anthropic_messages import AnthropicMessagesCodec
from cloudllm_sync.errors import RateLimitError, ServerError, StreamProtocolError
from cloudllm_sync.values import MessageChunk, TokenUsage


def named(kind, **fields):
    """An event whose name is its type, as Anthropic sends it."""
    return ServerSentEvent(json.dumps({"type": kind, **fields}).encode(), kind)


def begin(name="msg_1", **usage):
    message = {"id": name, "model": "claude-x", "content": [], "usage": usage or None}
    return named("message_start", message=message)


def opened(index, kind="text", **fields):
    return named("content_block_start", index=index, content_block={"type": kind, **fields})


def delta(index, kind, **fields):
    return named("content_block_delta", index=index, delta={"type": kind, **fields})


def text(index, said):
    return delta(index, "text_delta", text=said)


def arguments(index, piece):
    return delta(index, "input_json_delta", partial_json=piece)


def closed(index):
    return named("content_block_stop", index=index)


def reason(stop_reason="end_turn", **usage):
    return named("message_delta", delta={"stop_reason": stop_reason}, usage=usage)


STOP = named("message_stop")
CALL = {"kind": "tool_use", "id": "toolu_1", "name": "f", "input": {}}


class Reading:
    """What a decoder made of its events."""

    def __init__(self, *events):
        self.decoder = AnthropicMessagesCodec("Acme").decoder()
        self.chunks = []
        for event in events:
            self.chunks += self.decoder.feed(event)
            if self.decoder.ended:
                break
        self.chunks += self.decoder.finish()
        arrived = Accumulator()
        for chunk in self.chunks:
            arrived.add(chunk)
        self.message = arrived.message(self.decoder.facts)

    @property
    def calls(self):
        return [(call.id, call.name, call.arguments) for call in self.message.tool_calls]

    @property
    def blocks(self):
        state = self.message.provider_state
        return None if state is None else state["anthropic_blocks"]

    @property
    def usages(self):
        return [chunk.usage for chunk in self.chunks if chunk.usage is not None]


def whole(body):
    return Reading(ServerSentEvent(json.dumps(body).encode(), WHOLE_BODY))


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


@pytest.mark.parametrize("kind", ["mcp_tool_use", "container_upload", "invented_block", None])
def test_blocks_that_are_not_for_readers_are_kept_and_not_shown(kind):
    """Unknown blocks pass through, whatever deltas they have."""
    reading = Reading(
        begin(), opened(0, kind, name="n", input={}), text(0, "no"),
        delta(0, "thinking_delta", thinking="no"), delta(0, "invented_delta", x=1), closed(0),
        opened(1), text(1, "yes"), delta(1, "invented_delta", x=1), arguments(1, "{}"), reason(),
    )  # fmt: skip

    assert reading.message.content == "yes"
    assert reading.message.reasoning == ""
    assert reading.calls == []
    assert reading.blocks == [
        {"type": kind, "name": "n", "input": {}},
        {"type": "text", "text": "yes"},
    ]


def test_redacted_thinking_and_omitted_thinking_are_kept():
    """Both have no text, and have to be sent back all the same."""
    reading = Reading(
        begin(), opened(0, "redacted_thinking", data="xx"), closed(0),
        opened(1, "thinking", thinking="", signature=""),
        delta(1, "signature_delta", signature="sig"), closed(1), opened(2, **CALL), closed(2),
        reason("tool_use"),
    )  # fmt: skip

    assert reading.message.reasoning == ""
    assert reading.blocks[:2] == [
        {"type": "redacted_thinking", "data": "xx"},
        {"type": "thinking", "thinking": "", "signature": "sig"},
    ]


def test_blank_text_is_no_block_to_send_back():
    """The API refuses it in a request."""
    reading = Reading(
        begin(), opened(0, "thinking", thinking="t"), opened(1), text(1, "\n"), reason("pause_turn")
    )

    assert reading.message.content == "\n"
    assert reading.message.finish_reason == "pause"
    assert [block["type"] for block in reading.blocks] == ["thinking"]


def test_compaction_is_kept_whole():
    """Its text comes in a delta of its own."""
    reading = Reading(
        begin(), opened(0, "compaction", content=None),
        delta(0, "compaction_delta", content="so far"), closed(0), reason("compaction"),
    )  # fmt: skip

    assert reading.blocks == [{"type": "compaction", "content": "so far"}]
    assert reading.message.finish_reason == "pause"


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


@pytest.mark.parametrize(
    ("citation", "expected"),
    [
        ({"type": "web_search_result_location", "url": "u", "title": "t"}, "u"),
        ({"type": "char_location", "document_title": "d", "document_index": 0}, "d"),
        ({"type": "page_location", "url": "", "document_title": "d"}, "d"),
        ({"type": "search_result_location", "title": "t", "source": "s"}, "t"),
        ({"type": "search_result_location", "title": None, "source": "s"}, "s"),
        ({"type": "char_location", "document_title": None}, None),
        ("odd", None),
        (None, None),
    ],
)
def test_citation_is_an_address_or_a_title(citation, expected):
    """In deltas and in whole blocks alike."""
    streamed = Reading(
        begin(), opened(0), delta(0, "citations_delta", citation=citation), text(0, "a"), reason()
    )
    at_once = Reading(begin(), opened(0, text="a", citations=[citation]), reason())

    assert streamed.message.citations == ((expected,) if expected else ())
    assert at_once.message.citations == streamed.message.citations


def test_citations_are_unique_in_order_and_kept_in_their_block():
    """Several blocks may cite one page."""
    cited = [{"url": "b"}, {"url": "a"}, {"url": "b"}]
    reading = Reading(
        begin(), opened(0, "thinking", thinking="t"), opened(1, text="", citations=[cited[0]]),
        delta(1, "citations_delta", citation=cited[1]),
        delta(1, "citations_delta", citation=cited[2]), text(1, "x"), reason(),
    )  # fmt: skip

    assert reading.message.citations == ("b", "a")
    assert reading.blocks[1] == {"type": "text", "text": "x", "citations": cited}


def test_usage_of_message_delta_wins_field_by_field():
    """Sums run; what is not repeated stays, and null says nothing."""
    reading = Reading(
        begin(input_tokens=3, cache_creation_input_tokens=5, cache_read_input_tokens=7,
              output_tokens=1),
        opened(0), text(0, "a"),
        reason(input_tokens=4, output_tokens=20, cache_read_input_tokens=None,
               output_tokens_details={"thinking_tokens": 12}),
        STOP,
    )  # fmt: skip

    assert reading.usages == [TokenUsage(16, 20, 36, 7, 5, 12)]
    assert reading.message.usage == reading.usages[0]


def test_usage_is_handed_on_once_the_reason_is_known_and_when_it_changes():
    """A running sum before is not the usage of the reply."""
    reading = Reading(
        begin(input_tokens=1, output_tokens=1), opened(0), text(0, "a"),
        reason(None, output_tokens=2), reason(output_tokens=3), reason(output_tokens=3),
        reason(output_tokens=4), STOP,
    )  # fmt: skip

    assert [usage.output_tokens for usage in reading.usages] == [3, 4]
    assert sum(chunk.finish_reason is not None for chunk in reading.chunks) == 1


@pytest.mark.parametrize("usage", [None, [], "x", {}, {"service_tier": "standard"}])
def test_usage_that_counts_nothing_is_none(usage):
    """Not a usage of zero tokens."""
    message = {"id": "m", "usage": usage}
    reading = Reading(named("message_start", message=message), opened(0), text(0, "a"), reason())

    assert reading.message.usage is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "pause"),
        ("refusal", "content_filter"),
        ("invented", "unknown"),
    ],
)
def test_stop_reason_is_normalised(raw, expected):
    """The provider's own word stays beside it."""
    reading = Reading(begin(), opened(0), text(0, "a"), reason(raw), STOP)

    assert reading.message.finish_reason == expected
    assert reading.message.raw_finish_reason == raw


def test_end_turn_with_client_calls_is_tool_calls():
    """Some servers in Anthropic's skin say so."""
    reading = Reading(begin(), opened(0, **CALL), closed(0), reason("end_turn"))

    assert reading.message.finish_reason == "tool_calls"


def test_message_stop_after_content_is_proof_enough():
    """Calls then imply their reason, and usage is handed on at the end."""
    events = [begin(input_tokens=2, output_tokens=1), opened(0), text(0, "a")]
    reading = Reading(*events, STOP)
    calling = Reading(*events, opened(1, **CALL), STOP)

    assert reading.decoder.complete()
    assert reading.message.finish_reason is None
    assert reading.usages == [TokenUsage(2, 1, 3)]
    assert calling.message.finish_reason == "tool_calls"
    assert calling.calls == [("toolu_1", "f", "{}")]


@pytest.mark.parametrize(
    "events",
    [
        [],
        [begin()],
        [begin(), STOP],
        [begin(), opened(0), text(0, "a"), closed(0)],
        [begin(), opened(0), text(0, "a"), reason(None)],
        [begin(), opened(0), text(0, "a"), reason("")],
    ],
)
def test_end_without_proof_is_not_complete(events):
    """Truncated, however good the text looks; nothing is made up for it."""
    reading = Reading(*events)

    assert not reading.decoder.complete()
    assert reading.message.finish_reason is None
    assert reading.usages == []


def test_done_of_a_proxy_is_an_end_mark():
    """Gateways add OpenAI's mark to everything."""
    reading = Reading(begin(), opened(0), text(0, "a"), ServerSentEvent(b"[DONE]"))

    assert reading.decoder.ended
    assert reading.decoder.complete()


def test_repeated_message_start_of_one_id_is_ignored():
    """Seen from proxies; nothing begins again."""
    reading = Reading(
        begin(input_tokens=5, output_tokens=1), opened(0), text(0, "a"),
        begin(input_tokens=9, output_tokens=9), begin(None, input_tokens=9), text(0, "b"),
        reason(output_tokens=2), STOP,
    )  # fmt: skip

    assert reading.message.content == "ab"
    assert reading.message.usage == TokenUsage(5, 2, 7)
    assert reading.message.response_id == "msg_1"


def test_message_start_of_another_id_begins_again():
    """The upstream restarted: indexes and usage count anew, calls go on, proof is needed again."""
    first = [
        begin(input_tokens=5, cache_read_input_tokens=4, output_tokens=1),
        opened(0, "thinking", thinking="t", signature="s"), opened(1, **CALL),
        arguments(1, "{}"), reason("tool_use"),
        begin("msg_2", input_tokens=6, output_tokens=1), opened(0), text(0, "a"),
        opened(1, **{**CALL, "id": "toolu_2"}), arguments(1, '{"b":1}'),
    ]  # fmt: skip
    cut, reading = Reading(*first), Reading(*first, reason("tool_use", output_tokens=2), STOP)

    assert not cut.decoder.complete()
    assert reading.message.content == "a"
    assert reading.calls == [("toolu_1", "f", "{}"), ("toolu_2", "f", '{"b":1}')]
    assert reading.message.usage == TokenUsage(6, 2, 8)
    assert reading.message.response_id == "msg_2"
    assert reading.message.model == "claude-x"
    assert [block["type"] for block in reading.blocks] == [
        "thinking",
        "tool_use",
        "text",
        "tool_use",
    ]


OVERLOADED = {"details": None, "type": "overloaded_error", "message": "Overloaded"}


@pytest.mark.parametrize("before", [[], [begin(input_tokens=1, output_tokens=1)]])
def test_overloaded_error_before_any_text_leaves_no_chunk(before):
    """Without one the call may be sent again."""
    reading = Reading(*before, named("error", error=OVERLOADED, request_id="req_1"))

    assert reading.chunks == []
    assert isinstance(reading.decoder.error, ServerError)
    assert reading.decoder.error.retryable
    assert reading.decoder.ended


def test_overloaded_error_in_mid_stream_keeps_what_came():
    """The reply is not whole, and says what the provider said."""
    reading = Reading(
        begin(), opened(0), text(0, "a"), named("error", error=OVERLOADED), text(0, "b"), reason()
    )

    assert reading.message.content == "a"
    assert reading.message.finish_reason is None
    assert isinstance(reading.decoder.error, ServerError)
    assert reading.decoder.error.type == "overloaded_error"
    assert "Overloaded" in str(reading.decoder.error)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (ServerSentEvent(b'{"error":{"type":"api_error","message":"Oh"}}'), "Oh"),
        (ServerSentEvent(b'{"type":"error","error":"Oh"}'), "Oh"),
        (ServerSentEvent(b'{"type":"error","message":"Oh"}'), "Oh"),
        (ServerSentEvent(b'{"type":"error"}', "error"), '"type":"error"'),
        (ServerSentEvent(b'{"message":"Oh"}', "error"), "Oh"),
        (ServerSentEvent(b"{}", "error"), "{}"),
        (ServerSentEvent(b"upstream gone", "error"), "upstream gone"),
        (ServerSentEvent(b'["upstream gone"]', "error"), "upstream gone"),
        (ServerSentEvent(b'{"error":{"message":"Oh"}}', BARE_JSON), "Oh"),
        (ServerSentEvent(b'[{"error":{"message":"Oh"}}]', WHOLE_BODY), "Oh"),
        (ServerSentEvent(b'{"type":"error","error":{"message":"Oh"}}', WHOLE_BODY), "Oh"),
    ],
)
def test_errors_of_every_shape_are_errors(event, words):
    """HTTP 200 does not mean success."""
    reading = Reading(begin(), event)

    assert words in str(reading.decoder.error)
    assert reading.decoder.ended


def test_rate_limit_in_mid_stream_is_a_rate_limit():
    """The class is told by the type, as there is no status."""
    error = {"type": "rate_limit_error", "message": "Slow down"}
    reading = Reading(begin(), named("error", error=error))

    assert isinstance(reading.decoder.error, RateLimitError)


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(b""),
        ServerSentEvent(b"  "),
        ServerSentEvent(b"{}"),
        ServerSentEvent(b"[]"),
        ServerSentEvent(b"[1]"),
        ServerSentEvent(b"17"),
        ServerSentEvent(b"null"),
        ServerSentEvent(b'{"hello":1}', BARE_JSON),
        ServerSentEvent(b"{not json", BARE_JSON),
        named("ping"),
        named("invented", index=0),
        named("message_start"),
        named("message_start", message=[]),
        named("content_block_start"),
        named("content_block_start", index=9, content_block="x"),
        named("content_block_delta", index=0),
        named("content_block_delta", index=0, delta=[]),
        named("content_block_delta", index=0, delta={"type": ["x"]}),
        named("content_block_delta", index=0, delta={"type": True}),
        named("content_block_delta", index=0, delta={"type": "text_delta", "text": None}),
        named("content_block_delta", index=0, delta={"type": "text_delta", "text": 7}),
        named("content_block_stop"),
        named("message_delta"),
        named("message_delta", delta=None, usage=None),
        named("message_delta", delta={"stop_reason": None}),
    ],
)
def test_what_says_nothing_is_no_chunk(event):
    """Unknown, empty or odd events are ignored, and the reply goes on."""
    reading = Reading(begin(), opened(0), text(0, "a"), event, text(0, "b"), reason(), STOP)

    assert [chunk.content for chunk in reading.chunks] == ["a", "b", ""]
    assert reading.message.finish_reason == "stop"


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(b'{"type":"content_block_delta"', "content_block_delta"),
        ServerSentEvent(b"nonsense"),
        ServerSentEvent(b"{", WHOLE_BODY),
        ServerSentEvent(b"{}", WHOLE_BODY),
        ServerSentEvent(b"[]", WHOLE_BODY),
        ServerSentEvent(b'{"status":"ok"}', WHOLE_BODY),
        ServerSentEvent(b'{"content":"ok"}', WHOLE_BODY),
        ServerSentEvent(b'{"content":[]}', WHOLE_BODY),
    ],
)
def test_what_is_no_event_and_no_reply_is_a_protocol_error(event):
    """Not an empty reply."""
    with pytest.raises(StreamProtocolError):
        Reading(event)


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


def test_whole_reply_is_read_like_its_stream():
    """Every block, the usage and the reason, from one body."""
    blocks = [
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "q"}},
        {"type": "text", "text": "a", "citations": [{"url": "u"}]},
        {"type": "text", "text": "b", "citations": None},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"k": "ü"}},
        {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
    ]
    reading = whole(
        {
            "id": "msg_1",
            "type": "message",
            "model": "claude-x",
            "content": [*blocks, "odd"],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 1, "cache_read_input_tokens": 2, "output_tokens": 4},
        }
    )
    message = reading.message

    assert (message.content, message.reasoning, message.citations) == ("ab", "t", ("u",))
    assert reading.calls == [("toolu_1", "f", '{"k": "ü"}'), ("toolu_2", "g", "{}")]
    assert (message.finish_reason, message.raw_finish_reason) == ("tool_calls", "tool_use")
    assert reading.usages == [TokenUsage(3, 4, 7, 2)]
    assert (message.response_id, message.model) == ("msg_1", "claude-x")
    assert reading.blocks == blocks
    assert reading.decoder.ended
    assert reading.decoder.complete()


def test_whole_reply_without_reason_is_whole():
    """A JSON document that ends has not been cut."""
    reading = whole({"content": [{"type": "text", "text": "a"}]})

    assert reading.message.content == "a"
    assert reading.decoder.complete()


def test_whole_reply_may_be_empty_if_it_says_why():
    """A refusal may have no content at all."""
    reading = whole({"type": "message", "content": [], "stop_reason": "refusal"})

    assert reading.message.finish_reason == "content_filter"


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
