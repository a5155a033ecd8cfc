"""JSON text: what a provider sent, read leniently; what it gets, written so that it can be sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Callable, Optional

import msgspec

from cloudllm_sync.codecs import WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.surrogates import well_formed
from cloudllm_sync.errors import StreamProtocolError, UnsupportedOptionError

__all__ = ["CHECKED_BYTES", "count", "merged", "read_json", "write_json"]

CHECKED_BYTES = 4096
"""Longer events are read by `read_json()` even where msgspec would do: it refuses numbers of
thousands of digits, which msgspec skips in a field that nobody reads."""


def read_json(
    event: ServerSentEvent, provider: str, *, is_own: Callable[[str], bool] = "message".__eq__
) -> Any:
    """The JSON document of an event or a whole body; bytes that are not UTF-8 become U+FFFD.

    Words in place of an error's JSON are the error. What else is no JSON in an event that is not
    the wire's own, a heartbeat, say, is an empty object.

    Raises:
        StreamProtocolError: It is no JSON, or nested too deep, or holds a number too long.
    """
    text = event.data.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if event.event != WHOLE_BODY and not is_own(event.event):
            return {"error": text.strip()} if event.event == "error" else {}
        what = "a body" if event.event == WHOLE_BODY else "an event"
        why = "it is nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise StreamProtocolError(
            f"{provider} sent {what} of {len(event.data)} bytes that is not valid JSON: {why}"
        ) from None


def count(holder: Any, *names: str) -> Optional[int]:
    """The first of these fields that is a count; numbers may come as text."""
    for name in names:
        value = holder.get(name) if isinstance(holder, Mapping) else None
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:18])
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e18:
            return int(value)
    return None


def merged(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The body with `extra` over it; objects are merged, all else is replaced."""
    both = dict(body)
    for name, value in extra.items():
        known = both.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            value = merged(known, value)
        both[name] = value
    return both


def write_json(body: Mapping[str, Any]) -> bytes:
    """The body as JSON; lone surrogates, which no UTF-8 can say, become U+FFFD."""
    try:
        try:
            return msgspec.json.encode(body, enc_hook=_as_dict)
        except UnicodeEncodeError:
            return msgspec.json.encode(_cleaned(body), enc_hook=_as_dict)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnsupportedOptionError(f"the request cannot be said in JSON: {error}") from error


def _as_dict(value: Any) -> Any:
    """What msgspec does not know: mappings that are no dict."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, Mapping):
        return {_cleaned(name): _cleaned(item) for name, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, (list, tuple)) else value
