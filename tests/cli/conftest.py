"""The command line, run in this process or as users run it."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import pytest

pytest.importorskip("click", reason="needs the extra cli")
pytest.importorskip("rich", reason="needs the extra cli")
pytest.importorskip("platformdirs", reason="needs the extra cli")

from click.testing import CliRunner

from cloudllm_sync.cli.choosing import DEFAULTS
from cloudllm_sync.cli.commands import cloudllm
from cloudllm_sync.testing import FakeServer

ROOT = pathlib.Path(__file__).parents[2]
PIPES = {
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """A user's without keys, without Ollama, with a data folder of the test's own."""
    for _, variables, _ in DEFAULTS:
        for name in variables:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("CLOUDLLM_MODEL", raising=False)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("CLOUDLLM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")


@pytest.fixture
def run():
    """Runs a command in this process; what it printed, both outputs, and its exit code."""

    def run(*arguments, input=""):
        result = CliRunner().invoke(cloudllm, arguments, input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output, result.exit_code

    return run


@pytest.fixture
def start():
    """Starts the command line as a process of its own."""
    started = []
    # A shell starts background jobs with SIGINT ignored, nohup with SIGHUP; children inherit that.
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}

    def start(*arguments, **options):
        process = subprocess.Popen(
            [sys.executable, "-m", "cloudllm_sync.cli", *arguments],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            **{**PIPES, **options},
        )
        started.append(process)
        return process

    yield start
    for number, handler in before.items():
        signal.signal(number, handler)
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def server():
    with FakeServer(default="Hello there.") as server:
        yield server


@pytest.fixture
def model(server):
    return f"custom:m@{server.base_url}"
