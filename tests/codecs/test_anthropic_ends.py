"""How replies of the Messages API end: reasons, proof, usage, and messages that begin again."""

from __future__ import annotations

import pytest
from anthropic_reading import (
    CALL,
    STOP,
    Reading,
    arguments,
    begin,
    closed,
    named,
    opened,
    reason,
    text,
)

from cloudllm_sync.codecs import ServerSentEvent
from cloudllm_sync.codecs.finish_reasons import REASONS_NOTED
from cloudllm_sync.values import MessageChunk, TokenUsage


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


def refused(explanation, stop_reason="refusal", kind="refusal"):
    details = {"type": kind, "category": None, "explanation": explanation}
    said = {"stop_reason": stop_reason, "stop_details": details}
    return named("message_delta", delta=said, usage={"output_tokens": 2})


def test_explanation_of_a_refusal_is_the_refusal():
    """A chunk of its own, after the text and before the reason."""
    reading = Reading(begin(), opened(0), text(0, "ab\ud83c"), refused("I can not \ud83c"), STOP)

    assert [
        MessageChunk("ab"),
        MessageChunk("\ufffd"),
        MessageChunk(refusal="I can not \ufffd"),
        MessageChunk(finish_reason="content_filter", raw_finish_reason="refusal"),
        MessageChunk(usage=TokenUsage(0, 2, 2)),
    ] == reading.chunks


def test_explanation_is_told_once_whenever_it_comes():
    """With the reason, after it, and again; a restarted message may give another."""
    late = [reason("refusal"), refused("No", None), refused("No"), refused("No", None, None)]
    again = [begin("msg_2"), refused("Never", None)]

    assert "No" == Reading(begin(), *late, STOP).message.refusal
    assert "NoNever" == Reading(begin(), *late, *again, STOP).message.refusal


@pytest.mark.parametrize("explanation", [None, "", 5, ["No"]])
def test_refusal_without_an_explanation_has_no_text(explanation):
    """As recorded ones have none."""
    message = Reading(begin(), refused(explanation), STOP).message

    assert ("", "content_filter") == (message.refusal, message.finish_reason)


def test_details_of_other_reasons_are_no_refusal():
    """Only a refusal refuses."""
    message = Reading(begin(), refused("Enough", "max_tokens", "limit"), STOP).message

    assert ("", "length") == (message.refusal, message.finish_reason)


def test_blocks_behind_ever_new_reasons_are_all_kept():
    """They are put together at the end where reasons never stop; the last reason counts."""
    ends = []
    for number in range(REASONS_NOTED + 2):
        ends += [opened(number, "thinking", thinking=f"t{number}"), reason(f"r{number}")]
    reading = Reading(begin(), *ends, reason("max_tokens"), STOP)

    assert [f"t{number}" for number in range(REASONS_NOTED + 2)] == [
        block["thinking"] for block in reading.blocks
    ]
    assert "length" == reading.message.finish_reason
