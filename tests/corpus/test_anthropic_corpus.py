"""Every recorded reply of the Messages API, through a real socket, cut many ways, both styles."""

from __future__ import annotations

import re

import attrs
import pytest

from cloudllm_sync import APIError, AuthenticationError, BadRequestError
from cloudllm_sync.clients.claude import ClaudeClient
from cloudllm_sync.testing import FakeServer, Raw

API_PREFIX = "messages"

_STATUS_CLASSES = {401: AuthenticationError, 404: BadRequestError}


def by_event(body: bytes) -> Raw:
    """Every event is a write and an HTTP chunk of its own."""
    return Raw(*re.findall(rb".*?\r?\n\r?\n|.+", body, re.DOTALL))


def at_once(body: bytes) -> Raw:
    """One write, one HTTP chunk."""
    return Raw(body)


def by_byte(body: bytes) -> Raw:
    """HTTP chunks of one byte, in one write: 50,000 writes would take seconds."""
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    return Raw(head + chunks + b"0\r\n\r\n", framing="none")


def by_seven_bytes(body: bytes) -> Raw:
    """Writes and HTTP chunks of seven bytes, which cut characters, line ends and numbers."""
    return Raw(*(body[at : at + 7] for at in range(0, len(body), 7)))


def until_close(body: bytes) -> Raw:
    """No length and no chunks: the body ends with the connection."""
    return Raw(body, framing="close")


DELIVERIES = [by_event, at_once, by_byte, by_seven_bytes, until_close]


def with_total(case):
    """The case with the sum that the wire does not report, but TokenUsage has."""
    usage = case.expected["usage"]
    if usage is None:
        return case
    total = usage["input_tokens_total"] + usage["output_tokens_total"]
    return attrs.evolve(case, expected={**case.expected, "usage": {**usage, "total_tokens": total}})


@pytest.fixture(scope="module")
def server():
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with ClaudeClient(
        "claude-sonnet-5", api_key="sk-ant-0123456789", base_url=server.url, max_retries=0
    ) as client:
        yield client


@pytest.fixture(scope="module")
def pulled(client, outcome_of):
    """Send a stream request and read the reply as a generator."""

    def pull():
        chunks = []
        try:
            with client.send_message_stream("Hi") as stream:
                chunks.extend(stream)
                return outcome_of(stream.result(), None, tuple(chunks))
        except APIError as error:
            return outcome_of(error.partial, error, tuple(chunks))

    return pull


@pytest.fixture(scope="module")
def pushed(client, outcome_of):
    """Send a stream request and have the reply handed to callbacks."""

    def push():
        chunks, finished, failed = [], [], []
        client.start_message_stream(
            "Hi", on_chunk=chunks.append, on_finish=finished.append, on_error=failed.append
        ).join(10)
        (ending,) = finished + failed
        error = ending if failed else None
        return outcome_of(error.partial if error else ending, error, tuple(chunks))

    return push


@pytest.fixture(scope="module")
def sent(client, outcome_of):
    """Send a request for a whole reply."""

    def send():
        try:
            return outcome_of(client.send_message("Hi"), None, ())
        except APIError as error:
            return outcome_of(error.partial, error, ())

    return send


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("style", ["pulled", "pushed"])
def test_stream_gives_what_was_recorded(
    stream_case, delivery, style, server, request, assert_as_recorded
):
    """Every field of the reply is that of the recording, however it is cut and read."""
    server.add(delivery(stream_case.body))
    outcome = request.getfixturevalue(style)()

    assert_as_recorded(with_total(stream_case), outcome, streamed=True)
    reasoning = sum(1 for chunk in outcome.chunks if chunk.reasoning)
    assert reasoning == stream_case.expected["reasoning_deltas"]


@pytest.mark.parametrize("style", ["sent", "pulled", "pushed"])
def test_whole_reply_gives_what_was_recorded(
    whole_case, style, server, request, assert_as_recorded
):
    """One JSON body, a reply or an error, is read in full, whatever was asked for."""
    server.add(
        Raw(
            whole_case.body,
            status=whole_case.status,
            headers=whole_case.headers,
            framing="length",
            content_type="application/json",
        )
    )
    outcome = request.getfixturevalue(style)()

    assert_as_recorded(with_total(whole_case), outcome, streamed=False)
    assert _STATUS_CLASSES.get(whole_case.status, type(None)) is type(outcome.error)


def test_provider_state_has_the_blocks_that_only_it_can_say(stream_case, server, pulled):
    """Blocks of the recording beside text and tool use, all of them and in order."""
    server.add(at_once(stream_case.body))
    state = pulled().message.provider_state
    kinds = [
        kind.decode()
        for kind in re.findall(rb'"content_block":\{[^}]*?"type":"(\w+)"', stream_case.body)
    ]
    special = [kind for kind in kinds if kind not in ("text", "tool_use")]
    kept = [block["type"] for block in (state or {}).get("anthropic_blocks", ())]

    assert special == [kind for kind in kept if kind not in ("text", "tool_use")]
    assert (state is None) == (special == [])


def test_corpus_is_whole(corpus_size):
    """A corpus that lost files, or a pattern that misses them, would let all other tests pass."""
    streams, wholes = corpus_size(API_PREFIX, "anthropic-messages")

    assert streams >= 16
    assert wholes >= 3
