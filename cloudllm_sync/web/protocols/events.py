"""Events of a `text/event-stream`.

Source: WHATWG HTML, 9.2.5 (parsing an event stream): lines end at CR and LF alone, which JSON
always escapes; U+2028 is a character like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cloudllm_sync.codecs.json_text import write_json
from cloudllm_sync.codecs.surrogates import well_formed
from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.values import MessageChunk

__all__ = ["CONTENT_TYPE", "DONE", "HEARTBEAT", "event", "is_text_only", "joined", "json_of"]

# With the charset, without which some clients read Latin-1.
CONTENT_TYPE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": \n\n"

_encode = msgspec.json.Encoder().encode


def json_of(text: str) -> bytes:
    """The text as JSON; lone surrogates become U+FFFD."""
    try:
        return _encode(text)
    except UnicodeEncodeError:
        return _encode(well_formed(text))


def event(value: Mapping[str, Any], name: str | None = None) -> bytes:
    """One event, whose data is JSON."""
    head = f"event: {name}\ndata: " if name else "data: "
    return head.encode() + write_json(value) + b"\n\n"


def joined(events: Sequence[bytes], event_id: str | None) -> bytes:
    """The events; the last has the id, as only whoever has that one has them all.

    Raises:
        ConfigurationError: The id has line ends or other invisible characters.
    """
    if event_id is None or not events:
        return b"".join(events)
    if not event_id.isprintable():
        raise ConfigurationError(f"event id {event_id!r} has characters that no event can carry")
    return b"".join((*events[:-1], f"id: {event_id}\n".encode(), events[-1]))


def is_text_only(chunk: MessageChunk) -> bool:
    """Whether the chunk is content and nothing else, as nearly all are."""
    return not (
        not chunk.content
        or chunk.reasoning
        or chunk.refusal
        or chunk.tool_call_delta
        or chunk.finish_reason
    )
