"""OllamaClient: where it calls, and with what."""

from __future__ import annotations

import pytest

from cloudllm_sync import ConfigurationError, OllamaClient, open_client
from cloudllm_sync.testing import FakeServer


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("OLLAMA_HOST", "OLLAMA_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def address_of(client):
    return client._transport.endpoint.base_url


def test_request_of_the_client():
    """Path, types, no key; a stream is asked for as lines."""
    with FakeServer("Hello") as server, OllamaClient("llama3.2", base_url=server.url) as client:
        reply = client.send_message_stream("hi").result()
        (request,) = server.requests

    assert "Hello" == reply.content
    assert ("POST", "/api/chat") == (request.method, request.path)
    assert "authorization" not in request.headers
    assert "application/x-ndjson, application/json" == request.headers["accept"]
    assert "application/json" == request.headers["content-type"]
    assert ("llama3.2", "Ollama") == (client.model_name, client.provider_name)


@pytest.mark.parametrize("given", [None, "k-given"])
def test_key_is_sent_where_there_is_one(monkeypatch, given):
    """Ollama's cloud wants one."""
    monkeypatch.setenv("OLLAMA_API_KEY", "k-set")
    with FakeServer("Hello") as server:
        with OllamaClient("m", base_url=server.url, api_key=given) as client:
            client.send_message("hi")

    assert f"Bearer {given or 'k-set'}" == server.requests[0].headers["authorization"]


@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        (None, "http://localhost:11434"),
        ("  ", "http://localhost:11434"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        (":8080", "http://localhost:8080"),
        ("0.0.0.0", "http://localhost:11434"),
        ("0.0.0.0:8080", "http://localhost:8080"),
        ("[::]:8080", "http://localhost:8080"),
        ("[::1]", "http://[::1]:11434"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://localhost", "http://localhost"),
        ("https://ollama.com", "https://ollama.com"),
        (" https://gate.example/ollama ", "https://gate.example/ollama"),
    ],
)
def test_host_is_read_from_the_environment(monkeypatch, host, base_url):
    """In every form that Ollama's own programs take; where it listens everywhere, here."""
    if host is not None:
        monkeypatch.setenv("OLLAMA_HOST", host)

    with OllamaClient("m") as client:
        assert base_url == address_of(client)


def test_given_address_wins_over_the_environment(monkeypatch):
    """Even over one that could not be used."""
    monkeypatch.setenv("OLLAMA_HOST", "no host at all")

    with OllamaClient("m", base_url="http://127.0.0.1:1") as client:
        assert "http://127.0.0.1:1" == address_of(client)


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("no host at all", "is no address"),
        ("localhost:port", "is no address"),
        ("me:secret@localhost:1", "user name or password"),
        ("http://me:secret@localhost:1", "user name or password"),
        ("192.168.0.7", "allow_http"),
    ],
)
def test_host_that_cannot_be_used_is_refused(monkeypatch, host, says):
    """No password is shown, and nothing goes unencrypted to another machine unasked."""
    monkeypatch.setenv("OLLAMA_HOST", host)

    with pytest.raises(ConfigurationError, match=says) as caught:
        OllamaClient("m")

    assert "secret" not in str(caught.value)


def test_one_string_names_it(monkeypatch):
    """Without a key, at the address that is set."""
    with FakeServer("Hello") as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        with open_client("ollama:llama3.2:3b") as client:
            assert "Hello" == client.send_message("hi").content

    assert "llama3.2:3b" == server.requests[0].json["model"]


@pytest.mark.parametrize("end", ["", "/", "/v1", "/api", "/api/chat"])
def test_base_url_may_have_a_path_that_people_paste(serve, end):
    """Whatever they had at hand."""
    server = serve("hello")
    with OllamaClient("m", base_url=server.url + end) as client:
        client.send_message("hi")

    assert "/api/chat" == server.requests[0].path
