"""What it costs: CPU of an import, and of a chunk. Ratios within one run, never wall time."""

import json
import pathlib
import resource
import statistics
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def cpu_of(code):
    """CPU seconds of a fresh interpreter that runs this."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_import_costs_no_more_than_requests():
    """What is not used is not imported."""
    for code in ("import requests", "import cloudllm_sync"):
        cpu_of(code)  # compiled files, and the disk's cache
    pairs = [(cpu_of("import cloudllm_sync"), cpu_of("import requests")) for _ in range(5)]

    ours, theirs = map(statistics.median, zip(*pairs))

    assert ours <= 1.3 * theirs


# CPU per chunk over a hand-written loop.
LIMITS = {
    "many events a segment": 0.7,
    "one HTTP chunk per event": 0.75,
    "Claude's body": 0.8,
    "Gemini's body": 0.8,
    "the Responses API's body": 0.8,
    "Ollama's body": 0.8,
}


def too_dear():
    """The bodies whose generator costs more CPU than its limit, with the ratio."""
    command = [sys.executable, "benchmarks/bench.py", "chunks", "--quick", "--json"]
    done = subprocess.run(
        [*command, "--only", "cloudllm_sync, generator"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    rows = {}
    for figure in json.loads(done.stdout)["figures"]:
        body = figure["row"].partition(", ")[2]
        rows.setdefault(body, {})[figure["driver"].partition(":")[0]] = figure["value"]
    ratios = {body: rows[body]["cloudllm_sync, generator"] / rows[body]["floor"] for body in LIMITS}
    return {body: ratio for body, ratio in ratios.items() if ratio > LIMITS[body]}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs Python 3.11")
def test_chunk_costs_less_than_a_hand_written_loop():
    """The whole path, chunk objects included, beside recv, split and json.loads; two tries."""
    dear = too_dear() and too_dear()

    assert dear == {}
