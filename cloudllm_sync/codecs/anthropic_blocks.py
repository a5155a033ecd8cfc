"""What a reply of Anthropic's Messages API is made of: its content blocks and its counts.

Source: wire/WIRE.md, section 3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional

import attrs

from cloudllm_sync.codecs.json_text import count
from cloudllm_sync.codecs.surrogates import well_formed
from cloudllm_sync.values import TokenUsage

__all__ = ["SPOKEN", "STATE", "Block", "Json", "as_list", "as_object", "as_text", "usage_from"]

STATE = "anthropic_blocks"
"""The key in `provider_state` of the blocks that a tool loop has to send back."""

SPOKEN = ("text", "thinking")
"""Blocks whose text is handed on, in the field of their name."""

Json = Mapping[str, Any]


def as_text(value: Any) -> str:
    """An id or a name; numbers count as text, all else as nothing."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return well_formed(str(value))
    return ""


def as_object(value: Any) -> Json:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


@attrs.define(slots=True)
class Block:
    """A content block on its way."""

    kind: str
    said: dict[str, Any]
    channel: str
    call: Optional[int] = None
    parts: list[str] = attrs.field(factory=list)
    citations: list[Any] = attrs.field(factory=list)
    closed: bool = False

    def rebuilt(self) -> dict[str, Any] | None:
        """The block as a whole reply would have it; None for what would be refused."""
        joined = "".join(self.parts)
        if "type" not in self.said or (self.kind == "text" and not joined.strip()):
            return None
        if self.kind in SPOKEN:
            said = {**self.said, self.kind: joined}
            if self.citations:
                said["citations"] = as_list(said.get("citations")) + self.citations
            return said
        if self.kind.endswith("tool_use") and joined:
            return {**self.said, "input": _parsed(joined)}
        return self.said


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):  # a length cut; such a call is never sent back
        return {}


def usage_from(usage: Json) -> TokenUsage | None:
    """The wire counts the cached parts of the prompt beside `input_tokens`, not within."""
    fresh, given = count(usage, "input_tokens"), count(usage, "output_tokens")
    written = count(usage, "cache_creation_input_tokens")
    cached = count(usage, "cache_read_input_tokens")
    if fresh is None and given is None:
        return None
    reasoning = count(usage.get("output_tokens_details"), "thinking_tokens")
    taken_in, given = (fresh or 0) + (written or 0) + (cached or 0), given or 0
    return TokenUsage(taken_in, given, taken_in + given, cached, written, reasoning)
