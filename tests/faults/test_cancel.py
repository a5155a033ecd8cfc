"""Cancel from another thread, at every stage, plain and over TLS; and nobody else is disturbed."""

from __future__ import annotations

import itertools
import random
import statistics
import threading
import time

import pytest

from cloudllm_sync import StreamCancelled, Timeouts
from cloudllm_sync.streaming.observer import Observer
from cloudllm_sync.testing import Raw, Reply, Stall, Wait, error_reply, openai_events

EVENTS = openai_events(Reply("one two three", usage=None))
PROMPT_S = 2.0
# Time for a thread to get into a system call that nothing outside can see.
SETTLE_S = 0.02
ROUNDS = 5


def drip(data):
    return [step for byte in data for step in (bytes([byte]), Wait(0.005))]


class Ends:
    """Callbacks that note how the reply ended, and when."""

    def __init__(self):
        self.value = None
        self.at = 0.0
        self.began = threading.Event()
        self.over = threading.Event()

    def on_chunk(self, chunk):
        self.began.set()

    def on_end(self, value):
        self.at = time.monotonic()
        self.value = value
        self.over.set()

    def start(self, client):
        return client.start_message_stream(
            "hi", on_chunk=self.on_chunk, on_finish=self.on_end, on_error=self.on_end
        )


class Waiting(Observer):
    """Notes that a back-off wait is about to begin."""

    def __init__(self):
        self.began = threading.Event()

    def on_retry(self, call, error, delay_s):
        self.began.set()


def settle():
    threading.Event().wait(SETTLE_S)


@pytest.fixture
def cancels(record_property):
    """Cancels a reply several times once `reached()` returns; the reader must hear it at once."""

    def run(client, reached, *, gone=lambda: True, partial=None):
        latencies = []
        for _ in range(ROUNDS):
            ends = Ends()
            handle = ends.start(client)
            reached(ends)
            settle()
            asked = time.monotonic()
            handle.cancel()
            returned = time.monotonic() - asked
            assert handle.join(PROMPT_S), "the cancel was not heard"
            assert returned < 0.5
            assert type(ends.value) is StreamCancelled
            assert (ends.value.partial and ends.value.partial.content) == partial
            assert gone()
            latencies.append(ends.at - asked)
        median_ms = 1000 * statistics.median(latencies)
        record_property("cancel_median_ms", round(median_ms, 2))
        print(f"cancel: median {median_ms:.2f} ms, worst {1000 * max(latencies):.2f} ms")
        assert median_ms < 100

    return run


@pytest.fixture(params=["plain", "tls"])
def connected(request, serve, make_client, server_tls, certificate):
    """A server with this default, and a client for it; plain and over TLS."""

    def start(default, **options):
        if request.param == "tls":
            server = serve(default=default, ssl_context=server_tls)
            return server, make_client(server, verify=certificate, **options)
        server = serve(default=default)
        return server, make_client(server, **options)

    return start


def test_while_connecting(cancels, make_client, full_backlog):
    """The longest wait that no response exists for."""
    cancels(make_client(full_backlog, timeouts=Timeouts(10, 10, 10)), lambda ends: None)


def test_while_connecting_without_any_clock(cancels, make_client, full_backlog):
    """A blocking connect is woken, too."""
    client = make_client(full_backlog, timeouts=Timeouts(None, None, None))

    cancels(client, lambda ends: None)


def test_in_the_tls_handshake(cancels, make_client, silent_port):
    """The server has accepted, and never answers the ClientHello."""
    base_url = f"https://127.0.0.1:{silent_port.getsockname()[1]}/v1"
    accepted = []

    def reached(ends):
        sock, _ = silent_port.accept()
        accepted.append(sock)
        assert sock.recv(1) == b"\x16"

    cancels(make_client(base_url), reached)

    for sock in accepted:
        sock.close()


def test_before_the_headers(cancels, connected):
    """Where most of the waiting is done."""
    server, client = connected(Raw(before_headers=(Stall(),)))
    counter = itertools.count(1)

    cancels(
        client, lambda ends: server.wait_for_requests(next(counter)), gone=server.wait_until_idle
    )


def test_in_headers_that_drip(cancels, connected):
    """Between any two bytes."""
    server, client = connected(Raw(*drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 900), framing="none"))
    counter = itertools.count(1)

    cancels(
        client, lambda ends: server.wait_for_requests(next(counter)), gone=server.wait_until_idle
    )


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_in_a_stall(cancels, connected, framing):
    """A body without a length then ends as if it were whole; it is not."""
    headers = {"Content-Length": "99999"} if framing == "length" else {}
    server, client = connected(Raw(*EVENTS[:2], Stall(), framing=framing, headers=headers))

    cancels(client, lambda ends: ends.began.wait(5), gone=server.wait_until_idle, partial="one")


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_in_a_drip(cancels, connected, framing):
    """In the middle of an event."""
    server, client = connected(Raw(*EVENTS[:2], *drip(b"data: " + b"x" * 900), framing=framing))

    cancels(client, lambda ends: ends.began.wait(5), gone=server.wait_until_idle, partial="one")


def test_in_an_error_body_that_stalls(cancels, connected):
    """The cancel counts, not the status."""
    server, client = connected(Raw(b"{", Stall(), status=401))
    counter = itertools.count(1)

    cancels(
        client, lambda ends: server.wait_for_requests(next(counter)), gone=server.wait_until_idle
    )


def test_in_a_backoff_wait(cancels, connected):
    """No further request is sent."""
    waiting = Waiting()
    server, client = connected(
        error_reply(503, "busy", headers={"Retry-After": "30"}),
        observers=[waiting],
        timeouts=Timeouts(),
    )

    def reached(ends):
        assert waiting.began.wait(5)
        waiting.began.clear()

    cancels(client, reached)

    assert len(server.requests) == ROUNDS


@pytest.mark.parametrize("stage", ["stall", "drip", "comments"])
def test_generator_in_the_body(connected, stage):
    """`stream.cancel()` from another thread wakes the one in `next()`."""
    steps = {
        "stall": [Stall()],
        "drip": drip(b"data: " + b"x" * 900),
        "comments": [b": ping\n\n", Wait(0.005)] * 900,
    }[stage]
    server, client = connected(Raw(*EVENTS[:2], *steps))
    with client.send_message_stream("hi") as stream:
        assert next(stream).content == "one"
        canceller = threading.Timer(SETTLE_S, stream.cancel)
        canceller.start()
        began = time.monotonic()
        with pytest.raises(StreamCancelled) as caught:
            next(stream)
        seconds = time.monotonic() - began
        canceller.join()

    assert seconds < PROMPT_S
    assert caught.value.partial.content == "one"
    assert server.wait_until_idle()


def test_after_the_end_nothing_happens(read, serve, make_client):
    """The reply stays what it was, and the connection serves the next call."""
    server = serve(default="whole")
    client = make_client(server)
    stream = client.send_message_stream("hi")
    message = stream.result()
    stream.cancel()
    handle = client.start_message_stream("hi")
    reply = handle.result(5)
    handle.cancel()

    assert stream.result() is message
    assert handle.result() is reply
    assert read(client).text == "whole"
    assert server.connections == 1


def test_twice_is_as_once(connected):
    """Idempotent, from any number of threads."""
    _, client = connected(Raw(*EVENTS[:2], Stall()))
    ends = Ends()
    handle = ends.start(client)
    assert ends.began.wait(5)
    threads = [threading.Thread(target=handle.cancel) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert handle.join(PROMPT_S)
    assert type(handle.exception()) is StreamCancelled


@pytest.mark.parametrize("stage", ["connecting", "before the headers"])
def test_at_any_moment(serve, make_client, full_backlog, stage):
    """Whichever instruction the reader is at, the cancel is heard."""
    server = serve(default=Raw(before_headers=(Stall(),)))
    client = make_client(full_backlog if stage == "connecting" else server)
    client_delays = random.Random(7)
    for _ in range(150):
        handle = client.start_message_stream("hi")
        threading.Event().wait(client_delays.choice([0, 0, client_delays.random() * 0.003]))
        handle.cancel()

        assert handle.join(PROMPT_S), "the cancel was not heard"
        assert type(handle.exception()) is StreamCancelled
    assert server.wait_until_idle()


def test_between_the_check_and_the_connect(make_client, full_backlog, monkeypatch):
    """A shutdown does not stop a socket that has not begun to connect."""
    import socket

    resolved, go = threading.Event(), threading.Event()
    resolve = socket.getaddrinfo

    def slow(*args, **options):
        resolved.set()
        go.wait(5)
        return resolve(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    handle = make_client(full_backlog, timeouts=Timeouts(30, 30, 30)).start_message_stream("hi")
    assert resolved.wait(5)
    handle.cancel()
    go.set()

    assert handle.join(PROMPT_S)
    assert type(handle.exception()) is StreamCancelled


def test_other_calls_on_the_client_are_not_disturbed(serve, make_client):
    """8 threads, 25 calls each, cancelled at random: whatever is not cancelled is right."""

    def echo(request):
        prompt = request.json["messages"][-1]["content"]
        return Reply([f"{prompt}:{n} " for n in range(6)], token_delay_s=0.001)

    server = serve(default=echo)
    client = make_client(server, max_retries=0)
    wrong = []

    def work(number):
        chance = random.Random(number)
        for n in range(25):
            prompt = f"t{number}c{n}"
            whole = "".join(f"{prompt}:{i} " for i in range(6))
            stop_at = chance.choice([None, None, 0, 1, 3, 6])
            late = chance.random() < 0.5
            with client.send_message_stream(prompt) as stream:
                canceller = threading.Thread(target=stream.cancel)
                try:
                    if stop_at == 0:
                        canceller.start()
                    for seen, _ in enumerate(stream, 1):
                        if seen == stop_at:
                            canceller.start()
                    text = stream.result().content
                    if text != whole:
                        wrong.append((prompt, text))
                except StreamCancelled as error:
                    partial = error.partial.content if error.partial else ""
                    if stop_at is None or not whole.startswith(partial):
                        wrong.append((prompt, stop_at, partial))
                except Exception as error:
                    wrong.append((prompt, repr(error)))
                if late:
                    stream.cancel()
                if canceller.ident is not None:
                    canceller.join()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
