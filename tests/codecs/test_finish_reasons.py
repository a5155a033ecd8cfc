"""The providers' words for why a reply ended."""

from __future__ import annotations

import pytest

from cloudllm_sync.codecs.finish_reasons import normalise

WORDS = {
    "stop": ["stop", "eos", "eos_token", "stop_sequence", "end_turn", "STOP", "completed"],
    "length": [
        "length",
        "max_tokens",
        "MAX_TOKENS",
        "max_output_tokens",
        "model_length",
        "model_context_window_exceeded",
    ],
    "tool_calls": ["tool_calls", "function_call", "tool_use"],
    "content_filter": [
        "content_filter",
        "refusal",
        "sensitive",
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "LANGUAGE",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    ],
    "pause": ["pause_turn", "compaction"],
    "error": [
        "error",
        "failed",
        "cancelled",
        "insufficient_system_resource",
        "network_error",
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "NO_IMAGE",
        "IMAGE_OTHER",
    ],
    "unknown": ["OTHER", "FINISH_REASON_UNSPECIFIED", "load", "unload", "Stop", "anything else"],
}
TABLE = [(raw, word) for word, raws in WORDS.items() for raw in raws]


@pytest.mark.parametrize(("raw", "expected"), TABLE)
def test_word_is_normalised(raw, expected):
    """As in WIRE.md, section 11."""
    assert expected == normalise(raw, calls_made=False)


@pytest.mark.parametrize(("raw", "expected"), TABLE)
def test_calls_change_the_stop_class_only(raw, expected):
    """A cut or a filter stays what it is."""
    wanted = "tool_calls" if expected == "stop" else expected

    assert wanted == normalise(raw, calls_made=True)


@pytest.mark.parametrize("raw", [None, ""])
def test_no_word_is_none_unless_calls_were_made(raw):
    """Calls are reason enough."""
    assert normalise(raw, calls_made=False) is None
    assert normalise(raw, calls_made=True) == "tool_calls"
