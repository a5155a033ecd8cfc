"""A reader that does not wait longer than it says: `next_within()`."""

from __future__ import annotations

import gzip
import math
import threading
import time

import pytest

from cloudllm_sync import (
    ChatStream,
    ClaudeClient,
    FallbackClient,
    GeminiClient,
    LLMSession,
    MessageChunk,
    OllamaClient,
    OpenAICompatibleClient,
    RequestTimeoutError,
    StreamCancelled,
    StreamInterrupted,
    Timeouts,
)
from cloudllm_sync.testing import (
    Cut,
    Drip,
    FakeServer,
    Raw,
    Reply,
    Stall,
    Wait,
    WaitFor,
    anthropic_events,
    error_reply,
    gemini_events,
    ollama_events,
    openai_events,
)
from cloudllm_sync.transport import clocks

REPLY = Reply("one two three")
EVENTS = openai_events(REPLY)
FRAMINGS = ("chunked", "close")


def opened(make_client, server, **options):
    """A stream whose first chunk has come."""
    stream = make_client(server, **options).send_message_stream("hi")
    assert next(stream).content == "one"
    return stream


def read_by_asking(stream, seconds=0.001):
    """The chunks, and how often there was none."""
    chunks, silences = [], 0
    while True:
        try:
            chunk = stream.next_within(seconds)
        except StopIteration:
            return chunks, silences
        if chunk is None:
            silences += 1
        else:
            chunks.append(chunk)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_none_comes_while_nothing_comes(serve, make_client, framing):
    """And then the next chunk, as if nothing had been asked."""
    go_on = threading.Event()
    server = serve(
        Raw(*EVENTS[:2], WaitFor(go_on), EVENTS[2], Wait(0.1), *EVENTS[3:], framing=framing)
    )
    stream = opened(make_client, server)
    asked = [stream.next_within(seconds) for seconds in (0, -1, 0.01, 0.05, math.nan)]
    finish_reason = stream.partial.finish_reason
    go_on.set()

    assert asked == [None] * 5
    assert finish_reason is None
    assert stream.next_within(10).content == " two"
    assert stream.next_within(0) is None
    assert next(stream).content == " three"
    assert stream.result().content == "one two three"


def test_whole_time_is_waited(serve, make_client):
    """Also right behind a chunk, when it is known that there is no more."""
    stream = opened(make_client, serve(Raw(*EVENTS[:2], Wait(0.1), EVENTS[2], Stall())))
    assert stream.next_within(10).content == " two"
    began = time.monotonic()
    nothing = stream.next_within(0.1)
    waited_s = time.monotonic() - began
    stream.close()

    assert nothing is None
    assert waited_s >= 0.09


def test_all_that_has_arrived_comes_without_waiting(serve, make_client):
    """0 seconds: what one packet brought."""
    server = serve(Raw(b"".join(EVENTS[:4]), Stall()))
    stream = opened(make_client, server)
    texts = [stream.next_within(0).content for _ in range(2)]

    assert texts == [" two", " three"]
    assert stream.next_within(0) is None
    stream.close()


def test_what_comes_later_is_found_without_waiting(serve, make_client):
    """A reader that has other things to do looks in now and then."""
    go_on = threading.Event()
    stream = opened(make_client, serve(Raw(*EVENTS[:2], WaitFor(go_on), *EVENTS[2:], end=b"")))
    assert stream.next_within(0) is None
    go_on.set()
    deadline = time.monotonic() + 5
    found = None
    while found is None and time.monotonic() < deadline:
        found = stream.next_within(0)
    stream.close()

    assert found.content == " two"


WIRES = {
    "openai": (openai_events(REPLY), "text/event-stream"),
    "blank lines": ([b"\n\n\n" + event for event in openai_events(REPLY)], "text/event-stream"),
    "comments": ([b": x\n\n" + event for event in openai_events(REPLY)], "text/event-stream"),
    "cr lf": (
        [event.replace(b"\n", b"\r\n") for event in openai_events(REPLY)],
        "text/event-stream",
    ),
    "claude": (anthropic_events(REPLY), "text/event-stream"),
    "gemini": (gemini_events(REPLY), "text/event-stream"),
    "gemini's array": (
        [
            b"["
            + b",\n".join(event[len(b"data: ") :].strip() for event in gemini_events(REPLY))
            + b"]"
        ],
        "application/json",
    ),
    "ollama": (ollama_events(REPLY), "application/x-ndjson"),
}
CLIENTS = {"claude": ClaudeClient, "gemini": GeminiClient, "ollama": OllamaClient}


def client_of(wire, server):
    kind = CLIENTS.get(wire.partition("'")[0], OpenAICompatibleClient)
    options = {} if kind in (OllamaClient, OpenAICompatibleClient) else {"api_key": "test"}
    return kind("m", base_url=server.base_url, timeouts=Timeouts(5, 5, 5, 20), **options)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("wire", WIRES)
def test_asking_loses_and_invents_nothing(serve, wire, framing):
    """Byte by byte, with silences between: the same chunks as by iteration."""
    events, content_type = WIRES[wire]
    whole = Raw(*events, framing=framing, content_type=content_type)
    body = b"".join(events)
    parts = [
        part
        for at in range(0, len(body), 50)
        for part in (Drip(body[at : at + 50], 0.0), Wait(0.003))
    ]
    dripped = Raw(*parts, framing=framing, content_type=content_type)
    server = serve(whole, dripped)
    with client_of(wire, server) as client:
        expected = list(client.send_message_stream("hi"))
        chunks, silences = read_by_asking(client.send_message_stream("hi"), 0)

    assert expected == chunks
    assert silences > 20


@pytest.mark.parametrize("size", [3, 500, 20_000])
def test_chunk_that_comes_in_parts_is_waited_for(serve, make_client, size):
    """HTTP chunks that hold many events, and are cut anywhere."""
    body = b"".join(openai_events(Reply(["word " for _ in range(400)])))
    head, rest = body[:1000], body[1000:]
    pieces = [step for at in range(0, len(rest), size) for step in (rest[at : at + size], Wait(0))]
    steps = [head, *(pieces if size > 3 else [Drip(rest[:3000], 0.0), rest[3000:]])]
    stream = make_client(serve(Raw(*steps))).send_message_stream("hi")
    chunks, _ = read_by_asking(stream)

    assert "".join(chunk.content for chunk in chunks) == "word " * 400


def test_compressed_stream(serve, make_client):
    """Its bytes are waited for below the decompression."""
    go_on = threading.Event()
    packed = gzip.compress(b"".join(EVENTS))
    body = Raw(packed[:-20], WaitFor(go_on), packed[-20:], headers={"Content-Encoding": "gzip"})
    stream = make_client(serve(body)).send_message_stream("hi")
    first = next(stream)
    chunks = [first]
    while (chunk := stream.next_within(0.05)) is not None:
        chunks.append(chunk)
    go_on.set()
    more, _ = read_by_asking(stream)

    assert "".join(chunk.content for chunk in chunks + more) == "one two three"


def test_tls(make_client, certificate, server_tls):
    """Half a record is nothing yet."""
    go_on = threading.Event()
    body = Raw(*EVENTS[:2], WaitFor(go_on), *[Drip(event, 0.0) for event in EVENTS[2:]])
    with FakeServer(body, ssl_context=server_tls) as server:
        stream = opened(make_client, server, verify=certificate)
        assert [stream.next_within(seconds) for seconds in (0, 0.02)] == [None, None]
        go_on.set()
        chunks, _ = read_by_asking(stream)

    assert "".join(chunk.content for chunk in chunks) == " two three"


@pytest.mark.parametrize("seconds", [0.01, 100])
@pytest.mark.parametrize("silence", [[Stall()], [b": alive\n\n", Wait(0.02)] * 500])
def test_idle_clock_runs_while_one_asks(serve, make_client, silence, seconds):
    """Many short waits are one long one; comments of a server do not count."""
    server = serve(Raw(*EVENTS[:2], *silence))
    stream = opened(make_client, server, timeouts=Timeouts(5, 5, 0.3, 15))
    asked = 0
    with pytest.raises(RequestTimeoutError) as caught:
        while stream.next_within(seconds) is None:
            asked += 1

    assert caught.value.clock == "idle"
    assert (asked == 0) == (seconds == 100)
    assert caught.value.partial.content == "one"


@pytest.mark.parametrize("seconds", [0.05, 100])
def test_total_clock_runs_while_one_asks(serve, make_client, seconds):
    """Whether a wait is shorter than what is left, or longer."""
    stream = opened(
        make_client, serve(Raw(*EVENTS[:2], Stall())), timeouts=Timeouts(5, 5, None, 0.4)
    )
    asked = 0
    with pytest.raises(RequestTimeoutError) as caught:
        while stream.next_within(seconds) is None:
            asked += 1

    assert caught.value.clock == "total"
    assert (asked == 0) == (seconds == 100)


def test_silence_behind_the_finish_reason_is_short(serve, make_client, monkeypatch):
    """Asking for more is no more content."""
    monkeypatch.setattr(clocks, "_AFTER_FINISH_S", 0.2)
    stream = opened(make_client, serve(Raw(*EVENTS[:5], Stall())))
    chunks, silences = read_by_asking(stream, 0.02)

    assert chunks[-1].finish_reason == "stop"
    assert silences > 2
    assert stream.ended_well


def test_cancel_ends_the_wait(serve, make_client):
    """From another thread, whatever was to be waited for."""
    stream = opened(make_client, serve(Raw(*EVENTS[:2], Stall())))
    timer = threading.Timer(0.1, stream.cancel)
    timer.start()
    with pytest.raises(StreamCancelled) as caught:
        stream.next_within(60)

    assert caught.value.partial.content == "one"
    timer.join()


def test_cut_is_no_silence(serve, make_client):
    """The end of the connection is told at once."""
    go_on = threading.Event()
    stream = opened(make_client, serve(Raw(*EVENTS[:2], WaitFor(go_on), Cut())))
    assert stream.next_within(0.01) is None
    go_on.set()

    with pytest.raises(StreamInterrupted):
        stream.next_within(10)


def test_connection_serves_the_next_call(serve, make_client):
    """What asking has done to the socket is undone."""
    server = serve("one two", Raw(*EVENTS[:2], Wait(0.3), *EVENTS[2:]))
    client = make_client(server)
    assert read_by_asking(client.send_message_stream("hi"))[0]
    reply = client.send_message_stream("hi").result()

    assert reply.content == "one two three"
    assert server.connections == 1


def test_turn_of_a_session_ends_by_asking(serve, make_client):
    """It is kept, as by iteration."""
    session = LLMSession(make_client(serve("one two")))
    read_by_asking(session.stream("hi"))

    assert session.history[-1].content == "one two"


def test_reply_of_a_fallback(serve, make_client):
    """The client that answers is waited for as its reader says."""
    go_on = threading.Event()
    server = serve(Raw(*EVENTS[:2], WaitFor(go_on), *EVENTS[2:]))
    client = FallbackClient(
        [make_client(serve(error_reply(404, "no such model"))), make_client(server)]
    )
    stream = client.send_message_stream("hi")
    begun = stream.is_timed
    first = next(stream)
    asked = [stream.next_within(seconds) for seconds in (0, 0.02)]
    go_on.set()
    rest = [stream.next_within(10), *stream]

    assert (begun, stream.is_timed) == (False, True)
    assert asked == [None, None]
    assert "".join(chunk.content for chunk in [first, *rest]) == "one two three"


def test_fallback_to_a_client_of_a_users_own_is_waited_for():
    """Whose chunks come when they come."""

    class Own:
        model_name = provider_name = "own"
        send_message = None

        def send_message_stream(self, messages, tools=None):
            return ChatStream.of([MessageChunk("one"), MessageChunk(finish_reason="stop")])

    stream = FallbackClient([Own()]).send_message_stream("hi")
    chunks, silences = read_by_asking(stream, 0)

    assert [chunk.content for chunk in chunks] == ["one", ""]
    assert (stream.is_timed, silences) == (False, 0)


def test_before_the_first_chunk_it_waits(serve, make_client):
    """That may mean other attempts; `is_timed` says so."""
    stream = make_client(serve(Raw(Wait(0.1), *EVENTS))).send_message_stream("hi")
    assert not stream.is_timed

    assert stream.next_within(0).content == "one"
    assert stream.is_timed
    stream.close()


def test_chunks_made_elsewhere_are_waited_for():
    """Whoever makes them cannot be asked to hurry."""
    stream = ChatStream.of([MessageChunk("one"), MessageChunk(finish_reason="stop")])
    chunks, silences = read_by_asking(stream, 0)

    assert [chunk.content for chunk in chunks] == ["one", ""]
    assert (stream.is_timed, silences) == (False, 0)
