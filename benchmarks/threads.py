"""Many streams at once, one thread each, at the pace of a fast model: 40 tokens a second.

    python benchmarks/threads.py [--quick] [--only X]

One server process sends all streams by schedule (paced_server.py). Every run of a driver is a fresh
process, in which all threads share one client. The floor and this package, which goals are held to,
take turns for medians of three runs; all others run once. The threads wait until all of them are
made, and are then let go at once; callbacks bring their own, so one thread begins their streams,
and waits for each to have its thread.

* CPU per token: the process's, in the middle of the streams, when all run and none ends.
* Lag: from the moment for which a token's sending was scheduled to the moment when the consumer
  has it, of all tokens after the last stream's start. The server has to share the machine.
* Start to first token: from letting go to the first token of each stream.
* Wall: from letting go to the end of the last stream, which takes 3 s where nothing is slow.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Iterator

import fresh_process
import paced_server
import readers
from command import run
from results import Figure, Goal

TOKENS_PER_S = 40
STREAM_S = 3.0
QUICK_STREAM_S = 0.8
# Who takes this much longer than its streams is not asked for still more of them.
FAR_BEHIND_S = 6.0
RUNS = 3
REPEATED = (readers.FLOOR, readers.GENERATOR, readers.CALLBACKS)

CPU = "CPU per token, 50 threads at 40 tokens/s"
LAG = "lag behind the schedule, p99, 200 threads at 40 tokens/s"
FIRST = "start to first token, median, 200 threads"
FIRST_P99 = "start to first token, p99, 200 threads"
WALL = "streams of 3 s read to their end, 500 threads"

DRIVERS = tuple(readers.READERS)
ROWS = (CPU, LAG, FIRST, FIRST_P99, WALL)
QUICK_ROWS = (CPU,)
GOALS = (
    Goal(CPU, readers.GENERATOR, 1.15, readers.FLOOR),
    Goal(LAG, readers.GENERATOR, 5.0),
    Goal(FIRST_P99, readers.GENERATOR, 200.0),
    Goal(WALL, readers.GENERATOR, 1.3, readers.FLOOR),
)
# Which rows a number of threads answers: the key of what measured() gives, and the unit.
WANTED: dict[int, dict[str, tuple[str, str]]] = {
    50: {CPU: ("cpu_us", "µs")},
    200: {LAG: ("lag_ms", "ms"), FIRST: ("first_ms", "ms"), FIRST_P99: ("first_p99_ms", "ms")},
    500: {WALL: ("wall_s", "s")},
}


def measured(driver: str, port: int, threads: int, stream_s: float) -> dict[str, float]:
    """One run, in this process.

    Raises:
        RuntimeError: A stream did not come whole.
    """
    readers.READERS[driver](f"http://127.0.0.1:{port}/5-inf")(str)  # imports, caches
    tokens = round(stream_s * TOKENS_PER_S)
    seen: list[list[tuple[float, str]]] = [[] for _ in range(threads)]
    clock = time.monotonic

    def taker(mine: list[tuple[float, str]]) -> readers.OnText:
        add = mine.append
        return lambda text: add((clock(), text))

    url = f"http://127.0.0.1:{port}/{tokens}-{TOKENS_PER_S}"
    began, join = readers.start(driver, url, [taker(mine) for mine in seen])
    cpu_us = _cpu_per_token_us(seen, began, stream_s)
    join()
    short = [len(mine) for mine in seen if len(mine) != tokens]
    if short:
        raise RuntimeError(f"{len(short)} of {threads} streams came short: {short[:5]}")
    firsts_ms = [(mine[0][0] - began) * 1e3 for mine in seen]
    return {
        "cpu_us": cpu_us,
        "lag_ms": _lag_ms(seen),
        "first_ms": statistics.median(firsts_ms),
        "first_p99_ms": _p99(firsts_ms),
        "wall_s": max(mine[-1][0] for mine in seen) - began,
    }


def _cpu_per_token_us(seen: list[list[tuple[float, str]]], began: float, stream_s: float) -> float:
    """Of the middle: all streams run by then, and none has ended."""
    time.sleep(max(0.0, began + stream_s * 0.2 - time.monotonic()))
    cpu, count = time.process_time(), sum(map(len, seen))
    time.sleep(max(0.0, began + stream_s * 0.95 - time.monotonic()))
    cpu, count = time.process_time() - cpu, sum(map(len, seen)) - count
    return cpu / max(count, 1) * 1e6


def _lag_ms(seen: list[list[tuple[float, str]]]) -> float:
    all_run = max(mine[0][0] for mine in seen)
    lags = [
        (taken - float(due)) * 1e3 for mine in seen for taken, due in mine if float(due) > all_run
    ]
    return _p99(lags) if lags else math.nan


def _p99(values: list[float]) -> float:
    return sorted(values)[math.ceil(len(values) * 0.99) - 1]


def figures(only: str = "", quick: bool = False) -> Iterator[Figure]:
    """All rows; quick: one run, 50 threads, short streams."""
    drivers = [name for name in readers.READERS if only in name or name == readers.FLOOR]
    with paced_server.running() as port:
        for threads in (50,) if quick else WANTED:
            runs = _runs(drivers, port, threads, quick=quick)
            for row, (key, unit) in WANTED[threads].items():
                for driver, found in runs.items():
                    value = statistics.median(run[key] for run in found)
                    if not math.isnan(value):
                        yield Figure(row, driver, value, unit)


def _runs(
    drivers: list[str], port: int, threads: int, *, quick: bool
) -> dict[str, list[dict[str, float]]]:
    """What was measured, by driver; takes those out of `drivers` that cannot go on."""
    stream_s = QUICK_STREAM_S if quick else STREAM_S
    found: dict[str, list[dict[str, float]]] = {name: [] for name in drivers}
    for _ in range(1 if quick else RUNS):
        for driver in tuple(drivers):
            if found[driver] and driver not in REPEATED:
                continue
            try:
                one = fresh_process.call("threads.measured", driver, port, threads, stream_s)
                found[driver].append(one)
            except RuntimeError as error:
                print(f"{driver}: a run with {threads} threads: {error}", file=sys.stderr)
            except ImportError as error:
                print(f"{driver}: left out: {error}", file=sys.stderr)
                drivers.remove(driver)
    for driver in tuple(drivers):
        if not found[driver]:
            drivers.remove(driver)
        elif found[driver][0]["wall_s"] > stream_s + FAR_BEHIND_S:
            print(f"{driver}: far behind with {threads} threads, no more", file=sys.stderr)
            drivers.remove(driver)
    return {driver: runs for driver, runs in found.items() if runs}


if __name__ == "__main__":
    run(__doc__, GOALS, figures)
