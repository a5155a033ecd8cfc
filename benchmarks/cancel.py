"""From cancel() to on_error: how long, at every stage of a call, over HTTP and TLS.

    python benchmarks/cancel.py [--rounds 500] [--without STAGE ...] [--json]

Each round starts a call, waits until it is at the stage and a random moment longer, cancels it from
the main thread, and takes the time until its worker calls on_error.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import threading
import time

from stages import CHUNK_CAME, STAGES, Retrying, client_for, percentile, servers, stages_of

from cloudllm_sync import OpenAIClient, StreamCancelled, Timeouts

LONGEST_MOMENT_S = 0.02
CALLBACK_S = 0.0005


def latency_ms(client: OpenAIClient, stage: str, retrying: Retrying, moment_s: float) -> float:
    """One call, cancelled at a random moment of its stage."""
    began, over, ends = threading.Event(), threading.Event(), []

    def on_chunk(chunk: object) -> None:
        began.set()
        if stage == "in callbacks":
            over.wait(CALLBACK_S)

    def on_error(error: BaseException) -> None:
        ends.append((time.perf_counter(), error))

    handle = client.start_message_stream(stage, on_chunk=on_chunk, on_error=on_error)
    if stage in CHUNK_CAME:
        began.wait(10)
    elif stage == "in back-off":
        retrying.began.wait(10)
        retrying.began.clear()
    over.wait(moment_s)
    asked = time.perf_counter()
    handle.cancel()
    if not handle.join(30):
        raise SystemExit(f"{stage}: the cancel was not heard")
    ((at, error),) = ends
    if type(error) is not StreamCancelled:
        raise SystemExit(f"{stage}: {error!r}")
    return 1000 * (at - asked)


def measure(scheme: str, stage: str, where: dict, rounds: int) -> dict[str, object]:
    """Many calls held at one stage."""
    retrying = Retrying()
    chance = random.Random(f"{scheme} {stage}")
    with client_for(stage, scheme, where, Timeouts(60, 60, 60), retrying) as client:
        took = [
            latency_ms(client, stage, retrying, chance.random() * LONGEST_MOMENT_S)
            for _ in range(rounds)
        ]
    return {
        "scheme": scheme,
        "stage": stage,
        "median_ms": round(statistics.median(took), 2),
        "p99_ms": round(percentile(took, 99), 2),
        "most_ms": round(max(took), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--without", nargs="*", default=[], metavar="STAGE", choices=STAGES)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    if not args.json:
        print(f"Python {platform.python_version()}, {args.rounds} cancels a row, ms")
        print(f"{'':32}{'median':>10}{'p99':>10}{'most':>10}")
    with servers() as where:
        for scheme in ("http", "https"):
            for stage in stages_of(scheme, args.without):
                row = measure(scheme, stage, where, args.rounds)
                rows.append(row)
                if not args.json:
                    numbers = (row["median_ms"], row["p99_ms"], row["most_ms"])
                    print(f"{scheme:6} {stage:25}" + "".join(f"{n:10.2f}" for n in numbers))
    if args.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
