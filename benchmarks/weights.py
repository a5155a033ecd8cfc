"""What a library weighs: memory per open stream, its import, what its installation brings.

    python benchmarks/weights.py [--quick] [--only X]

* Memory: how much a process's resident set grows while 200 threads each open a stream, read its
  first token and wait for the next, over 200. One stream was read to its end before that. Linux
  only.
* Import: CPU of the import statement, in fresh interpreters that take turns; then the same with
  the first client made, for libraries that put off what they need.
* Installation: files and distributions that pip brings into an empty folder, without byte code.
  It asks the package registry, and so is left out of --quick.
"""

from __future__ import annotations

import gc
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Optional

import fresh_process
import paced_server
import readers
from command import run
from results import Figure, Goal
from threads import REPEATED

STREAMS = 200
REQUESTS = "requests"
OURS = readers.GENERATOR

MEMORY = f"memory per open stream and its thread, {STREAMS} streams"
IMPORT = "import, CPU"
READY = "import and a first client, CPU"
SIZE = "installed size"
COUNT = "installed distributions"

ROWS = (MEMORY, IMPORT, READY, SIZE, COUNT)
GOALS = (
    Goal(MEMORY, OURS, 56.0),
    Goal(IMPORT, OURS, 1.2, REQUESTS),
    Goal(SIZE, OURS, 4.0),
    Goal(COUNT, OURS, 9.0),
)

# What the driver's programs import, how they make a client, what they install.
PROGRAMS = {
    REQUESTS: ("import requests", "requests.Session()", "requests"),
    "requests + sseclient-py": (
        "import requests, sseclient",
        "requests.Session()",
        "requests sseclient-py",
    ),
    "httpx + httpx-sse": ("import httpx, httpx_sse", "httpx.Client()", "httpx httpx-sse"),
    "openai-python": ("import openai", "openai.OpenAI(api_key='x')", "openai"),
    "anthropic": ("import anthropic", "anthropic.Anthropic(api_key='x')", "anthropic"),
    "litellm": ("import litellm", "litellm.completion", "litellm"),
    OURS: ("import cloudllm_sync", "cloudllm_sync.OpenAIClient('m', api_key='x')", "."),
}
DRIVERS = (*readers.READERS, *PROGRAMS)
ENVIRONMENT = {
    "PYTHONPATH": str(readers.ROOT),
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would download its list of prices
}
STATUS = pathlib.Path("/proc/self/smaps_rollup")
QUICK_ROWS = (MEMORY, IMPORT, READY) if STATUS.exists() else (IMPORT, READY)


def memory_kb(driver: str, port: int) -> float:
    """Growth per stream, in this process."""
    server = f"http://127.0.0.1:{port}"
    readers.READERS[driver](f"{server}/5-inf")(str)
    came = threading.Semaphore(0)
    gc.collect()
    before = resident_kb()
    # The next token is due in two seconds; litellm holds each back until then.
    readers.start(driver, f"{server}/100-0.5", [lambda _: came.release()] * STREAMS)
    for _ in range(STREAMS):
        if not came.acquire(timeout=60):
            raise RuntimeError("a stream did not begin")
    time.sleep(0.2)  # the last ones are on their way into their next read
    return (resident_kb() - before) / STREAMS


def resident_kb() -> int:
    """The resident set, page by page: what /proc/self/statm says is rounded for each core."""
    for line in STATUS.read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1])
    raise RuntimeError(f"{STATUS} does not say")


def figures(only: str = "", quick: bool = False) -> Iterator[Figure]:
    """All rows; quick: single runs, nothing installed."""
    if STATUS.exists():
        drivers = [name for name in readers.READERS if only in name or name == readers.FLOOR]
        runs = 1 if quick else 3
        yield from _memory({name: runs if name in REPEATED else 1 for name in drivers})
    else:
        print(f"{MEMORY}: left out, {STATUS} is Linux's", file=sys.stderr)
    wanted = [name for name in PROGRAMS if only in name or name == REQUESTS]
    for row, steps, runs in ((IMPORT, 1, 7), (READY, 2, 3)):
        programs = {name: "; ".join(PROGRAMS[name][:steps]) for name in wanted}
        yield from _starts(row, programs, runs=1 if quick else runs)
    if quick:
        print(f"{SIZE}, {COUNT}: left out, they ask the package registry", file=sys.stderr)
        return
    with ThreadPoolExecutor(2) as pool:
        installed = dict(zip(wanted, pool.map(_installed, wanted)))
    for at, (row, unit) in enumerate(((SIZE, "MB"), (COUNT, "distributions"))):
        for driver, found in installed.items():
            if found is not None:
                yield Figure(row, driver, found[at], unit)


def _medians(
    row: str, unit: str, runs: dict[str, int], measure: Callable[[str], float]
) -> Iterator[Figure]:
    """The drivers take turns, each so many times; one that fails is left out."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(max(runs.values())):
        for driver in tuple(found):
            if turn >= runs[driver]:
                continue
            try:
                found[driver].append(measure(driver))
            except (ImportError, RuntimeError) as error:
                print(f"{driver}: left out of {row!r}: {error}", file=sys.stderr)
                del found[driver]
    for driver, values in found.items():
        yield Figure(row, driver, statistics.median(values), unit)


def _memory(runs: dict[str, int]) -> Iterator[Figure]:
    with paced_server.running() as port:

        def measure(driver: str) -> float:
            value: float = fresh_process.call("weights.memory_kb", driver, port)
            return value

        yield from _medians(MEMORY, "KB", runs, measure)


def _starts(row: str, programs: dict[str, str], runs: int) -> Iterator[Figure]:
    def measure(driver: str) -> float:
        clock = "time.process_time()"
        program = f"import time; began = {clock}; {programs[driver]}; print({clock} - began)"
        return float(fresh_process.printed(["-c", program], ENVIRONMENT)) * 1e3

    for _ in _medians(row, "ms", dict.fromkeys(programs, 1), measure):
        pass  # byte code is written, files are in the cache
    # litellm takes two seconds, and is far from all others.
    each = {name: 1 if name == "litellm" else runs for name in programs}
    yield from _medians(row, "ms", each, measure)


def _installed(driver: str) -> Optional[tuple[float, int]]:
    """Size in MB, and how many distributions; None if pip fails."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = PROGRAMS[driver][2].split()
        if wanted == ["."]:  # setuptools writes into the folder that it builds from
            source = pathlib.Path(folder, "source")
            shutil.copytree(readers.ROOT, source, ignore=shutil.ignore_patterns(".*", "tests"))
            wanted = [str(source)]
        target = pathlib.Path(folder, "target")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        done = subprocess.run(
            [*command, "--no-compile", "--target", str(target), *wanted], stderr=subprocess.PIPE
        )
        if done.returncode:
            text = done.stderr.decode(errors="replace").strip()
            print(f"{driver}: left out of {SIZE!r}: {text[-300:]}", file=sys.stderr)
            return None
        files = [path for path in target.rglob("*") if path.is_file() and path.suffix != ".pyc"]
        size = sum(path.stat().st_size for path in files)
        return size / 1e6, len(list(target.glob("*.dist-info")))


if __name__ == "__main__":
    run(__doc__, GOALS, figures)
