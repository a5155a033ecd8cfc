"""Sessions that talk to scripted servers; all of it is closed after the test."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudllm_sync import LLMSession, OpenAIClient, Timeouts
from cloudllm_sync.testing import FakeServer

PATIENCE_S = 10.0


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
def connect(closing):
    """Makes clients of a server that never retry, so that every request is one that was meant."""

    def make(server, **options):
        client = OpenAIClient(
            "gpt-5",
            **{
                "api_key": "test",
                "base_url": server.base_url,
                "max_retries": 0,
                "timeouts": Timeouts(total_s=PATIENCE_S),
                **options,
            },
        )
        return closing.enter_context(client)

    return make


@pytest.fixture
def talk(serve, connect):
    """Makes a session and the server that it talks to."""

    def make(*script, default=None, system_prompt="", **options):
        server = serve(*script, default=default)
        return LLMSession(connect(server), system_prompt, **options), server

    return make


@pytest.fixture
def elsewhere(closing):
    """Runs a function on another thread; gives its future."""
    pool = closing.enter_context(ThreadPoolExecutor(max_workers=16))
    return pool.submit


@pytest.fixture
def patience_s():
    """How long a test waits for what must come; it never does if the code is right."""
    return PATIENCE_S


@pytest.fixture
def said():
    """The history of a session, or the messages of a request, as (role, text) pairs."""

    def pairs(messages):
        if isinstance(messages, LLMSession):
            messages = messages.history
        return [
            (message["role"], message["content"])
            if isinstance(message, dict)
            else (message.role.value, message.content)
            for message in messages
        ]

    return pairs


@pytest.fixture
def echo():
    """A script entry that repeats the last message of the request."""
    return lambda request: f"re: {request.json['messages'][-1]['content']}"
