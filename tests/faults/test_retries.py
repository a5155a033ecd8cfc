"""What is sent again, after how long, and what never is."""

from __future__ import annotations

import email.utils
import time

import pytest
from families import PIECES

from cloudllm_sync import (
    AuthenticationError,
    ConfigurationError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    StreamInterrupted,
    Timeouts,
)
from cloudllm_sync.streaming.observer import Observer
from cloudllm_sync.testing import Cut, HalfClose, Raw, Reset
from cloudllm_sync.transport import retry


class Retries(Observer):
    """Notes every retry."""

    def __init__(self):
        self.seen = []

    def on_retry(self, call, error, delay_s):
        self.seen.append((error, delay_s))

    @property
    def delays(self):
        return [delay_s for _, delay_s in self.seen]


@pytest.fixture
def retries():
    return Retries()


@pytest.fixture
def busy(family):
    """A refusal with these headers."""

    def make(status=503, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return family.refusal(status, "busy", headers=named)

    return make


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_refusal_once_is_retried(succeeds, no_backoff, retries, busy, status):
    """The second answer is the reply."""
    succeeds(busy(status), "well", text="well", requests=2, observers=[retries])

    assert [error.status_code for error, _ in retries.seen] == [status]


# Headers are read below every wire.
@pytest.mark.one_lane
@pytest.mark.parametrize(
    ("headers", "delay_s"),
    [
        ({"Retry_After": "0"}, 0.0),
        ({"Retry_After": "0.02"}, 0.02),
        ({"Retry_After": " 0.02 "}, 0.02),
        ({"retry_after_ms": "30"}, 0.03),
        ({"retry_after_ms": "20", "Retry_After": "50"}, 0.02),
        ({"retry_after_ms": "soon", "Retry_After": "0.02"}, 0.02),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry_After": "Wednesday, 21-Oct-15 07:28:00 GMT"}, 0.0),
        ({"Retry_After": "Wed Oct 21 07:28:00 2015"}, 0.0),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:00"}, 0.0),
    ],
)
def test_wait_that_the_provider_asks_for_is_obeyed(succeeds, retries, busy, headers, delay_s):
    """In seconds, in milliseconds, as a date of any of HTTP's three forms."""
    outcome = succeeds(busy(**headers), "well", text="well", requests=2, observers=[retries])

    assert retries.delays == [delay_s]
    assert outcome.seconds >= delay_s


@pytest.mark.each_wire_once
def test_date_in_the_future_is_obeyed(read, serve, make_client, retries, busy):
    """The distance to now counts; HTTP dates are whole seconds."""
    at = email.utils.formatdate(time.time() + 20, usegmt=True)
    client = make_client(
        serve(busy(Retry_After=at)), observers=[retries], timeouts=Timeouts(5, 5, 5, 0.1)
    )
    read(client)

    assert 15 < retries.delays[0] <= 20


JUNK = ["nan", "inf", "-1", "-inf", "soon", "", "1e999", "0x10", "1,5", "1 2", "\x00", "\xb2"]
JUNK += ["Wed, 99 Foo 2015 07:28:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT", "9" * 5000, "1:30"]


@pytest.mark.one_lane
@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: ascii(junk)[:20])
@pytest.mark.parametrize("header", ["Retry_After", "retry_after_ms"])
def test_junk_means_the_usual_backoff(succeeds, retries, busy, monkeypatch, header, junk):
    """As if the header were not there."""
    monkeypatch.setattr(retry, "_BASE_S", 0.001)
    raw = busy(**{header: junk})
    succeeds(raw, "well", text="well", requests=2, observers=[retries])

    assert 0 <= retries.delays[0] <= 0.001


@pytest.mark.parametrize(
    ("headers", "asked_s"),
    [
        ({"Retry_After": "86400"}, 86400.0),
        ({"Retry_After": "61"}, 61.0),
        ({"retry_after_ms": "60001"}, 60.001),
    ],
)
def test_wait_of_a_day_is_raised_now(fails, busy, headers, asked_s):
    """The caller is told how long."""
    failure = fails(busy(429, **headers), error=RateLimitError, gone=False).error

    assert failure.retry_after_s == asked_s


@pytest.mark.each_wire_once
@pytest.mark.parametrize("said", ["true", "True", " TRUE "])
def test_provider_may_ask_for_a_retry_of_anything(succeeds, no_backoff, busy, said):
    """`x-should-retry: true` wins over the status."""
    succeeds(busy(409, x_should_retry=said), "well", text="well", requests=2)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_provider_may_forbid_a_retry(fails, busy, status):
    """`x-should-retry: false` wins, too."""
    error = RateLimitError if status == 429 else ServerError

    fails(busy(status, x_should_retry="false"), error=error, gone=False)


def test_quota_is_not_retried(fails, family):
    """Waiting does not bring credit."""
    fails(family.refusal(429, kind="quota"), error=QuotaExceededError, gone=False)


@pytest.mark.each_wire_once
@pytest.mark.parametrize("max_retries", [0, 1, 4])
def test_retries_are_bounded(fails, no_backoff, busy, max_retries):
    """`max_retries` more than one."""
    script = [busy()] * (max_retries + 1)

    fails(*script, error=ServerError, requests=max_retries + 1, max_retries=max_retries, gone=False)


@pytest.mark.one_lane
def test_backoff_doubles_up_to_its_cap(read, serve, make_client, retries, busy, monkeypatch):
    """Full jitter between nothing and that."""
    monkeypatch.setattr(retry, "_BASE_S", 0.001)
    monkeypatch.setattr(retry, "_CAP_S", 0.004)
    read(make_client(serve(default=busy()), observers=[retries], max_retries=6))

    assert len(retries.delays) == 6
    caps = [0.001, 0.002, 0.004, 0.004, 0.004, 0.004]
    assert all(0 <= delay <= cap for delay, cap in zip(retries.delays, caps))


@pytest.mark.parametrize("kind", ["overloaded", "rate", "broken"])
def test_overload_before_any_content_is_retried(succeeds, no_backoff, retries, family, kind):
    """Status 200 was sent already; nothing was handed on yet."""
    raw = Raw(family.opening, family.reports(kind))

    succeeds(raw, "well", text="well", requests=2, observers=[retries])

    assert len(retries.seen) == 1


def test_overload_after_content_is_not_retried(fails, family):
    """The caller has seen text that a second reply would not continue."""
    raw = Raw(family.begun, family.reports("overloaded"))
    failure = fails(raw, error=ServerError, partial=PIECES[0], gone=False).error

    assert failure.retryable is True


def test_overload_that_lasts_is_raised_within_bounds(fails, no_backoff, busy, family):
    """Refusals and error events count together."""
    event = Raw(family.reports("overloaded"))

    fails(busy(), event, event, error=ServerError, requests=3, gone=False)


def test_wrong_key_in_the_stream_is_not_retried(fails, family):
    """Only what may pass is tried again."""
    fails(Raw(family.reports("key")), error=AuthenticationError, gone=False)


@pytest.mark.also_over_tls
@pytest.mark.parametrize("step", [Cut(), Reset(), HalfClose()])
def test_stream_that_has_begun_is_not_retried(fails, family, step):
    """Not even when no content had come: the reply may have been billed."""
    fails(Raw(family.opening, step), error=StreamInterrupted)


@pytest.mark.each_wire_once
def test_retry_is_the_same_request(read, serve, make_client, no_backoff, busy):
    """Byte for byte."""
    server = serve(busy(), "well")
    read(make_client(server))
    first, second = server.requests

    assert first.body == second.body
    assert dict(first.headers) == dict(second.headers)


@pytest.mark.each_wire_once
def test_client_that_is_closed_says_so(serve, make_client):
    """No request goes out."""
    server = serve("hi")
    client = make_client(server)
    client.close()

    with pytest.raises(ConfigurationError, match="closed"):
        client.send_message("hi")
    assert server.requests == ()


@pytest.mark.one_lane
def test_stream_options_that_are_refused_are_left_out(read, serve, make_client, family):
    """One free attempt without them, and none with them later."""
    refusal = family.refusal(400, "Unrecognized request argument supplied: stream_options")
    server = serve(refusal, "one", "two")
    client = make_client(server, max_retries=0)
    texts = [read(client).text for _ in range(2)]

    assert texts == ["one", "two"]
    assert ["stream_options" in request.json for request in server.requests] == [True, False, False]
