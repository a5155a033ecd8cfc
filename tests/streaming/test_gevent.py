"""Greenlets for threads: a process whose sockets, locks and threads gevent has patched."""

from __future__ import annotations

import itertools
import os
import pathlib
import subprocess
import sys
import textwrap
import threading

import pytest

from cloudllm_sync.testing import FakeServer, Raw, Reply, Stall, Wait, WaitFor, openai_events

pytest.importorskip("gevent", reason="gevent is not installed")

ROOT = str(pathlib.Path(__file__).resolve().parents[2])
EVENTS = openai_events(Reply("one two three", usage=None))

PROLOGUE = """
from gevent import monkey
monkey.patch_all()
import gevent, os, sys, threading, time, warnings
from cloudllm_sync import LLMSession, OpenAIClient, RequestTimeoutError, StreamCancelled, Timeouts
verify = os.environ["CERTIFICATE"] if os.environ["FAKE_URL"].startswith("https") else True
client = OpenAIClient("gpt-5", api_key="test", base_url=os.environ["FAKE_URL"], verify=verify)
"""


@pytest.fixture(params=["plain", "tls"])
def served(request, server_tls, certificate):
    """Runs a script beside a server of this default; gives what it printed, and the server."""

    def run(script, default):
        with FakeServer(
            default=default, ssl_context=server_tls if request.param == "tls" else None
        ) as server:
            done = subprocess.run(
                [sys.executable, "-u", "-c", PROLOGUE + textwrap.dedent(script)],
                env={
                    **os.environ,
                    "PYTHONPATH": ROOT,
                    "FAKE_URL": server.base_url,
                    "CERTIFICATE": certificate,
                },
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert done.returncode == 0, done.stderr
            assert server.wait_until_idle(5)
        return done.stdout.splitlines(), server

    return run


def stalling(replies, count):
    """What a server says: to "wait", once so many other prompts have come, that they are there."""
    there, numbers = threading.Event(), itertools.count(1)

    def answer(request):
        prompt = request.json["messages"][-1]["content"]
        if prompt == "wait":
            return Raw(WaitFor(there), *EVENTS)
        if next(numbers) == count:
            there.set()
        return replies[prompt]

    return answer


def echo(request):
    """Slow enough for all greenlets to be in it at once."""
    prompt = request.json["messages"][-1]["content"]
    return Reply([f"{prompt} ", "a ", "b ", "c"], token_delay_s=0.1)


def test_twenty_streams_at_once(served):
    """None waits for another: their pauses overlap."""
    lines, _ = served(
        """
        def read(number):
            with client.send_message_stream(str(number)) as stream:
                return "".join(stream.text())

        began = time.monotonic()
        jobs = [gevent.spawn(read, number) for number in range(20)]
        gevent.joinall(jobs)
        print([job.value for job in jobs] == [f"{number} a b c" for number in range(20)])
        print(time.monotonic() - began < 20 * 0.3 / 2)
        """,
        echo,
    )

    assert lines == ["True", "True"]


def test_callbacks(served):
    """A worker is a greenlet, too; result() waits without holding the others up."""
    lines, _ = served(
        """
        seen = []
        session = LLMSession(client)

        def start(number):
            return client.start_message_stream(
                str(number),
                on_chunk=lambda chunk: seen.append((number, chunk.content)),
                on_finish=lambda message: seen.append((number, message)),
            )

        handles = [start(number) for number in range(20)]
        turns = [session.submit(f"turn {number}") for number in range(3)]
        replies = [handle.result(10).content for handle in handles]
        print(replies == [f"{number} a b c" for number in range(20)])
        print([handle.result(10).content for handle in turns])
        for number in range(20):
            mine = [value for owner, value in seen if owner == number]
            assert "".join(mine[:-1]) == mine[-1].content == f"{number} a b c", mine
        print(len(session.history))
        """,
        echo,
    )

    assert lines == ["True", "['turn 0 a b c', 'turn 1 a b c', 'turn 2 a b c']", "6"]


def test_cancel_from_another_greenlet(served):
    """Those that read are woken at once, twenty at every stage."""
    replies = {
        "before the headers": Raw(before_headers=(Stall(),)),
        "in a stall": Raw(*EVENTS[:2], Stall()),
        "in a drip": Raw(*EVENTS[:2], *[b": x\n\n", Wait(0.01)] * 900),
    }
    lines, server = served(
        """
        for stage in ["before the headers", "in a stall", "in a drip"]:
            ends, begun = [], threading.Semaphore(0)
            handles = [
                client.start_message_stream(
                    stage,
                    on_chunk=lambda chunk: begun.release(),
                    on_error=lambda e: ends.append(time.monotonic()),
                )
                for _ in range(20)
            ]
            if stage == "before the headers":
                client.send_message_stream("wait").result()
            else:
                for _ in range(20):
                    begun.acquire()
            asked = time.monotonic()
            for handle in handles:
                handle.cancel()
            print({type(handle.exception(5)).__name__ for handle in handles})
            print(max(ends) - asked < 1)
        """,
        stalling(replies, 20),
    )

    assert lines == ["{'StreamCancelled'}", "True"] * 3
    assert len(server.requests) == 61


def test_cancel_of_a_generator(served):
    """`stream.cancel()` while another greenlet is in next()."""
    lines, _ = served(
        """
        stream = client.send_message_stream("hi")
        print(next(stream).content)
        gevent.spawn_later(0.1, stream.cancel)
        began = time.monotonic()
        try:
            next(stream)
        except StreamCancelled as error:
            print(error.partial.content, time.monotonic() - began < 1)
        """,
        Raw(*EVENTS[:2], Stall()),
    )

    assert lines == ["one", "one True"]


def test_waits_of_a_reader_that_has_other_things_to_do(served):
    """They end in time, and other greenlets run meanwhile."""
    lines, _ = served(
        """
        ticks = []

        def tick():
            while True:
                ticks.append(1)
                gevent.sleep(0.01)

        gevent.spawn(tick)
        stream = client.send_message_stream("hi")
        print(next(stream).content, stream.next_within(0), stream.next_within(0.2), len(ticks) > 3)
        print(stream.next_within(10).content, stream.result().content)
        """,
        Raw(*EVENTS[:2], Wait(0.5), *EVENTS[2:]),
    )

    assert lines == ["one None None True", " two one two three"]


def test_deadlines(served):
    """Every clock ends its wait."""
    lines, _ = served(
        """
        for clock in ["first_chunk", "idle", "total"]:
            limits = dict(connect_s=5, first_chunk_s=5, idle_s=5, total_s=5)
            limits[f"{clock}_s"] = 0.2
            began = time.monotonic()
            try:
                client.send_message_stream(clock, timeouts=Timeouts(**limits)).result()
            except RequestTimeoutError as error:
                print(error.clock, 0.15 < time.monotonic() - began < 2)
        """,
        lambda request: (
            Raw(EVENTS[0], Stall())
            if request.json["messages"][-1]["content"] == "first_chunk"
            else Raw(*EVENTS[:2], Stall())
        ),
    )

    assert lines == ["first_chunk True", "idle True", "total True"]


def test_greenlet_that_is_killed(served):
    """GreenletExit in a read is as Ctrl-C: the connection goes, the session is free."""
    lines, _ = served(
        """
        session = LLMSession(client, turn_timeout=0)
        job = gevent.spawn(session.ask, "stall")
        client.send_message_stream("wait").result()
        job.kill()
        print(session.ask("next").content)
        print(len(session.history))
        """,
        stalling({"stall": Raw(before_headers=(Stall(),)), "next": "fine"}, 1),
    )

    assert lines == ["fine", "2"]
