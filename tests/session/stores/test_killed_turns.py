"""Processes that are killed in the middle of a turn, and the session that goes on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import pytest

from cloudllm_sync import LLMSession, OpenAIClient, open_store
from cloudllm_sync.testing import Reply

LEASE_S = 0.2


@pytest.fixture
def url(request, tmp_path):
    """Of an empty place that other processes reach."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/chats.db"
    return request.getfixturevalue("redis_server")


def slow_echo(request):
    """A reply of several chunks, so that a turn has many moments."""
    asked = request.json["messages"][-1]["content"]
    return Reply(f"re: {asked} " + "word " * 8, token_delay_s=0.001)


def take_turns(url, base_url, writer, first):
    """One turn after the other; tells of each that has ended."""
    with (
        contextlib.closing(open_store(url)) as store,
        OpenAIClient("m", api_key="k", base_url=base_url, max_retries=0) as client,
    ):
        session = LLMSession(client, session_id="killed", store=store, lease_s=LEASE_S)
        for number in range(first, first + 10_000):
            session.stream(f"number {number}").result()
            os.write(writer, b".")


def killed_after(seconds, *arguments):
    """How many turns a child ended before it was killed; it has ended one at least."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        with contextlib.suppress(BaseException):
            take_turns(*arguments[:2], writer, arguments[2])
        os._exit(1)
    os.close(writer)
    ended = len(os.read(reader, 65536))
    time.sleep(seconds)  # the moment of the kill, not a wait for anything
    os.kill(pid, signal.SIGKILL)
    while block := os.read(reader, 65536):
        ended += len(block)
    os.close(reader)
    os.waitpid(pid, 0)
    return ended


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("url", ["sqlite", "redis"], indirect=True)
def test_session_goes_on_after_a_kill_at_any_of_fifty_moments(url, serve, connect):
    """The history is whole turns, all that had ended; the next turn begins once the lease has."""
    server = serve(default=slow_echo)
    moments = random.Random(5)
    client = connect(server)
    kept = 0
    for _ in range(50):
        ended = killed_after(moments.uniform(0.0, 0.04), url, server.base_url, kept)
        with contextlib.closing(open_store(url)) as store:
            session = LLMSession(client, session_id="killed", store=store, turn_timeout=20)

            session.ask("alive?")

            said = [message.content for message in session.history]
        turns = list(zip(said[::2], said[1::2]))
        assert len(said) == 2 * len(turns)
        assert all(answer.startswith(f"re: {question} ") for question, answer in turns)
        assert kept + ended + 1 <= len(turns) <= kept + ended + 2
        kept = len(turns)
