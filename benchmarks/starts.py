"""What it costs until the first token comes, and how many connections are opened for that.

    python benchmarks/starts.py [--quick] [--only X]

The server, a process of its own, sends five events at once. Every driver runs in a fresh process.
On a warm connection its calls take turns with the floor's, one by one; what is given is how much
its median is over the floor's, to the moment when the first text is in the consumer's hands.
A call is then read to its end; a driver that gives its connection up all the same has to make a
new one for the next.

New TLS connections: making the client, shaking hands, and a short reply. All trust a store of the
usual size, certifi's and the server's certificate beside it, named by the environment variable that
each of them reads (REQUESTS_CA_BUNDLE, SSL_CERT_FILE); then that certificate alone, by the client's
own option. The first client of a process and the later ones are apart: some keep what they loaded.
"""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Any, Callable, Optional
from urllib.request import urlopen

import fresh_process
import paced_server
import readers
from command import run
from results import Figure, Goal

POST = "requests.Session.post"
ADAPTER = "adapter, prepared"
OPENAI = "openai-python"
PEM = str(readers.ROOT / "tests" / "testing" / "localhost.pem")

CPU = "time to first token over the floor, warm connection, CPU"
WALL = "time to first token over the floor, warm connection, wall"
FLOOR_CPU = "time to first token, the floor itself, CPU"
FLOOR_WALL = "time to first token, the floor itself, wall"
TLS_FIRST = "new client, new TLS connection, the process's first, CPU"
TLS_LATER = "new client, new TLS connection, later ones, CPU"
TLS_OWN = "new client, new TLS connection, a certificate of one's own, later ones, CPU"
TEN = "connections of ten streams in a row"

ROWS = (FLOOR_CPU, FLOOR_WALL, CPU, WALL, TEN, TLS_FIRST, TLS_LATER, TLS_OWN)
QUICK_ROWS = ROWS
GOALS = (
    *(Goal(row, readers.GENERATOR, 300.0) for row in (CPU, WALL)),
    *(Goal(row, readers.GENERATOR, 0.7, POST) for row in (CPU, WALL)),
    *(Goal(row, readers.GENERATOR, 0.26, OPENAI) for row in (CPU, WALL)),
    Goal(TLS_LATER, readers.GENERATOR, 5.0),
    Goal(TLS_OWN, readers.GENERATOR, 5.0),
    Goal(TEN, readers.GENERATOR, 1.0),
)


def requests_post(url: str) -> readers.Read:
    import requests

    session = requests.Session()

    def read(on_text: readers.OnText) -> None:
        reply = session.post(f"{url}/v1/chat/completions", json=readers.CHAT, stream=True)
        _texts_of(reply.iter_lines(), on_text)

    return read


def adapter_prepared(url: str) -> readers.Read:
    import requests
    from requests.adapters import HTTPAdapter

    address = f"{url}/v1/chat/completions"
    prepared = requests.Request("POST", address, json=readers.CHAT).prepare()
    adapter = HTTPAdapter()

    def read(on_text: readers.OnText) -> None:
        _texts_of(adapter.send(prepared, stream=True).iter_lines(), on_text)

    return read


def _texts_of(lines: Iterator[bytes], on_text: readers.OnText) -> None:
    for line in lines:
        if line.startswith(b"data: ") and line != b"data: [DONE]":
            text = json.loads(line[6:])["choices"][0]["delta"].get("content")
            if text:
                on_text(text)


DRIVERS: dict[str, Callable[[str], readers.Read]] = {
    POST: requests_post,
    ADAPTER: adapter_prepared,
    **readers.READERS,
}
BASES = (POST, OPENAI)


def first_tokens(driver: str, port: int, calls: int) -> list[float]:
    """Medians in µs: the floor's CPU and wall, the driver's CPU and wall."""
    url = f"http://127.0.0.1:{port}/5-inf"
    reads = (readers.floor(url), DRIVERS[driver](url))
    taken: list[list[float]] = [[], [], [], []]
    for turn in range(-10, calls):
        for at, read in enumerate(reads):
            moments: list[tuple[float, float]] = []
            add, cpu_clock, clock = moments.append, time.process_time, time.perf_counter
            cpu, wall = cpu_clock(), clock()
            read(lambda _: add((cpu_clock(), clock())))  # noqa: B023 - called before the next
            if turn >= 0:
                taken[2 * at].append(moments[0][0] - cpu)
                taken[2 * at + 1].append(moments[0][1] - wall)
    return [statistics.median(values) * 1e6 for values in taken]


def connections(driver: str, port: int) -> int:
    """How many connections ten streams in a row take."""

    def so_far() -> int:
        with urlopen(f"http://127.0.0.1:{port}/connections") as answer:
            return int(answer.read())

    read = DRIVERS[driver](f"http://127.0.0.1:{port}/5-inf")
    before = so_far()
    for _ in range(10):
        read(str)
    return so_far() - before - 1  # the question's own


# --- TLS: who makes a new client each time, and the option by which it trusts one certificate


def ours_over_tls(url: str, trusted: Optional[str]) -> Callable[[], object]:
    from cloudllm_sync import OpenAICompatibleClient

    def once() -> None:
        client = OpenAICompatibleClient("m", base_url=f"{url}/v1", verify=trusted or True)
        for _ in client.send_message_stream("hi"):
            pass

    return once


def post_over_tls(url: str, trusted: Optional[str]) -> Callable[[], object]:
    import requests

    def once() -> None:
        session = requests.Session()
        address = f"{url}/v1/chat/completions"
        options = {} if trusted is None else {"verify": trusted}
        _texts_of(
            session.post(address, json=readers.CHAT, stream=True, **options).iter_lines(), str
        )

    return once


def openai_over_tls(url: str, trusted: Optional[str]) -> Callable[[], object]:
    import ssl

    import openai

    def once() -> None:
        http = None
        if trusted is not None:
            context = ssl.create_default_context(cafile=trusted)
            http = openai.DefaultHttpxClient(verify=context)
        client = openai.OpenAI(api_key="x", base_url=f"{url}/v1", http_client=http)
        for _ in client.chat.completions.create(**readers.CHAT):
            pass

    return once


TLS_DRIVERS = {
    POST: post_over_tls,
    OPENAI: openai_over_tls,
    readers.GENERATOR: ours_over_tls,
}


def tls_connections(driver: str, port: int, trusted: Optional[str], count: int) -> list[float]:
    """CPU in ms of so many clients, one after the other, of a process that has imported all."""
    once = TLS_DRIVERS[driver](f"https://127.0.0.1:{port}/5-inf", trusted)
    taken = []
    for _ in range(count):
        began = time.process_time()
        once()
        taken.append((time.process_time() - began) * 1e3)
    return taken


def figures(only: str = "", quick: bool = False) -> Iterator[Figure]:
    """All rows; quick: fewer calls, one process each."""
    with paced_server.running() as port:
        others = [name for name in _wanted(DRIVERS, only) if name != readers.FLOOR]
        yield from _first_tokens(others, port, quick=quick)
        for driver in others:
            for count in _called(driver, "starts.connections", driver, port):
                yield Figure(TEN, driver, count, "connections")
    with paced_server.running(PEM) as port:
        yield from _tls(_wanted(TLS_DRIVERS, only), port, quick=quick)


def _wanted(drivers: Iterable[str], only: str) -> list[str]:
    return [name for name in drivers if only in name or name in BASES]


def _called(driver: str, function: str, *args: object, **options: dict[str, str]) -> Iterator[Any]:
    """What a fresh process gives; nothing if it cannot."""
    try:
        yield fresh_process.call(function, *args, **options)
    except (ImportError, RuntimeError) as error:
        _tell(f"{driver}: left out: {error}")


@functools.cache
def _tell(text: str) -> None:
    """Once: every run would say the same."""
    print(text, file=sys.stderr)


def _first_tokens(drivers: list[str], port: int, *, quick: bool) -> Iterator[Figure]:
    found: dict[str, list[list[float]]] = {}
    for _ in range(1 if quick else 3):
        for driver in drivers:
            calls = 60 if quick else 300
            for medians in _called(driver, "starts.first_tokens", driver, port, calls):
                found.setdefault(driver, []).append(medians)
    runs = [medians for each in found.values() for medians in each]
    for at, row in enumerate((FLOOR_CPU, FLOOR_WALL)):
        if runs:
            yield Figure(row, readers.FLOOR, statistics.median(m[at] for m in runs), "µs")
    for at, row in enumerate((CPU, WALL)):
        for driver, each in found.items():
            over = statistics.median(m[2 + at] - m[at] for m in each)
            yield Figure(row, driver, over, "µs")


def _tls(drivers: list[str], port: int, *, quick: bool) -> Iterator[Figure]:
    firsts: dict[str, list[float]] = {}
    laters: dict[str, list[float]] = {}
    owns: dict[str, list[float]] = {}
    function, count = "starts.tls_connections", 3 if quick else 8
    with _store() as store:
        env = {"REQUESTS_CA_BUNDLE": store, "SSL_CERT_FILE": store}
        for _ in range(1 if quick else 3):
            for driver in drivers:
                for first, *later in _called(driver, function, driver, port, None, count, env=env):
                    firsts.setdefault(driver, []).append(first)
                    laters.setdefault(driver, []).extend(later)
                for _, *later in _called(driver, function, driver, port, PEM, count):
                    owns.setdefault(driver, []).extend(later)
    for row, found in ((TLS_FIRST, firsts), (TLS_LATER, laters), (TLS_OWN, owns)):
        for driver, values in found.items():
            yield Figure(row, driver, statistics.median(values), "ms")


@contextlib.contextmanager
def _store() -> Iterator[str]:
    """A file of certifi's certificates, and the server's."""
    import certifi

    with tempfile.TemporaryDirectory() as folder:
        store = pathlib.Path(folder) / "store.pem"
        known = pathlib.Path(certifi.where()).read_bytes()
        store.write_bytes(known + b"\n" + pathlib.Path(PEM).read_bytes())
        yield str(store)


if __name__ == "__main__":
    run(__doc__, GOALS, figures)
