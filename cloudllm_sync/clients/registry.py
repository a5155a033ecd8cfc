"""Clients by one string, for settings files and command lines: `provider:model[@base_url]`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from typing import Optional

import attrs

from cloudllm_sync.clients.arguments import checked_url
from cloudllm_sync.clients.client import Client
from cloudllm_sync.clients.provider import key_in_environment
from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.streaming.observer import Observer
from cloudllm_sync.transport.credentials import hides_arguments
from cloudllm_sync.transport.tls import Cert, Verify
from cloudllm_sync.values import ChatOptions, Limits, Timeouts

__all__ = ["KnownProvider", "add_provider", "known_providers", "open_client"]


# What somebody means as an address who forgets https://. Model names have an @, too.
_NO_ADDRESS = re.compile(
    r"@\s*([a-z][a-z0-9+.-]*://.*|[\w.-]+:\d+(?:/.*)?|[\w-]+(?:\.[\w-]+)+/.*)$", re.IGNORECASE
)


@attrs.frozen(slots=True, kw_only=True)
class KnownProvider:
    """One row of the table: a client of its own, or a server that speaks Chat Completions."""

    name: str
    base_url: str = ""
    key_variables: tuple[str, ...] = ()
    """Environment variables that may hold the key; empty if the server wants none, or if the
    client knows them."""
    key_needed: bool = True
    """Whether one of the variables has to be set where no key is given."""
    client: str = "compatible:OpenAICompatibleClient"
    """`module:class` below the package's `clients`."""


# What is longer, in place of a name, may be a key.
_LONGEST_NAME = 20


def _native(name: str, client: str) -> KnownProvider:
    return KnownProvider(name=name, client=client)


def _server(name: str, base_url: str, *key_variables: str) -> KnownProvider:
    return KnownProvider(name=name, base_url=base_url, key_variables=key_variables)


# Ollama speaks Chat Completions below /v1. Only ollama.com wants a key.
_CHAT_OF_OLLAMA = KnownProvider(name="ollama", key_variables=("OLLAMA_API_KEY",), key_needed=False)

_table: dict[str, KnownProvider] = {  # single dict operations only
    row.name: row
    for row in (
        _native("openai", "openai:OpenAIClient"),
        _native("responses", "responses:OpenAIResponsesClient"),
        _native("claude", "claude:ClaudeClient"),
        _native("anthropic", "claude:ClaudeClient"),
        _native("gemini", "gemini:GeminiClient"),
        _native("google", "gemini:GeminiClient"),
        _native("grok", "grok:GrokClient"),
        _native("xai", "grok:GrokClient"),
        _native("ollama", "ollama:OllamaClient"),
        _native("azure", "azure:AzureOpenAIClient"),
        _server("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        _server("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY"),
        _server("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        _server("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
        _server("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        _server("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
        _server("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
        _server("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
        _server("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
        _server("zai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
        _server(
            "alibaba",
            "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            "DASHSCOPE_API_KEY",
        ),
        _server("huggingface", "https://router.huggingface.co/v1", "HF_TOKEN"),
        _server("vercel", "https://ai-gateway.vercel.sh/v1", "AI_GATEWAY_API_KEY"),
        _server("github", "https://models.github.ai/inference", "GITHUB_TOKEN"),
        _server("vllm", "http://localhost:8000/v1"),
        _server("llamacpp", "http://localhost:8080/v1"),
        _server("lmstudio", "http://localhost:1234/v1"),
        _server("custom", ""),
    )
}


def known_providers() -> Mapping[str, KnownProvider]:
    """The rows of the table, by name."""
    return dict(_table)


def add_provider(name: str, *, base_url: str, key_variables: Iterable[str] = ()) -> None:
    """Add a server that speaks Chat Completions to the table, or replace a row.

    Raises:
        ConfigurationError: A name that `open_client()` could not tell from its model, or an
            address that no client could use.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9._-]+", name):
        raise ConfigurationError(f"{name!r} is no provider's name: use lower-case letters")
    if isinstance(key_variables, str):
        raise ConfigurationError("key_variables must be a sequence of names, not one string")
    variables = tuple(key_variables)
    for variable in variables:
        if not isinstance(variable, str) or not variable:
            raise ConfigurationError(f"key_variables must hold names, not {variable!r}")
    row = _server(name, checked_url(base_url, None, allow_http=True), *variables)
    _table[name] = row


@hides_arguments
def open_client(
    spec: str,
    *,
    api_key: Optional[str] = None,
    options: Optional[ChatOptions] = None,
    timeouts: Timeouts = Timeouts(),
    max_retries: int = 2,
    headers: Optional[Mapping[str, str]] = None,
    proxies: Optional[Mapping[str, str]] = None,
    verify: Verify = True,
    cert: Cert = None,
    observers: Iterable[Observer] = (),
    limits: Limits = Limits(),
    allow_http: bool = False,
) -> Client:
    """The client that `provider:model` or `provider:model@base_url` names.

    `claude:claude-sonnet-5`, `ollama:llama3.2:3b`, `custom:my-model@http://localhost:9000/v1`.
    The other arguments are those of `Client`.

    Raises:
        ConfigurationError: An unknown provider (the known ones are listed), no key, ...
    """
    row, model, base_url = _parse(spec)
    module, _, class_name = row.client.partition(":")
    cls = getattr(importlib.import_module(f"cloudllm_sync.clients.{module}"), class_name)
    named = {}
    if module == "compatible":
        named["provider_name"] = row.name
        api_key = _key_of(row, api_key)
    client: Client = cls(
        model,
        base_url=base_url,
        api_key=api_key,
        options=options,
        timeouts=timeouts,
        max_retries=max_retries,
        headers=headers,
        proxies=proxies,
        verify=verify,
        cert=cert,
        observers=observers,
        limits=limits,
        allow_http=allow_http,
        **named,
    )
    return client


def _parse(spec: str) -> tuple[KnownProvider, str, Optional[str]]:
    if not isinstance(spec, str):
        raise ConfigurationError(f"expected 'provider:model', not {type(spec).__name__}")
    name, colon, rest = spec.strip().partition(":")
    row = _table.get(name.strip().lower())
    if row is None:
        raise _unknown(name.strip(), bool(colon))
    model, *address = re.split(r"\s*@\s*(?=https?://)", rest, maxsplit=1, flags=re.IGNORECASE)
    base_url = address[0] if address else ""
    # What follows the name is not shown: it may hold a password, or a key in the wrong place.
    if not colon or not model.strip():
        raise ConfigurationError(f"{row.name!r} names no model: write {row.name}:MODEL")
    if not address and _NO_ADDRESS.search(model):
        raise ConfigurationError(
            f"what follows the @ is no address: write {row.name}:MODEL@https://... or @http://..."
        )
    if not base_url and row.name in ("azure", "custom"):
        raise ConfigurationError(f"{row.name!r} needs an address: write {row.name}:MODEL@BASE_URL")
    if row is _table.get("ollama") and base_url.rstrip("/").endswith("/v1"):
        row = attrs.evolve(_CHAT_OF_OLLAMA, base_url=base_url)
    return row, model.strip(), base_url or row.base_url or None


def _unknown(name: str, is_name: bool) -> ConfigurationError:
    import difflib  # for mistakes only

    close = difflib.get_close_matches(name.lower(), _table, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    # What has no colon may be anything, a key for instance.
    shown = repr(name) if len(name) <= _LONGEST_NAME else "of so long a name"
    what = f"no provider {shown}" if is_name or not name else "expected 'provider:model'"
    return ConfigurationError(f"{what}: {hint}known are {', '.join(sorted(_table))}")


def _key_of(row: KnownProvider, given: Optional[str]) -> Optional[str]:
    if given is not None:
        return given
    variables = row.key_variables
    found = key_in_environment(row.name, variables, needed=bool(variables) and row.key_needed)
    return None if found is None else found[1]
