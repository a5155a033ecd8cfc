"""The fields of the Responses API's events, read leniently: words, numbers, lists, usage, the end.

Source: wire/WIRE.md, section 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from cloudllm_sync.codecs.openai_chat_parts import usage_from
from cloudllm_sync.codecs.surrogates import well_formed
from cloudllm_sync.values import TokenUsage

__all__ = ["Object", "number_of", "objects", "raw_finish", "response_usage", "word_of"]

Object = Mapping[str, Any]


def objects(value: Any) -> list[Object]:
    """The objects of a list; nothing of anything else."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def word_of(value: Any) -> Optional[str]:
    """Text that is not empty; numbers may stand for ids."""
    known = isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""
    return well_formed(str(value)) if known else None


def number_of(value: Any) -> Optional[int]:
    """An index; numbers may come as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:9])
    return value if type(value) is int and value >= 0 else None


def raw_finish(kind: str, response: Object) -> Optional[str]:
    """The provider's word for the end: the status, or why it is incomplete."""
    status = word_of(response.get("status")) or ""
    if status in ("", "queued", "in_progress"):
        status = kind.rpartition(".")[2]
    details = response.get("incomplete_details")
    if status == "incomplete" and isinstance(details, Mapping):
        return word_of(details.get("reason")) or status
    return status or None


def response_usage(usage: Any) -> Optional[TokenUsage]:
    """`usage_from()` knows the older names of the same counts."""
    if not isinstance(usage, Mapping):
        return None
    read, made = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    return usage_from({**usage, "prompt_tokens_details": read, "completion_tokens_details": made})
