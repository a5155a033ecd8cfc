"""The standard's event stream, rule by rule, through lines and events as a call reads them.

Source: WHATWG HTML, 9.2.6 (interpreting an event stream). Kept to but in this: what the end of the
body cuts is handed on and marked, where the standard drops it.
"""

from __future__ import annotations

import re

import pytest
import requests
from hypothesis import given, settings, strategies as st

from cloudllm_sync.transport.events import reply_events
from cloudllm_sync.transport.lines import LineBlocks
from cloudllm_sync.values import Limits

BOM = b"\xef\xbb\xbf"
BAD = "\ufffd"


def read(*pieces):
    """Data, name and completeness of the events of a body that arrives in these pieces."""
    response = requests.Response()
    response.raw = LineBlocks(iter(pieces), Limits(), "the server")
    events = reply_events(
        response.iter_lines(chunk_size=None),
        event_limit=Limits().event_bytes,
        source="the server",
        content_type="text/event-stream",
    )
    # A decoder replaces what is not UTF-8, so that text without such bytes need not be looked at.
    return [
        (event.data.decode("utf-8", "replace"), event.event, event.terminated) for event in events
    ]


def standard(body):
    """The same, read as the standard's words say it, line by line."""
    text = body.decode("utf-8", "replace")
    lines = re.split("\r\n|\r|\n", text[1:] if text.startswith("\ufeff") else text)
    data, name, found = "", "", []
    for line in lines[:-1] if lines[-1] == "" else lines:
        if line == "":
            if data != "":
                found.append((data[:-1], name or "message", True))
            data, name = "", ""
            continue
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "event":
            name = value
        elif field == "data":
            data += value + "\n"
    return found + ([(data[:-1], name or "message", False)] if data else [])


def one(data, name="message"):
    return [(data, name, True)]


def cut(data, name="message"):
    return [(data, name, False)]


RULES = {
    "a byte-order mark": (BOM + b"data: a\n\n", one("a")),
    "one byte-order mark only": (BOM + BOM + b"data: a\n\ndata: b\n\n", one("b")),
    "a mark after an empty line": (b"\n" + BOM + b"data: a\ndata: b\n\n", one("b")),
    "a mark in data": (b"data: " + BOM + b"a\n\n", one("\ufeffa")),
    "two thirds of a mark": (BOM[:2] + b"data: a\ndata: b\n\n", one("b")),
    "a mark alone": (BOM, []),
    "LF": (b"event: x\ndata: a\n\n", one("a", "x")),
    "CR": (b"event: x\rdata: a\r\r", one("a", "x")),
    "CRLF": (b"event: x\r\ndata: a\r\n\r\n", one("a", "x")),
    "CR, then CRLF": (b"data: a\r\r\ndata: b\n\n", one("a") + one("b")),
    "LF, then CRLF": (b"data: a\n\r\ndata: b\n\n", one("a") + one("b")),
    "CRLF, then CR": (b"data: a\r\n\rdata: b\n\n", one("a") + one("b")),
    "LF, then CR": (b"data: a\n\rdata: b\n\n", one("a") + one("b")),
    "CR, CRLF, LF within an event": (b"event: x\rdata: a\r\ndata: b\n\r", one("a\nb", "x")),
    "no other line end": (
        "data: a\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029b\n\n".encode(),
        one("a\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029b"),
    ),
    "a field without a colon": (b"data\ndata\n\n", one("\n")),
    "data alone": (b"data\n\n", one("")),
    "data and a colon": (b"data:\n\n", one("")),
    "data, a colon and a space": (b"data: \n\n", one("")),
    "event alone": (b"event: x\nevent\ndata: a\n\n", one("a")),
    "event and a colon": (b"event: x\nevent:\ndata: a\n\n", one("a")),
    "an empty name before data": (b"event:\ndata: a\n\n", one("a")),
    "a name of one space": (b"event: \ndata: a\n\n", one("a")),
    "a name of two spaces": (b"event:  \ndata: a\n\n", one("a", " ")),
    "the standard's own example": (b"data\n\ndata\ndata\n\ndata:", one("") + one("\n") + cut("")),
    "no space after the colon": (b"data:a\n\ndata: a\n\n", one("a") + one("a")),
    "one space only is taken": (b"data:  a\n\n", one(" a")),
    "a tab is no space": (b"data:\ta\n\n", one("\ta")),
    "a space at the end stays": (b"data: a \n\n", one("a ")),
    "colons in data": (b"data: a: b:\n\n", one("a: b:")),
    "data that looks like a comment": (b"data::\n\ndata: :\n\n", one(":") + one(":")),
    "many data lines": (b"data: a\ndata\ndata:b\ndata: \n\n", one("a\n\nb\n")),
    "an unknown field": (b"more: x\ndata: a\n\n", one("a")),
    "an unknown field alone": (b"more: x\n\n", []),
    "fields have a case": (b"Data: x\nDATA: x\nEvent: x\ndata: a\n\n", one("a")),
    "a space before the field": (b" data: x\ndata: a\n\n", one("a")),
    "a space after the field": (b"data : x\ndata: a\n\n", one("a")),
    "a longer field": (b"database: x\neventual: x\ndata: a\n\n", one("a")),
    "a field with NUL": (b"data\0: x\ndata: a\n\n", one("a")),
    "a line of spaces ends no event": (b"data: a\n \ndata: b\n\t\n\n", one("a\nb")),
    "comments": (b":\n: c\n:data: x\ndata: a\n:c\n\n:\n\n", one("a")),
    "a name is reset": (b"event: x\ndata: a\n\ndata: b\n\n", one("a", "x") + one("b")),
    "a name without data is reset": (b"event: x\n\ndata: b\n\n", one("b")),
    "the last name wins": (b"event: x\ndata: a\nevent: y\n\n", one("a", "y")),
    "a name in UTF-8": ("event: ö\ndata: a\n\n".encode(), one("a", "ö")),
    "an id": (b"id: 1\ndata: a\n\nid\ndata: b\n\n", one("a") + one("b")),
    "an id with NUL": (b"id: 1\0\ndata: a\n\n", one("a")),
    "an id alone": (b"id: 1\n\n", []),
    "retry": (b"retry: 10\ndata: a\n\nretry: 10\n\n", one("a")),
    "retry that is no number": (b"retry: soon\nretry: -1\nretry\ndata: a\n\n", one("a")),
    "NUL in data and name": (b"event: x\0\ndata: a\0b\n\n", one("a\0b", "x\0")),
    "bytes that are not UTF-8": (b"data: \xff\xc3a\n\n", one(f"{BAD}{BAD}a")),
    "a character without its end": (b"data: \xf0\x9f\n\n", one(BAD)),
    "not UTF-8 on two lines": (b"data: \xff\ndata: \xe2\x82\n\n", one(f"{BAD}\n{BAD}")),
    "a name that is not UTF-8": (b"event: \xff\ndata: a\n\n", one("a", BAD)),
    "a half surrogate": (b"data: \xed\xa0\x80\n\n", one(BAD * 3)),
    "a character of four bytes": ("data: 😀\n\n".encode(), one("😀")),
    "empty lines": (b"\n\r\n\r\n\n\ndata: a\n\n\n\r\r\n\n", one("a")),
    "nothing": (b"", []),
    "no last empty line": (b"data: a\n\nevent: x\ndata: b\n", one("a") + cut("b", "x")),
    "no last line end": (b"data: a\n\ndata: b", one("a") + cut("b")),
    "a cut field": (b"data: a\n\ndat", one("a")),
    "a name, then nothing": (b"data: a\n\nevent: x\n", one("a")),
}  # fmt: skip

rules = pytest.mark.parametrize(
    ("body", "expected"), [pytest.param(*rule, id=name) for name, rule in RULES.items()]
)


@rules
def test_reference_reads_by_the_rules(body, expected):
    """The parser that the property below compares with is right."""
    assert expected == standard(body)


@rules
def test_body_cut_in_two_is_read_by_the_rules(body, expected):
    """At every byte, so between CR and LF, inside a character, inside the byte-order mark."""
    seen = [read(body[:at], body[at:]) for at in range(len(body) + 1)]

    assert [expected] * len(seen) == seen


@rules
def test_body_of_single_bytes_is_read_by_the_rules(body, expected):
    """The worst that a network can do."""
    assert expected == read(*(body[at : at + 1] for at in range(len(body))))


# What begins a line with { [ or < has house rules of its own: bare JSON, whole bodies, pages.
TOKENS = st.sampled_from([
    b"\n", b"\r", b"\r\n", b"\n\n", b"data", b"event", b"id", b"retry", b"more", b":", b": ", b" ",
    b"a", b"x", b"7", b"\0", b"\xff", b"\xc3", b"\xbc", b"\xe2\x80\xa8", BOM, BOM[:1], BOM[1:],
    b"data: a\n", b"event: x\n", b"event:\n", b"data: b\r\n\r\n", b"data\r", b": c\n",
])  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(TOKENS, max_size=14).map(b"".join), st.lists(st.integers(0, 60), max_size=4))
def test_any_body_in_any_pieces_is_read_by_the_rules(body, cuts):
    """As the standard reads it, however it is cut."""
    marks = [0, *sorted(cuts), len(body)]
    pieces = [body[start:end] for start, end in zip(marks, marks[1:])]

    assert standard(body) == read(*filter(None, pieces))
