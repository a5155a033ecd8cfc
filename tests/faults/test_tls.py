"""TLS that does not come to stand, or breaks: certificates, alerts, the wrong protocol."""

from __future__ import annotations

import contextlib
import pathlib
import ssl
import threading

import pytest
from families import PIECES, TEXT

from cloudllm_sync import ConnectError, StreamInterrupted
from cloudllm_sync.testing import Cut, Raw, Wire

# What is broken is below every wire.
pytestmark = pytest.mark.each_wire_once

CERTIFICATES = pathlib.Path(__file__).parents[1] / "testing"
# internal_error, fatal; and a record that no key of this session opens.
ALERT = Wire(b"\x15\x03\x03\x00\x02\x02\x50", past_tls=True)
RECORD = Wire(b"\x17\x03\x03\x00\x20" + b"\0" * 32, past_tls=True)
PLAIN = Wire(b"HTTP/1.1 500 Internal Server Error\r\n\r\n", past_tls=True)


def context_of(name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{name}.pem")
    return context


@pytest.fixture
def refuses(read, texts_of):
    """One attempt, no request, and words that tell what is wrong."""

    def run(client, server, words):
        outcome = read(client)
        assert type(outcome.error) is ConnectError, repr(outcome.error)
        assert outcome.error.attempts == 1
        assert outcome.error.retryable is False
        assert server.requests == ()
        assert words in str(outcome.error)
        assert "certificate" in str(outcome.error)
        assert "0123456789abcdef" not in texts_of(outcome.error)
        assert server.wait_until_idle(2)

    return run


@pytest.mark.parametrize(
    ("name", "words"),
    [("expired", "expired"), ("elsewhere", "mismatch"), ("localhost", "self-signed")],
)
def test_certificate_that_is_not_good_is_refused(refuses, serve, make_client, name, words):
    """It has expired, is another host's, or nobody's who is trusted; no key goes out."""
    server = serve("never", ssl_context=context_of(name))
    trusted = True if name == "localhost" else str(CERTIFICATES / f"{name}.pem")

    refuses(make_client(server, verify=trusted), server, words)


def test_plain_http_on_an_https_port(read, serve, make_client, texts_of):
    """The client speaks TLS, and is not understood."""
    server = serve(default="never")
    client = make_client(server.url.replace("http:", "https:"), max_retries=0)
    # No ClientHello ends as a head does, so the server waits, until it is closed.
    closing = threading.Timer(0.05, server.close)
    closing.start()
    outcome = read(client)
    closing.join()

    assert type(outcome.error) is ConnectError
    assert "0123456789abcdef" not in texts_of(outcome.error)


def test_words_in_place_of_a_handshake(read, make_client, silent_port):
    """Some servers explain themselves in plain HTTP."""
    with answering(silent_port, b"HTTP/1.1 400 Bad Request\r\n\r\nplain HTTP\n"):
        outcome = read(make_client(https(silent_port), max_retries=0))

    assert type(outcome.error) is ConnectError
    assert outcome.error.attempts == 1


def test_https_port_that_hears_plain_http(fails, serve, make_client, server_tls, read, no_backoff):
    """The reverse: the server hangs up, or sends an alert, and no reply comes of it."""
    server = serve(default="never", ssl_context=server_tls)
    client = make_client(server.url.replace("https:", "http:"))
    outcome = read(client)

    assert type(outcome.error) is ConnectError
    assert outcome.error.attempts == 3
    assert server.requests == ()


def https(listener):
    return f"https://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def answering(listener, answer):
    """One connection is told this, and closed."""

    def talk():
        sock, _ = listener.accept()
        with sock:
            sock.recv(65536)
            sock.sendall(answer)

    thread = threading.Thread(target=talk)
    thread.start()
    yield
    thread.join(5)
    assert not thread.is_alive()


def test_handshake_that_is_cut_may_be_tried_again(read, make_client, silent_port):
    """It is a connection that was lost before the request went out, not one that is not safe."""
    with answering(silent_port, b""):
        outcome = read(make_client(https(silent_port), max_retries=0))

    assert type(outcome.error) is ConnectError
    assert outcome.error.retryable is True


@pytest.fixture
def secured(serve, server_tls):
    """A server with TLS, whatever the lane."""
    return lambda *script: serve(*script, ssl_context=server_tls)


@pytest.mark.parametrize("bad", [ALERT, RECORD, PLAIN], ids=["alert", "record", "words"])
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_tls_that_breaks_in_mid_stream_is_an_interruption(
    fails, secured, certificate, family, bad, framing
):
    """What had arrived before it was good."""
    server = secured(Raw(family.begun, bad, Cut(), framing=framing))

    fails(error=StreamInterrupted, partial=PIECES[0], server=server, verify=certificate)


@pytest.mark.parametrize("bad", [ALERT, RECORD], ids=["alert", "record"])
def test_tls_that_breaks_after_the_proof_does_not_matter(
    succeeds, secured, certificate, family, bad
):
    """The reply is whole."""
    server = secured(Raw(family.whole, bad, Cut()))

    succeeds(text=TEXT, server=server, verify=certificate)


@pytest.mark.parametrize("bad", [ALERT, RECORD, PLAIN], ids=["alert", "record", "words"])
def test_tls_that_breaks_before_the_headers_is_a_connect_error(
    fails, secured, certificate, bad, no_backoff
):
    """Not sent again by itself: what broke is not the network."""
    server = secured(Raw(before_headers=(bad, Cut())))

    fails(error=ConnectError, server=server, verify=certificate)
