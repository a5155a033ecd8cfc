"""Clients of scripted servers, in an environment without keys, proxies and certificates."""

from __future__ import annotations

import contextlib
import pathlib
import ssl

import pytest

from cloudllm_sync import (
    AzureOpenAIClient,
    GrokClient,
    OpenAIClient,
    OpenAICompatibleClient,
    Timeouts,
)
from cloudllm_sync.clients.fallback import FallbackClient
from cloudllm_sync.testing import FakeServer

KEY = "sk-secret-0123456789abcdef"
CERTIFICATE = str(pathlib.Path(__file__).parents[1] / "testing" / "localhost.pem")

_VARIABLES = (
    "OPENAI_API_KEY",
    "OPEN_AI_SECRET",
    "XAI_API_KEY",
    "XAI_KEY",
    "AZURE_OPENAI_API_KEY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NETRC",
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """Whatever the developer's own environment says."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def key():
    """A key that must not be seen anywhere but in its header."""
    return KEY


@pytest.fixture
def closing():
    """Closes what is given to it, the last first."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(closing):
    """Starts servers."""

    def start(*script, **options):
        return closing.enter_context(FakeServer(*script, **options))

    return start


@pytest.fixture
def make(closing):
    """Makes clients that are closed after the test: OpenAI's, unless another class is given."""

    def client(server=None, kind=OpenAIClient, **options):
        if server is not None:
            options.setdefault("base_url", server.base_url)
        options.setdefault("api_key", KEY)
        options.setdefault("max_retries", 0)
        options.setdefault("timeouts", Timeouts(5, 5, 5, 10))
        return closing.enter_context(kind(options.pop("model", "gpt-5"), **options))

    return client


@pytest.fixture(
    params=[OpenAIClient, GrokClient, OpenAICompatibleClient, AzureOpenAIClient],
    ids=lambda kind: kind.__name__,
)
def kind(request):
    """Every class of client."""
    return request.param


@pytest.fixture
def certificate():
    """The path of a certificate for 127.0.0.1, its key with it."""
    return CERTIFICATE


@pytest.fixture
def server_tls():
    """The server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
def read():
    """Asks a client by one of the three ways."""

    def ask(client, way, *args, **options):
        """A reply by one of the three ways."""
        if way == "whole":
            return client.send_message(*args, **options)
        if way == "stream":
            return client.send_message_stream(*args, **options).result()
        return client.start_message_stream(*args, **options).result(10)

    return ask


@pytest.fixture(params=["whole", "stream", "callbacks"])
def way(request):
    """How the reply is asked for."""
    return request.param


@pytest.fixture
def pair():
    """Two servers with a client for each, and a FallbackClient of the two."""
    with FakeServer() as first, FakeServer() as second:
        clients = [
            OpenAICompatibleClient(
                model,
                base_url=server.base_url,
                provider_name=model,
                max_retries=0,
                timeouts=Timeouts(5, 5, 5),
            )
            for model, server in (("first", first), ("second", second))
        ]
        yield first, second, FallbackClient(clients)
        for client in clients:
            client.close()
