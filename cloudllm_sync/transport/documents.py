"""JSON that comes without `data:`: a document a line, one laid out over many, an array."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Callable

from cloudllm_sync.codecs import WHOLE_BODY, ServerSentEvent
from cloudllm_sync.transport.lines import NO_EVENT, NOTHING_YET, too_large

__all__ = [
    "are_json_lines",
    "array_events",
    "bare_documents",
    "begins_event_line",
    "is_closed",
    "line_events",
]

_JSON_LINES = re.compile(r"\b(?:ndjson|jsonl|jsonlines)\b", re.IGNORECASE)
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
# The first line of a document that is laid out: whatever prints one so, breaks the line here.
_OPENINGS = (b"{", b"[", b"[{")


def are_json_lines(content_type: str) -> bool:
    """Whether the content type says that every line is a JSON document."""
    return _JSON_LINES.search(content_type.partition(";")[0]) is not None


def begins_event_line(line: bytes) -> bool:
    """Whether the line is one of an event stream, which no JSON is."""
    return line.startswith((b"data:", b"event:", b":"))


def _nesting(line: bytes) -> int:
    """How many brackets the line opens and leaves open; no JSON string goes over a line's end."""
    bare = _STRING.sub(b"", line)
    return bare.count(b"{") + bare.count(b"[") - bare.count(b"}") - bare.count(b"]")


def is_closed(body: bytes | bytearray) -> bool:
    """Whether a JSON body has its end, as far as brackets tell; else it was cut."""
    return sum(map(_nesting, bytes(body).split(b"\n"))) <= 0


def line_events(
    lines: Iterator[bytes],
    *,
    event_limit: int,
    source: str,
    is_cut: Callable[[], bool],
) -> Iterator[ServerSentEvent]:
    """A document a line, each handed on with its line; a laid out one with its last line.

    Args:
        lines: The body's; blank ones say nothing.
        event_limit: The most bytes of a document.
        source: Names the server in errors.
        is_cut: Whether the line that came last lacks its end, so that it may be half a document.
    """
    laid_out = bytearray()
    depth = 0
    for line in lines:
        if line is NOTHING_YET:
            yield NO_EVENT
            continue
        if len(line) + len(laid_out) > event_limit:
            raise too_large(source, "an event", event_limit)
        if not depth and line[:1] == b"{" and line[-1:] == b"}" and not is_cut():
            yield ServerSentEvent(line)
            continue
        text = line.strip()
        if not text:
            continue
        laid_out += line + b"\n"
        if depth or text in _OPENINGS:
            depth = max(depth + _nesting(line), 0)
        if not depth:
            yield ServerSentEvent(bytes(laid_out), terminated=not is_cut())
            laid_out.clear()
    if laid_out:
        yield ServerSentEvent(bytes(laid_out), terminated=False)


def bare_documents(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The JSON documents among the lines of an event: on a line of their own, or laid out."""
    laid_out = bytearray()
    depth = 0
    for line in lines:
        if depth or line.strip() in _OPENINGS:
            laid_out += line + b"\n"
            depth += _nesting(line)
            if depth <= 0:
                yield bytes(laid_out)
                laid_out.clear()
                depth = 0
        elif line[:1] == b"{":
            yield line


def array_events(
    lines: Iterator[bytes],
    read_events: Callable[[Iterator[bytes]], Iterator[ServerSentEvent]],
    *,
    is_open_ended: bool,
) -> Iterator[ServerSentEvent]:
    """An array of several elements in lines: each in an array of its own, once its comma has come.

    Any other array, one that holds an error, say, is one event, WHOLE_BODY. One that only stands
    before an event stream is left to `read_events`.
    """
    body = bytearray()  # what follows the last comma
    depth = 0
    several = False
    for line in lines:
        if line is NOTHING_YET:
            yield NO_EVENT
            continue
        if begins_event_line(line) and depth <= 0:
            yield from read_events(chain(bytes(body).split(b"\n"), [line], lines))
            return
        text = line.strip()
        if depth == 1 and text[:1] == b",":
            yield _element(body, several)
            several = True
            line = text = text[1:]
        body += line + b"\n"
        depth += _nesting(line)
        if depth == 1 and text[-1:] == b",":
            yield _element(body, several)
            several = True
    whole = depth <= 0
    if not several:
        yield ServerSentEvent(bytes(body), WHOLE_BODY, whole or not is_open_ended)
    elif body.strip():
        closing = b"" if whole else b"]"
        yield ServerSentEvent(b"[" + bytes(body) + closing, terminated=whole)


def _element(body: bytearray, several: bool) -> ServerSentEvent:
    """What the body holds, taken out of it."""
    text = bytes(body).strip().rstrip(b",")
    body.clear()
    return ServerSentEvent((b"[" if several else b"") + text + b"]")
