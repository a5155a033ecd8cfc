"""JSON that a provider sent, read leniently, and refused in one way."""

from __future__ import annotations

import json
from typing import Any

from cloudllm_sync.codecs import WHOLE_BODY, ServerSentEvent
from cloudllm_sync.errors import StreamProtocolError

__all__ = ["CHECKED_BYTES", "read_json"]

CHECKED_BYTES = 4096
"""Longer events are read by `read_json()` even where msgspec would do: it refuses numbers of
thousands of digits, which msgspec skips in a field that nobody reads."""


def read_json(event: ServerSentEvent, provider: str) -> Any:
    """The JSON document of an event or a whole body; bytes that are not UTF-8 become U+FFFD.

    Raises:
        StreamProtocolError: It is no JSON, or nested too deep, or holds a number too long.
    """
    try:
        return json.loads(event.data.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        what = "a body" if event.event == WHOLE_BODY else "an event"
        why = "it is nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise StreamProtocolError(
            f"{provider} sent {what} of {len(event.data)} bytes that is not valid JSON: {why}"
        ) from None
