"""The four clocks, whatever the server does meanwhile, with and without TLS."""

from __future__ import annotations

import statistics
import threading
from unittest.mock import ANY

import pytest

from cloudllm_sync import BadRequestError, RequestTimeoutError, ServerError, Timeouts
from cloudllm_sync.testing import Raw, Reply, Stall, Wait, WaitFor, Wire, openai_events
from cloudllm_sync.values import Limits

CLOCK_S = 0.1
# What a busy machine may add. Idle ones stay under 20 ms.
SLACK_S = 0.5

EVENTS = openai_events(Reply("one two three", usage=None))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
FOREVER = 2000


def drip(data):
    """One byte every 5 ms."""
    return [step for byte in data for step in (bytes([byte]), Wait(0.005))]


@pytest.fixture(params=["plain", "tls"])
def expires(request, fails, server_tls, certificate):
    """Runs a script that must end by this clock, within `SLACK_S`, plain and over TLS."""

    def run(clock, *script, **expected):
        limits = {"connect_s": 5, "first_chunk_s": 5, "idle_s": 5, "total_s": 5}
        limits[f"{clock}_s"] = CLOCK_S
        if request.param == "tls":
            expected.update(ssl_context=server_tls, verify=certificate)
        outcome = fails(*script, error=RequestTimeoutError, timeouts=Timeouts(**limits), **expected)
        assert outcome.error.clock == clock
        assert CLOCK_S <= outcome.seconds + 0.005 < CLOCK_S + SLACK_S
        assert f"{CLOCK_S:g} s" in str(outcome.error)
        return outcome

    return run


@pytest.mark.parametrize("clock", ["first_chunk", "total"])
def test_server_that_never_answers_gets_one_request(expires, clock):
    """A request that was sent may have been billed: it is not sent again."""
    expires(clock, Raw(before_headers=(Stall(),)))


@pytest.mark.parametrize("clock", ["first_chunk", "total"])
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_headers_and_then_nothing(expires, clock, framing):
    """The role is no content."""
    expires(clock, Raw(EVENTS[0], Stall(), framing=framing))


@pytest.mark.parametrize("clock", ["idle", "total"])
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_tokens_and_then_nothing(expires, clock, framing):
    """What had arrived is in the error."""
    expires(clock, Raw(*EVENTS[:2], Stall(), framing=framing), partial="one")


@pytest.mark.parametrize("clock", ["first_chunk", "total"])
def test_headers_that_drip(expires, clock):
    """Bytes are no progress."""
    steps = drip(HEAD + b"X-Padding: " + b"x" * FOREVER)

    expires(clock, Raw(*steps, framing="none"))


@pytest.mark.parametrize("clock", ["idle", "total"])
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_body_that_drips(expires, clock, framing):
    """An event that never ends is no progress, however its bytes come."""
    steps = drip(b"data: " + b"x" * FOREVER)

    expires(clock, Raw(*EVENTS[:2], *steps, framing=framing), partial="one")


def test_http_chunk_header_that_drips(expires):
    """The framing's own bytes count no more than others."""
    steps = [step for _ in range(FOREVER) for step in (Wire(b"0"), Wait(0.005))]

    expires("total", Raw(*EVENTS[:2], *steps), partial="one")


@pytest.mark.parametrize("clock", ["idle", "total"])
def test_comments_are_no_progress(expires, clock):
    """Keep-alive lines feed no clock."""
    steps = (b": keep-alive\n\n", Wait(0.01)) * 500

    expires(clock, Raw(*EVENTS[:2], *steps), partial="one")


def test_comments_before_the_first_token_are_no_progress(expires):
    """The first chunk is what is waited for."""
    expires("first_chunk", Raw(*(b": keep-alive\n\n", Wait(0.01)) * 500))


def test_total_clock_ends_a_stream_that_never_stops_talking(expires):
    """Tokens at a good pace feed the idle clock, not this one."""
    expires("total", Reply(["x"] * 5000, token_delay_s=0.01), partial=ANY)


def test_total_clock_counts_the_waits_between_attempts(expires, no_backoff):
    """A Retry-After that goes beyond it is cut short."""
    busy = Raw(b"{}", status=503, framing="length", headers={"Retry-After": "30"})

    expires("total", busy, gone=False)


def test_connect_clock(read, make_client, full_backlog):
    """A connection that does not come to stand; this one is retried, it cost nothing."""
    client = make_client(full_backlog, timeouts=Timeouts(CLOCK_S, 5, 5, 5), max_retries=0)
    outcome = read(client)

    assert type(outcome.error) is RequestTimeoutError
    assert outcome.error.clock == "connect"
    assert CLOCK_S <= outcome.seconds + 0.005 < CLOCK_S + SLACK_S


def test_total_clock_while_connecting(read, make_client, full_backlog):
    """Retries included."""
    client = make_client(full_backlog, timeouts=Timeouts(5, 5, 5, CLOCK_S))
    outcome = read(client)

    assert outcome.error.clock == "total"
    assert outcome.seconds < CLOCK_S + SLACK_S


@pytest.mark.parametrize("clock", ["connect", "total"])
def test_tls_handshake_that_is_never_answered(read, make_client, silent_port, clock):
    """The handshake belongs to the connection."""
    limits = {"connect_s": 5, "first_chunk_s": 5, "idle_s": 5, "total_s": 5, f"{clock}_s": CLOCK_S}
    base_url = f"https://127.0.0.1:{silent_port.getsockname()[1]}/v1"
    outcome = read(make_client(base_url, timeouts=Timeouts(**limits), max_retries=0))

    assert type(outcome.error) is RequestTimeoutError
    assert outcome.error.clock == clock
    assert outcome.seconds < CLOCK_S + SLACK_S


def test_request_that_the_server_does_not_take(read, make_client, silent_port):
    """A prompt larger than the socket's buffers waits for the server, too; it is not sent again."""
    base_url = f"http://127.0.0.1:{silent_port.getsockname()[1]}/v1"
    client = make_client(base_url, timeouts=Timeouts(5, CLOCK_S, 5, 5))
    outcome = read(client, "x" * 30_000_000)

    assert type(outcome.error) is RequestTimeoutError, repr(outcome.error)
    assert outcome.error.clock == "first_chunk"
    assert outcome.error.attempts == 1


def test_slow_consumer_is_not_punished(read, serve, make_client):
    """The idle clock counts waiting for the server, not for whoever reads."""
    go = [WaitFor(threading.Event()) for _ in range(2)]
    server = serve(Raw(EVENTS[0], EVENTS[1], go[0], EVENTS[2], go[1], *EVENTS[3:]))
    client = make_client(server, timeouts=Timeouts(5, 5, 0.1, 10))
    pauses = iter(go)

    def on_chunk(chunk):
        # Longer than the idle clock; then the server may go on.
        pause = next(pauses, None)
        if pause is not None:
            pause.event.wait(0.25)
            pause.event.set()

    outcome = read(client, on_chunk=on_chunk)

    assert outcome.error is None
    assert outcome.message.content == "one two three"


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_error_body_that_stalls_is_bounded(fails, framing):
    """The status says enough."""
    headers = {"x-should-retry": "false"}
    if framing == "length":
        headers["Content-Length"] = "99"
    raw = Raw(b'{"error": {"mess', Stall(), status=500, framing=framing, headers=headers)
    outcome = fails(raw, error=ServerError, limits=Limits(error_body_s=0.2))

    assert outcome.error.status_code == 500
    assert outcome.seconds < 0.2 + SLACK_S


def test_error_body_that_drips_is_bounded(fails):
    """Five seconds by default, not five for every byte."""
    raw = Raw(*drip(b"x" * 500), status=400)
    outcome = fails(raw, error=BadRequestError, limits=Limits(error_body_s=0.2))

    assert outcome.seconds < 0.2 + SLACK_S


@pytest.mark.parametrize("where", ["headers", "body"])
def test_total_clock_is_exact(pull, serve, make_client, record_property, where):
    """To within 50 ms, taken over several streams that drip."""
    body = drip(b"data: " + b"x" * FOREVER)
    raw = Raw(*drip(HEAD), *body, framing="none") if where == "headers" else Raw(*body)
    server = serve(default=raw)
    client = make_client(server, timeouts=Timeouts(5, 5, 5, CLOCK_S))
    late = [pull(client).seconds - CLOCK_S for _ in range(5)]
    record_property("late_ms", [round(1000 * s, 1) for s in late])

    assert -0.005 < statistics.median(late) < 0.05
    assert max(late) < SLACK_S
