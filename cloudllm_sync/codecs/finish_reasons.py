"""The providers' words for why a reply ended, and the seven words used here."""

from __future__ import annotations

__all__ = ["REASONS_NOTED", "normalise"]

REASONS_NOTED = 16
"""Behind more finish reasons than these, decoders put `provider_state` together at the end only:
at each of thousands it would cost quadratic time. Providers send one, sometimes two."""

_RAW = {
    "stop": "stop eos eos_token stop_sequence end_turn STOP completed",
    "length": (
        "length max_tokens MAX_TOKENS max_output_tokens model_length model_context_window_exceeded"
    ),
    "tool_calls": "tool_calls function_call tool_use",
    "content_filter": (
        "content_filter refusal sensitive SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII "
        "LANGUAGE IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION MODEL_ARMOR JAILBREAK"
    ),
    "pause": "pause_turn compaction",
    "error": (
        "error failed cancelled insufficient_system_resource network_error "
        "MALFORMED_FUNCTION_CALL MALFORMED_RESPONSE UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS "
        "MISSING_THOUGHT_SIGNATURE NO_IMAGE IMAGE_OTHER"
    ),
}
_NORMALISED = {raw: word for word, raws in _RAW.items() for raw in raws.split()}


def normalise(raw: str | None, *, calls_made: bool) -> str | None:
    """One of `stop length tool_calls content_filter pause error unknown`, or None for no reason.

    A reply with tool calls that the provider ends with a word of the `stop` class, or with no
    word at all, ends with `tool_calls`.
    """
    word = _NORMALISED.get(raw, "unknown") if raw else None
    return "tool_calls" if calls_made and word in ("stop", None) else word
