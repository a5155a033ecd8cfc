"""Mixed good and bad traffic over many threads: is every call answered, do memory and sockets stay?

    python tests/soak/soak.py --minutes 3 [--threads 50] [--seed 1] [--json]

The server is a process of its own, so that the memory measured is the client's alone. Slopes are
taken over the last two thirds of the run: at first pools, arenas and caches fill. The exit status
is 1 if a call was not answered rightly, or if anything was left or, in a minute or more, grew.
"""

from __future__ import annotations

import argparse
import collections
import gc
import json
import multiprocessing
import os
import pathlib
import random
import statistics
import sys
import threading
import time
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # runs in a clone, too

from cloudllm_sync import CloudLLMError, LLMSession, OpenAIClient, Timeouts
from cloudllm_sync.testing import (
    Cut,
    FakeServer,
    Raw,
    Reply,
    Reset,
    Stall,
    error_reply,
    openai_body,
    openai_events,
)

PATIENCE_S = 30.0
LONG = Timeouts(PATIENCE_S, PATIENCE_S, PATIENCE_S)
SHORT = Timeouts(PATIENCE_S, 0.2, 0.2)
TURNS_OF_A_SESSION = 5
# Three minutes of 34,000 calls each measured 1.4 MiB, -0.1 descriptors and 0.2 threads a minute:
# 200 bytes lost by each call would show. Of 5,000 calls each, where others had the cores, 4.8 MiB,
# to the same 53 MiB: arenas filled until the end.
GROWTH_A_MINUTE = {"rss_mib_per_minute": 8, "descriptors_per_minute": 5, "threads_per_minute": 5}
SECONDS_FOR_A_SLOPE = 60

# How often each comes, and what its calls may end in if nobody cancels.
FAULTS = {
    "fine": (8, {"Message"}),
    "long": (2, {"Message"}),
    "slow": (2, {"Message"}),
    "once": (1, {"Message", "ServerError"}),  # sent again while the retry budget lasts
    "cut": (1, {"StreamInterrupted"}),
    "reset": (1, {"StreamInterrupted", "ConnectError"}),
    "refused": (1, {"RateLimitError"}),
    "error": (1, {"ServerError"}),
    "stall": (1, {"RequestTimeoutError"}),
    "junk": (1, {"StreamProtocolError"}),
    "silent": (1, {"RequestTimeoutError"}),
}
WAYS = ("ask", "stream", "break", "submit", "cancel", "turn", "turn by callbacks")


# --- the server's process ---


def answer(request):
    """What the prompt's first word asks for."""
    asked = request.json
    prompt = asked["messages"][-1]["content"]
    fault, number = prompt.split()
    reply = Reply([f"{number} "] * (500 if fault == "long" else 8))
    if fault == "slow":
        return Reply(reply.text, token_delay_s=0.01)
    if fault == "once" and random.random() < 0.5:
        return error_reply(503, "busy", headers={"retry-after-ms": "1"})
    if fault == "refused":
        return error_reply(429, "slow down", headers={"x-should-retry": "false"})
    if fault == "error":
        broke = {"message": "it broke", "type": "server_error"}
        return Reply(reply.text, error=broke, finish_reason="", headers={"x-should-retry": "false"})
    if fault == "silent":
        return Raw(before_headers=(Stall(),))
    good = openai_events(reply)[:4] if asked.get("stream") else [openai_body(reply)[:40]]
    last = {"cut": Cut(), "reset": Reset(), "stall": Stall(), "junk": b"data: {no\n\n"}
    return Raw(*good, last[fault]) if fault in last else reply


def serve(pipe) -> None:
    """Tell the address; serve until told to stop; tell how many requests came."""
    with FakeServer(default=answer) as server:
        pipe.send(server.base_url)
        pipe.recv()
        pipe.send((len(server.requests), server.connections, server.open_connections))


# --- the client's ---


class Traffic:
    """Calls of one thread after the other, and what became of them."""

    def __init__(self, client, seed: int) -> None:
        self._client = client
        self._seed = seed
        self._lock = threading.Lock()
        self.outcomes = collections.Counter()  # guarded by _lock
        self.wrong: list[str] = []  # guarded by _lock
        self.longest_s = 0.0  # guarded by _lock

    def run(self, number: int, until: float) -> None:
        """Call until then."""
        chance = random.Random(self._seed * 1000 + number)
        kinds = list(FAULTS)
        weights = [FAULTS[kind][0] for kind in kinds]
        calls = 0
        session = None
        while time.monotonic() < until:
            if calls % TURNS_OF_A_SESSION == 0:
                session = LLMSession(self._client, "Be brief.")
            calls += 1
            (fault,) = chance.choices(kinds, weights)
            way = chance.choice(WAYS)
            self._note(fault, way, lambda f=fault, w=way, s=session: self._call(f, w, s, chance))

    def _note(self, fault: str, way: str, call) -> None:
        began = time.monotonic()
        try:
            text = call()
            outcome = "Message" if text is None or text.split() else "an empty reply"
        except CloudLLMError as error:
            outcome = type(error).__name__
        except Exception as error:
            outcome = repr(error)
        seconds = time.monotonic() - began
        allowed = set(FAULTS[fault][1])
        if way in ("break", "cancel"):
            allowed |= {"StreamCancelled", "Message", "broken off"}
        if fault == "once":
            allowed.add("ServerError")  # three times unlucky
        with self._lock:
            self.outcomes[outcome] += 1
            self.longest_s = max(self.longest_s, seconds)
            if outcome not in allowed:
                self.wrong.append(f"{way}, {fault}: {outcome}")

    def _call(self, fault: str, way: str, session, chance):
        prompt = f"{fault} {chance.randrange(10**6)}"
        clocks = {"timeouts": SHORT if fault in ("stall", "silent") else LONG}
        client = self._client
        if way == "ask":
            return client.send_message(prompt, **clocks).content
        if way == "stream":
            with client.send_message_stream(prompt, **clocks) as stream:
                return "".join(stream.text())
        if way == "break":
            with client.send_message_stream(prompt, **clocks) as stream:
                next(stream)
            return None
        if way == "turn":
            return session.ask(prompt, **clocks).content
        start = session.submit if way == "turn by callbacks" else client.start_message_stream
        pieces = []
        handle = start(prompt, on_chunk=lambda chunk: pieces.append(chunk.content), **clocks)
        if way == "cancel":
            handle.join(chance.random() * 0.02)
            handle.cancel()
        message = handle.result(2 * PATIENCE_S)  # a TimeoutError is a call that was not answered
        assert "".join(pieces) == message.content
        return message.content


class Gauges:
    """Memory, descriptors and threads of this process, once a second."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.samples: list[tuple[float, float, int, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._over.wait(0.5):
            now = time.monotonic() - began
            threads = threading.active_count()
            if now > self._seconds:
                return  # the traffic ends
            self.samples.append((now, resident_mib(), len(os.listdir("/dev/fd")), threads))

    def slope_per_minute(self, column: int) -> float:
        """Of the samples after the first third, by least squares."""
        late = self.samples[len(self.samples) // 3 :]
        if len(late) < 3:
            return 0.0
        times = [sample[0] for sample in late]
        values = [float(sample[column]) for sample in late]
        middle_t, middle_v = statistics.fmean(times), statistics.fmean(values)
        spread = sum((t - middle_t) ** 2 for t in times)
        return 60 * sum((t - middle_t) * (v - middle_v) for t, v in zip(times, values)) / spread

    def late(self, column: int) -> list[float]:
        return [sample[column] for sample in self.samples[len(self.samples) // 3 :]]


def resident_mib() -> float:
    """The resident set; where the system does not tell, its peak."""
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def soak(seconds: float, threads: int, seed: int) -> dict:
    """Run the traffic; what was measured."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    base_url = pipe.recv()
    files = len(os.listdir("/dev/fd"))
    warned = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sys.unraisablehook = lambda broken: warned.append(repr(broken.exc_value))
        with (
            OpenAIClient("gpt-5", api_key="test", base_url=base_url) as client,
            Gauges(seconds) as gauges,
        ):
            traffic = Traffic(client, seed)
            until = time.monotonic() + seconds
            workers = [
                threading.Thread(target=traffic.run, args=(number, until))
                for number in range(threads)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        del client
        gc.collect()
        left = len(os.listdir("/dev/fd")) - files
    pipe.send("stop")
    requests, connections, still_open = pipe.recv()
    server.join(10)
    return {
        "seconds": seconds,
        "threads": threads,
        "calls": sum(traffic.outcomes.values()),
        "requests": requests,
        "connections": connections,
        "outcomes": dict(traffic.outcomes.most_common()),
        "wrong": traffic.wrong[:20],
        "warned": warned[:20],
        "longest_s": round(traffic.longest_s, 2),
        "rss_mib": [round(value, 1) for value in _ends(gauges.late(1))],
        "rss_mib_per_minute": round(gauges.slope_per_minute(1), 2),
        "descriptors": _ends(gauges.late(2)),
        "descriptors_per_minute": round(gauges.slope_per_minute(2), 2),
        "threads_per_minute": round(gauges.slope_per_minute(3), 2),
        "descriptors_left": left,
        "connections_left": still_open,
        "threads_left": threading.active_count() - 1,
    }


def complaints(measured: dict) -> list[str]:
    """What should not be so."""
    wrong = [name for name in ("wrong", "warned") if measured[name]]
    wrong += [name for name in measured if name.endswith("_left") and measured[name]]
    if measured["seconds"] >= SECONDS_FOR_A_SLOPE:
        wrong += [name for name, most in GROWTH_A_MINUTE.items() if measured[name] > most]
    return [f"{name}: {measured[name]}" for name in wrong]


def _ends(values: list) -> list:
    """First, least, most and last."""
    return [values[0], min(values), max(values), values[-1]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    measured = soak(asked.minutes * 60, asked.threads, asked.seed)
    if asked.json:
        print(json.dumps(measured))
        return 0
    wrong = complaints(measured)
    outcomes = measured.pop("outcomes")
    for name, value in measured.items():
        print(f"{name:24} {value}")
    for name, count in outcomes.items():
        print(f"  {name:22} {count}")
    for complaint in wrong:
        print(f"WRONG: {complaint}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
