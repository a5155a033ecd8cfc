"""Lines to ServerSentEvent, by sseclient-py.

Source: WHATWG HTML, 9.2 (server-sent events).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from typing import Callable

import sseclient

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ServerSentEvent
from cloudllm_sync.errors import StreamProtocolError
from cloudllm_sync.transport.documents import (
    array_events,
    bare_documents,
    begins_event_line,
    is_closed,
    line_events,
)
from cloudllm_sync.transport.lines import NO_EVENT, NOTHING_YET, too_large

__all__ = ["EventReader", "reply_events"]

# The parser joins data lines one by one, which is quadratic; so it gets them in groups.
_GROUP_LINES = 256


class EventReader(sseclient.SSEClient):
    """sseclient-py over whole lines without their ends.

    The commonest forms, one `data:` line alone or after one `event:` line, are read here; all
    other events go through the library's own parser, one whole event at a time, which is what it
    is right at.
    """

    def __init__(self, lines: Iterator[bytes], event_limit: int, source: str) -> None:
        super().__init__(lines)
        self._lines = lines
        self._event_limit = event_limit
        self._event_bytes = 0
        self._folded: list[bytes] = []
        self._source = source

    def events(self) -> Iterator[ServerSentEvent]:  # type: ignore[override]
        """The events, each as soon as its empty line has come; at the end also one without it."""
        # The hot loop: for every line. It must not search, decode or build what is not handed on.
        first = second = b""
        more: list[bytes] = []  # the third line, and all behind it
        name_line = b""  # the last one that named an event, and the name: they repeat
        name = "message"
        for line in self._lines:
            if line:
                if not first:
                    first = line
                elif not second:
                    second = line
                else:
                    more.append(line)
                    self._check_size(first, second, more)
            elif line is NOTHING_YET:
                yield NO_EVENT
            elif not second:
                if first[:6] == b"data: ":
                    yield ServerSentEvent(first[6:])
                elif first:
                    yield from self._parse([first])
                first = b""
            else:
                if first != name_line and first[:7] == b"event: ":
                    name_line = first
                    name = sys.intern(first[7:].decode("utf-8", "replace") or "message")
                if first == name_line and second[:6] == b"data: " and not more:
                    yield ServerSentEvent(second[6:], name)
                else:
                    yield from self._parse([first, second, *more])
                    more = []
                first = second = b""
        if first:
            for event in self._parse([first, second, *more] if second else [first]):
                event.terminated = False
                yield event

    def _check_size(self, first: bytes, second: bytes, more: list[bytes]) -> None:
        # Lines are bounded one by one already; only events of many lines are summed up.
        if len(more) == 1:
            self._event_bytes = len(first) + len(second) + 1
        self._event_bytes += len(more[-1]) + 1
        if self._event_bytes > self._event_limit:
            raise too_large(self._source, "an event", self._event_limit)
        if len(more) == _GROUP_LINES:
            # Short lines would take 30 times their size. Two stay: the event has many.
            self._folded.append(b"\n".join(more[:-2]))
            del more[:-2]

    def _parse(self, lines: list[bytes]) -> Iterator[ServerSentEvent]:
        if len(lines) == 1:
            [line] = lines
            if line[:5] == b"data:" or line == b"data":
                yield ServerSentEvent(line[6:] if line[5:6] == b" " else line[5:])
                return
            if line[:4] != b"data" and line[:1] != b"{":
                return  # a comment, or a field that says nothing alone
        if self._folded:
            lines[2:2] = b"\n".join(self._folded).split(b"\n")
            self._folded = []
        for document in bare_documents(lines):
            yield ServerSentEvent(document, BARE_JSON)
        yield from self._parse_by_library(lines)

    def _parse_by_library(self, lines: list[bytes]) -> Iterator[ServerSentEvent]:
        # The last name counts, wherever it stands; a group without data would lose it.
        names = [line for line in lines if line.partition(b":")[0] == b"event"]
        lines = names[-1:] + [line for line in lines if line.partition(b":")[0] == b"data"]
        name = "message"
        data: list[str] = []
        for start in range(0, len(lines), _GROUP_LINES):
            group = b"\n".join(lines[start : start + _GROUP_LINES]) + b"\n\n"
            # The library refuses what is not UTF-8; the standard wants U+FFFD.
            clean = group.decode("utf-8", "replace").encode("utf-8")
            for event in sseclient.SSEClient(iter([clean])).events():
                name = event.event if event.event != "message" else name
                data.append(event.data)
        if data:
            yield ServerSentEvent("\n".join(data).encode("utf-8"), name)


def reply_events(
    lines: Iterator[bytes],
    *,
    event_limit: int,
    source: str,
    content_type: str,
    json_lines: bool = False,
    is_open_ended: bool = False,
    is_cut: Callable[[], bool] = bool,
) -> Iterator[ServerSentEvent]:
    """The events of a body; a body that is one JSON document is one event, WHOLE_BODY.

    What a body is shows in its first character: content types are often wrong. It is read here,
    not by the iterator that is returned: one generator less on the way of every chunk.

    Args:
        lines: The body's, without their ends.
        event_limit: The most bytes of an event.
        source: Names the server in errors.
        content_type: What the server says that the body is, for errors.
        json_lines: Whether JSON here is a document a line: then none waits for the next line.
        is_open_ended: Whether only the end of the connection ends the body: it may have been cut.
        is_cut: Whether the line that came last lacks its end.

    Raises:
        StreamProtocolError: The body is HTML.
    """
    first = next((line for line in lines if line.strip()), b"")
    start = first.lstrip()[:1]
    if start == b"<":
        raise StreamProtocolError(
            f"{source} answered with a page (content type {content_type!r}), not with a reply: "
            "check base_url, and proxies on the way"
        )
    if start == b"{" and not json_lines:
        return _object_events(
            first, lines, event_limit, source, is_open_ended=is_open_ended, is_cut=is_cut
        )
    lines = chain([first], lines)
    if start == b"{":
        return line_events(lines, event_limit=event_limit, source=source, is_cut=is_cut)
    if start == b"[":
        return array_events(
            lines,
            lambda rest: EventReader(rest, event_limit, source).events(),
            is_open_ended=is_open_ended,
        )
    return EventReader(lines, event_limit, source).events()


def _object_events(
    first: bytes,
    lines: Iterator[bytes],
    event_limit: int,
    source: str,
    *,
    is_open_ended: bool,
    is_cut: Callable[[], bool],
) -> Iterator[ServerSentEvent]:
    """The events of a body that begins as an object, with all that it may turn out to be."""
    body = bytearray(first)  # not a list: short lines would take 15 times their size
    may_be_lines = first.rstrip()[-1:] == b"}"
    for line in lines:
        if begins_event_line(line):  # a bare line of JSON before events
            lines = chain(bytes(body).split(b"\n"), [line], lines)
            return EventReader(lines, event_limit, source).events()
        start = line.lstrip()[:1]
        if may_be_lines and start == b"{":  # no one document has a brace open after one closed
            lines = chain([first, line], lines)
            return line_events(lines, event_limit=event_limit, source=source, is_cut=is_cut)
        may_be_lines = may_be_lines and not start
        body += b"\n" + line
    is_whole = not is_open_ended or is_closed(body)
    return iter((ServerSentEvent(bytes(body), WHOLE_BODY, is_whole),))
