"""What is sent again, after how long, and what never is."""

from __future__ import annotations

import email.utils
import json
import time

import pytest

from cloudllm_sync import (
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    RateLimitError,
    ServerError,
    StreamInterrupted,
    Timeouts,
)
from cloudllm_sync.streaming.observer import Observer
from cloudllm_sync.testing import Cut, Raw, Reply, Reset, error_reply, openai_events
from cloudllm_sync.transport import retry

EVENTS = openai_events(Reply("one two", usage=None))


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


def busy(status=503, **headers):
    """A refusal with these headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return error_reply(status, "busy", headers=named)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_refusal_once_is_retried(succeeds, no_backoff, retries, status):
    """The second answer is the reply."""
    succeeds(busy(status), "well", text="well", requests=2, observers=[retries])

    assert [error.status_code for error, _ in retries.seen] == [status]


@pytest.mark.parametrize(
    ("headers", "delay_s"),
    [
        ({"Retry_After": "0"}, 0.0),
        ({"Retry_After": "0.02"}, 0.02),
        ({"retry_after_ms": "30"}, 0.03),
        ({"retry_after_ms": "20", "Retry_After": "50"}, 0.02),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_wait_that_the_provider_asks_for_is_obeyed(succeeds, retries, headers, delay_s):
    """In seconds, in milliseconds, as a date."""
    outcome = succeeds(busy(**headers), "well", text="well", requests=2, observers=[retries])

    assert retries.delays == [delay_s]
    assert outcome.seconds >= delay_s


def test_date_in_the_future_is_obeyed(pull, serve, make_client, retries):
    """The distance to now counts; HTTP dates are whole seconds."""
    at = email.utils.formatdate(time.time() + 20, usegmt=True)
    server = serve(busy(Retry_After=at))
    client = make_client(server, observers=[retries], timeouts=Timeouts(5, 5, 5, 0.1))
    pull(client)

    assert 15 < retries.delays[0] <= 20


@pytest.mark.parametrize("junk", ["nan", "inf", "-1", "soon", "", "1e999", "0x10", "1,5"])
def test_junk_means_the_usual_backoff(succeeds, retries, monkeypatch, junk):
    """As if the header were not there."""
    monkeypatch.setattr(retry, "_BASE_S", 0.001)
    succeeds(busy(Retry_After=junk), "well", text="well", requests=2, observers=[retries])

    assert 0 <= retries.delays[0] <= 0.001


@pytest.mark.parametrize("headers", [{"Retry_After": "86400"}, {"retry_after_ms": "60001"}])
def test_wait_of_a_day_is_raised_now(fails, headers):
    """The caller is told how long."""
    failure = fails(busy(429, **headers), error=RateLimitError, gone=False).error

    assert failure.retry_after_s in (86400.0, 60.001)


def test_provider_may_ask_for_a_retry_of_anything(succeeds, no_backoff):
    """`x-should-retry: true` wins over the status."""
    succeeds(busy(409, x_should_retry="true"), "well", text="well", requests=2)


@pytest.mark.parametrize("max_retries", [0, 1, 4])
def test_retries_are_bounded(fails, no_backoff, max_retries):
    """`max_retries` more than one."""
    script = [busy()] * (max_retries + 1)

    fails(*script, error=ServerError, requests=max_retries + 1, max_retries=max_retries, gone=False)


def test_backoff_doubles_up_to_its_cap(pull, serve, make_client, retries, monkeypatch):
    """Full jitter between nothing and that."""
    monkeypatch.setattr(retry, "_BASE_S", 0.001)
    monkeypatch.setattr(retry, "_CAP_S", 0.004)
    server = serve(default=busy())
    pull(make_client(server, observers=[retries], max_retries=6))

    assert len(retries.delays) == 6
    caps = [0.001, 0.002, 0.004, 0.004, 0.004, 0.004]
    assert all(0 <= delay <= cap for delay, cap in zip(retries.delays, caps))


def overloaded(kind):
    """An error event of this type."""
    error = {"error": {"message": "try later", "type": kind}}
    return b"data: " + json.dumps(error).encode() + b"\n\n"


@pytest.mark.parametrize("kind", ["overloaded_error", "rate_limit_error", "server_error"])
def test_overload_before_any_content_is_retried(succeeds, no_backoff, retries, kind):
    """Status 200 was sent already; nothing was handed on yet."""
    raw = Raw(EVENTS[0], overloaded(kind))

    succeeds(raw, "well", text="well", requests=2, observers=[retries])

    assert len(retries.seen) == 1


def test_overload_after_content_is_not_retried(fails):
    """The caller has seen text that a second reply would not continue."""
    failure = fails(
        Raw(*EVENTS[:2], overloaded("overloaded_error")),
        error=ServerError,
        partial="one",
        gone=False,
    ).error

    assert failure.retryable is True


def test_overload_that_lasts_is_raised_within_bounds(fails, no_backoff):
    """Refusals and error events count together."""
    event = Raw(overloaded("overloaded_error"))

    fails(busy(), event, event, error=ServerError, requests=3, gone=False)


def test_authentication_error_in_the_stream_is_not_retried(fails):
    """Only what may pass is tried again."""
    fails(Raw(overloaded("authentication_error")), error=AuthenticationError, gone=False)


@pytest.mark.parametrize("step", [Cut(), Reset()])
def test_stream_that_has_begun_is_not_retried(fails, step):
    """Not even when no content had come: the reply may have been billed."""
    fails(Raw(EVENTS[0], step), error=StreamInterrupted)


@pytest.mark.parametrize("step", [Cut(), Reset()])
def test_connection_closed_on_reuse_costs_no_retry(read, serve, make_client, retries, step):
    """The server had given the idle connection up; the request goes out on a fresh one."""
    server = serve("first", Raw(before_headers=(step,)), "second")
    client = make_client(server, max_retries=0, observers=[retries])
    texts = [read(client).text for _ in range(2)]

    assert texts == ["first", "second"]
    assert retries.seen == []
    assert [request.connection for request in server.requests] == [1, 1, 2]


def test_fresh_connection_that_closes_too_is_an_error(read, serve, make_client):
    """Free once, not for ever."""
    server = serve("first", *[Raw(before_headers=(Cut(),))] * 2)
    client = make_client(server, max_retries=0)
    read(client)
    outcome = read(client)

    assert type(outcome.error) is ConnectError
    assert len(server.requests) == 3


def test_idle_connection_that_the_server_closed_is_replaced(read, serve, make_client):
    """Noticed before the request is sent."""
    server = serve(Raw(*EVENTS, framing="chunked", headers={"Connection": "close"}), "second")
    client = make_client(server, max_retries=0)
    read(client)
    assert server.wait_until_idle()
    outcome = read(client)

    assert outcome.text == "second"
    assert len(server.requests) == 2


def test_retry_is_the_same_request(read, serve, make_client, no_backoff):
    """Byte for byte."""
    server = serve(busy(), "well")
    read(make_client(server))
    first, second = server.requests

    assert first.body == second.body
    assert dict(first.headers) == dict(second.headers)


def test_client_that_is_closed_says_so(serve, make_client):
    """No request goes out."""
    server = serve("hi")
    client = make_client(server)
    client.close()

    with pytest.raises(ConfigurationError, match="closed"):
        client.send_message("hi")
    assert server.requests == ()


def test_stream_options_that_are_refused_are_left_out(read, serve, make_client):
    """One free attempt without them, and none with them later."""
    refusal = error_reply(400, "Unrecognized request argument supplied: stream_options")
    server = serve(refusal, "one", "two")
    client = make_client(server, max_retries=0)
    texts = [read(client).text for _ in range(2)]

    assert texts == ["one", "two"]
    assert ["stream_options" in request.json for request in server.requests] == [True, False, False]
