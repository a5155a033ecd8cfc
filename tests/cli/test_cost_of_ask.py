"""What `cloudllm ask` costs beside the same request by plain requests."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

import pytest

pytestmark = pytest.mark.cost

# 1.43 was measured, 106 and 152 ms.
MOST = 1.75
PLAIN = """
import json, sys, requests
asked = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
with requests.post(sys.argv[1] + "/chat/completions", json=asked, stream=True) as answer:
    for line in answer.iter_lines():
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:])["choices"]:
                print(choice["delta"].get("content") or "", end="")
"""


def cpu_s(*arguments):
    """The processor's time that a Python program takes."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    said = process.stdout.read()
    process.stdout.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert (b"Hello there.", 0) == (said.strip(), process.returncode)
    return used.ru_utime + used.ru_stime


def test_ask_costs_little_more_than_requests(server, model):
    """Medians of one run, in turns; nothing is imported that is not needed."""
    ask = ("cloudllm_sync.cli", "ask", "-m", model, "Hi")
    turns = [(cpu_s("-c", PLAIN, server.base_url), cpu_s("-m", *ask)) for _ in range(7)]
    plain, ours = (statistics.median(column) for column in zip(*turns))

    assert MOST > ours / plain
