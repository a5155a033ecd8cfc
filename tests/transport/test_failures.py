"""What libraries raise, as one error of the package's, stripped of the request."""

from __future__ import annotations

import http.client
import socket

import pytest
import requests
import urllib3

from cloudllm_sync import (
    ConfigurationError,
    ConnectError,
    RequestTimeoutError,
    StreamCancelled,
    StreamInterrupted,
    StreamProtocolError,
    Timeouts,
)
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.transport.clocks import Clocks
from cloudllm_sync.transport.connections import Claim
from cloudllm_sync.transport.failures import explain


@pytest.fixture
def explained():
    """Explains an error of a call in this state."""

    def run(error, *, opened=False, fired=None, cancelled=None, mask=str):
        cancellation = Cancellation()
        claim = Claim(Clocks(Timeouts(1, 2, 3, 4)), cancellation)
        claim.clocks.fired = fired
        if cancelled is not None:
            cancellation.cancel(cancelled)
        return explain(
            error,
            where="X at host",
            claim=claim,
            cancellation=cancellation,
            opened=opened,
            mask=mask,
        )

    return run


@pytest.mark.parametrize(
    ("error", "opened", "kind"),
    [
        (requests.ConnectionError("refused"), False, ConnectError),
        (requests.exceptions.SSLError("bad certificate"), False, ConnectError),
        (requests.exceptions.InvalidURL("bad"), False, ConfigurationError),
        (requests.exceptions.InvalidHeader("bad"), False, ConfigurationError),
        (requests.exceptions.ChunkedEncodingError("cut"), True, StreamInterrupted),
        (urllib3.exceptions.DecodeError("junk"), True, StreamProtocolError),
        (AttributeError("'NoneType' object has no attribute 'read'"), True, StreamInterrupted),
        (ValueError("read of closed file"), True, StreamInterrupted),
        (http.client.BadStatusLine("SSH"), False, ConnectError),
        (OSError(104, "reset"), True, StreamInterrupted),
    ],
)
def test_kind_of_the_failure(explained, error, opened, kind):
    """By what was raised, and whether the reply had begun."""
    failure = explained(error, opened=opened)

    assert type(failure) is kind
    assert "X at host" in str(failure)
    assert isinstance(failure.__cause__, BaseException)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (requests.ConnectionError("refused"), True),
        (requests.exceptions.SSLError("bad certificate"), False),
        (requests.exceptions.InvalidURL("bad"), False),
    ],
)
def test_only_lost_connections_may_be_retried(explained, error, retryable):
    """TLS and addresses do not get better."""
    assert explained(error).retryable is retryable


@pytest.mark.parametrize(
    ("fired", "limit"), [("connect", 1), ("first_chunk", 2), ("idle", 3), ("total", 4)]
)
def test_clock_that_fired_is_named(explained, fired, limit):
    """With its limit and the option to change; only connecting may be retried."""
    failure = explained(socket.timeout("x"), fired=fired)

    assert type(failure) is RequestTimeoutError
    assert failure.clock == fired
    assert f"{limit} s ({fired}_s of Timeouts)" in str(failure)
    assert failure.retryable is (fired == "connect")


def test_cancel_explains_everything_else(explained):
    """What the shutdown broke is of no interest; who asked for it is."""
    cause = RuntimeError("mine")
    failure = explained(OSError(9, "bad descriptor"), fired="total", cancelled=cause)

    assert type(failure) is StreamCancelled
    assert failure.__cause__ is cause


def test_error_of_the_packages_own_stays_as_it_is(explained):
    """It has been explained."""
    error = StreamInterrupted("cut")

    assert explained(error) is error


def test_cause_is_the_innermost_error_without_its_request(explained):
    """requests hangs the request, with the key and the prompt, on what it raises."""
    request = requests.Request("POST", "http://host", headers={"Authorization": "secret"})
    pool = urllib3.HTTPConnectionPool("host")
    inner = ConnectionResetError(104, "reset by peer")
    middle = urllib3.exceptions.ProtocolError("aborted", inner)
    outer = requests.ConnectionError(
        urllib3.exceptions.MaxRetryError(pool, "/", middle), request=request.prepare()
    )
    outer.__context__ = KeyError("something before")
    failure = explained(outer)

    assert failure.__cause__ is inner
    assert inner.__traceback__ is inner.__context__ is inner.__cause__ is None
    assert "reset by peer" in str(failure)


def test_cause_that_holds_a_pool_is_replaced_by_its_words(explained):
    """urllib3's own errors hold the pool, and with it the proxy's password."""
    pool = urllib3.HTTPConnectionPool("host")
    error = urllib3.exceptions.ReadTimeoutError(pool, "/", "Read timed out")
    failure = explained(requests.ConnectionError(error), opened=True)

    assert type(failure.__cause__) is OSError
    assert "timed out" in str(failure)


def test_password_of_a_proxy_is_not_in_the_cause(explained):
    """urllib3 quotes an address that it cannot read."""
    error = requests.exceptions.InvalidURL("Failed to parse: http://me:secret@proxy:99999")
    failure = explained(error)

    assert "http://***@proxy:99999" in str(failure)
    assert "secret" not in f"{failure} {failure.__cause__} {vars(failure.__cause__)}"


def test_key_that_comes_back_in_place_of_http_is_masked_in_the_cause(explained):
    """A status line of a server that echoes; the exception keeps it in more than one place."""
    error = http.client.BadStatusLine("HTTP/1.1 sk-secret\r\n")
    failure = explained(error, mask=lambda text: text.replace("sk-secret", "***"))

    assert type(failure.__cause__) is OSError
    assert "BadStatusLine: HTTP/1.1 ***)" in str(failure)
    assert "sk-secret" not in f"{failure} {failure.__cause__} {vars(failure.__cause__)}"


def test_proxy_that_fails_is_named(explained):
    """It is not the provider that did not answer."""
    cause = OSError("Tunnel connection failed: 403 Forbidden")
    failure = explained(requests.exceptions.ProxyError(cause))

    assert type(failure) is ConnectError
    assert "to X at host through the proxy (Tunnel connection failed: 403" in str(failure)
    assert failure.retryable


def test_long_words_are_shortened(explained):
    """A server may write what it likes into its status line."""
    failure = explained(requests.ConnectionError("x" * 10_000))

    assert len(str(failure)) < 500
