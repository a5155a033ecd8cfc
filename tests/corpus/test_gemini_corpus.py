"""Every recorded Gemini and Vertex reply, through a real socket, cut in many ways, both styles."""

from __future__ import annotations

import re

import pytest

from cloudllm_sync import APIError, BadRequestError, CloudLLMError, RateLimitError
from cloudllm_sync.clients.gemini import GeminiClient, Model
from cloudllm_sync.testing import FakeServer, Raw

API_PREFIX = "generate"

_STATUS_CLASSES = {404: BadRequestError, 429: RateLimitError}


def error_class(case) -> type[CloudLLMError] | None:
    if case.expected["error"] is None:
        return None
    return _STATUS_CLASSES[case.status]


def by_event(body: bytes) -> Raw:
    """Every event is a write and an HTTP chunk of its own."""
    return Raw(*re.findall(rb".*?\r?\n\r?\n|.+", body, re.DOTALL))


def at_once(body: bytes) -> Raw:
    """One write, one HTTP chunk."""
    return Raw(body)


def by_byte(body: bytes) -> Raw:
    """HTTP chunks of one byte, in one write: 50,000 writes would take seconds."""
    head = [b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"Connection: close", b"", b""]
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    return Raw(b"\r\n".join(head) + chunks + b"0\r\n\r\n", framing="none")


def by_seven_bytes(body: bytes) -> Raw:
    """Writes and HTTP chunks of seven bytes, which cut characters, line ends and numbers."""
    return Raw(*(body[at : at + 7] for at in range(0, len(body), 7)))


def until_close(body: bytes) -> Raw:
    """No length and no chunks: the body ends with the connection."""
    return Raw(body, framing="close")


DELIVERIES = [by_event, at_once, by_byte, by_seven_bytes, until_close]


@pytest.fixture(scope="module")
def server():
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with GeminiClient("m", api_key="AIza-test-0123", base_url=server.url, max_retries=0) as client:
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


def whole(case) -> Raw:
    return Raw(
        case.body,
        status=case.status,
        headers=case.headers,
        framing="length",
        content_type="application/json",
    )


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_generator_gives_what_was_recorded(
    stream_case, delivery, server, pulled, assert_as_recorded
):
    """Every field of the reply is that of the recording, however the network cuts it."""
    server.add(delivery(stream_case.body))
    outcome = pulled()

    assert_as_recorded(stream_case, outcome, streamed=True)
    assert error_class(stream_case) is (type(outcome.error) if outcome.error else None)


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_callbacks_give_what_was_recorded(
    stream_case, delivery, server, pushed, assert_as_recorded
):
    """Callbacks get the same chunks and the same end as the generator."""
    server.add(delivery(stream_case.body))
    outcome = pushed()

    assert_as_recorded(stream_case, outcome, streamed=True)
    assert error_class(stream_case) is (type(outcome.error) if outcome.error else None)


def test_whole_reply_gives_what_was_recorded(whole_case, server, sent, assert_as_recorded):
    """A reply in one JSON body, or an error body, is read in full."""
    server.add(whole(whole_case))
    outcome = sent()

    assert_as_recorded(whole_case, outcome, streamed=False)
    assert error_class(whole_case) is (type(outcome.error) if outcome.error else None)


@pytest.mark.parametrize("style", ["pulled", "pushed"])
def test_whole_reply_to_a_stream_request_is_a_reply(
    whole_case, style, server, request, assert_as_recorded
):
    """A server that does not stream answers with one body, which is as good."""
    server.add(whole(whole_case))
    outcome = request.getfixturevalue(style)()

    assert_as_recorded(whole_case, outcome, streamed=True)
    assert error_class(whole_case) is (type(outcome.error) if outcome.error else None)


def test_request_goes_where_gemini_listens():
    """Model and method in the path, the key in a header of its own, without a prefix."""
    with FakeServer(Raw(b"{}"), Raw(b"{}")) as server:
        with GeminiClient(Model.GEMINI_2_5_PRO, api_key="AIza-test", base_url=server.url) as client:
            with pytest.raises(CloudLLMError):
                client.send_message_stream("Hi").result()
            with pytest.raises(CloudLLMError):
                client.send_message("Hi")
        streamed, whole_one = server.requests

    assert streamed.path == "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    assert whole_one.path == "/v1beta/models/gemini-2.5-pro:generateContent"
    assert streamed.headers["x-goog-api-key"] == "AIza-test"
    assert "authorization" not in streamed.headers


def test_corpus_is_whole(corpus_size):
    """A corpus that lost files, or a pattern that misses them, would let all other tests pass."""
    streams, wholes = corpus_size(API_PREFIX, "gemini")

    assert streams >= 12
    assert wholes >= 5
