"""Connections that do not come to stand, or are lost before the reply begins."""

from __future__ import annotations

import pytest

from cloudllm_sync import BadRequestError, ConnectError
from cloudllm_sync.testing import Cut, HalfClose, Raw, Reset, Wire

GARBAGE = {
    "closed": Cut(),
    "reset": Reset(),
    "half closed": HalfClose(),
    "another protocol": Wire(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "zeros": Wire(b"\0\xff\n\n"),
    "half a status line": Wire(b"HTTP/"),
    "HTTP/2 frames": Wire(b"\0\0\x12\x04\0\0\0\0\0\0\3\0\0\0\x80"),
    "HTTP/2 in words": Wire(b"HTTP/2 200 OK\r\n\r\n"),
    "no status line, HTTP/0.9": Wire(b"<html>hello</html>"),
    "events without a head": Wire(b'data: {"choices": []}\n\n'),
    "status of two digits": Wire(b"HTTP/1.1 99 OK\r\n\r\n"),
    "status of four digits": Wire(b"HTTP/1.1 1000 OK\r\n\r\n"),
    "status in words": Wire(b"HTTP/1.1 OK OK\r\n\r\n"),
    "status line of 100 KB": Wire(b"HTTP/1.1 200 " + b"O" * 100_000 + b"\r\n\r\n"),
    "header of 100 KB": Wire(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n"),
    "200 headers": Wire(b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 200 + b"\r\n"),
    "100 and no more": Wire(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.each_wire_once
@pytest.mark.also_over_tls
@pytest.mark.parametrize("garbage", GARBAGE)
def test_answer_that_is_no_http_is_a_connect_error_after_retries(fails, no_backoff, garbage):
    """Three requests in all, each on a connection of its own."""
    script = [Raw(framing="none", before_headers=(GARBAGE[garbage],))] * 3

    fails(*script, error=ConnectError, requests=3)


@pytest.mark.also_over_tls
@pytest.mark.parametrize("step", [Cut(), Reset(), HalfClose(), Wire(b"garbage\r\n")])
def test_connection_lost_before_the_headers_is_retried(succeeds, no_backoff, step):
    """Once is forgiven."""
    raw = Raw(framing="none", before_headers=(step,))

    succeeds(raw, "well", text="well", requests=2)


@pytest.mark.also_over_tls
@pytest.mark.each_wire_once
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


@pytest.mark.each_wire_once
def test_unknown_host_is_a_connect_error(read, make_client, no_backoff, texts_of):
    """A name that resolves to nothing; `.invalid` never does."""
    outcome = read(make_client("https://nowhere.invalid", max_retries=0))

    assert type(outcome.error) is ConnectError
    assert "0123456789abcdef" not in texts_of(outcome.error)


@pytest.mark.each_wire_once
def test_server_that_takes_the_connection_and_no_request(fails, serve, no_backoff):
    """It resets while a long prompt is being sent; what was not taken is sent again."""
    server = serve(*[Raw(before_headers=(Reset(),))] * 3, max_body_bytes=1000)

    fails(error=ConnectError, requests=3, prompt="x" * 3_000_000, server=server)


@pytest.mark.each_wire_once
@pytest.mark.also_over_tls
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_refusal_before_the_request_is_sent_is_read(fails, serve, family, framing):
    """The answer counts, though most of the prompt is still on its way."""
    raw = family.refusal(413, "no such prompts", framing=framing)
    server = serve(raw, max_body_bytes=1000)
    failure = fails(error=BadRequestError, prompt="x" * 3_000_000, server=server).error

    assert failure.status_code == 413
    assert "no such prompts" in str(failure)
