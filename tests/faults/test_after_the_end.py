"""What comes after the proof of the end: no junk takes a whole reply back, but an error does."""

from __future__ import annotations

import zlib

import pytest

from cloudllm_sync import (
    Limits,
    LLMSession,
    RequestTimeoutError,
    ServerError,
    StreamCancelled,
    StreamInterrupted,
    StreamProtocolError,
    StreamTooLargeError,
    Timeouts,
)
from cloudllm_sync.clients.claude import ClaudeClient
from cloudllm_sync.clients.gemini import GeminiClient
from cloudllm_sync.clients.openai import OpenAIClient
from cloudllm_sync.clients.responses import OpenAIResponsesClient
from cloudllm_sync.testing import (
    Cut,
    Raw,
    Reply,
    Reset,
    Stall,
    Wait,
    anthropic_events,
    gemini_events,
    openai_events,
    responses_events,
)

pytestmark = pytest.mark.both_ways

REPLY = Reply(("Grüße", ", Welt"))
TEXT = "Grüße, Welt"
CLIENTS = {
    "chat": lambda server, **options: OpenAIClient(
        "m", api_key="k", base_url=server.base_url, **options
    ),
    "claude": lambda server, **options: ClaudeClient(
        "m", api_key="k", base_url=server.url, **options
    ),
    "gemini": lambda server, **options: GeminiClient(
        "m", api_key="k", base_url=server.url, **options
    ),
    "responses": lambda server, **options: OpenAIResponsesClient(
        "m", api_key="k", base_url=server.base_url, **options
    ),
}
EVENTS = {
    "chat": openai_events(REPLY),
    "claude": anthropic_events(REPLY),
    "gemini": gemini_events(REPLY),
    "responses": responses_events(REPLY),
}
# How many events stand after the one with the finish reason.
AFTER_FINISH = {"chat": 2, "claude": 1, "gemini": 0, "responses": 0}
JUNK = {
    "half an event": b'data: {"choices": [{"ind\n\n',
    "no JSON": b"data: upstream went away\n\n",
    "named": b"event: content_block_delta\ndata: {oops\n\n",
    "of the wire's own name": b"event: response.output_text.delta\ndata: {oops\n\n",
    "too deep": b"data: " + b"[" * 100_000 + b"\n\n",
    "bytes": b"data: \x00\xff\xfe\n\n",
    "a page": b"<html><body>502 Bad Gateway</body></html>\n\n",
}


def cut_at(events, after_finish):
    at = len(events) - after_finish
    return events[:at], events[at:]


@pytest.fixture(params=CLIENTS)
def wire(request):
    """The name of a wire; its events are in EVENTS."""
    return request.param


@pytest.fixture
def read_wire(serve, wire, read):
    """Reads a body of the wire by either way; the next call on the same client is fine."""

    def run(*events):
        server = serve(Raw(*events), Raw(*EVENTS[wire]))
        with CLIENTS[wire](server) as client:
            outcome = read(client)
            assert read(client).message.content == TEXT
        assert len(server.requests) == 2
        return outcome

    return run


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_junk_after_the_finish_reason_does_not_lose_the_reply(wire, junk, read_wire):
    """The proof of the end has been seen; the usage behind the junk is read all the same."""
    before, after = cut_at(EVENTS[wire], AFTER_FINISH[wire])
    outcome = read_wire(*before, junk, *after)

    assert outcome.error is None
    assert (outcome.message.content, outcome.message.finish_reason) == (TEXT, "stop")
    assert outcome.message.usage.total_tokens == REPLY.reported_usage.total_tokens


SPOKEN = ("chat", "claude", "gemini")  # a Responses stream ends with its reason


def more_of(wire):
    """The reply's first text once more."""
    return next(event for event in EVENTS[wire] if "Grüße".encode() in event)


def finish_of(wire):
    """The event with the finish reason."""
    return EVENTS[wire][len(EVENTS[wire]) - 1 - AFTER_FINISH[wire]]


@pytest.mark.parametrize("wire", SPOKEN, indirect=True)
@pytest.mark.parametrize("cut", [Cut(), Reset(), None], ids=str)
def test_finish_reason_proves_nothing_that_comes_behind_it(wire, cut, read_wire):
    """More may have been to come: where the end is missing then, so may be text."""
    before, _ = cut_at(EVENTS[wire], AFTER_FINISH[wire])
    outcome = read_wire(*before, more_of(wire), *([] if cut is None else [Wait(0.02), cut]))

    assert type(outcome.error) is StreamInterrupted
    assert outcome.error.partial.content == TEXT + "Grüße"


@pytest.mark.parametrize("wire", SPOKEN, indirect=True)
def test_silence_after_text_behind_the_finish_reason_is_a_timeout(wire, serve, read):
    """As after any other text."""
    before, _ = cut_at(EVENTS[wire], AFTER_FINISH[wire])
    with CLIENTS[wire](serve(Raw(*before, more_of(wire), Stall()))) as client:
        outcome = read(client, timeouts=Timeouts(5, 5, 0.2))

    assert (type(outcome.error), outcome.error.clock) == (RequestTimeoutError, "idle")
    assert outcome.error.partial.content == TEXT + "Grüße"


@pytest.mark.parametrize("wire", SPOKEN, indirect=True)
def test_end_mark_proves_text_behind_the_finish_reason(wire, read_wire):
    """Gemini has none, but gateways in front of it do."""
    before, after = cut_at(EVENTS[wire], AFTER_FINISH[wire])
    outcome = read_wire(*before, more_of(wire), *(after or [b"data: [DONE]\n\n"]))

    assert outcome.error is None
    assert (outcome.message.content, outcome.message.finish_reason) == (TEXT + "Grüße", "stop")


@pytest.mark.parametrize("wire", SPOKEN, indirect=True)
def test_finish_reason_that_comes_again_proves_the_text_between(wire, read_wire):
    """Some servers give one with every event; then the body just ends."""
    before, _ = cut_at(EVENTS[wire], AFTER_FINISH[wire])
    outcome = read_wire(*before, more_of(wire), finish_of(wire))

    assert outcome.error is None
    assert (outcome.message.content, outcome.message.finish_reason) == (TEXT + "Grüße", "stop")


@pytest.mark.parametrize("wire", SPOKEN, indirect=True)
def test_leaving_after_text_behind_the_finish_reason_is_no_whole_reply(wire, serve):
    """Whoever closes there has not seen the end."""
    before, after = cut_at(EVENTS[wire], AFTER_FINISH[wire])
    with CLIENTS[wire](serve(Raw(*before, more_of(wire), *after))) as client:
        with client.send_message_stream("hi") as stream:
            while stream.partial.content != TEXT + "Grüße":
                next(stream)

        with pytest.raises(StreamCancelled):
            stream.result()


LIMITS = Limits(event_bytes=50_000, stream_bytes=200_000)
TOO_MUCH = {
    "an event": [b"data: " + b"x" * 60_000 + b"\n\n"],
    "a stream": [b": keep-alive\n\n" * 20_000],
}


@pytest.mark.parametrize("much", TOO_MUCH.values(), ids=TOO_MUCH)
def test_too_much_after_the_finish_reason_does_not_lose_the_reply(wire, much, serve, read):
    """It is not taken in, and it is no content of the reply; the connection is given up."""
    before, after = cut_at(EVENTS[wire], AFTER_FINISH[wire])
    server = serve(Raw(*before, *much, *after))
    with CLIENTS[wire](server, limits=LIMITS) as client:
        outcome = read(client)

    assert outcome.error is None
    assert (outcome.message.content, outcome.message.finish_reason) == (TEXT, "stop")
    assert server.wait_until_idle(2)


@pytest.mark.parametrize("wire", SPOKEN, indirect=True)
@pytest.mark.parametrize("much", TOO_MUCH.values(), ids=TOO_MUCH)
def test_too_much_after_text_behind_the_finish_reason_is_an_error(wire, much, serve, read):
    """That text has no proof, and its rest is not read."""
    before, after = cut_at(EVENTS[wire], AFTER_FINISH[wire])
    raw = Raw(*before, more_of(wire), *much, *after)
    with CLIENTS[wire](serve(raw), limits=LIMITS) as client:
        outcome = read(client)

    assert type(outcome.error) is StreamTooLargeError
    assert outcome.error.partial.content == TEXT + "Grüße"


def test_compression_that_breaks_after_the_finish_reason_does_not_lose_the_reply(serve, wire, read):
    """What does not decompress is junk as well."""
    before, _ = cut_at(EVENTS[wire], AFTER_FINISH[wire])
    packer = zlib.compressobj(wbits=31)
    body = packer.compress(b"".join(before)) + packer.flush(zlib.Z_SYNC_FLUSH)
    raw = Raw(body, b"\xff" * 100, headers={"Content-Encoding": "gzip"})
    with CLIENTS[wire](serve(raw)) as client:
        outcome = read(client)

    assert outcome.error is None
    assert (outcome.message.content, outcome.message.finish_reason) == (TEXT, "stop")


@pytest.mark.parametrize("junk", [JUNK["half an event"], JUNK["too deep"]])
def test_junk_before_the_finish_reason_loses_it(wire, junk, read_wire):
    """What is missing there nobody knows."""
    events = EVENTS[wire]
    outcome = read_wire(*events[:-3], junk, *events[-3:])

    assert type(outcome.error) is StreamProtocolError


ERRORS = {
    "chat": b'data: {"error":{"message":"too late","type":"server_error"}}\n\n',
    "claude": b'event: error\ndata: {"type":"error","error":{"type":"api_error",'
    b'"message":"too late"}}\n\n',
    "gemini": b'data: {"error":{"code":500,"message":"too late","status":"INTERNAL"}}\n\n',
}


@pytest.mark.parametrize("wire", ERRORS, indirect=True)
def test_error_after_the_finish_reason_is_the_reply_s_error(wire, read_wire):
    """Junk says nothing, but an error is the provider's own word that the reply is not good."""
    before, after = cut_at(EVENTS[wire], AFTER_FINISH[wire])
    outcome = read_wire(*before, ERRORS[wire], *after)

    assert type(outcome.error) is ServerError
    assert "too late" in str(outcome.error)
    assert outcome.error.partial.content == TEXT
    assert outcome.error.partial.finish_reason == "stop"


def test_nothing_is_read_after_the_end_mark(wire, read_wire):
    """Not even an error: the reply was over."""
    error = b'event: error\ndata: {"error":{"message":"too late"}}\n\n'
    outcome = read_wire(*EVENTS[wire], *([] if wire == "gemini" else [error]))

    assert outcome.error is None
    assert outcome.message.content == TEXT


def test_turn_with_junk_at_its_end_enters_the_history(serve):
    """As any other that is whole."""
    before, after = cut_at(EVENTS["chat"], AFTER_FINISH["chat"])
    server = serve(Raw(*before, JUNK["no JSON"], *after))
    with CLIENTS["chat"](server) as client:
        session = LLMSession(client)
        session.ask("hi")

    assert [message.content for message in session.history] == ["hi", TEXT]
