"""One TLS context for all connections that trust the same."""

from __future__ import annotations

import gc
import os
import pathlib
import socket
import ssl
import struct
import weakref

import certifi
import pytest

from cloudllm_sync import ConfigurationError, Timeouts
from cloudllm_sync.transport import forks
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.transport.clocks import Clocks
from cloudllm_sync.transport.connections import Claim
from cloudllm_sync.transport.sockets import CallSocket, CallSSLSocket
from cloudllm_sync.transport.tls import tls_context


def test_default_is_certifis_store(monkeypatch):
    """Checked, by name, TLS 1.2 at least."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    context = tls_context(True, None)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] > 50


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_environment_names_a_bundle(certificate, monkeypatch, variable):
    """As in requests."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, certificate)

    assert tls_context(True, None).cert_store_stats()["x509"] == 1


def test_explicit_bundle_wins_over_the_environment(certificate, monkeypatch):
    """requests does it the other way round."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")

    assert tls_context(certificate, None).cert_store_stats()["x509"] == 1


@pytest.mark.parametrize("verify", [True, False, "file", "folder"])
def test_clients_that_trust_the_same_share_a_context(certificate, tmp_path, verify):
    """Loading a store costs more than five handshakes."""
    verify = {"file": certificate, "folder": str(tmp_path)}.get(verify, verify)

    assert tls_context(verify, None) is tls_context(verify, None)


def test_changed_bundle_is_loaded_anew(certificate, tmp_path):
    """As operators renew certificates under a server that runs for months."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(pathlib.Path(certificate).read_bytes())
    before = tls_context(str(bundle), None)
    bundle.write_bytes(pathlib.Path(certifi.where()).read_bytes())

    after = tls_context(str(bundle), None)

    assert before.cert_store_stats()["x509"] == 1
    assert after.cert_store_stats()["x509"] > 50


def test_client_certificate_is_not_shared(certificate):
    """It is one client's word of who it is, and its key ends with that client."""
    assert tls_context(False, certificate) is not tls_context(False, certificate)
    assert tls_context(False, certificate) is not tls_context(False, None)


def test_contexts_of_many_bundles_are_not_all_kept(certificate, tmp_path):
    """A certifi store takes a megabyte."""
    bundle = pathlib.Path(certificate).read_bytes()
    kept = []
    for number in range(100):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(bundle)
        kept.append(weakref.ref(tls_context(str(path), None)))
    gc.collect()

    assert sum(context() is not None for context in kept) <= 32


def test_check_can_be_turned_off():
    """All of it."""
    context = tls_context(False, None)

    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_folder_of_certificates_is_taken(tmp_path):
    """It may be empty: its files are looked up when they are needed."""
    assert tls_context(str(tmp_path), None).verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("pair", [False, True])
def test_client_certificate_is_loaded(certificate, pair):
    """One file, or two."""
    cert = (certificate, certificate) if pair else certificate

    assert tls_context(False, cert)


@pytest.mark.parametrize(
    ("verify", "cert"),
    [("/nowhere.pem", None), (False, "/nowhere.pem"), (False, ("a", "b")), (5, None)],
)
def test_file_that_cannot_be_loaded_is_named(verify, cert):
    """At construction, not at the first call."""
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        tls_context(verify, cert)


def test_file_that_is_no_certificate_is_refused(tmp_path):
    """OpenSSL's own words are in the message."""
    path = tmp_path / "junk.pem"
    path.write_text("junk")
    with pytest.raises(ConfigurationError, match=r"junk\.pem"):
        tls_context(str(path), None)


def test_socket_that_was_reset_before_its_handshake_is_closed(silent_port):
    """ssl has taken it over by then, and does not close it before Python 3.13."""
    claim = Claim(Clocks(Timeouts()), Cancellation())
    sock = CallSocket()
    sock.connect(silent_port.getsockname())
    claim.take(sock)
    peer, _ = silent_port.accept()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    fd = sock.fileno()

    with pytest.raises(ConnectionResetError):
        tls_context(True, None).wrap_socket(sock, server_hostname="localhost")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_no_fork_comes_into_a_step_of_a_handshake(
    serve, server_tls, make_client, certificate, monkeypatch
):
    """OpenSSL locks its random numbers there: a child of such a fork would wait for ever."""
    step, held = ssl.SSLSocket.do_handshake, []

    def watched(sock, *args):
        if isinstance(sock, CallSSLSocket):
            held.append((forks.no_fork._is_owned(), sock.gettimeout()))
        return step(sock, *args)

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", watched)
    client = make_client(serve("well", ssl_context=server_tls), verify=certificate)

    assert client.send_message("hi").content == "well"
    assert set(held) == {(True, 0.0)}
    assert not forks.no_fork._is_owned()
