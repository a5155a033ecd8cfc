"""What relaying costs the publisher: CPU per chunk over reading it alone, and how late it is.

    python benchmarks/relay.py [--runs 5]

A redis-server of its own; one stream as fast as it comes, and 20 at 40 tokens/s, whose tokens are
stamps of the moment for which their sending was planned. A follower reads in a process of its own.
"""

from __future__ import annotations

import argparse
import pathlib
import platform
import statistics
import sys
import threading
import time
import uuid

sys.path[:0] = [
    str(pathlib.Path(__file__).parent.parent),
    str(pathlib.Path(__file__).parent.parent / "tests" / "session" / "stores"),
]

import fresh_process  # noqa: E402
import paced_server  # noqa: E402
import server  # noqa: E402
from servers import RedisServer  # noqa: E402

from cloudllm_sync import OpenAICompatibleClient  # noqa: E402
from cloudllm_sync.relay import open_relay  # noqa: E402

STREAMS, TOKENS, FAST_TOKENS = 20, 160, 20_000


def publish(url: str, redis_url: str, streams: int) -> float:
    """CPU seconds of reading `streams` replies, relayed if there is a Redis."""
    client = OpenAICompatibleClient("m", base_url=url)
    relay = open_relay(redis_url or "memory:")

    def read(key: str) -> None:
        stream = client.send_message_stream("hi")
        if redis_url:
            relay.publish(stream, key)
        else:
            stream.result()

    read(f"warm-up {uuid.uuid4()}")
    before = time.process_time()
    threads = [threading.Thread(target=read, args=(f"{uuid.uuid4()}",)) for _ in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.process_time() - before


def lag_ms(url: str, redis_url: str) -> float:
    """How late a follower in this process has a token, p99."""
    key = str(uuid.uuid4())
    relay = open_relay(redis_url)
    stream = OpenAICompatibleClient("m", base_url=url).send_message_stream("hi")
    publisher = threading.Thread(target=relay.publish, args=(stream, key))
    publisher.start()
    lags = []
    for chunk in relay.follow(key, wait_s=10):
        if chunk.content:
            lags.append((time.monotonic() - float(chunk.content)) * 1e3)
    publisher.join()
    return sorted(lags)[int(len(lags) * 0.99)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    found: dict[str, list[float]] = {}
    redis_server = RedisServer().start()
    try:
        with paced_server.running() as port, server.running() as address:
            fast = f"{address}/chunks/{FAST_TOKENS}/v1"
            paced = f"http://127.0.0.1:{port}/{TOKENS}-40/v1"
            for _ in range(args.runs):
                for name, url, streams, tokens in (
                    ("one stream at full speed", fast, 1, FAST_TOKENS),
                    ("20 streams at 40 tokens/s", paced, STREAMS, TOKENS),
                ):
                    for how, redis_url in (("read", ""), ("relayed", redis_server.url())):
                        spent = fresh_process.call("relay.publish", url, redis_url, streams)
                        row = f"{name}, {how}, µs of CPU a chunk"
                        found.setdefault(row, []).append(spent / tokens / streams * 1e6)
                late = fresh_process.call("relay.lag_ms", paced, redis_server.url())
                found.setdefault("lag of a follower, p99, ms", []).append(late)
    finally:
        redis_server.remove()
    print(f"Python {platform.python_version()}, median of {args.runs} runs")
    for row, values in found.items():
        print(f"{row:48}{statistics.median(values):10.2f}")


if __name__ == "__main__":
    main()
