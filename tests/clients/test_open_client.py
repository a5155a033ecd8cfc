"""Clients by one string."""

import threading

import pytest

from cloudllm_sync import (
    AzureOpenAIClient,
    ConfigurationError,
    GrokClient,
    OllamaClient,
    OpenAIClient,
    OpenAICompatibleClient,
)
from cloudllm_sync.clients import registry
from cloudllm_sync.clients.registry import add_provider, known_providers, open_client
from cloudllm_sync.testing import FakeServer


@pytest.mark.parametrize(
    ("spec", "kind", "model"),
    [
        ("openai:gpt-5", OpenAIClient, "gpt-5"),
        ("grok:grok-3", GrokClient, "grok-3"),
        ("xai:grok-3", GrokClient, "grok-3"),
        (" OpenAI:gpt-5 ", OpenAIClient, "gpt-5"),
        ("azure:d@https://r.openai.azure.com", AzureOpenAIClient, "d"),
        ("ollama:llama3.2:3b", OllamaClient, "llama3.2:3b"),
        ("openrouter:vendor/model:free", OpenAICompatibleClient, "vendor/model:free"),
        ("custom:me@home@http://localhost:1/v1", OpenAICompatibleClient, "me@home"),
        ("openai:gpt-5@https://llm.example/@tenant/v1", OpenAIClient, "gpt-5"),
        ("ollama:llama3.2:3b@http://localhost:11434/v1", OpenAICompatibleClient, "llama3.2:3b"),
        ("openrouter:a/b:free@HTTPS://llm.example/v1", OpenAICompatibleClient, "a/b:free"),
        ("custom:@cf/meta/llama@https://llm.example/v1", OpenAICompatibleClient, "@cf/meta/llama"),
        ("openai:claude@20240620", OpenAIClient, "claude@20240620"),
        ("custom: m @ http://localhost:1/v1 ", OpenAICompatibleClient, "m"),
    ],
)
def test_string_names_provider_and_model(spec, kind, model):
    """The provider ends at the first colon, the model at the address."""
    client = open_client(spec, api_key="k")

    assert (kind, model) == (type(client), client.model_name)


def test_address_is_where_requests_go():
    """What stands behind the last @ is the base URL."""
    with FakeServer("Hello") as server:
        with open_client(f"openai:gpt-5@{server.base_url}", api_key="k") as client:
            assert "Hello" == client.send_message("hi").content


def test_key_is_found_in_the_providers_variable(monkeypatch):
    """Each row of the table names its own."""
    monkeypatch.setenv("GROQ_API_KEY", "gsk-1")

    with FakeServer("Hello") as server, open_client(f"groq:m@{server.base_url}") as client:
        client.send_message("hi")

        assert "Bearer gsk-1" == server.requests[0].headers["authorization"]


@pytest.mark.parametrize(("key", "sent"), [("ok-123456", "Bearer ok-123456"), (None, None)])
def test_ollama_s_key_is_found_for_chat_completions_too(monkeypatch, key, sent):
    """Its own address wants one, a server at home does not."""
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OLLAMA_API_KEY", key)

    with FakeServer("Hello") as server, open_client(f"ollama:m@{server.base_url}") as client:
        client.send_message("hi")

        assert server.requests[0].path == "/v1/chat/completions"
        assert server.requests[0].headers.get("authorization") == sent


def test_missing_key_names_the_variable(monkeypatch):
    """The error says what to set."""
    monkeypatch.delenv("GROQ_API_KEY", raising=False)

    with pytest.raises(ConfigurationError, match="GROQ_API_KEY"):
        open_client("groq:m")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("olama:m", "did you mean 'ollama'"),
        ("nobody:m", "known are alibaba, anthropic"),
        ("", "no provider ''"),
        (":m", "no provider ''"),
        ("http://localhost:1/v1", "no provider 'http'"),
        ("openai", "names no model"),
        ("openai:", "names no model"),
        ("openai: ", "names no model"),
        ("openai:@https://llm.example/v1", "names no model"),
        ("openai:m@https://", "no address"),
        (
            "ollama:m@localhost:1234/v1",
            r"^what follows the @ is no address: write ollama:MODEL@http",
        ),
        ("ollama:m@10.0.0.1:1234", "is no address"),
        ("ollama:m@llm.example/v1", "is no address"),
        ("ollama:m@ftp://llm.example/v1", "is no address"),
        ("custom:m@", "needs an address"),
        ("ollama:m@http://llm.example:11434/v1", "allow_http=True"),
        ("custom:m", "needs an address"),
        (7, "expected 'provider:model'"),
        ("openai:m@https://user:pw@llm.example/v1", "user name or password"),
    ],
)
def test_string_that_names_nothing_is_refused(spec, said):
    """The error lists the known names, or says what is missing."""
    with pytest.raises(ConfigurationError, match=said):
        open_client(spec, api_key="k")


def test_row_of_ones_own_is_known():
    """A user's server gets a name for settings files."""
    with FakeServer("Hello") as server:
        add_provider("house", base_url=server.base_url)

        with open_client("house:m") as client:
            assert ("house", "Hello") == (client.provider_name, client.send_message("hi").content)
    assert "house" in known_providers()


@pytest.fixture(autouse=True)
def own_table(monkeypatch):
    """Rows that a test adds are gone after it."""
    monkeypatch.setattr(registry, "_table", dict(registry._table))


@pytest.mark.parametrize("name", ["", "My House", "a:b", "a@b", "a\n", 7])
def test_row_whose_name_could_not_be_read_is_refused(name):
    """A name must not be mistaken for a model or an address."""
    with pytest.raises(ConfigurationError, match="no provider's name"):
        add_provider(name, base_url="http://localhost:1/v1")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"base_url": 7}, "base_url must be a string"),
        ({"base_url": "localhost:1/v1"}, "no address"),
        ({"base_url": "https://me:secret@llm.example/v1"}, "user name or password"),
        ({"base_url": "https://llm.example/v1", "key_variables": "KEY"}, "not one string"),
        ({"base_url": "https://llm.example/v1", "key_variables": ["KEY", None]}, "not None"),
        ({"base_url": "https://llm.example/v1", "key_variables": [""]}, "not ''"),
    ],
)
def test_row_that_no_client_could_use_is_refused(row, said):
    """When it is added, not when it is first asked."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        add_provider("house", **row)

    assert "secret" not in str(caught.value)
    assert "house" not in known_providers()


def test_row_added_while_another_is_being_made_is_kept():
    """Two threads may add rows; here one starts in the middle of the other, and no lock is held."""

    def variables():
        adding = threading.Thread(
            target=add_provider, args=("inner",), kwargs={"base_url": "https://llm.example/v1"}
        )
        adding.start()
        adding.join(10)
        yield "OUTER_KEY"

    add_provider("outer", base_url="https://llm.example/v1", key_variables=variables())

    assert {"inner", "outer"} <= set(known_providers())


def test_table_that_was_handed_out_does_not_change():
    """Whoever loops over it is not disturbed, and cannot disturb others."""
    rows = known_providers()
    add_provider("house", base_url="https://llm.example/v1")

    assert "house" not in rows


@pytest.mark.parametrize(
    "spec",
    [
        "custom:m@me:secret@llm.example/v1",
        "openai:m@ftp://me:secret@llm.example",
        "azure:@http://me:secret@llm.example",
    ],
)
def test_password_in_a_string_is_not_shown(spec):
    """Also where the address is none."""
    with pytest.raises(ConfigurationError) as caught:
        open_client(spec)

    assert "secret" not in str(caught.value)


def test_key_that_was_pasted_for_a_provider_is_not_shown():
    """Whoever mixes up the arguments does not find the key in a log."""
    key = "sk-proj-0123456789abcdef0123456789"

    with pytest.raises(ConfigurationError, match="expected 'provider:model'") as caught:
        open_client(key)

    assert key[:12] not in str(caught.value)
