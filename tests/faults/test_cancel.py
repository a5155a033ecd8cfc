"""Cancel from another thread, at every stage; and nobody else is disturbed."""

from __future__ import annotations

import itertools
import random
import re
import socket
import statistics
import threading
import time

import pytest
from families import CHAT, PIECES

from cloudllm_sync import CloudLLMError, LLMSession, StreamCancelled, Timeouts
from cloudllm_sync.streaming.observer import Observer
from cloudllm_sync.testing import Drip, Raw, Reply, Stall, Wait

PROMPT_S = 2.0
# Time for a thread to get into a system call that nothing outside can see.
SETTLE_S = 0.02
# The time that a cancel takes is measured over several, on one wire: it is no matter of wires.
ROUNDS = 3
EVENT = b"data: " + b"x" * 900
PACE_S = 0.005


class Reading:
    """A reply that a thread of its own reads, by the lane's way; how it ended, and when.

    A generator has nothing to be cancelled by until the headers are there: `early` is for
    callbacks.
    """

    def __init__(self, client, way, *, early):
        self.value, self.at = None, 0.0
        self.began = threading.Event()
        self._reader = LLMSession(client) if "session" in way else client
        if early or "callbacks" in way:
            start = getattr(self._reader, "submit", None) or self._reader.start_message_stream
            handle = start("hi", on_chunk=self._chunk, on_finish=self._end, on_error=self._end)
            self.cancel, self.join = handle.cancel, handle.join
        else:
            self._thread = threading.Thread(target=self._pull)
            self._thread.start()

    def _chunk(self, chunk):
        self.began.set()

    def _end(self, value):
        self.at = time.monotonic()
        self.value = value

    def _pull(self):
        start = getattr(self._reader, "stream", None) or self._reader.send_message_stream
        try:
            with start("hi") as stream:
                self.cancel = stream.cancel
                for chunk in stream:
                    self._chunk(chunk)
                self._end(stream.result())
        except CloudLLMError as error:
            self._end(error)

    def join(self, timeout):
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def history(self):
        return getattr(self._reader, "history", ())


class Waiting(Observer):
    """Notes that a back-off wait is about to begin."""

    def __init__(self):
        self.began = threading.Event()

    def on_retry(self, call, error, delay_s):
        self.began.set()


def settle():
    threading.Event().wait(SETTLE_S)


@pytest.fixture
def cancels(lane, record_property):
    """Cancels a reply once `reached()` returns; the reader must hear it at once."""

    def run(client, reached, *, early=True, gone=lambda: True, partial=None):
        rounds = ROUNDS if lane.family is CHAT else 1
        latencies = []
        for _ in range(rounds):
            reading = Reading(client, lane.way, early=early)
            reached(reading)
            settle()
            asked = time.monotonic()
            reading.cancel()
            returned = time.monotonic() - asked
            assert reading.join(PROMPT_S), "the cancel was not heard"
            assert returned < 0.5
            assert type(reading.value) is StreamCancelled
            assert (reading.value.partial and reading.value.partial.content) == partial
            assert reading.history == ()
            assert gone()
            latencies.append(reading.at - asked)
        median_ms = 1000 * statistics.median(latencies)
        record_property("cancel_median_ms", round(median_ms, 2))
        assert rounds == 1 or median_ms < 100

    return run


@pytest.fixture
def cancels_in_wait(cancels, serve, make_client):
    """Cancels while the server does this, before anything has come."""

    def run(raw):
        server = serve(default=raw)
        counter = itertools.count(1)

        def reached(reading):
            assert server.wait_for_requests(next(counter))

        cancels(make_client(server), reached, gone=server.wait_until_idle)

    return run


@pytest.fixture
def cancels_in_body(cancels, serve, make_client):
    """Cancels while the server does this, after the first text."""

    def run(raw):
        server = serve(default=raw)

        def reached(reading):
            assert reading.began.wait(5)

        client, gone = make_client(server), server.wait_until_idle
        cancels(client, reached, early=False, gone=gone, partial=PIECES[0])

    return run


@pytest.mark.each_wire_once
@pytest.mark.parametrize("timeouts", [Timeouts(10, 10, 10), Timeouts(None, None, None)])
def test_while_connecting(cancels, make_client, full_backlog, timeouts):
    """The longest wait that no response exists for, with and without clocks."""
    client = make_client(full_backlog.rpartition("/")[0], timeouts=timeouts)

    cancels(client, lambda reading: None)


@pytest.mark.each_wire_once
def test_in_the_tls_handshake(cancels, make_client, silent_port):
    """The server has accepted, and never answers the ClientHello."""
    base_url = f"https://127.0.0.1:{silent_port.getsockname()[1]}"
    accepted = []

    def reached(reading):
        sock, _ = silent_port.accept()
        accepted.append(sock)
        assert sock.recv(1) == b"\x16"

    cancels(make_client(base_url), reached)

    for sock in accepted:
        sock.close()


@pytest.mark.each_wire_once
def test_while_the_request_is_sent(cancels, make_client, silent_port):
    """The server has accepted, and takes no more than fits into the socket's buffers."""
    client = make_client(f"http://127.0.0.1:{silent_port.getsockname()[1]}")
    accepted = []

    def reached(reading):
        sock, _ = silent_port.accept()
        accepted.append(sock)
        assert sock.recv(1) == b"P"

    cancels(LongWinded(client), reached)

    for sock in accepted:
        sock.close()


class LongWinded:
    """A client whose prompts are longer than any socket's buffers."""

    def __init__(self, client):
        self._client = client

    def send_message(self, *args, **options):
        raise NotImplementedError

    def send_message_stream(self, messages, tools=None, **options):
        return self._client.send_message_stream("x" * 30_000_000, **options)

    def start_message_stream(self, prompt, **options):
        return self._client.start_message_stream("x" * 30_000_000, **options)


@pytest.mark.also_over_tls
@pytest.mark.each_wire_once
def test_before_the_headers(cancels_in_wait):
    """Where most of the waiting is done."""
    cancels_in_wait(Raw(before_headers=(Stall(),)))


@pytest.mark.also_over_tls
@pytest.mark.each_wire_once
def test_in_headers_that_drip(cancels_in_wait):
    """Between any two bytes."""
    drip = Drip(b"HTTP/1.1 200 OK\r\nX: " + EVENT, PACE_S)

    cancels_in_wait(Raw(drip, framing="none"))


@pytest.mark.also_over_tls
def test_before_the_first_text(cancels_in_wait, family):
    """The stream has opened, and the model thinks."""
    cancels_in_wait(Raw(family.opening, Stall()))


@pytest.mark.also_over_tls
@pytest.mark.each_wire_once
def test_in_an_error_body_that_stalls(cancels_in_wait):
    """The cancel counts, not the status."""
    cancels_in_wait(Raw(b"{", Stall(), status=401))


@pytest.mark.also_over_tls
@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_in_a_stall(cancels_in_body, family, framing):
    """A body without a length then ends as if it were whole; it is not."""
    headers = {"Content-Length": "99999"} if framing == "length" else {}

    cancels_in_body(Raw(family.begun, Stall(), framing=framing, headers=headers))


@pytest.mark.also_over_tls
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_in_a_drip(cancels_in_body, family, framing):
    """In the middle of an event."""
    cancels_in_body(Raw(family.begun, Drip(EVENT, PACE_S), framing=framing))


def test_in_keep_alive(cancels_in_body, family):
    """The reader is never idle, and never done."""
    cancels_in_body(Raw(family.begun, *(family.keep_alive, Wait(PACE_S)) * 900))


@pytest.mark.also_over_tls
@pytest.mark.each_wire_once
def test_in_a_backoff_wait(cancels, serve, make_client, family):
    """No further request is sent."""
    waiting = Waiting()
    server = serve(default=family.refusal(503, headers={"Retry-After": "30"}))
    client = make_client(server, observers=[waiting], timeouts=Timeouts())
    begun = []

    def reached(reading):
        assert waiting.began.wait(5)
        waiting.began.clear()
        begun.append(reading)

    cancels(client, reached)

    assert len(server.requests) == len(begun)


@pytest.mark.also_over_tls
@pytest.mark.each_wire_once
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


def test_twice_is_as_once(serve, make_client, lane, family):
    """Idempotent, from any number of threads."""
    client = make_client(serve(default=Raw(family.begun, Stall())))
    reading = Reading(client, lane.way, early=False)
    assert reading.began.wait(5)
    threads = [threading.Thread(target=reading.cancel) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert reading.join(PROMPT_S)
    assert type(reading.value) is StreamCancelled


@pytest.mark.one_lane
@pytest.mark.parametrize("stage", ["connecting", "before the headers"])
def test_at_any_moment(serve, make_client, full_backlog, stage):
    """Whichever instruction the reader is at, the cancel is heard."""
    server = serve(default=Raw(before_headers=(Stall(),)))
    client = make_client(full_backlog.rpartition("/")[0] if stage == "connecting" else server)
    client_delays = random.Random(7)
    for _ in range(150):
        handle = client.start_message_stream("hi")
        threading.Event().wait(client_delays.choice([0, 0, client_delays.random() * 0.003]))
        handle.cancel()

        assert handle.join(PROMPT_S), "the cancel was not heard"
        assert type(handle.exception()) is StreamCancelled
    assert server.wait_until_idle()


@pytest.mark.one_lane
def test_between_the_check_and_the_connect(make_client, full_backlog, monkeypatch):
    """A shutdown does not stop a socket that has not begun to connect."""
    resolved, go = threading.Event(), threading.Event()
    resolve = socket.getaddrinfo

    def slow(*args, **options):
        resolved.set()
        go.wait(5)
        return resolve(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    client = make_client(full_backlog.rpartition("/")[0], timeouts=Timeouts(30, 30, 30))
    handle = client.start_message_stream("hi")
    assert resolved.wait(5)
    handle.cancel()
    go.set()

    assert handle.join(PROMPT_S)
    assert type(handle.exception()) is StreamCancelled


@pytest.mark.one_lane
@pytest.mark.also_over_tls
def test_other_calls_on_the_client_are_not_disturbed(serve, make_client):
    """8 threads, 12 calls each, cancelled at random: whatever is not cancelled is right."""

    def echo(request):
        prompt = re.search(rb"t\d+c\d+", request.body)[0].decode()
        return Reply([f"{prompt}:{n} " for n in range(6)], token_delay_s=0.001)

    server = serve(default=echo)
    client = make_client(server, max_retries=0)
    wrong = []

    def work(number):
        chance = random.Random(number)
        for n in range(12):
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
