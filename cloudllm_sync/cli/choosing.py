"""Which model answers: the one that is named, that a key is there for, or that Ollama has."""

from __future__ import annotations

import contextlib
import gc
import http.client
import importlib
import json
import os
from collections.abc import Iterator
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

import click

from cloudllm_sync.cli.exits import complain, leave_by
from cloudllm_sync.clients.client import Client
from cloudllm_sync.clients.ollama import address_of
from cloudllm_sync.clients.registry import open_client

__all__ = [
    "DEFAULTS",
    "DEMO",
    "MAX_TOKENS",
    "max_tokens_option",
    "model_option",
    "ollama_models",
    "opened_client",
]

DEMO = "demo"
MAX_TOKENS = 32_768
MODEL_VARIABLE = "CLOUDLLM_MODEL"
# Provider, its key's variables, and what is asked there if nobody names a model.
DEFAULTS = (
    ("openai", ("OPENAI_API_KEY", "OPEN_AI_SECRET"), "gpt-5.4-mini"),
    ("claude", ("ANTHROPIC_API_KEY", "CLAUDE_API_KEY"), "claude-sonnet-5"),
    ("gemini", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), "gemini-3.7-flash"),
    ("grok", ("XAI_API_KEY", "XAI_KEY"), "grok-4.6"),
)
_OLLAMA_S = 1.0
_NOTHING = f"""\
no model. One of these gives one:
  -m PROVIDER:MODEL, or {MODEL_VARIABLE}: see `cloudllm models`
  a key in {", ".join(variables[0] for _, variables, _ in DEFAULTS)}
  Ollama on this machine, and `ollama pull llama3.2`
  `cloudllm demo`, which talks to a server of its own\
"""


def model_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`-m provider:model` for a command."""
    return click.option(
        "-m",
        "--model",
        metavar="PROVIDER:MODEL",
        envvar=MODEL_VARIABLE,
        help="Which model answers, as claude:claude-sonnet-5; demo is the embedded server.",
    )(command)


def max_tokens_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--max-tokens` for a command that goes on with conversations."""
    return click.option(
        "--max-tokens",
        type=click.IntRange(1),
        default=MAX_TOKENS,
        show_default=True,
        help="The longest request of a conversation: what is older is left out.",
    )(command)


@contextlib.contextmanager
def opened_client(model: Optional[str], *, may_ask: bool = False) -> Iterator[Client]:
    """The client of the model, or of one that can be had without asking for a key.

    Args:
        model: As `open_client()` takes it, or `demo`; None is to look around.
        may_ask: Whether somebody is there who can be offered the embedded server.

    Raises:
        ConfigurationError: No such provider, no key, ...
    """
    spec = model or _found()
    if spec is None:
        if not may_ask:
            complain(_NOTHING)
            leave_by(2)
        click.echo(f"There is {_NOTHING}\n")
        if not click.confirm("Talk to the embedded server now?", default=True):
            leave_by(2)
        spec = DEMO
    with contextlib.ExitStack() as stack:
        if spec == DEMO:
            # By its name: edges of the house do not import each other.
            serving = importlib.import_module("cloudllm_sync.testing.server_command").demo_server
            spec = stack.enter_context(serving())
        client = stack.enter_context(open_client(spec))
        if not gc.isenabled():
            gc.freeze()  # what was imported stays
            gc.enable()
        yield client


def ollama_models() -> Optional[list[str]]:
    """The models of the Ollama at `OLLAMA_HOST`, or on this machine; None if there is none."""
    try:
        address = urlsplit(address_of(os.environ.get("OLLAMA_HOST", "").strip()))
        is_https = address.scheme == "https"
        kind = http.client.HTTPSConnection if is_https else http.client.HTTPConnection
        connection = kind(address.hostname or "localhost", address.port, timeout=_OLLAMA_S)
        with contextlib.closing(connection):
            connection.request("GET", f"{address.path.rstrip('/')}/api/tags")
            found = json.load(connection.getresponse())
        return [str(model["name"]) for model in found["models"]]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None


def _found() -> Optional[str]:
    for provider, variables, model in DEFAULTS:
        if any(os.environ.get(variable, "").strip() for variable in variables):
            return f"{provider}:{model}"
    models = ollama_models()
    return f"ollama:{models[0]}" if models else None
