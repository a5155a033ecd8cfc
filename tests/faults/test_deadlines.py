"""The four clocks, whatever the server does meanwhile, with and without TLS."""

from __future__ import annotations

import statistics
import threading
from unittest.mock import ANY

import pytest
from families import PIECES

from cloudllm_sync import BadRequestError, RequestTimeoutError, ServerError, Timeouts
from cloudllm_sync.testing import Drip, Raw, Reply, Stall, Wait, WaitFor, Wire
from cloudllm_sync.values import Limits

# The clocks are below the ways to read, and every test here waits for one.
pytestmark = pytest.mark.each_wire_once

CLOCK_S = 0.03
# For the total clock: until it runs out the request has to arrive, or the first text.
ROOMY_S = 0.3
# What a busy machine may add. Idle ones stay under 20 ms.
SLACK_S = 2.0

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
EVENT = b"data: " + b"x" * 2000
PACE_S = 0.005


def limits_with(clock, seconds=CLOCK_S):
    """This clock short, the others too long for a test."""
    limits = {"connect_s": 5, "first_chunk_s": 5, "idle_s": 5, "total_s": 5, f"{clock}_s": seconds}
    return Timeouts(**limits)


@pytest.fixture
def expires(fails):
    """Runs a script that must end by this clock, within `SLACK_S`."""

    def run_within(clock_s, clock, *script, **expected):
        expected.update(timeouts=limits_with(clock, clock_s))
        outcome = fails(*script, error=RequestTimeoutError, **expected)
        assert outcome.error.clock == clock
        assert clock_s <= outcome.seconds + 0.005 < clock_s + SLACK_S
        assert f"{clock_s:g} s" in str(outcome.error)
        return outcome

    def run(clock, *script, **expected):
        if clock != "total":
            return run_within(CLOCK_S, clock, *script, **expected)
        try:
            return run_within(ROOMY_S, clock, *script, **expected)
        except AssertionError:
            # A busy machine may stand still for all of that, before the request is out; once more.
            return run_within(10 * ROOMY_S, clock, *script, **expected)

    return run


@pytest.mark.also_over_tls
@pytest.mark.parametrize("clock", ["first_chunk", "total"])
def test_server_that_never_answers_gets_one_request(expires, clock):
    """A request that was sent may have been billed: it is not sent again."""
    expires(clock, Raw(before_headers=(Stall(),)))


@pytest.mark.also_over_tls
@pytest.mark.parametrize(
    ("clock", "framing"),
    [("first_chunk", "chunked"), ("first_chunk", "close"), ("total", "chunked")],
)
def test_headers_and_then_nothing(expires, family, clock, framing):
    """What opens a stream is no content."""
    expires(clock, Raw(family.opening, Stall(), framing=framing))


@pytest.mark.also_over_tls
@pytest.mark.parametrize(
    ("clock", "framing"), [("idle", "chunked"), ("idle", "close"), ("total", "chunked")]
)
def test_tokens_and_then_nothing(expires, family, clock, framing):
    """What had arrived is in the error."""
    expires(clock, Raw(family.begun, Stall(), framing=framing), partial=PIECES[0])


@pytest.mark.also_over_tls
@pytest.mark.parametrize("clock", ["first_chunk", "total"])
def test_headers_that_drip(expires, clock):
    """Bytes are no progress."""
    expires(clock, Raw(Drip(HEAD + b"X-Padding: " + b"x" * 2000, PACE_S), framing="none"))


@pytest.mark.also_over_tls
@pytest.mark.parametrize(
    ("clock", "framing"), [("idle", "chunked"), ("idle", "close"), ("total", "chunked")]
)
def test_body_that_drips(expires, family, clock, framing):
    """An event that never ends is no progress, however its bytes come."""
    expires(clock, Raw(family.begun, Drip(EVENT, PACE_S), framing=framing), partial=PIECES[0])


@pytest.mark.also_over_tls
def test_first_event_that_drips(expires, family):
    """Nor is one that has not said anything yet."""
    expires("first_chunk", Raw(family.opening, Drip(EVENT, PACE_S)))


@pytest.mark.also_over_tls
def test_http_chunk_header_that_drips(expires, family):
    """The framing's own bytes count no more than others."""
    steps = (Wire(b"0"), Wait(PACE_S)) * 500

    expires("total", Raw(family.begun, *steps), partial=PIECES[0])


@pytest.mark.also_over_tls
@pytest.mark.parametrize(
    ("kind", "clock"),
    [("keep-alive", "idle"), ("keep-alive", "total"), ("comment", "idle"), ("empty line", "idle")],
)
def test_keep_alive_is_no_progress(expires, family, kind, clock):
    """What a provider sends in silence feeds no clock, nor do comments and empty lines."""
    event = {"keep-alive": family.keep_alive, "comment": b":\n\n", "empty line": b"\n"}[kind]

    expires(clock, Raw(family.begun, *(event, Wait(0.01)) * 500), partial=PIECES[0])


def test_keep_alive_before_the_first_token_is_no_progress(expires, family):
    """The first chunk is what is waited for."""
    expires("first_chunk", Raw(family.opening, *(family.keep_alive, Wait(0.01)) * 500))


def test_events_that_say_nothing_are_no_progress(expires, family):
    """A provider that only talks of itself has fallen silent, too."""
    steps = [step for event in family.silent for step in (event, Wait(0.01))]

    expires("idle", Raw(family.begun, *steps * 100), partial=PIECES[0])


@pytest.mark.also_over_tls
def test_total_clock_ends_a_stream_that_never_stops_talking(expires):
    """Tokens at a good pace feed the idle clock, not this one."""
    expires("total", Reply(["x"] * 5000, token_delay_s=0.01), partial=ANY)


def test_total_clock_counts_the_waits_between_attempts(expires, family):
    """A Retry-After that goes beyond it is cut short."""
    busy = family.refusal(503, headers={"Retry-After": "30"})

    expires("total", busy, gone=False)


def test_total_clock_counts_all_attempts(read, serve, make_client, no_backoff):
    """Ten slow refusals do not have ten times as long."""
    slow = Raw(b"{}", status=503, before_headers=(Wait(0.03),), content_type="application/json")
    client = make_client(serve(default=slow), timeouts=limits_with("total", 0.1), max_retries=100)
    outcome = read(client)

    assert type(outcome.error) is RequestTimeoutError
    assert outcome.error.clock == "total"
    assert 2 <= outcome.error.attempts <= 4
    assert outcome.seconds < 0.1 + SLACK_S


@pytest.mark.parametrize("clock", ["connect", "total"])
def test_connection_that_does_not_come_to_stand(read, make_client, full_backlog, clock):
    """Retries included; this one is retried, as it cost nothing."""
    url = full_backlog.rpartition("/")[0]
    client = make_client(url, timeouts=limits_with(clock), max_retries=0)
    outcome = read(client)

    assert type(outcome.error) is RequestTimeoutError
    assert outcome.error.clock == clock
    assert CLOCK_S <= outcome.seconds + 0.005 < CLOCK_S + SLACK_S


@pytest.mark.parametrize("clock", ["connect", "total"])
def test_tls_handshake_that_is_never_answered(read, make_client, silent_port, clock):
    """The handshake belongs to the connection."""
    base_url = f"https://127.0.0.1:{silent_port.getsockname()[1]}"
    outcome = read(make_client(base_url, timeouts=limits_with(clock), max_retries=0))

    assert type(outcome.error) is RequestTimeoutError
    assert outcome.error.clock == clock
    assert outcome.seconds < CLOCK_S + SLACK_S


@pytest.mark.one_lane
def test_request_that_the_server_does_not_take(read, make_client, silent_port):
    """A prompt larger than the socket's buffers waits for the server, too; it is not sent again."""
    base_url = f"http://127.0.0.1:{silent_port.getsockname()[1]}"
    client = make_client(base_url, timeouts=limits_with("first_chunk"))
    outcome = read(client, "x" * 30_000_000)

    assert type(outcome.error) is RequestTimeoutError, repr(outcome.error)
    assert outcome.error.clock == "first_chunk"
    assert outcome.error.attempts == 1


def test_kept_connection_that_has_died_silently(read, serve, make_client):
    """No byte and no end comes back: the clock, and not a second request that may be billed."""
    server = serve("one", Raw(before_headers=(Stall(),)), "three")
    client = make_client(server)
    first = read(client)
    second = read(client, timeouts=limits_with("first_chunk"))
    third = read(client)

    assert (first.text, third.text) == ("one", "three")
    assert type(second.error) is RequestTimeoutError
    assert second.error.clock == "first_chunk"
    assert [request.connection for request in server.requests] == [1, 1, 2]


def test_slow_consumer_is_not_punished(read, serve, make_client, family):
    """The idle clock counts waiting for the server, not for whoever reads."""
    go = threading.Event()
    server = serve(Raw(family.begun, WaitFor(go), family.second, family.rest))
    client = make_client(server, timeouts=limits_with("idle", 0.1))

    def on_chunk(chunk):
        # Longer than the idle clock; then the server may go on.
        go.wait(0.15)
        go.set()

    outcome = read(client, on_chunk=on_chunk)

    assert outcome.error is None
    assert outcome.message.content == "".join(PIECES)


@pytest.mark.also_over_tls
@pytest.mark.parametrize(("status", "framing"), [(500, "chunked"), (500, "length"), (404, "close")])
def test_error_body_that_stalls_is_bounded(fails, framing, status):
    """The status says enough."""
    headers = {"x-should-retry": "false"}
    if framing == "length":
        headers["Content-Length"] = "99"
    raw = Raw(b'{"error": {"mess', Stall(), status=status, framing=framing, headers=headers)
    error = ServerError if status == 500 else BadRequestError
    outcome = fails(raw, error=error, limits=Limits(error_body_s=CLOCK_S))

    assert outcome.error.status_code == status
    assert outcome.seconds < CLOCK_S + SLACK_S


@pytest.mark.also_over_tls
def test_error_body_that_drips_is_bounded(fails):
    """Five seconds by default, not five for every byte."""
    raw = Raw(Drip(b"x" * 500, PACE_S), status=400)
    outcome = fails(raw, error=BadRequestError, limits=Limits(error_body_s=CLOCK_S))

    assert outcome.seconds < CLOCK_S + SLACK_S


@pytest.mark.one_lane
@pytest.mark.also_over_tls
@pytest.mark.parametrize("where", ["headers", "body"])
def test_total_clock_is_exact(read, serve, make_client, record_property, where):
    """To within 50 ms, taken over several streams that drip."""
    drip = Drip(HEAD + b"X-A: " + EVENT, PACE_S) if where == "headers" else Drip(EVENT, PACE_S)
    raw = Raw(drip, framing="none" if where == "headers" else "chunked")
    client = make_client(serve(default=raw), timeouts=limits_with("total"))
    late = [read(client).seconds - CLOCK_S for _ in range(3)]
    record_property("late_ms", [round(1000 * s, 1) for s in late])

    assert -0.005 < statistics.median(late) < 0.05
    assert max(late) < SLACK_S
