"""What it costs: CPU of an import, and of a chunk. Ratios within one run, never wall time."""

import pathlib
import re
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


def worst_ratio():
    """CPU of the generator over a hand-written loop: many events a segment; one HTTP chunk each."""
    command = [sys.executable, "benchmarks/stream.py", "--chunks", "8000", "--runs", "3"]
    command += ["--only", "generator"]
    done = subprocess.run(
        command, check=True, cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    segments, chunks = re.findall(r"generator +[\d.]+ +([\d.]+)", done.stdout)
    return max(float(segments), float(chunks))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs Python 3.11")
def test_chunk_costs_less_than_a_hand_written_loop():
    """The whole path costs at most 0.8 of recv, split and json.loads; the better of two tries."""
    ratio = worst_ratio()
    if ratio > 0.8:
        ratio = worst_ratio()

    assert ratio <= 0.8
