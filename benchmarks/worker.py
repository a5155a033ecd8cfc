"""A driver in a process of its own, which reads when it is told, and says what that cost."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Optional

import attrs
import bodies
from drivers import BY_NAME, Driver

PATIENCE_S = 120.0

LEFT_OUT: dict[str, str] = {}
"""Drivers that do not import, or that failed, and what they said."""


class DriverError(Exception):
    """What a driver needs is not installed, or it failed: what it said."""


@attrs.frozen
class Reading:
    """What one reply cost: the process's CPU, and memory beyond what it had before."""

    characters: int
    cpu_s: float
    peak_mb: Optional[float]
    """None where the system does not tell, which is all but Linux."""


class Worker:
    """The process of one driver, which begins to import what it needs."""

    def __init__(self, driver: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, driver), daemon=True)
        self._process.start()
        theirs.close()  # so that a process that dies is the end of the pipe
        self._is_ready = False

    def read(self, address: str, body: str, count: int) -> Reading:
        """Have it read one reply, which is warm if it has read from there before.

        Raises:
            DriverError: It does not import, failed, or did not read all.
        """
        if not self._is_ready:
            self._answer()
            self._is_ready = True
        self._pipe.send((f"{address}/{body}/{count}", body))
        reading = self._answer()
        if reading.characters != bodies.characters(body, count):
            raise DriverError(f"{reading.characters} characters of {body} for {count} texts")
        return reading

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()

    def _answer(self) -> Reading:
        try:
            found = self._pipe.recv() if self._pipe.poll(PATIENCE_S) else "took over two minutes"
        except EOFError:
            found = "died"
        if isinstance(found, str):
            self.close()
            raise DriverError(found)
        return found


class Team:
    """The processes of many drivers, started when they are first asked for."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.close()

    def read(
        self, address: str, body: str, counts: dict[str, int], *, runs: int
    ) -> dict[str, list[Reading]]:
        """Have each read so many texts, in turns, and once before to warm up.

        Whoever fails is left out from then on, unless it needs nothing installed.
        """
        taken: dict[str, list[Reading]] = {name: [] for name in counts if name not in LEFT_OUT}
        for name in taken.keys() - self._workers.keys():
            self._workers[name] = Worker(name)
        for turn in range(runs + 1):
            for name in list(taken):
                try:
                    reading = self._workers[name].read(address, body, counts[name])
                except DriverError as error:
                    _leave_out(name, str(error))
                    del taken[name]
                else:
                    taken[name] += [reading] if turn else []
        return taken


def _leave_out(name: str, why: str) -> None:
    if not BY_NAME[name].modules:
        raise SystemExit(f"{name}: {why}")
    LEFT_OUT[name] = why
    print(f"{name}: left out: {why}", file=sys.stderr, flush=True)


def _work(pipe: Connection, name: str) -> None:
    # What an SDK prints is not to stand between the figures.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        for answer in _answers(pipe, BY_NAME[name]):
            pipe.send(answer)
    except EOFError:
        pass  # the benchmark was stopped
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}".partition("\n")[0])


def _answers(pipe: Connection, driver: Driver) -> Iterator[Optional[Reading]]:
    for module in driver.modules:
        importlib.import_module(module)
    yield None
    made = {}
    while True:
        address, body = where = pipe.recv()
        if where not in made:
            made[where] = driver.make(address, body)
        read = made[where]
        gc.collect()  # the garbage of the reply before is not this one's cost
        before_kb = _reset_peak()
        began = time.process_time()
        characters = read()
        cpu_s = time.process_time() - began
        grown_mb = None if before_kb is None else (_status_kb("VmHWM") - before_kb) / 1024
        yield Reading(characters, cpu_s, grown_mb)


def _reset_peak() -> Optional[int]:
    """Have Linux take the peak of memory anew; what is used now, in KB."""
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status_kb("VmRSS")


def _status_kb(field: str) -> int:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])
