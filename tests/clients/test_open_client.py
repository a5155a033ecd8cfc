"""Clients by one string."""

import pytest

from cloudllm_sync import (
    AzureOpenAIClient,
    ConfigurationError,
    GrokClient,
    OllamaClient,
    OpenAIClient,
    OpenAICompatibleClient,
)
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
        ("openai", "names no model"),
        ("openai:", "names no model"),
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


@pytest.mark.parametrize("name", ["", "My House", "a:b", "a@b"])
def test_row_whose_name_could_not_be_read_is_refused(name):
    """A name must not be mistaken for a model or an address."""
    with pytest.raises(ConfigurationError):
        add_provider(name, base_url="http://localhost:1/v1")
