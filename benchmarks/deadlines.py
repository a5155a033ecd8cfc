"""How late the four clocks of Timeouts are, at every stage of a call, over HTTP and TLS.

    python benchmarks/deadlines.py [--rounds 30] [--without STAGE ...] [--json]

One clock is set to 0.1 s, the others to a minute; late is what the call took beyond 0.1 s.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time

from stages import CHUNK_CAME, STAGES, client_for, percentile, servers, stages_of

from cloudllm_sync import CloudLLMError, OpenAIClient, RequestTimeoutError, Timeouts

CLOCK_S = 0.1


def clocks_of(stage: str) -> tuple[str, ...]:
    """The clocks that can run out at this stage."""
    if stage in ("connecting", "handshake"):
        return ("connect", "total")
    if stage in ("in back-off", "in callbacks"):
        return ("total",)
    return ("idle" if stage in CHUNK_CAME else "first_chunk", "total")


def late_ms(client: OpenAIClient, stage: str, clock: str) -> float:
    """One call, and how much longer than its clock it took."""
    began = time.perf_counter()
    first_at = began
    try:
        with client.send_message_stream(stage) as stream:
            for chunk in stream:
                if chunk.content:
                    first_at = time.perf_counter()
                if stage == "in callbacks":
                    time.sleep(0.0005)
    except CloudLLMError as error:
        ended = time.perf_counter()
        if not isinstance(error, RequestTimeoutError) or error.clock != clock:
            raise SystemExit(f"{stage}, {clock}: {error!r}") from error
    # An idle clock begins with the last chunk.
    return 1000 * (ended - (first_at if clock == "idle" else began) - CLOCK_S)


def measure(scheme: str, stage: str, where: dict, *, clock: str, rounds: int) -> dict[str, object]:
    """Many calls held at one stage."""
    limits = {"connect_s": 60.0, "first_chunk_s": 60.0, "idle_s": 60.0, "total_s": 60.0}
    limits[f"{clock}_s"] = CLOCK_S
    with client_for(stage, scheme, where, Timeouts(**limits)) as client:
        late = [late_ms(client, stage, clock) for _ in range(rounds)]
    return {
        "scheme": scheme,
        "stage": stage,
        "clock": clock,
        "least_ms": round(min(late), 2),
        "median_ms": round(statistics.median(late), 2),
        "p99_ms": round(percentile(late, 99), 2),
        "most_ms": round(max(late), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--without", nargs="*", default=[], metavar="STAGE", choices=STAGES)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    if not args.json:
        print(f"Python {platform.python_version()}, {args.rounds} calls a row, ms late")
        print(f"{'':44}{'least':>10}{'median':>10}{'most':>10}")
    with servers() as where:
        for scheme in ("http", "https"):
            for stage in stages_of(scheme, args.without):
                for clock in clocks_of(stage):
                    row = measure(scheme, stage, where, clock=clock, rounds=args.rounds)
                    rows.append(row)
                    if not args.json:
                        numbers = (row["least_ms"], row["median_ms"], row["most_ms"])
                        shown = "".join(f"{n:10.2f}" for n in numbers)
                        print(f"{scheme:6} {stage:25}{clock:12}" + shown)
    if args.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
