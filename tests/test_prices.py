"""What replies cost: by hand from the table of the price library, over every wire."""

from __future__ import annotations

import builtins
import socket
import subprocess
import sys
from decimal import Decimal

import attrs
import pytest
from genai_prices.data import providers

from cloudllm_sync import (
    AzureOpenAIClient,
    ClaudeClient,
    FallbackClient,
    GeminiClient,
    GrokClient,
    LLMSession,
    Message,
    OllamaClient,
    OpenAIClient,
    OpenAICompatibleClient,
    OpenAIResponsesClient,
    Role,
    TokenUsage,
    known_providers,
)
from cloudllm_sync.testing import FakeServer, Reply

MILLION = Decimal(1_000_000)
# 700 read from the cache, 200 written to it, 100 neither; 300 of the output were reasoning.
USAGE = TokenUsage(1000, 500, 1500, 700, 200, 300)


def row_of(provider, model):
    """The prices of a model in the library's own table."""
    listed = next(one for one in providers if one.id == provider)
    return next(one for one in listed.models if one.id == model).prices


def rate_of(price, input_tokens):
    """US dollars for a million tokens, in a request of so many."""
    for tier in reversed(getattr(price, "tiers", ())):
        if input_tokens > tier.start:
            return tier.price
    return getattr(price, "base", price)


def by_hand(provider, model, usage):
    """What it costs if each token has one price: read, written, fresh or given."""
    row = row_of(provider, model)
    cached, written = usage.cached_input_tokens or 0, usage.cache_write_tokens or 0
    counts = {
        "input_mtok": usage.input_tokens - cached - written,
        "cache_read_mtok": cached,
        "cache_write_mtok": written,
        "output_mtok": usage.output_tokens,
    }
    return sum(
        count * rate_of(getattr(row, name), usage.input_tokens) / MILLION
        for name, count in counts.items()
        if count
    )


def reply(model, usage=USAGE, **more):
    return Message(Role.ASSISTANT, "Hi", model=model, usage=usage, **more)


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("openai", "gpt-5", TokenUsage(1000, 500, 1500)),
        ("openai", "gpt-5", TokenUsage(1000, 500, 1500, 700, None, 300)),
        ("anthropic", "claude-haiku-4-5", USAGE),
        ("anthropic", "claude-sonnet-4-5", USAGE),
        ("anthropic", "claude-sonnet-4-5", TokenUsage(300_000, 500, 300_500, 200_000, 60_000)),
        ("google", "gemini-2.5-flash", TokenUsage(1000, 500, 1500, 700, None, 300)),
        ("google", "gemini-2.5-pro", TokenUsage(200_000, 500, 200_500, 700, None, 300)),
        ("google", "gemini-2.5-pro", TokenUsage(200_001, 500, 200_501, 700, None, 300)),
    ],
)
def test_cost_is_what_the_table_says(provider, model, usage):
    """Cached and written tokens at their own prices, reasoning as output, long prompts dearer."""
    cost = reply(model, usage).cost(provider=provider)

    assert by_hand(provider, model, usage) == cost
    assert cost > 0


def test_cached_tokens_are_cheaper_and_written_ones_dearer():
    """The table's columns are not mixed up."""
    fresh, read, written = (
        reply("claude-haiku-4-5", TokenUsage(1000, 0, 1000, *parts)).cost()
        for parts in ((0, 0), (1000, 0), (0, 1000))
    )

    assert read < fresh < written


def test_reasoning_is_not_counted_twice():
    """`output_tokens` has it in it."""
    silent, thinking = (
        reply("gpt-5", TokenUsage(10, 500, 510, None, None, part)).cost() for part in (None, 400)
    )

    assert silent == thinking


WIRES = {
    "openai": (OpenAIClient, "base_url", "gpt-5"),
    "responses": (OpenAIResponsesClient, "base_url", "gpt-5"),
    "anthropic": (ClaudeClient, "url", "claude-haiku-4-5"),
    "google": (GeminiClient, "url", "gemini-2.5-flash"),
}


@pytest.mark.parametrize("wire", WIRES)
def test_reply_of_a_wire_knows_what_it_costs(wire):
    """Whatever parts a wire counts beside the prompt, or within it."""
    kind, address, model = WIRES[wire]
    row = {"responses": "openai"}.get(wire, wire)
    usage = USAGE if wire == "anthropic" else attrs.evolve(USAGE, cache_write_tokens=None)
    with FakeServer(default=Reply("Hi", usage=usage, model=model)) as server:
        with kind(model, base_url=getattr(server, address), api_key="k") as client:
            session = LLMSession(client)
            streamed = session.stream("Hi").result()
            session.ask("Hi")

    assert by_hand(row, model, usage) == streamed.cost()
    assert 2 * by_hand(row, model, usage) == session.cost


def test_dated_name_has_the_price_of_its_model():
    """As replies name models."""
    assert reply("gpt-5-2025-08-07").cost() == reply("gpt-5").cost()


@pytest.mark.parametrize(
    ("message", "provider"),
    [
        (reply(None), None),
        (reply("gpt-5", None), None),
        (reply("no-such-model"), None),
        (reply("gpt-5"), "no-such-provider"),
        (reply("gpt-5"), "anthropic"),
        (reply("gpt-5"), "my proxy for openai"),
        (reply("gpt-5"), ""),
        (reply("llama3.2"), "Ollama"),
        (reply("text-embedding-3-small"), "openai"),
        (reply("gpt-5", TokenUsage(10, 1, 11, 20)), None),
        (Message(Role.USER, "Hi"), None),
    ],
    ids=[
        "no model",
        "no usage",
        "unknown model",
        "unknown provider",
        "of another provider",
        "like a provider",
        "no name",
        "local",
        "no output price",
        "more cached than sent",
        "no reply",
    ],
)
def test_cost_that_is_not_known_is_none(message, provider):
    """No number is better than a wrong one."""
    assert message.cost(provider=provider) is None


def test_model_without_a_price_has_no_cost():
    """The table lists some models with no prices, which is not that they cost nothing."""
    provider, model = next(
        (one.id, listed.id)
        for one in providers
        for listed in one.models
        if listed.prices == type(listed.prices)() and ":free" not in listed.id
    )

    assert reply(model).cost(provider=provider) is None


KINDS = {
    OpenAIClient: "gpt-5",
    OpenAIResponsesClient: "gpt-5",
    ClaudeClient: "claude-haiku-4-5",
    GeminiClient: "gemini-2.5-flash",
    GrokClient: "grok-4-fast",
    AzureOpenAIClient: "gpt-4o",
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_price_library_knows_the_names_of_clients(kind):
    """Each native client's provider has prices by its name."""
    address = {"base_url": "https://x.example"} if kind is AzureOpenAIClient else {}
    with kind(KINDS[kind], api_key="k", **address) as client:
        name = client.provider_name

    assert reply(KINDS[kind]).cost(provider=name) is not None


# Those who run open models on one's own machine, or sell what others make.
UNLISTED = {"alibaba", "custom", "github", "huggingface", "llamacpp", "lmstudio", "ollama"}
UNLISTED |= {"vercel", "vllm"}
if sys.version_info < (3, 11):  # its last releases there do not have it
    UNLISTED |= {"zai"}


def test_names_of_open_client_are_known_to_the_price_library():
    """All others have prices by the name that `open_client()` knows them by."""
    names = [listed.id for one in providers for listed in one.models]
    models = [*names, *(f"accounts/fireworks/models/{name}" for name in names)]

    unpriced = {
        name
        for name in known_providers().keys() - UNLISTED
        if all(reply(model).cost(provider=name) is None for model in models)
    }

    assert set() == unpriced


def test_one_of_several_providers_is_found_by_the_model():
    """A FallbackClient's session does not say who answered; the model does."""
    with FakeServer(Reply("Hi", usage=USAGE, model="claude-haiku-4-5")) as server:
        first = OpenAIClient("gpt-5", base_url="http://127.0.0.1:9", api_key="k", max_retries=0)
        second = ClaudeClient("claude-haiku-4-5", base_url=server.url, api_key="k")
        with FallbackClient([first, second]) as client:
            session = LLMSession(client)
            session.ask("Hi")

    assert by_hand("anthropic", "claude-haiku-4-5", USAGE) == session.cost


def test_several_prices_are_none():
    """Of two that sell one model at different prices, nobody knows which was paid."""
    names = next(one for one in providers if one.id == "openrouter").models
    costs = {
        one.id: [reply(one.id).cost(provider=name) for name in ("novita", "openrouter")]
        for one in names
    }
    model = next(name for name, (one, other) in costs.items() if one and other and one != other)

    assert reply(model).cost(provider="novita, openrouter") is None


def test_session_costs_nothing_before_the_first_reply():
    """Not None: it is known."""
    with OpenAIClient("gpt-5", api_key="k") as client:
        session = LLMSession(client)
        session.inject_message(Role.USER, "Hi")

        assert Decimal(0) == session.cost


def test_session_with_one_unknown_reply_has_no_cost():
    """A sum that leaves one out would be too low."""
    with FakeServer(
        Reply("Hi", usage=TokenUsage(10, 5, 15), model="gpt-5"),
        Reply("Hi", usage=None, model="gpt-5"),
    ) as server:
        with OpenAIClient("gpt-5", base_url=server.base_url, api_key="k") as client:
            session = LLMSession(client)
            session.ask("Hi")
            known = session.cost
            session.ask("Hi")

    assert by_hand("openai", "gpt-5", TokenUsage(10, 5, 15)) == known
    assert session.cost is None


@pytest.mark.parametrize("wire", ["anthropic", "google"])
def test_reply_that_was_stopped_has_no_cost(wire):
    """What is counted at its beginning, the prompt and one token, is less than what is paid."""
    kind, address, model = WIRES[wire]
    with FakeServer(Reply("one two three", usage=USAGE, model=model)) as server:
        with kind(model, base_url=getattr(server, address), api_key="k") as client:
            session = LLMSession(client, partial="keep")
            with session.stream("Hi") as stream:
                next(stream)
    [_, kept] = session.history

    assert USAGE.input_tokens == kept.usage.input_tokens
    assert kept.cost() is None
    assert session.cost is None


def test_local_model_is_not_priced_as_its_name_s_maker():
    """Who was asked wins over what the model is called."""
    usage = TokenUsage(10, 5, 15)
    with FakeServer(Reply("Hi", usage=usage, model="deepseek-r1:7b")) as server:
        with OllamaClient("deepseek-r1:7b", base_url=server.url) as client:
            session = LLMSession(client)
            session.ask("Hi")

    assert session.cost is None


def test_server_by_another_name_has_that_name_s_prices():
    """`provider_name` of an OpenAICompatibleClient is the provider."""
    usage = TokenUsage(10, 5, 15)
    with FakeServer(Reply("Hi", usage=usage, model="llama-3.1-8b-instant")) as server:
        with OpenAICompatibleClient(
            "llama-3.1-8b-instant", base_url=server.base_url, provider_name="groq"
        ) as client:
            session = LLMSession(client)
            session.ask("Hi")

    assert reply("llama-3.1-8b-instant", usage).cost(provider="groq") == session.cost
    assert session.cost > 0


def test_no_network_is_used(monkeypatch):
    """The prices are those that are installed."""
    monkeypatch.setattr(socket, "socket", None)
    monkeypatch.setattr(socket, "getaddrinfo", None)

    assert reply("gpt-5").cost() is not None


def test_missing_library_is_named(monkeypatch):
    """With the line that installs it."""
    imported = builtins.__import__

    def refuse(name, *rest):
        if name.partition(".")[0] == "genai_prices":
            raise ImportError(f"No module named {name!r}")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)

    with pytest.raises(ImportError, match=r'pip install "cloudllm-sync\[cost\]"'):
        reply("gpt-5").cost()


def test_price_library_is_loaded_at_the_first_call():
    """Who asks for no cost does not wait for 1.6 MB of table."""
    code = (
        "import sys, cloudllm_sync; m = cloudllm_sync.Message('assistant', 'Hi')\n"
        "assert 'genai_prices' not in sys.modules\n"
        "m.cost(); assert 'genai_prices' in sys.modules"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
