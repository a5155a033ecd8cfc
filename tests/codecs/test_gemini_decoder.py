"""Gemini's events and bodies: text, thoughts, ends, usage, sources, errors."""

from __future__ import annotations

import json
from typing import Optional

import attrs
import pytest

from cloudllm_sync.codecs import WHOLE_BODY, Decoder, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.finish_reasons import REASONS_NOTED
from cloudllm_sync.codecs.gemini import GeminiCodec
from cloudllm_sync.codecs.json_text import CHECKED_BYTES
from cloudllm_sync.errors import CloudLLMError
from cloudllm_sync.values import Message, MessageChunk, TokenUsage


@attrs.frozen
class Reading:
    """What a decoder made of its events."""

    chunks: list[MessageChunk]
    message: Message
    decoder: Decoder

    @property
    def error(self) -> Optional[CloudLLMError]:
        return self.decoder.error


def as_event(said) -> ServerSentEvent:
    if isinstance(said, ServerSentEvent):
        return said
    return ServerSentEvent(said if isinstance(said, bytes) else json.dumps(said).encode())


def read(*events) -> Reading:
    decoder = GeminiCodec("Gemini").decoder()
    chunks: list[MessageChunk] = []
    for event in events:
        chunks += decoder.feed(as_event(event))
        if decoder.ended:
            break
    chunks += decoder.finish()
    arrived = Accumulator()
    for chunk in chunks:
        arrived.add(chunk)
    return Reading(chunks, arrived.message(decoder.facts), decoder)


def named(name, data):
    return ServerSentEvent(data if isinstance(data, bytes) else json.dumps(data).encode(), name)


def whole(body):
    return named(WHOLE_BODY, body)


def event(*parts, finish=None, usage=None, **more):
    candidate = {"content": {"role": "model", "parts": list(parts)}, **more}
    if finish is not None:
        candidate["finishReason"] = finish
    body = {"candidates": [candidate], "modelVersion": "m-1", "responseId": "r-1"}
    return body if usage is None else {**body, "usageMetadata": usage}


def text(said, **more):
    return event({"text": said}, **more)


STOP = MessageChunk(finish_reason="stop", raw_finish_reason="STOP")


def test_text_comes_piece_by_piece():
    """One chunk for each event, the reason after the text of its event, the usage last."""
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 9}
    reading = read(text("He"), text("l", index=0), text("lo", finish="STOP", usage=usage))

    assert reading.chunks == [
        MessageChunk("He"),
        MessageChunk("l"),
        MessageChunk("lo"),
        STOP,
        MessageChunk(usage=TokenUsage(7, 2, 9)),
    ]
    assert reading.decoder.complete()
    assert not reading.decoder.ended
    assert (reading.message.model, reading.message.response_id) == ("m-1", "r-1")
    assert reading.message.provider_state is None


@pytest.mark.parametrize("padding", ["", "x" * CHECKED_BYTES])
def test_thoughts_are_reasoning(padding):
    """`thought: true` is not part of the answer, first or later, in short events and long ones."""
    thought = {**event({"text": "hm", "thought": True}), "padding": padding}
    reading = read(thought, thought, {**text("a"), "padding": padding}, text("", finish="STOP"))

    assert reading.message.reasoning == "hmhm"
    assert reading.message.content == "a"
    assert [chunk.reasoning for chunk in reading.chunks] == ["hm", "hm", "", ""]


def test_parts_of_many_kinds_come_in_their_order():
    """Thought, text, call, code and picture in one event: those that are text or calls count."""
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    reading = read(
        event(
            {"text": "hm", "thought": True},
            {"text": "A"},
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
            {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
            call,
            {"text": "B"},
            None,
            finish="STOP",
        )
    )

    kinds = [(c.reasoning, c.content, c.tool_call_delta is not None) for c in reading.chunks]
    assert kinds[:4] == [
        ("hm", "", False),
        ("", "A", False),
        ("", "", True),
        ("", "B", False),
    ]
    assert reading.message.finish_reason == "tool_calls"
    assert reading.message.raw_finish_reason == "STOP"


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        {"parts": None},
        {"parts": []},
        {"parts": "x"},
        {"parts": [None]},
        {"parts": [{"text": None}]},
        "x",
    ],
)
def test_last_event_may_lack_parts(content):
    """An event that only ends the reply gives its reason."""
    last = {"candidates": [{"content": content, "finishReason": "STOP"}]}

    assert read(text("a"), last).chunks == [MessageChunk("a"), STOP]


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        ("OTHER", "unknown"),
        ("SOMETHING_NEW", "unknown"),
    ],
)
def test_reasons_are_normalised(raw, word):
    """A candidate without content, as SAFETY's, is a whole reply."""
    reading = read({"candidates": [{"finishReason": raw, "index": 0}]})

    assert reading.chunks == [MessageChunk(finish_reason=word, raw_finish_reason=raw)]
    assert reading.decoder.complete()


def test_parts_behind_ever_new_reasons_are_all_kept():
    """They are put together at the end where reasons never stop; the last reason counts."""
    names = [f"f{number}" for number in range(REASONS_NOTED + 2)]
    calls = [event({"functionCall": {"name": name}}, finish=f"R-{name}") for name in names]
    message = read(*calls, text("", finish="MAX_TOKENS")).message
    kept = [part["functionCall"]["name"] for part in message.provider_state["gemini_parts"]]

    assert names == kept
    assert "length" == message.finish_reason


@pytest.mark.parametrize(("raw", "word"), [("MAX_TOKENS", "length"), ("SAFETY", "content_filter")])
@pytest.mark.parametrize("wrapped", [as_event, whole])
def test_what_came_before_an_early_end_is_kept(raw, word, wrapped):
    """Text and calls alike; the calls do not make another reason of it."""
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    message = read(wrapped(event({"text": "a"}, call, finish=raw))).message

    assert ("a", word) == (message.content, message.finish_reason)
    assert ['{"a":1}'] == [made.arguments for made in message.tool_calls]


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "JAILBREAK", "BRAND_NEW"])
@pytest.mark.parametrize("wrapped", [as_event, whole])
def test_blocked_prompt_is_a_whole_reply(reason, wrapped):
    """No candidates, a block reason: the provider's word is kept, ours is content_filter."""
    usage = {"promptTokenCount": 4, "totalTokenCount": 4}
    reading = read(wrapped({"promptFeedback": {"blockReason": reason}, "usageMetadata": usage}))

    assert reading.message.finish_reason == "content_filter"
    assert reading.message.raw_finish_reason == reason
    assert reading.message.usage == TokenUsage(4, 0, 4)
    assert reading.decoder.complete()
    assert reading.error is None


@pytest.mark.parametrize("wrapped", [as_event, whole])
def test_message_of_a_filter_is_the_refusal(wrapped):
    """Of a candidate that was stopped, and of a prompt that was blocked; before the reason."""
    stopped = {"finishReason": "SAFETY", "finishMessage": "Not \ud83d"}
    blocked = {"blockReason": "BLOCKLIST", "blockReasonMessage": "Not this"}

    assert [
        MessageChunk(refusal="Not \ufffd"),
        MessageChunk(finish_reason="content_filter", raw_finish_reason="SAFETY"),
    ] == read(wrapped({"candidates": [stopped]})).chunks
    assert [
        MessageChunk(refusal="Not this"),
        MessageChunk(finish_reason="content_filter", raw_finish_reason="BLOCKLIST"),
    ] == read(wrapped({"promptFeedback": blocked})).chunks


def test_message_of_a_filter_is_told_once():
    """Text before it stays; an event that repeats it says nothing new."""
    stopped = text("a", finish="SAFETY", finishMessage="Not this")

    reading = read(stopped, stopped, text("", finish="SAFETY", finishMessage=None))

    assert ("aa", "Not this") == (reading.message.content, reading.message.refusal)


@pytest.mark.parametrize("reason", ["STOP", "MAX_TOKENS", "MALFORMED_FUNCTION_CALL", "OTHER"])
def test_message_of_another_end_is_no_refusal(reason):
    """Google comments on calls as well: "Model generated function call(s)."."""
    assert "" == read(text("a", finish=reason, finishMessage="Because")).message.refusal


def test_prompt_feedback_without_a_block_is_nothing():
    """Ratings of a prompt that passed end no reply, on the first event or a later one."""
    rated = {**text("a"), "promptFeedback": {"safetyRatings": []}}
    reading = read(rated, rated)

    assert reading.chunks == [MessageChunk("a"), MessageChunk("a")]
    assert not reading.decoder.complete()


def test_reason_in_every_event_is_told_once():
    """Early models put STOP into each event."""
    reading = read(text("a", finish="STOP"), text("b", finish="STOP"))

    assert reading.chunks == [MessageChunk("a"), STOP, MessageChunk("b")]


def test_end_without_a_reason_is_no_whole_reply():
    """Nothing but a reason proves the end; usage waits for it, but can be looked at."""
    reading = read(text("a", usage={"promptTokenCount": 1}))

    assert reading.chunks == [MessageChunk("a")]
    assert not reading.decoder.complete()
    assert reading.message.usage == TokenUsage(1, 0, 1)


def test_usage_in_the_meanings_of_token_usage():
    """Thoughts are output, prompts of Google's tools are input, cached tokens part of it."""
    usage = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 40,
        "toolUsePromptTokenCount": 10,
        "candidatesTokenCount": "5",
        "thoughtsTokenCount": 30,
        "totalTokenCount": 145,
    }
    reading = read(text("a", finish="STOP", usage=usage))

    assert reading.message.usage == TokenUsage(110, 35, 145, 40, None, 30)


@pytest.mark.parametrize(
    "last", [{"trafficType": "ON_DEMAND"}, None, "x", {"promptTokenCount": -1}]
)
def test_last_usage_that_counts_wins(last):
    """It replaces all of the earlier ones; one that counts nothing does not."""
    first = {"promptTokenCount": 1, "candidatesTokenCount": 50, "totalTokenCount": 51}
    second = {"promptTokenCount": 9, "thoughtsTokenCount": 3}
    end = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": last}
    reading = read(text("a", usage=first), text("b", usage=first), text("c", usage=second), end)

    assert [chunk.usage for chunk in reading.chunks if chunk.usage] == [
        TokenUsage(9, 3, 12, None, None, 3)
    ]


def test_usage_that_is_no_json_for_python_is_passed_over():
    """What the fast reading skips may be nested too deep, or hold halves of characters."""
    deep = b'{"candidates":[{"content":{"parts":[{"text":"b"}]}}],"usageMetadata":%b}'
    reading = read(text("a"), deep % b'"\xff"', text("", finish="STOP"))

    assert reading.message.content == "ab"
    assert reading.message.usage is None


def test_usage_is_known_when_the_reason_is():
    """Whoever closes the stream after the reason gets the tokens."""
    decoder = GeminiCodec("Gemini").decoder()
    for said in (text("a"), text("b", usage={"promptTokenCount": 1}), text("", finish="STOP")):
        decoder.feed(as_event(said))

    assert decoder.facts.usage == TokenUsage(1, 0, 1)


def test_sources_in_order_and_once():
    """Addresses, or titles where there are none."""
    grounding = {
        "groundingChunks": [
            {"web": {"uri": "https://a", "title": "A"}},
            {"retrievedContext": {"title": "A book"}},
            {"web": {"uri": "https://a"}},
            {"web": {}},
            {"web": None},
            None,
        ]
    }
    cited = {"citationSources": [{"uri": "https://b"}], "citations": [{"title": "C"}, {"uri": 3}]}
    reading = read(
        text("a", groundingMetadata=grounding),
        text("b", citationMetadata=cited, groundingMetadata=grounding, finish="STOP"),
    )

    assert reading.message.citations == ("https://a", "A book", "https://b", "C")


def test_other_candidates_are_passed_over():
    """Only index 0 counts, wherever it stands."""
    other = {"index": 1, "content": {"parts": [{"text": "x"}]}, "finishReason": "SAFETY"}
    body = text("a", index=0)
    body["candidates"].insert(0, other)
    alone = {"candidates": [other, None]}
    reading = read(text("b"), body, alone, text("c", index=1), text("", finish="STOP"))

    assert reading.message.content == "ba"
    assert reading.message.finish_reason == "stop"


def test_empty_text_is_no_chunk():
    """In no event, the first or a later one."""
    assert read(text(""), text("a"), text(""), text("b")).chunks == [
        MessageChunk("a"),
        MessageChunk("b"),
    ]


def test_several_parts_of_text_are_several_chunks():
    """After the first event, too, where one part is read fast."""
    two = event({"text": "a"}, {"text": "b"})

    assert [chunk.content for chunk in read(two, two).chunks] == ["a", "b", "a", "b"]


def test_halves_of_a_character_are_joined():
    """JSON can cut a character in two; the half waits for the next event."""
    reading = read(
        text("a"),
        text("b\ud83d"),
        text("\ude00"),
        event({"text": "\ud83d", "thought": True}),
        text("", finish="STOP"),
    )

    assert [chunk.content for chunk in reading.chunks if chunk.content] == ["a", "b", "\U0001f600"]
    assert reading.message.reasoning == "\ufffd"


def test_bytes_that_are_not_utf_8_are_replaced():
    """In the first event and in later ones."""
    bad = b'{"candidates":[{"content":{"parts":[{"text":"\xff"}]}}]}'

    assert read(bad, bad).message.content == "\ufffd\ufffd"
