"""Connections that are used again, or must not be: what one call leaves behind for the next."""

from __future__ import annotations

import gc
import threading

import pytest
from families import TEXT

from cloudllm_sync import ConnectError, ServerError, Timeouts
from cloudllm_sync.streaming.observer import Observer
from cloudllm_sync.testing import Cut, HalfClose, Raw, Reply, Reset, Stall, WaitFor, Wire

EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


class Retries(Observer):
    """Counts retries."""

    def __init__(self):
        self.count = 0

    def on_retry(self, call, error, delay_s):
        self.count += 1


@pytest.mark.also_over_tls
@pytest.mark.parametrize("step", [Cut(), Reset(), HalfClose()])
def test_connection_closed_on_reuse_costs_no_retry(read, serve, make_client, step):
    """The server had given the idle connection up; the request goes out on a fresh one."""
    retries = Retries()
    server = serve("first", Raw(before_headers=(step,)), "second")
    client = make_client(server, max_retries=0, observers=[retries])
    texts = [read(client).text for _ in range(2)]

    assert texts == ["first", "second"]
    assert retries.count == 0
    assert [request.connection for request in server.requests] == [1, 1, 2]


@pytest.mark.each_wire_once
@pytest.mark.also_over_tls
def test_fresh_connection_that_closes_too_is_an_error(read, serve, make_client):
    """Free once, not for ever."""
    server = serve("first", *[Raw(before_headers=(Cut(),))] * 2)
    client = make_client(server, max_retries=0)
    read(client)
    outcome = read(client)

    assert type(outcome.error) is ConnectError
    assert len(server.requests) == 3


@pytest.mark.each_wire_once
@pytest.mark.also_over_tls
def test_idle_connection_that_the_server_closed_is_replaced(read, serve, make_client, family):
    """Noticed before the request is sent."""
    server = serve(Raw(family.whole, headers={"Connection": "close"}), "second")
    client = make_client(server, max_retries=0)
    read(client)
    assert server.wait_until_idle()
    outcome = read(client)

    assert outcome.text == "second"
    assert len(server.requests) == 2


@pytest.mark.also_over_tls
def test_whole_reply_leaves_its_connection_to_the_next_call(read, serve, make_client):
    """Ten calls, one connection."""
    server = serve(default=Reply(TEXT))
    client = make_client(server)
    texts = {read(client).text for _ in range(10)}

    assert texts == {TEXT}
    assert server.connections == 1


JUNK = {
    "a forged answer": EVIL,
    "garbage": b"\0\xff garbage",
    "a second end": b"0\r\n\r\n",
    "a line end": b"\r\n",
}


@pytest.mark.each_wire_once
@pytest.mark.parametrize("junk", JUNK)
def test_junk_after_the_reply_is_not_the_next_reply(read, serve, make_client, family, junk):
    """In the same segment as its end; it stands before what the next call is told."""
    client = make_client(serve(Raw(family.whole, end=b"0\r\n\r\n" + JUNK[junk]), "second"))
    texts = [read(client).text for _ in range(2)]

    assert texts == [TEXT, "second"]


@pytest.mark.each_wire_once
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_junk_that_comes_later_is_not_the_next_reply(read, serve, make_client, family, framing):
    """On an idle connection nobody speaks: one that does is given up."""
    go = threading.Event()
    end = b"0\r\n\r\n" if framing == "chunked" else b""
    raw = Raw(family.whole, Wire(end), WaitFor(go), Wire(EVIL), Cut(), framing=framing)
    server = serve(raw, "second")
    client = make_client(server)
    first = read(client)
    go.set()
    assert server.wait_until_idle()

    assert (first.text, read(client).text) == (TEXT, "second")


@pytest.mark.each_wire_once
def test_rest_of_a_refusal_is_not_the_next_reply(read, serve, make_client, family):
    """More than the 64 KiB that are read of an error body: that connection is given up."""
    long = Raw(b"x" * 200_000, end=b"0\r\n\r\n" + EVIL, status=400)
    client = make_client(serve(long, "second"))
    read(client)

    assert read(client).text == "second"


@pytest.mark.each_wire_once
def test_rest_of_a_reply_is_not_the_next_reply(read, serve, make_client, family):
    """A body that goes on after its proof is not read to its end."""
    endless = Raw(family.whole, *[family.keep_alive * 1000] * 100, Stall())
    client = make_client(serve(endless, "second"), timeouts=Timeouts(5, 5, 0.1, 5))
    read(client)

    assert read(client).text == "second"


def test_error_in_the_stream_leaves_the_client_clean(read, serve, make_client, family):
    """Failures and replies by turns."""
    failure = Raw(family.begun, family.reports("broken"))
    client = make_client(serve(*[failure, "good"] * 5))
    outcomes = [read(client) for _ in range(10)]

    assert {type(outcome.error) for outcome in outcomes[::2]} == {ServerError}
    assert {outcome.text for outcome in outcomes[1::2]} == {"good"}


@pytest.mark.each_wire_once
def test_cookies_are_not_sent_back(read, serve, make_client):
    """Nor is anything else kept between calls."""
    server = serve(Reply("one", headers={"Set-Cookie": "track=me; Path=/"}), "two")
    client = make_client(server)
    read(client)
    read(client)

    assert "cookie" not in server.requests[1].headers


@pytest.fixture
def no_collector():
    """What is in a cycle stays there."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.one_lane
def test_close_after_a_failure_closes_idle_connections(
    read, serve, make_client, no_backoff, no_collector
):
    """At once: what the failure left to the garbage collector must not keep them."""
    server = serve(*[Raw(before_headers=(Wire(b"garbage"), Cut()))] * 3, "fine")
    client = make_client(server)
    failed = read(client)
    read(client)
    client.close()

    assert failed.error is not None
    assert server.wait_until_idle(0.5)
