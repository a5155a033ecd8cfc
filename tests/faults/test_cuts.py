"""Streams that end before the provider's proof of an end, and those that end right after it."""

from __future__ import annotations

import pytest
from families import PIECES, TEXT

from cloudllm_sync import StreamInterrupted, Timeouts
from cloudllm_sync.testing import Cut, HalfClose, Raw, Reset, Stall, Wait, Wire

LENGTH = {"Content-Length": "100000"}


def in_an_event(f):
    return f.second[: f.second.index(b"W") - 3]


def in_a_character(f):
    """Up to the first half of a `ü`."""
    event = f.says(chr(34).encode() + "Wü".encode())
    return event[: event.index(b"W") + 2]


CUTS = {
    "in an event": lambda f: Raw(f.begun, in_an_event(f), Cut()),
    "in a character": lambda f: Raw(f.begun, in_a_character(f), Cut()),
    "between events": lambda f: Raw(f.begun, Cut()),
    "between events, close": lambda f: Raw(f.begun, framing="close"),
    "between events, HTTP 1.0": lambda f: Raw(f.begun, framing="http1.0"),
    "between events, half closed": lambda f: Raw(f.begun, HalfClose()),
    "between events, half closed, close": lambda f: Raw(f.begun, HalfClose(), framing="close"),
    "in an event, close": lambda f: Raw(f.begun, in_an_event(f), framing="close"),
    "in a character, close": lambda f: Raw(f.begun, in_a_character(f), framing="close"),
    "in an HTTP chunk": lambda f: Raw(f.begun, Wire(b"40\r\ndata: {"), Cut()),
    "in the size of an HTTP chunk": lambda f: Raw(f.begun, Wire(b"4"), Cut()),
    "after the size of an HTTP chunk": lambda f: Raw(f.begun, Wire(b"40\r\n"), Cut()),
    "length not met": lambda f: Raw(f.begun, framing="length", headers=LENGTH),
    "length too short": lambda f: Raw(
        f.begun, f.second, f.rest, framing="length", headers={"Content-Length": str(len(f.begun))}
    ),
    "reset": lambda f: Raw(f.begun, Wait(0.02), Reset()),
    "reset, close": lambda f: Raw(f.begun, Wait(0.02), Reset(), framing="close"),
}


@pytest.mark.also_over_tls
@pytest.mark.parametrize("cut", CUTS)
def test_stream_that_is_cut_is_interrupted(fails, family, cut):
    """Whatever the framing says, no proof means no reply; whole characters are kept.

    Over TLS all but those that end the body properly are truncations, without close_notify.
    """
    fails(CUTS[cut](family), error=StreamInterrupted, partial=PIECES[0])


def test_chunked_body_that_ends_properly_without_a_finish_is_interrupted(fails, family):
    """The end of the body is no proof; this connection may serve again."""
    fails(Raw(family.begun), error=StreamInterrupted, partial=PIECES[0], gone=False)


def test_end_mark_without_a_finish_reason(fails, succeeds, family):
    """Where the wire has an end mark, it proves what came before it; elsewhere it is a stranger."""
    mark = family.end or b"data: [DONE]\n\n"
    raw = Raw(family.begun, mark)

    if family.end_mark_is_proof:
        succeeds(raw, text=PIECES[0])
    else:
        fails(raw, error=StreamInterrupted, partial=PIECES[0], gone=False)


EMPTY = {
    "nothing": lambda f: Raw(),
    "nothing, close": lambda f: Raw(framing="close"),
    "length 0": lambda f: Raw(framing="length"),
    "end mark alone": lambda f: Raw(f.end or b"data: [DONE]\n\n"),
    "opening alone": lambda f: Raw(f.opening),
    "opening and end mark": lambda f: Raw(f.opening, f.end),
    "keep-alive alone": lambda f: Raw(f.keep_alive),
    "empty lines": lambda f: Raw(b"\n\n\n"),
    "byte-order mark": lambda f: Raw(b"\xef\xbb\xbf"),
}


@pytest.mark.parametrize("empty", EMPTY)
def test_reply_without_content_is_interrupted_not_empty(fails, family, empty):
    """200 and nothing, or an end mark alone, is no reply."""
    fails(EMPTY[empty](family), error=StreamInterrupted, gone=False)


@pytest.mark.also_over_tls
@pytest.mark.each_wire_once
@pytest.mark.parametrize("step", [Cut(), Reset(), HalfClose()])
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_connection_lost_right_after_the_headers_is_interrupted(fails, framing, step):
    """The request was accepted, and may have been billed: it is not sent again."""
    fails(Raw(Wait(0.02), step, framing=framing), error=StreamInterrupted)


PROVED = {
    "reset at once": lambda f: Raw(f.whole, Reset()),
    "reset": lambda f: Raw(f.whole, Wait(0.02), Reset()),
    "cut": lambda f: Raw(f.whole, Cut()),
    "cut, HTTP 1.0": lambda f: Raw(f.whole, Cut(), framing="http1.0"),
    "half closed": lambda f: Raw(f.whole, HalfClose()),
    "bad chunk size": lambda f: Raw(f.whole, end=b"zz\r\n"),
    "length not met": lambda f: Raw(f.whole, framing="length", headers=LENGTH),
    "no end mark": lambda f: Raw(f.begun, f.second, f.finish),
    "no end mark, cut": lambda f: Raw(f.begun, f.second, f.finish, Cut()),
    "no end mark, reset": lambda f: Raw(f.begun, f.second, f.finish, Wait(0.02), Reset()),
    "no end mark, close": lambda f: Raw(f.begun, f.second, f.finish, framing="close"),
    "no end mark, half closed": lambda f: Raw(f.begun, f.second, f.finish, HalfClose()),
    "no last blank line": lambda f: Raw(f.whole.rstrip() + b"\n"),
    "no last line end": lambda f: Raw(f.whole.rstrip()),
    "no last line end, close": lambda f: Raw(f.whole.rstrip(), framing="close"),
    "no end mark, no last line end": lambda f: Raw(
        f.begun, f.second, f.finish.rstrip(), framing="close"
    ),
}


@pytest.mark.also_over_tls
@pytest.mark.parametrize("proved", PROVED)
def test_fault_after_the_proof_does_not_matter(succeeds, family, proved):
    """A finish reason, or an end mark after content, makes the reply whole."""
    outcome = succeeds(PROVED[proved](family), text=TEXT)

    assert outcome.message.finish_reason == "stop"


@pytest.mark.each_wire_once
@pytest.mark.parametrize("limits", [{"idle_s": 0.03}, {"total_s": 0.2}])
def test_silence_after_the_finish_reason_ends_a_whole_reply(succeeds, family, limits):
    """No end mark, no end of the body: the clock ends the wait, not the reply."""
    raw = Raw(family.begun, family.second, family.finish, Stall())
    outcome = succeeds(raw, text=TEXT, timeouts=Timeouts(5, 5, **limits))

    assert outcome.message.finish_reason == "stop"


@pytest.mark.also_over_tls
@pytest.mark.parametrize("framing", ["chunked", "close", "http1.0"])
def test_socket_left_open_after_the_end_is_not_waited_for(succeeds, family, framing):
    """An end mark ends the reply at once, and that connection is given up.

    Gemini has none: its end is the connection's, and the idle clock bounds the wait for it.
    """
    idle_s = 0.05 if family.name == "gemini" else 5
    raw = Raw(family.whole, Stall(), framing=framing)
    outcome = succeeds(raw, text=TEXT, timeouts=Timeouts(5, 5, idle_s, 15))

    assert outcome.seconds < 4  # the idle clock's 5 s would be a wait


def test_event_cut_by_the_end_of_the_body_counts_if_it_is_whole(succeeds, family):
    """Only its empty line is missing."""
    raw = Raw(family.begun, family.second, family.finish.rstrip(b"\r\n"), framing="close")

    succeeds(raw, text=TEXT)


def test_event_cut_by_the_end_of_the_body_is_no_protocol_error(fails, family):
    """What is missing of it is the connection's fault."""
    raw = Raw(family.begun, in_an_event(family) + b"\n", framing="close")

    fails(raw, error=StreamInterrupted, partial=PIECES[0])
