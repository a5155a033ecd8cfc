"""Proxies that refuse, answer for the provider, or break."""

from __future__ import annotations

import pytest
from families import TEXT

from cloudllm_sync import (
    BadRequestError,
    ConnectError,
    RequestTimeoutError,
    StreamProtocolError,
    Timeouts,
)
from cloudllm_sync.testing import Cut, Drip, Raw, Reset, Stall, Wire

# A proxy stands below every wire; the provider's host is one that nobody has.
pytestmark = pytest.mark.each_wire_once

HTTPS = "https://provider.invalid"
HTTP = "http://provider.invalid"
CREDENTIALS = "someone:pr0xy-s3cret"


@pytest.fixture
def through(serve, make_client):
    """A client for this address through a proxy that answers so."""

    def make(url, *script, **options):
        proxy = serve(*script)
        address = proxy.url.replace("//", f"//{CREDENTIALS}@")
        proxies = {"http": address, "https": address}
        client = make_client(url, proxies=proxies, allow_http=True, **options)
        return proxy, client

    return make


@pytest.mark.parametrize("status", [403, 407, 502, 503])
def test_tunnel_that_is_refused_is_a_connect_error(read, through, no_backoff, texts_of, status):
    """The proxy will not CONNECT; neither key nor proxy password is told."""
    refusal = Raw(b"<h1>no</h1>", status=status, framing="close", content_type="text/html")
    proxy, client = through(HTTPS, *[refusal] * 3)
    outcome = read(client)

    assert type(outcome.error) is ConnectError, repr(outcome.error)
    assert str(status) in str(outcome.error)
    assert {request.method for request in proxy.requests} == {"CONNECT"}
    assert "pr0xy-s3cret" not in texts_of(outcome.error)
    assert "0123456789abcdef" not in texts_of(outcome.error)


@pytest.mark.parametrize("step", [Cut(), Reset(), Wire(b"SSH-2.0\r\n")])
def test_tunnel_that_breaks_is_a_connect_error(read, through, no_backoff, texts_of, step):
    """Lost before the request went out: retried within bounds."""
    proxy, client = through(HTTPS, *[Raw(before_headers=(step,), framing="none")] * 3)
    outcome = read(client)

    assert type(outcome.error) is ConnectError, repr(outcome.error)
    assert len(proxy.requests) == outcome.error.attempts == 3
    assert "pr0xy-s3cret" not in texts_of(outcome.error)


@pytest.mark.parametrize(("raw", "clock"), [("silence", "connect"), ("drip", "total")])
def test_tunnel_that_is_not_answered_ends_by_the_clock(read, through, raw, clock):
    """The proxy's answer belongs to the connection."""
    script = {
        "silence": Raw(before_headers=(Stall(),)),
        "drip": Raw(Drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5000, 0.005), framing="none"),
    }[raw]
    limits = {"connect_s": 5, "first_chunk_s": 5, "idle_s": 5, "total_s": 5, f"{clock}_s": 0.05}
    _, client = through(HTTPS, script, timeouts=Timeouts(**limits), max_retries=0)
    outcome = read(client)

    assert type(outcome.error) is RequestTimeoutError, repr(outcome.error)
    assert outcome.error.clock == clock
    assert outcome.seconds < 5


def test_proxy_that_nobody_runs_is_a_connect_error(read, through, no_backoff, texts_of):
    """Its address may be told, its password not."""
    proxy, client = through(HTTPS)
    proxy.close()
    outcome = read(client)

    assert type(outcome.error) is ConnectError
    assert outcome.error.attempts == 3
    assert "pr0xy-s3cret" not in texts_of(outcome.error)


def test_proxy_that_wants_a_password_is_a_refusal(read, through, texts_of):
    """407 in place of the provider's answer, where no tunnel is."""
    headers = {"Proxy-Authenticate": 'Basic realm="proxy"'}
    raw = Raw(b"<h1>Log in</h1>", status=407, headers=headers, content_type="text/html")
    proxy, client = through(HTTP, raw)
    outcome = read(client)

    assert type(outcome.error) is BadRequestError
    assert outcome.error.status_code == 407
    assert "Log in" in str(outcome.error)
    assert len(proxy.requests) == 1
    assert "pr0xy-s3cret" not in texts_of(outcome.error)


def test_page_of_a_proxy_is_no_reply(read, through):
    """A captive portal says 200 to everything."""
    _, client = through(HTTP, Raw(b"<html>Welcome to the hotel</html>", content_type="text/html"))
    outcome = read(client)

    assert type(outcome.error) is StreamProtocolError
    assert "text/html" in str(outcome.error)


def test_reply_through_a_proxy_is_whole(read, through, family):
    """The proxy is asked for the provider's address."""
    proxy, client = through(HTTP, Raw(family.whole, headers={"Via": "1.1 proxy"}))
    outcome = read(client)

    assert outcome.text == TEXT
    assert proxy.requests[0].path.startswith(HTTP + "/")
