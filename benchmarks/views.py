"""What a view adds: time from the provider's byte to the browser's, and CPU of the web server.

    python benchmarks/views.py [--streams 20] [--seconds 4] [--runs 5]

20 browsers read 20 streams at 40 tokens/s through gunicorn (gthread) and Flask, in turns by a view
that hands the plain generator to the framework, and by stream_response(). The tokens are stamps of
the moment for which their sending was planned. CPU is the worker process's, read from /proc. The
rows "alone" are the same process reading and sending one stream as fast as it can.
"""

from __future__ import annotations

import argparse
import http.client
import pathlib
import platform
import re
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "web"))

import paced_server
import server
from sites import Site, serving

TOKENS_PER_S = 40
FAST_TOKENS = 20_000
STAMP = re.compile(rb"\d{8}\.\d{6}")
VIEWS = {
    "plain generator": "/plain?q=hi",
    "stream_response, text": "/chat?q=hi&protocol=text",
    "stream_response, sse": "/chat?q=hi",
    "the same, min_interval_s=0.05": "/chat?q=hi&min_interval_s=0.05",
    "stream_response, ai-sdk": "/chat?q=hi&protocol=ai-sdk",
    "stream_response, openai": "/chat?q=hi&protocol=openai",
}


def cpu_s(site: Site) -> float:
    """CPU that the worker has taken."""
    return float(site.get("cpu"))


def lags_ms(port: int, path: str, streams: int) -> list[float]:
    """Read that many streams at once; how late each piece was, by its first stamp."""
    lags: list[float] = []

    def browse() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path)
        response = connection.getresponse()
        mine = []
        while piece := response.read1(65536):
            now = time.monotonic()
            stamp = STAMP.search(piece)
            if stamp is not None:
                mine.append((now - float(stamp[0])) * 1e3)
        lags.extend(mine[5:])
        connection.close()

    threads = [threading.Thread(target=browse) for _ in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return lags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    tokens = round(args.seconds * TOKENS_PER_S)
    paced: dict[str, list[tuple[float, float]]] = {name: [] for name in VIEWS}
    alone: dict[str, list[float]] = {name: [] for name in VIEWS}
    with paced_server.running() as upstream, server.running() as address:
        paced_url = f"http://127.0.0.1:{upstream}/{tokens}-{TOKENS_PER_S}/v1"
        fast_url = f"{address}/chunks/{FAST_TOKENS}/v1"
        site = "gunicorn flask"
        with serving(site, paced_url) as slow, serving(site, fast_url) as fast:
            for turn in range(args.runs + 1):
                for name, path in VIEWS.items():
                    before = cpu_s(slow)
                    lags = lags_ms(slow.port, path, args.streams)
                    spent = (cpu_s(slow) - before) / tokens / args.streams * 1e6
                    before = cpu_s(fast)
                    lags_ms(fast.port, path, 1)
                    if turn:  # the first warms up
                        paced[name].append((spent, sorted(lags)[int(len(lags) * 0.99)]))
                        alone[name].append((cpu_s(fast) - before) / FAST_TOKENS * 1e6)
    print(f"Python {platform.python_version()}, median of {args.runs} runs")
    print(f"{'':32}{'µs a token':>12}{'p99 lag, ms':>13}{'µs alone':>10}")
    for name in VIEWS:
        cpu = statistics.median(spent for spent, _ in paced[name])
        lag = statistics.median(lag for _, lag in paced[name])
        print(f"{name:32}{cpu:12.1f}{lag:13.2f}{statistics.median(alone[name]):10.2f}")


if __name__ == "__main__":
    main()
