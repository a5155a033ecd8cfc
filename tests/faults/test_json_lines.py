"""Faults of a stream of JSON lines, Ollama's: cuts, errors, limits, time, cancel."""

from __future__ import annotations

import json
import threading

import pytest

from cloudllm_sync import (
    APIError,
    BadRequestError,
    Limits,
    OllamaClient,
    OpenAICompatibleClient,
    RequestTimeoutError,
    ServerError,
    StreamCancelled,
    StreamInterrupted,
    StreamProtocolError,
    StreamTooLargeError,
    Timeouts,
)
from cloudllm_sync.testing import (
    Cut,
    Raw,
    Reply,
    Reset,
    Stall,
    Wait,
    WaitFor,
    Wire,
    ollama_events,
    openai_events,
)

pytestmark = pytest.mark.both_ways

FIRST, SECOND, LAST = ollama_events(Reply(("Grüße", ", Welt"), usage=None))
IN_CHARACTER = SECOND[: SECOND.index(b"W")] + "Wü".encode()[:2]
CLOSED_INSIDE = SECOND[: SECOND.index(b"}") + 1]
ERROR = b'{"error":"an error was encountered while running the model"}'
LAID_OUT = json.dumps(json.loads(ERROR), indent=2).encode() + b"\n"
NDJSON = "application/x-ndjson"
LENGTH = {"Content-Length": "100000"}


def raw(*steps, **options):
    return Raw(*steps, **{"content_type": NDJSON, **options})


@pytest.fixture
def ollama(serve):
    """Makes an Ollama client and its server, which has that script; closed after the test."""
    made = []

    def make(*script, **options):
        server = serve(*script)
        options.setdefault("timeouts", Timeouts(5, 5, 5, 15))
        client = OllamaClient("m", api_key="0123456789abcdef", base_url=server.url, **options)
        made.append(client)
        return client, server

    yield make
    for client in made:
        client.close()


@pytest.fixture
def fails(ollama, read, texts_of):
    """Runs a reply that fails; checks what every failure has in common."""

    def run(answer, *, error, partial=None, requests=1, seen=None, **options):
        client, server = ollama(answer, **options)
        outcome = read(client, on_chunk=lambda chunk: seen and seen.set())

        failure = outcome.error
        assert type(failure) is error, repr(failure)
        assert (failure.partial and failure.partial.content) == partial
        assert len(server.requests) == failure.attempts == requests
        assert "0123456789abcdef" not in texts_of(failure)
        server.add("fine again")
        assert read(client).message.content == "fine again"
        return failure

    return run


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(raw(FIRST, Cut()), id="between lines"),
        pytest.param(raw(FIRST), id="between lines, whole body"),
        pytest.param(raw(FIRST, framing="close"), id="between lines, close"),
        pytest.param(raw(FIRST, framing="http1.0"), id="between lines, HTTP/1.0"),
        pytest.param(raw(FIRST, SECOND[:30], Cut()), id="in a line"),
        pytest.param(raw(FIRST, SECOND[:30]), id="in a line, whole body"),
        pytest.param(raw(FIRST, SECOND[:30], framing="close"), id="in a line, close"),
        pytest.param(raw(FIRST, CLOSED_INSIDE, framing="close"), id="behind a brace"),
        pytest.param(raw(FIRST, LAST[:-20], framing="close"), id="in the last line"),
        pytest.param(raw(FIRST, IN_CHARACTER, Cut()), id="in a character"),
        pytest.param(raw(FIRST, IN_CHARACTER, framing="close"), id="in a character, close"),
        pytest.param(raw(FIRST, b"{", framing="close"), id="after a brace"),
        pytest.param(raw(FIRST, Wire(b"40\r\n{"), Cut()), id="in an HTTP chunk"),
        pytest.param(raw(FIRST, framing="length", headers=LENGTH), id="length not met"),
        pytest.param(raw(FIRST, Wait(0.05), Reset()), id="reset"),
        pytest.param(raw(FIRST, content_type="application/json", framing="close"), id="as JSON"),
    ],
)
def test_stream_that_is_cut_is_interrupted(fails, answer):
    """No `done` means no reply; whole characters of whole lines are kept."""
    fails(answer, error=StreamInterrupted, partial="Grüße")


@pytest.mark.parametrize("steps", [(), (b"\n\n",), (b"{}\n",), (FIRST[:20],)])
def test_reply_without_content_is_interrupted_not_empty(fails, steps):
    """200 and nothing is no reply."""
    fails(raw(*steps), error=StreamInterrupted)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(raw(FIRST, SECOND, LAST, Reset()), id="reset"),
        pytest.param(raw(FIRST, SECOND, LAST, Cut()), id="cut"),
        pytest.param(raw(FIRST, SECOND, LAST, Stall()), id="socket left open"),
        pytest.param(raw(FIRST, SECOND, LAST[:-1]), id="no line end"),
        pytest.param(raw(FIRST, SECOND, LAST[:-1], framing="close"), id="no line end, close"),
        pytest.param(raw(FIRST, SECOND, LAST[:-1] + b" ", framing="close"), id="a space"),
        pytest.param(raw(FIRST, SECOND, LAST, SECOND, ERROR), id="more"),
        pytest.param(raw(b"\n", FIRST, b"\r\n\n", SECOND, b" \n", LAST), id="blank lines"),
        pytest.param(raw(b"\xef\xbb\xbf" + FIRST, SECOND, LAST), id="byte-order mark"),
        pytest.param(
            raw(*(json.dumps(json.loads(part), indent=1).encode() + b"\n"
                  for part in (FIRST, SECOND, LAST))),
            id="laid out",
        ),
        pytest.param(
            raw(*(b"data: " + part + b"\n" for part in (FIRST, SECOND, LAST))), id="as events"
        ),
    ],
)  # fmt: skip
def test_reply_that_was_done_is_whole(ollama, read, answer):
    """What comes after, or lacks after, does not matter."""
    outcome = read(ollama(answer)[0])

    assert outcome.error is None
    assert ("Grüße, Welt", "stop") == (outcome.text, outcome.message.finish_reason)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ERROR + b"\n", id="a line"),
        pytest.param(ERROR, id="without its end"),
        pytest.param(LAID_OUT, id="laid out"),
        pytest.param(LAID_OUT[:-1], id="laid out, without its end"),
    ],
)
@pytest.mark.parametrize("before", [(), (FIRST,)], ids=["first", "later"])
def test_error_line_is_the_servers_error(fails, error, before):
    """Its words, and what had come."""
    failure = fails(
        raw(*before, error, framing="close"),
        error=ServerError,
        partial="Grüße" if before else None,
    )

    assert "an error was encountered while running the model" in str(failure)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, BadRequestError), (404, BadRequestError), (500, ServerError)]
)
def test_refusal_has_the_servers_words(fails, status, kind):
    """As `{"error": "text"}`."""
    body = b'{"error":"model \\"m\\" not found, try pulling it first"}'
    failure = fails(
        Raw(body, status=status, content_type="application/json"), error=kind, max_retries=0
    )

    assert isinstance(failure, APIError)
    assert 'model "m" not found, try pulling it first' in str(failure)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b'{"message":{"content":"x"\n', id="half a line with its end"),
        pytest.param(b"Internal Server Error\n", id="words"),
        pytest.param(b'{"message":{"content":"x"},"n":' + b"1" * 10_000 + b"}\n", id="number"),
        pytest.param(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", id="depth"),
    ],
)
def test_line_that_is_no_json_is_a_protocol_error(fails, broken):
    """Though the server goes on."""
    fails(raw(FIRST, broken, SECOND, LAST), error=StreamProtocolError, partial="Grüße")


@pytest.mark.parametrize("end", [b'"}}\n', b""], ids=["whole", "without an end"])
@pytest.mark.parametrize("content_type", [NDJSON, "application/json"])
def test_line_over_the_limit_of_an_event_is_refused(fails, content_type, end):
    """Whether its end has come or not."""
    line = b'{"message":{"content":"' + b"x" * 2000 + end
    seen = threading.Event()

    failure = fails(
        raw(FIRST, WaitFor(seen), line, Stall(), content_type=content_type),
        error=StreamTooLargeError,
        partial="Grüße",
        seen=seen,
        limits=Limits(event_bytes=1000),
    )

    assert "an event of more than 1000 bytes" in str(failure)


def test_stream_over_its_limit_is_refused(fails):
    """However short its lines are."""
    seen = threading.Event()
    failure = fails(
        raw(FIRST, WaitFor(seen), FIRST * 9, Stall()),
        error=StreamTooLargeError,
        partial="Grüße",
        seen=seen,
        limits=Limits(stream_bytes=9 * len(FIRST)),
    )

    assert "a stream of more than" in str(failure)


def test_stall_is_a_time_out_with_what_came(fails):
    """Blank lines are no progress."""
    blank = [step for _ in range(20) for step in (b"\n", Wait(0.02))]
    failure = fails(
        raw(FIRST, *blank, Stall()),
        error=RequestTimeoutError,
        partial="Grüße",
        timeouts=Timeouts(5, 5, 0.2, 5),
    )

    assert "idle" == failure.clock


@pytest.mark.parametrize(
    "delivery",
    [
        pytest.param({"framing": "chunked"}, id="chunked"),
        pytest.param({"framing": "http1.0"}, id="HTTP/1.0"),
        pytest.param({"framing": "close"}, id="close"),
        pytest.param({"framing": "length"}, id="length"),
        pytest.param({"gzip": True}, id="gzip chunked"),
        pytest.param({"gzip": True, "framing": "close"}, id="gzip close"),
        pytest.param({"line_end": "\r\n"}, id="CRLF"),
        pytest.param({"line_end": "\r"}, id="CR"),
        pytest.param({"line_end": "\r\n", "split": 1}, id="CRLF, one byte a segment"),
        pytest.param({"headers": {"Content-Type": "application/json"}}, id="called JSON"),
    ],
)
def test_line_is_seen_before_the_next_is_sent(ollama, read, delivery):
    """The server waits until the text of each line was seen."""
    words = ("one", " two", " three", " four")
    seen = [threading.Event() for _ in words]
    after = {number: WaitFor(event) for number, event in enumerate(seen, 1)}
    waiting = list(seen)

    def on_chunk(chunk):
        if chunk.content:
            waiting.pop(0).set()

    outcome = read(ollama(Reply(words, after=after, **delivery))[0], on_chunk=on_chunk)

    assert outcome.error is None
    assert "one two three four" == outcome.text


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/jsonl"])
def test_lines_that_only_the_label_announces_are_on_time(serve, read, content_type):
    """A server of Chat Completions may send its chunks so."""
    _, first, *rest, _ = [event[6:-1] for event in openai_events(Reply(("a", "b"), usage=None))]
    seen = threading.Event()
    server = serve(Raw(first, WaitFor(seen), *rest, content_type=content_type))
    timeouts = Timeouts(5, 5, 5, 15)

    with OpenAICompatibleClient("m", base_url=server.base_url, timeouts=timeouts) as client:
        outcome = read(client, on_chunk=lambda chunk: seen.set())

    assert outcome.error is None
    assert "ab" == outcome.text


@pytest.mark.parametrize("steps", [(), (FIRST,), (FIRST, SECOND[:30])])
def test_cancel_is_heard_at_every_stage(ollama, steps):
    """Before the first line, between lines, in a line; the next call is fine."""
    client, server = ollama(raw(*steps, Stall()))
    came, ends = threading.Event(), []
    handle = client.start_message_stream(
        "hi", on_chunk=lambda chunk: came.set(), on_finish=ends.append, on_error=ends.append
    )
    assert came.wait(5) if steps else server.wait_for_requests(1)
    handle.cancel()

    assert handle.join(2)
    (error,) = ends
    assert type(error) is StreamCancelled
    assert ("Grüße" if steps else None) == (error.partial and error.partial.content)
    server.add("fine again")
    assert "fine again" == client.send_message("hi").content


def test_connection_serves_the_next_call(ollama):
    """The last line is the end; the body's end has come with it."""
    client, server = ollama("one", "two", "three")

    texts = [client.send_message_stream("hi").result().content for _ in range(3)]

    assert ["one", "two", "three"] == texts
    assert 1 == server.connections
