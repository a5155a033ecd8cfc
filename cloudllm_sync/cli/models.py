"""`cloudllm models`: what may stand behind -m."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Optional

import click

from cloudllm_sync.cli.choosing import DEFAULTS, ollama_models
from cloudllm_sync.clients.client import Client
from cloudllm_sync.clients.registry import KnownProvider, known_providers
from cloudllm_sync.errors import ConfigurationError

__all__ = ["command"]

# Whose models are listed in this package; others give theirs to whoever has a key.
_LISTED = ("openai", "claude", "gemini", "grok")


@click.command("models")
@click.argument("provider", required=False)
def command(provider: Optional[str]) -> None:
    """List providers and whether their keys are set; or the models of one.

    Any other model is taken as it is written: lists grow old.
    """
    if provider is None:
        _list_providers()
    else:
        click.echo("\n".join(f"{provider}:{model}" for model in _models_of(provider.lower())))


def _list_providers() -> None:
    defaults = {name: model for name, _, model in DEFAULTS}
    for name, row in known_providers().items():
        model = defaults.get(name, "")
        if name == "ollama":
            found = ollama_models()
            state = "not running" if found is None else f"running, {len(found)} models"
        else:
            state = _state(_variables_of(row))
        click.echo(f"{name:<12} {state}{f', asks {model}' if model else ''}")


def _variables_of(row: KnownProvider) -> Sequence[str]:
    """The table's, or those of the client of its own."""
    module, _, name = row.client.partition(":")
    if module == "compatible":
        return row.key_variables
    client: type[Client] = getattr(importlib.import_module(f"cloudllm_sync.clients.{module}"), name)
    return client.provider.key_variables


def _state(variables: Sequence[str]) -> str:
    found = next((name for name in variables if os.environ.get(name, "").strip()), None)
    if found is not None:
        return f"{found} is set"
    return f"set {variables[0]}" if variables else "no key is looked for"


def _models_of(provider: str) -> list[str]:
    if provider == "ollama":
        models = ollama_models()
        if models is None:
            raise ConfigurationError("no Ollama answers: is it running? OLLAMA_HOST says where")
        return models
    if provider not in _LISTED:
        raise ConfigurationError(f"models are listed of {', '.join((*_LISTED, 'ollama'))}")
    module = importlib.import_module(f"cloudllm_sync.clients.{provider}")
    return [model.value for model in module.Model]
