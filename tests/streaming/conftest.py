"""Scripts that run in a process of their own: its end, its forks, its signals."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

ROOT = str(pathlib.Path(__file__).resolve().parents[2])

PROLOGUE = """
import os, signal, sys, threading, time, warnings
from cloudllm_sync import LLMSession, OpenAIClient, StreamCancelled
from cloudllm_sync.testing import FakeServer, Raw, Reply, Stall, WaitFor, openai_events

EVENTS = openai_events(Reply("one two three", usage=None))

# Python 3.12 warns of any fork where threads run, which is what these tests are about.
warnings.filterwarnings("ignore", "This process")

def client_of(server):
    return OpenAIClient("gpt-5", api_key="test", base_url=server.base_url)

def echo(request):
    return Reply([request.json["messages"][-1]["content"], "!"])
"""


@pytest.fixture
def run():
    """Runs a script; gives its output, status and the seconds that it took after `bye`."""

    def run(script, *, expect=0):
        code = PROLOGUE + textwrap.dedent(script)
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-u", "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": ROOT},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # Its forked children hold the pipes, too.
        watchdog = threading.Timer(20, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        try:
            lines, said_bye = [], time.monotonic()
            for line in process.stdout:
                lines.append(line.strip())
                if line.strip() == "bye":
                    said_bye = time.monotonic()
            _, errors = process.communicate()
            seconds = time.monotonic() - said_bye
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()
        assert process.returncode == expect, errors
        return lines, errors, seconds

    return run
