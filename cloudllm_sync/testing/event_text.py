"""JSON and server-sent events as bytes, for all wire formats; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["Json", "PacedEvents", "event_bytes", "json_bytes", "known", "named_event_bytes"]

Json = dict[str, Any]
PacedEvents = list[tuple[bytes, bool]]
"""The events of a stream, each with whether it is a token, for the delays."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def json_bytes(value: object) -> bytes:
    """The value as compact JSON."""
    # Half a surrogate pair has no UTF-8; backslashreplace writes it as JSON does: \uXXXX.
    return _ENCODER.encode(value).encode("utf-8", "backslashreplace")


def event_bytes(payload: Mapping[str, Any], line_end: str) -> bytes:
    """An event without a name, its blank line included."""
    return b"data: " + json_bytes(payload) + line_end.encode() * 2


def named_event_bytes(payload: Mapping[str, Any], line_end: str) -> bytes:
    """An event with the name that stands in the `type` of its payload."""
    return f"event: {payload['type']}{line_end}".encode() + event_bytes(payload, line_end)


def known(fields: Mapping[str, Any]) -> Json:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
