"""Proxies, certificates, and the environment variables that choose them."""

from __future__ import annotations

import ssl

import pytest

from cloudllm_sync import ConnectError
from cloudllm_sync.testing import error_reply

FAR = "http://far-away.invalid/v1"


@pytest.fixture
def proxy(serve):
    """A server that answers for any host, as a plain proxy does."""
    return serve(default="by proxy")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_proxy_is_used(make, proxy, key, streamed):
    """The whole address goes to the proxy, as in requests."""
    client = make(base_url=FAR, allow_http=True, proxies={"http": proxy.url})

    if streamed:
        reply = client.send_message_stream("hi").result()
    else:
        reply = client.send_message("hi")

    assert reply.content == "by proxy"
    (request,) = proxy.requests
    assert request.path == f"{FAR}/chat/completions"
    assert request.headers["host"] == "far-away.invalid"
    assert key in request.headers["authorization"]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxy_of_the_environment_is_used(make, proxy, monkeypatch, variable):
    """As users of requests expect."""
    monkeypatch.setenv(variable, proxy.url)

    assert make(base_url=FAR, allow_http=True).send_message("hi").content == "by proxy"


@pytest.mark.parametrize("hosts", ["far-away.invalid", ".invalid", "*", "a, far-away.invalid"])
def test_no_proxy_of_the_environment_is_obeyed(make, proxy, monkeypatch, hosts):
    """The host is asked for directly, and is not there."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", hosts)

    with pytest.raises(ConnectError):
        make(base_url=FAR, allow_http=True).send_message("hi")

    assert proxy.requests == ()


def test_given_proxies_win_over_the_environment(make, proxy, serve, monkeypatch):
    """Also over NO_PROXY."""
    other = serve(default="by the wrong proxy")
    monkeypatch.setenv("HTTP_PROXY", other.url)
    monkeypatch.setenv("NO_PROXY", "*")

    client = make(base_url=FAR, allow_http=True, proxies={"http": proxy.url})

    assert client.send_message("hi").content == "by proxy"
    assert other.requests == ()


def test_no_proxies_given_means_none(make, proxy, monkeypatch):
    """An empty mapping is an answer, too."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)

    with pytest.raises(ConnectError):
        make(base_url=FAR, allow_http=True, proxies={}).send_message("hi")

    assert proxy.requests == ()


@pytest.mark.parametrize("how", ["environment", "given"])
def test_https_goes_through_a_tunnel(make, serve, monkeypatch, key, how):
    """HTTPS_PROXY: the proxy is asked for a connection, and is not told the key."""
    proxy = serve(default=error_reply(403, "not allowed"))
    options = {}
    if how == "environment":
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    else:
        options["proxies"] = {"https": proxy.url}

    with pytest.raises(ConnectError):
        make(base_url="https://far-away.invalid/v1", **options).send_message("hi")

    (request,) = proxy.requests
    assert (request.method, request.path) == ("CONNECT", "far-away.invalid:443")
    assert key not in str(dict(request.headers))
    assert request.body == b""


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_loopback_is_never_proxied(make, proxy, serve, monkeypatch, name):
    """Neither by the environment nor by what was given: a proxy has another loopback."""
    server = serve(default="direct")
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    base_url = server.base_url.replace("127.0.0.1", name)

    assert make(base_url=base_url).send_message("hi").content == "direct"
    client = make(base_url=base_url, proxies={"http": proxy.url})
    assert client.send_message("hi").content == "direct"
    assert proxy.requests == ()


@pytest.mark.parametrize("failing", ["refused", "unknown"])
def test_password_of_a_proxy_is_not_shown(make, serve, failing, caplog):
    """It is in the proxy's address, so it is easily printed."""
    gone = serve()
    gone.close()
    port = gone.url.rpartition(":")[2] if failing == "refused" else "1"
    host = "127.0.0.1" if failing == "refused" else "no-such-proxy.invalid"
    client = make(
        base_url=FAR, allow_http=True, proxies={"http": f"http://ada:hunter2@{host}:{port}"}
    )

    with caplog.at_level("DEBUG"), pytest.raises(ConnectError) as caught:
        client.send_message("hi")

    error = caught.value
    assert "hunter2" not in f"{error} {error.__cause__!r} {caplog.text}"


def test_proxy_gets_its_own_password(make, proxy):
    """In the header for it."""
    address = proxy.url.replace("//", "//ada:hunter2@")
    client = make(base_url=FAR, allow_http=True, proxies={"http": address})

    client.send_message("hi")

    assert proxy.requests[0].headers["proxy-authorization"] == "Basic YWRhOmh1bnRlcjI="


# --- TLS ---


@pytest.fixture
def secure(serve, server_tls):
    """A server with a certificate that only its own file vouches for."""
    return serve(default="in secret", ssl_context=server_tls)


def test_unknown_certificate_is_refused(make, secure):
    """The default; told as what it is, and never retried."""
    with pytest.raises(ConnectError, match="check its certificate") as caught:
        make(secure, max_retries=2).send_message("hi")

    assert not caught.value.retryable
    assert caught.value.attempts == 1
    assert secure.requests == ()


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_verify_may_be_a_bundle(make, secure, certificate, scheme):
    """As in requests; whatever the case of the scheme."""
    base_url = secure.base_url.replace("https", scheme)

    client = make(base_url=base_url, verify=certificate)

    assert client.send_message("hi").content == "in secret"
    assert client.send_message_stream("hi").result().content == "in secret"
    assert secure.connections == 1


def test_upper_case_scheme_is_checked_as_well(make, secure):
    """HTTPS:// is https://."""
    with pytest.raises(ConnectError, match="check its certificate"):
        make(base_url=secure.base_url.replace("https", "HTTPS")).send_message("hi")


def test_verify_may_be_a_folder(make, secure, certificate, tmp_path):
    """Of certificates named by their hashes; one without them vouches for nobody."""
    with pytest.raises(ConnectError, match="check its certificate"):
        make(secure, verify=str(tmp_path)).send_message("hi")


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verify_may_be_switched_off(make, secure, monkeypatch):
    """An explicit False wins over the environment's bundle; urllib3 warns, as ever."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")

    assert make(secure, verify=False).send_message("hi").content == "in secret"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_bundle_of_the_environment_is_used(make, secure, certificate, monkeypatch, variable):
    """What companies with a proxy of their own set."""
    monkeypatch.setenv(variable, certificate)

    assert make(secure).send_message("hi").content == "in secret"


def test_given_bundle_wins_over_the_environment(make, secure, certificate, monkeypatch):
    """requests would let the environment win."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")

    assert make(secure, verify=certificate).send_message("hi").content == "in secret"


def test_name_must_be_the_certificate_s(make, secure, certificate):
    """The bundle knows the certificate, but it is for another host."""
    base_url = secure.base_url.replace("127.0.0.1", "127.0.0.2")

    with pytest.raises(ConnectError):
        make(base_url=base_url, verify=certificate).send_message("hi")

    assert secure.requests == ()


@pytest.mark.parametrize("form", ["one file", "two files"])
def test_client_certificate_is_shown(make, serve, server_tls, certificate, form):
    """cert, as in requests: the certificate with its key, or both apart."""
    server_tls.verify_mode = ssl.CERT_REQUIRED
    server_tls.load_verify_locations(certificate)
    server = serve(default="known to me", ssl_context=server_tls)
    cert = certificate if form == "one file" else (certificate, certificate)

    with pytest.raises(ConnectError):
        make(server, verify=certificate).send_message("hi")
    client = make(server, verify=certificate, cert=cert)

    assert client.send_message("hi").content == "known to me"
