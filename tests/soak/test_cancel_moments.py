"""Cancels and deadlines at every stage, by the benchmarks; and whom a cancel does not disturb."""

from __future__ import annotations

import json
import pathlib
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudllm_sync import StreamCancelled
from cloudllm_sync.testing import Reply

pytestmark = pytest.mark.cost

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"
THREADS = 16
CALLS_OF_A_THREAD = 25


def rows_of(benchmark, rounds, *options):
    """What a benchmark measures."""
    command = [sys.executable, BENCHMARKS / benchmark, "--rounds", str(rounds), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_cancel_is_heard_at_random_moments_of_every_stage(record_property):
    """Milliseconds on an idle machine, over HTTP and TLS alike."""
    rows = rows_of("cancel.py", 15, "--without", "in callbacks")
    record_property("cancel", rows)

    assert len(rows) == 15
    assert [row for row in rows if row["p99_ms"] > 1000] == []


def test_deadlines_hold_at_every_stage(record_property):
    """Milliseconds late on an idle machine, and never early."""
    rows = rows_of("deadlines.py", 2)
    record_property("deadlines", rows)

    assert len(rows) == 30
    assert [row for row in rows if not -2 <= row["least_ms"] <= row["p99_ms"] <= 1000] == []


def echo(request):
    prompt = request.json["messages"][-1]["content"]
    return Reply([f"{prompt}:{n} " for n in range(6)], token_delay_s=0.001)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_no_other_call_is_disturbed(serve, make_client, server_tls, certificate, tls):
    """400 calls on 16 threads of one client, every third cancelled at some moment."""
    server = serve(default=echo, ssl_context=server_tls if tls else None)
    client = make_client(server, max_retries=0, **({"verify": certificate} if tls else {}))
    cancelled = []

    def call(prompt, chance):
        whole = "".join(f"{prompt}:{n} " for n in range(6))
        if chance.random() > 1 / 3:
            way = chance.choice([client.send_message, client.start_message_stream])
            reply = way(prompt)
            assert getattr(reply, "result", lambda: reply)().content == whole
            return
        handle = client.start_message_stream(prompt)
        handle.join(chance.random() * 0.012)
        handle.cancel()
        error = handle.exception(20)
        if error is None:
            assert handle.result().content == whole
            return
        cancelled.append(prompt)
        assert isinstance(error, StreamCancelled)
        assert error.partial is None or whole.startswith(error.partial.content)

    def work(number):
        chance = random.Random(number)
        for n in range(CALLS_OF_A_THREAD):
            call(f"t{number}c{n}", chance)

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, number) for number in range(THREADS)]:
            done.result(60)

    assert len(cancelled) > 20
    assert not [thread for thread in threading.enumerate() if thread.name == "cloudllm-stream"]
