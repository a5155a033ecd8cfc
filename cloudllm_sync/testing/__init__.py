"""Tools for tests and demos: a scripted LLM server on loopback, with the faults of real networks.

    from cloudllm_sync.testing import FakeServer, Reply, Stall

    with FakeServer("Hello there", Reply("Hello there", after={2: Stall()})) as server:
        client = OpenAIClient("gpt-5", api_key="test", base_url=server.base_url)

`Reply` says what the model says and how it is delivered; `Raw` is the exact control of every write.
"""

from __future__ import annotations

from cloudllm_sync.testing.openai_wire import error_reply, openai_body, openai_events
from cloudllm_sync.testing.recorded import RecordedRequest
from cloudllm_sync.testing.reply import Reply
from cloudllm_sync.testing.server import FakeServer
from cloudllm_sync.testing.steps import Cut, Raw, Reset, Stall, Step, Wait, WaitFor, Wire

__all__ = [
    "Cut",
    "FakeServer",
    "Raw",
    "RecordedRequest",
    "Reply",
    "Reset",
    "Stall",
    "Step",
    "Wait",
    "WaitFor",
    "Wire",
    "error_reply",
    "openai_body",
    "openai_events",
]
