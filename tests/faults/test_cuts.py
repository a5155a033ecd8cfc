"""Streams that end before the provider's proof of an end, and those that end right after it."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync import ConnectError, StreamInterrupted, StreamProtocolError, Timeouts
from cloudllm_sync.testing import (
    Cut,
    Raw,
    Reply,
    Reset,
    Stall,
    Wait,
    Wire,
    openai_body,
    openai_events,
)

EVENTS = openai_events(Reply(("Grüße", ", Welt"), usage=None))
OPENING, FIRST, SECOND, FINISH, DONE = EVENTS
IN_CHARACTER = FIRST + SECOND[: SECOND.index(b"W")] + "Wü".encode()[:2]
LENGTH = {"Content-Length": "100000"}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(Raw(OPENING, FIRST, SECOND[:40], Cut()), id="in an event"),
        pytest.param(Raw(OPENING, IN_CHARACTER, Cut()), id="in a character"),
        pytest.param(Raw(OPENING, FIRST, Cut()), id="between events, chunked"),
        pytest.param(Raw(OPENING, FIRST, framing="close"), id="between events, close-delimited"),
        pytest.param(Raw(OPENING, FIRST, framing="http1.0"), id="between events, HTTP/1.0"),
        pytest.param(Raw(OPENING, FIRST, SECOND[:40], framing="close"), id="in an event, close"),
        pytest.param(Raw(OPENING, IN_CHARACTER, framing="close"), id="in a character, close"),
        pytest.param(Raw(OPENING, FIRST, Wire(b"40\r\ndata: {"), Cut()), id="in an HTTP chunk"),
        pytest.param(Raw(OPENING, FIRST, Wire(b"zz\r\n"), Stall()), id="bad chunk size"),
        pytest.param(Raw(OPENING, FIRST, framing="length", headers=LENGTH), id="length not met"),
        pytest.param(Raw(OPENING, FIRST, Wait(0.05), Reset()), id="reset"),
        pytest.param(Raw(OPENING, FIRST, Wait(0.05), Reset(), framing="close"), id="reset, close"),
    ],
)
def test_stream_that_is_cut_is_interrupted(fails, raw):
    """Whatever the framing says, no finish reason means no reply; whole characters are kept."""
    fails(raw, error=StreamInterrupted, partial="Grüße")


def test_chunked_body_that_ends_properly_without_a_finish_is_interrupted(fails):
    """The end of the body is no proof; this connection may serve again."""
    fails(Raw(OPENING, FIRST), error=StreamInterrupted, partial="Grüße", gone=False)


@pytest.mark.parametrize("steps", [(), (DONE,), (OPENING, DONE), (b": hello\n\n",), (b"\n\n\n",)])
def test_reply_without_content_is_interrupted_not_empty(fails, steps):
    """200 and nothing, or an end mark alone, is no reply."""
    fails(Raw(*steps), error=StreamInterrupted, gone=False)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(Raw(OPENING, FIRST, SECOND, FINISH, DONE, Reset()), id="reset after DONE"),
        pytest.param(Raw(OPENING, FIRST, SECOND, FINISH, DONE, Cut()), id="cut after DONE"),
        pytest.param(Raw(OPENING, FIRST, SECOND, FINISH), id="no DONE"),
        pytest.param(Raw(OPENING, FIRST, SECOND, FINISH, Cut()), id="no DONE, cut"),
        pytest.param(Raw(OPENING, FIRST, SECOND, FINISH, Reset()), id="no DONE, reset"),
        pytest.param(Raw(OPENING, FIRST, SECOND, FINISH, framing="close"), id="no DONE, close"),
        pytest.param(Raw(OPENING, FIRST, SECOND, FINISH[:-1], framing="close"), id="one line end"),
        pytest.param(Raw(OPENING, FIRST, SECOND, FINISH, DONE[:-1]), id="DONE, one line end"),
        pytest.param(Raw(OPENING, FIRST, SECOND, FINISH, DONE.strip()), id="DONE, no line end"),
        pytest.param(
            Raw(OPENING, FIRST, SECOND, FINISH, DONE[:-1], framing="close"), id="DONE, cut, close"
        ),
    ],
)
def test_fault_after_the_proof_does_not_matter(succeeds, raw):
    """A finish reason, or an end mark after content, makes the reply whole."""
    outcome = succeeds(raw, text="Grüße, Welt")

    assert outcome.message.finish_reason == "stop"


@pytest.mark.parametrize("clock", ["idle", "total"])
def test_silence_after_the_finish_reason_ends_a_whole_reply(succeeds, clock):
    """No [DONE], no end of the body: the clock ends the wait, not the reply."""
    limits = {"connect_s": 5, "first_chunk_s": 5, "idle_s": 5, "total_s": 5, f"{clock}_s": 0.1}
    raw = Raw(OPENING, FIRST, SECOND, FINISH, Stall())
    outcome = succeeds(raw, text="Grüße, Welt", timeouts=Timeouts(**limits))

    assert outcome.message.finish_reason == "stop"


@pytest.mark.parametrize("framing", ["chunked", "close", "http1.0"])
def test_socket_left_open_after_the_end_mark_is_not_waited_for(succeeds, framing):
    """[DONE] ends the reply at once, and that connection is given up."""
    outcome = succeeds(Raw(*EVENTS, Stall(), framing=framing), text="Grüße, Welt")

    assert outcome.seconds < 1.0


@pytest.mark.parametrize(
    "step", [Cut(), Reset(), Wire(b"SSH-2.0-OpenSSH_9.6\r\n"), Wire(b"\0\xff\n\n"), Wire(b"HTTP/")]
)
def test_answer_that_is_no_http_is_a_connect_error_after_retries(fails, no_backoff, step):
    """Three requests in all, each on a connection of its own."""
    script = [Raw(framing="none", before_headers=(step,))] * 3

    fails(*script, error=ConnectError, requests=3)


@pytest.mark.parametrize("step", [Cut(), Reset()])
def test_connection_lost_before_the_headers_is_retried(succeeds, no_backoff, step):
    """Once is forgiven."""
    succeeds(Raw(before_headers=(step,)), "well", text="well", requests=2)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Ty",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n",
        b"HTTP/1.1 100 Continue\r\n",
    ],
)
def test_connection_lost_in_the_headers_is_retried(succeeds, no_backoff, head):
    """No reply had begun, though http.client takes half a head for a whole one."""
    succeeds(Raw(head, Cut(), framing="none"), "well", text="well", requests=2)


def test_refused_connection_is_a_connect_error(read, serve, make_client, no_backoff, texts_of):
    """Nobody listens: three attempts, and the address in the message."""
    server = serve()
    client = make_client(server)
    server.close()
    outcome = read(client)

    assert type(outcome.error) is ConnectError
    assert outcome.error.attempts == 3
    assert server.url.rpartition("/")[2] in str(outcome.error)
    assert "0123456789abcdef" not in texts_of(outcome.error)


def test_unknown_host_is_a_connect_error(read, make_client, no_backoff):
    """A name that resolves to nothing; `.invalid` never does."""
    outcome = read(make_client("https://nowhere.invalid/v1", max_retries=0))

    assert type(outcome.error) is ConnectError


def test_event_cut_by_the_end_of_the_body_counts_if_it_is_whole(succeeds):
    """Only its empty line is missing."""
    last = json.dumps(
        {"choices": [{"index": 0, "delta": {"content": "!"}, "finish_reason": "stop"}]}
    )

    succeeds(Raw(OPENING, FIRST, f"data: {last}".encode(), framing="close"), text="Grüße!")


@pytest.mark.parametrize("cut", [1, 30, 60])
@pytest.mark.parametrize("framing", ["close", "http1.0"])
def test_whole_body_that_is_cut_is_interrupted(serve, make_client, framing, cut):
    """Its brackets are open, and only the connection's end was its end: no provider's mistake."""
    body = openai_body(Reply("Grüße, Welt"))[:-cut]
    raw = Raw(body, framing=framing, content_type="application/json")
    client = make_client(serve(raw))

    with pytest.raises(StreamInterrupted):
        client.send_message("hi")


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("body", [b'{"choices": oops}', b'{"choices": [}]}'])
def test_whole_body_that_is_no_json_is_a_protocol_error(serve, make_client, framing, body):
    """It has its end, and makes no sense."""
    raw = Raw(body, framing=framing, content_type="application/json")
    client = make_client(serve(raw))

    with pytest.raises(StreamProtocolError):
        client.send_message("hi")


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_half_a_whole_body_that_came_as_announced_is_a_protocol_error(serve, make_client, framing):
    """Nothing was cut on the way: the provider sent no more."""
    client = make_client(serve(Raw(b'{"choices": [', framing=framing)))

    with pytest.raises(StreamProtocolError):
        client.send_message("hi")
