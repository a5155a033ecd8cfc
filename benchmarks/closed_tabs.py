"""How soon the provider's stream is closed when the browser leaves while the model says nothing.

    python benchmarks/closed_tabs.py [--runs 20] [--heartbeat 0.5]

Behind each web server, in turns before and after the first text; the browser leaves at any moment
between two heartbeats.
"""

from __future__ import annotations

import argparse
import pathlib
import platform
import random
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # runs in a clone, too
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "web"))

from sites import COMMANDS, Site, serving

from cloudllm_sync.testing import FakeServer, Raw, Reply, Stall, openai_events

EVENTS = openai_events(Reply("one two three"))
PATIENCE_S = 20.0


def time_to_close_s(
    upstream: FakeServer, site: Site, *, has_text: bool, heartbeat_s: float
) -> float:
    """Seconds between the browser's leaving and the end of the provider's connection."""
    asked = len(upstream.requests)
    upstream.add(Raw(*EVENTS[: 2 * has_text], Stall(), framing="close"))
    response = site.open("chat", q="hi", heartbeat_s=heartbeat_s)
    seen = b""
    while (b"one" if has_text else b": ") not in seen:
        seen += response.read1(65536)
    upstream.wait_for_requests(asked + 1, PATIENCE_S)
    time.sleep(random.random() * heartbeat_s)
    site.leave()
    left_at = time.monotonic()
    assert upstream.wait_until_idle(PATIENCE_S), "the provider's stream stays open"
    return time.monotonic() - left_at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--heartbeat", type=float, default=0.5, help="seconds")
    args = parser.parse_args()
    python = platform.python_version()
    print(f"Python {python}, {args.runs} tabs, a heartbeat of {args.heartbeat} s")
    print(f"{'':20}{'median, s':>12}{'most, s':>10}")
    for name in COMMANDS:
        with FakeServer() as upstream, serving(name, upstream.base_url) as site:
            taken = [
                time_to_close_s(upstream, site, has_text=run % 2 > 0, heartbeat_s=args.heartbeat)
                for run in range(args.runs)
            ]
        print(f"{name:20}{statistics.median(taken):12.2f}{max(taken):10.2f}")


if __name__ == "__main__":
    main()
