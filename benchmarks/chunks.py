"""CPU of one stream: per chunk for each wire's body, of a huge event, a long reply, a long session.

Every driver is a process of its own; they take turns, one reply each, the first for warming up.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import tempfile
import time
from collections.abc import Iterator

import bodies
import server
from chart import CHARTED
from drivers import CALLBACKS, DRIVERS, FLOOR, GENERATOR, SESSION
from history import Answers, fill
from results import Figure, Goal
from worker import Reading, Team, Worker

from cloudllm_sync import LLMSession, open_store

CHUNKS = 20_000
RUNS = 11
LONG_RUNS = 3
TURN_RUNS = 30
QUICK_CHUNKS = 6_000
QUICK_RUNS = 3

SEGMENTS_ROW = "CPU per chunk, many events a segment"
CHUNKS_ROW = CHARTED
BODY_ROWS = {
    SEGMENTS_ROW: "segments",
    CHUNKS_ROW: "chunks",
    "CPU per chunk, Claude's body": "claude",
    "CPU per chunk, Gemini's body": "gemini",
    "CPU per chunk, the Responses API's body": "responses",
    "CPU per line, Ollama's body": "ollama",
}
PIECES_ROW = f"CPU, one event of 1 MB in HTTP chunks of {bodies.PIECE_BYTES} bytes"
LONG_CPU_ROW = "CPU per token, a long reply"
LONG_MEMORY_ROW = "peak memory, a long reply"
TURN_ROWS = {
    "CPU, one more turn of a session in memory": "memory:",
    "CPU, one more turn of a session in SQLite": "sqlite:///{folder}/chats.db",
}
ROWS = (*BODY_ROWS, PIECES_ROW, LONG_CPU_ROW, LONG_MEMORY_ROW, *TURN_ROWS)

SHORTER, LONGER = "cloudllm_sync, 100,000 tokens", "cloudllm_sync, 1,000,000 tokens"
LONG = {SHORTER: 100_000, LONGER: 1_000_000}
FEW, MANY = "cloudllm_sync, after 100 turns", "cloudllm_sync, after 10,000 turns"
TURNS = {FEW: 100, MANY: 10_000}

GOALS = (
    Goal(SEGMENTS_ROW, GENERATOR, 0.5, FLOOR),
    Goal(CHUNKS_ROW, GENERATOR, 0.65, FLOOR),
    *(
        Goal(row, driver, limit, GENERATOR)
        for driver, limit in ((SESSION, 1.05), (CALLBACKS, 1.10))
        for row in (SEGMENTS_ROW, CHUNKS_ROW)
    ),
    *(
        Goal(row, GENERATOR, 0.65, FLOOR)
        for row in BODY_ROWS
        if row not in (SEGMENTS_ROW, CHUNKS_ROW)
    ),
    Goal(PIECES_ROW, GENERATOR, 60.0),
    Goal(LONG_CPU_ROW, LONGER, 1.15, SHORTER),
    *(Goal(row, MANY, 1.5, FEW) for row in TURN_ROWS),
)


def figures(only: str = "", quick: bool = False) -> Iterator[Figure]:
    """All rows, of the drivers with this in their names; the floor always."""
    with server.running() as address:
        with Team() as team:
            for row, body in BODY_ROWS.items():
                yield from _chunks(team, address, body, row=row, only=only, quick=quick)
            yield from _pieces(team, address, only=only, quick=quick)
        wanted = {name: tokens for name, tokens in LONG.items() if only in name}
        yield from _long_replies(address, wanted, runs=1 if quick else LONG_RUNS)
    wanted = {name: turns for name, turns in TURNS.items() if only in name}
    if wanted:
        for row, url in TURN_ROWS.items():
            yield from _turns(row, url, wanted)


def _counts(body: str, only: str) -> dict[str, float]:
    """Who reads this body, and how large a share of the usual number of chunks."""
    return {
        driver.name: driver.share
        for driver in DRIVERS
        if body in driver.bodies and (only in driver.name or driver.name == FLOOR)
    }


def _cpu_s(readings: list[Reading]) -> float:
    return statistics.median(reading.cpu_s for reading in readings)


def _chunks(
    team: Team, address: str, body: str, *, row: str, only: str, quick: bool
) -> Iterator[Figure]:
    usual = QUICK_CHUNKS if quick else CHUNKS
    counts = {name: int(usual * share) for name, share in _counts(body, only).items()}
    taken = team.read(address, body, counts, runs=QUICK_RUNS if quick else RUNS)
    for name, readings in taken.items():
        yield Figure(row, name, 1e6 * _cpu_s(readings) / counts[name], "µs")


def _pieces(team: Team, address: str, *, only: str, quick: bool) -> Iterator[Figure]:
    counts = dict.fromkeys(_counts("pieces", only), bodies.PIECES)
    taken = team.read(address, "pieces", counts, runs=1 if quick else RUNS)
    for name, readings in taken.items():
        yield Figure(PIECES_ROW, name, 1e3 * _cpu_s(readings), "ms")


def _long_replies(address: str, wanted: dict[str, int], *, runs: int) -> Iterator[Figure]:
    """Each in a fresh process, where no memory has been used and freed; a short reply warms up."""
    taken: dict[str, list[Reading]] = {name: [] for name in wanted}
    for _ in range(runs):
        for name, tokens in wanted.items():
            worker = Worker(GENERATOR)
            with contextlib.closing(worker):
                worker.read(address, "long", 1_000)
                taken[name].append(worker.read(address, "long", tokens))
    for name, readings in taken.items():
        yield Figure(LONG_CPU_ROW, name, 1e6 * _cpu_s(readings) / wanted[name], "µs")
    for name, readings in taken.items():
        peaks = [reading.peak_mb for reading in readings if reading.peak_mb is not None]
        if peaks:
            yield Figure(LONG_MEMORY_ROW, name, statistics.median(peaks), "MB")


def _turns(row: str, url: str, wanted: dict[str, int]) -> Iterator[Figure]:
    """Sessions that take turns, with a client that answers at once, from memory."""
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.closing(open_store(url.format(folder=folder))) as store:
            for turns in wanted.values():
                fill(store, f"after-{turns}", 2 * turns)
            sessions = {
                name: LLMSession(
                    Answers(), session_id=f"after-{turns}", store=store, max_tokens=2_000
                )
                for name, turns in wanted.items()
            }
            taken: dict[str, list[float]] = {name: [] for name in wanted}
            for _ in range(TURN_RUNS + 1):
                for name, session in sessions.items():
                    gc.collect()
                    began = time.process_time()
                    session.ask("hi")
                    taken[name].append(time.process_time() - began)
            for name, session in sessions.items():
                if len(session.history) != 2 * (wanted[name] + TURN_RUNS + 1):
                    raise SystemExit(f"{row}: {name}: {len(session.history)} messages")
    for name, times in taken.items():
        yield Figure(row, name, 1e6 * statistics.median(times[1:]), "µs")
