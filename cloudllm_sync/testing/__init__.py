"""Tools for tests and demos: a scripted LLM server on loopback, with the faults of real networks::

    from cloudllm_sync.testing import FakeServer, Reply, Stall

    with FakeServer("Hello there", Reply("Hello there", after={2: Stall()})) as server:
        client = OpenAIClient("gpt-5", api_key="test", base_url=server.base_url)

`Reply` says what the model says and how it is delivered, in the wire format of the request's path;
`Raw` is the exact control of every write. `anthropic_events()` and its like give a reply's events,
to put faults between them.

Names are imported at their first use: pytest loads the plugin at every start.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudllm_sync.testing.anthropic_wire import anthropic_body, anthropic_events
    from cloudllm_sync.testing.gemini_wire import gemini_body, gemini_events
    from cloudllm_sync.testing.ollama_wire import ollama_body, ollama_events
    from cloudllm_sync.testing.openai_wire import error_reply, openai_body, openai_events
    from cloudllm_sync.testing.recorded import RecordedRequest
    from cloudllm_sync.testing.reply import Reply
    from cloudllm_sync.testing.responses_wire import responses_body, responses_events
    from cloudllm_sync.testing.server import FakeServer
    from cloudllm_sync.testing.steps import (
        Cut,
        Drip,
        HalfClose,
        Raw,
        Reset,
        Stall,
        Step,
        Wait,
        WaitFor,
        Wire,
    )

__all__ = [
    "Cut",
    "Drip",
    "FakeServer",
    "HalfClose",
    "Raw",
    "RecordedRequest",
    "Reply",
    "Reset",
    "Stall",
    "Step",
    "Wait",
    "WaitFor",
    "Wire",
    "anthropic_body",
    "anthropic_events",
    "error_reply",
    "gemini_body",
    "gemini_events",
    "ollama_body",
    "ollama_events",
    "openai_body",
    "openai_events",
    "responses_body",
    "responses_events",
]

_NAMES = {
    "anthropic_wire": "anthropic_body anthropic_events",
    "gemini_wire": "gemini_body gemini_events",
    "ollama_wire": "ollama_body ollama_events",
    "openai_wire": "error_reply openai_body openai_events",
    "recorded": "RecordedRequest",
    "reply": "Reply",
    "responses_wire": "responses_body responses_events",
    "server": "FakeServer",
    "steps": "Cut Drip HalfClose Raw Reset Stall Step Wait WaitFor Wire",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
