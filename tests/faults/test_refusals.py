"""Answers that are no stream: errors, pages, redirects, and what a stream reports as an error."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
import responses

from cloudllm_sync import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ContextLengthError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    StreamProtocolError,
    Timeouts,
)
from cloudllm_sync.testing import (
    FakeServer,
    Raw,
    Reply,
    Stall,
    error_reply,
    openai_body,
    openai_events,
)

NO_RETRY = {"x-should-retry": "false"}
EVENTS = openai_events(Reply("one two", usage=None))


def event(payload):
    """One `data:` event."""
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, BadRequestError),
        (405, BadRequestError),
        (409, BadRequestError),
        (413, BadRequestError),
        (415, BadRequestError),
        (422, BadRequestError),
        (501, ServerError),
    ],
)
def test_refusal_is_an_error_of_its_own_class(fails, status, error):
    """Status, the provider's words and the request id are in it; one request was sent."""
    raw = error_reply(status, "no such luck", code="bad_luck", headers={"x-request-id": "req_7"})
    failure = fails(raw, error=error, gone=False).error

    assert failure.status_code == status
    assert failure.code == "bad_luck"
    assert failure.request_id == "req_7"
    assert "no such luck" in str(failure)
    assert failure.retryable is False


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_refusal_that_lasts_is_raised_after_three_attempts(fails, no_backoff, status):
    """With the last answer's words."""
    error = RateLimitError if status == 429 else ServerError
    script = [error_reply(status, f"attempt {n}") for n in (1, 2, 3)]
    failure = fails(*script, error=error, requests=3, gone=False).error

    assert failure.status_code == status
    assert "attempt 3" in str(failure)
    assert failure.retryable is True


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (error_reply(429, "pay", code="insufficient_quota"), QuotaExceededError),
        (error_reply(429, "pay", type="insufficient_quota"), QuotaExceededError),
        (error_reply(402, "pay"), QuotaExceededError),
        (error_reply(500, "no", headers=NO_RETRY), ServerError),
        (error_reply(429, "no", headers=NO_RETRY), RateLimitError),
        (error_reply(400, "too long", code="context_length_exceeded"), ContextLengthError),
    ],
)
def test_refusal_that_waiting_does_not_cure_gets_one_request(fails, raw, error):
    """Quota, billing, and whatever the provider says not to repeat."""
    fails(raw, error=error, gone=False)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_refused(fails, status):
    """The prompt does not go to another host, and POST does not become GET."""
    with FakeServer("stolen") as elsewhere:
        raw = Raw(status=status, headers={"Location": f"{elsewhere.url}/v1/chat/completions"})
        failure = fails(raw, error=BadRequestError, gone=False).error

        assert failure.status_code == status
        assert elsewhere.requests == ()


def test_cookies_are_not_sent_back(read, serve, make_client):
    """Nor is anything else kept between calls."""
    server = serve(Reply("one", headers={"Set-Cookie": "track=me; Path=/"}), "two")
    client = make_client(server)
    read(client)
    read(client)

    assert "cookie" not in server.requests[1].headers


def test_key_in_the_refusal_is_masked(fails):
    """Servers echo what they were sent."""
    raw = error_reply(401, "Incorrect API key provided: sk-test-0123456789abcdef.")
    failure = fails(raw, error=AuthenticationError, gone=False).error

    assert "***" in str(failure)
    assert "***" in failure.body


@pytest.mark.parametrize("payload", [{"error": {"message": "key sk-test-0123456789abcdef"}}])
def test_key_in_a_stream_error_is_masked(fails, payload):
    """There as well."""
    fails(Raw(*EVENTS[:2], event(payload)), error=ServerError, partial="one", gone=False)


@pytest.mark.parametrize("status", [201, 202, 204, 206])
def test_other_good_statuses_are_no_reply(fails, status):
    """204 and the like hold nothing that could be read."""
    raw = Raw(b"", status=status, content_type="text/plain", framing="length")
    failure = fails(raw, error=StreamProtocolError).error

    assert str(status) in str(failure)


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><h1>Sign in</h1>", b"\n  <html></html>"])
@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_page_is_a_protocol_error_that_names_the_content_type(fails, body, framing):
    """A captive portal, a wrong base URL."""
    raw = Raw(body, content_type="text/html; charset=utf-8", framing=framing)
    failure = fails(raw, error=StreamProtocolError, gone=False).error

    assert "text/html" in str(failure)
    assert "base_url" in str(failure)


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", None])
@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_json_error_with_status_200_is_the_error(fails, content_type, framing):
    """The body counts, neither the status nor the content type."""
    body = json.dumps({"error": {"message": "model is gone", "type": "invalid_request_error"}})
    raw = Raw(body.encode(), content_type=content_type, framing=framing)
    failure = fails(raw, error=BadRequestError, gone=False).error

    assert "model is gone" in str(failure)


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_whole_reply_in_answer_to_a_stream_request_is_read(succeeds, framing):
    """Some servers do not stream."""
    body = openai_body(Reply("not streamed"))

    succeeds(Raw(body, content_type="application/json", framing=framing), text="not streamed")


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ([event({"error": {"message": "it broke"}})], ServerError),
        ([event({"error": "it broke"})], ServerError),
        ([b'event: error\ndata: {"message": "it broke"}\n\n'], ServerError),
        ([b"event: error\ndata: it broke\n\n"], ServerError),
        ([event({"error": {"message": "it broke", "type": "rate_limit_error"}})], RateLimitError),
        ([event({"error": {"message": "it broke", "code": 401}})], AuthenticationError),
        ([b'{"error": {"message": "it broke"}}\n\n'], ServerError),
        ([b'{"error": "it broke"}\n'], ServerError),
        ([event({"choices": [], "error": {"message": "it broke"}})], ServerError),
    ],
)
@pytest.mark.parametrize("before", [0, 2])
def test_error_in_the_stream_is_raised_with_its_message(fails, events, error, before):
    """First or later; what had come is in it."""
    partial = "one" if before else None
    script = [Raw(*EVENTS[:before], *events)]
    failure = fails(*script, error=error, partial=partial, gone=False, max_retries=0).error

    assert "it broke" in str(failure)


def test_finish_reason_error_is_an_error(fails):
    """A reply that says of itself that it failed."""
    last = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]})

    fails(Raw(*EVENTS[:2], last), error=ServerError, partial="one", gone=False)


def test_null_error_in_good_chunks_is_ignored(succeeds):
    """Some gateways send the field always."""
    chunk = {
        "error": None,
        "choices": [{"index": 0, "delta": {"content": "ok"}, "finish_reason": None}],
    }

    succeeds(Raw(event(chunk), *EVENTS[-2:]), text="ok")


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices": [{"delta": {"content": "x"',
        b"{'single': 'quotes'}",
        b"[" * 100_000,
        b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"choices": [], "n": ' + b"9" * 10_000 + b"}",
        b"not JSON at all",
    ],
    ids=["cut", "quotes", "deep", "deep and closed", "long number", "words"],
)
def test_event_that_is_no_json_is_a_protocol_error(fails, data):
    """Neither RecursionError nor ValueError gets out."""
    fails(
        Raw(*EVENTS[:2], b"data: " + data + b"\n\n", *EVENTS[2:]),
        error=StreamProtocolError,
        partial="one",
    )


def test_error_in_the_stream_leaves_the_client_clean(succeeds, read, serve, make_client):
    """Ten failures and replies by turns."""
    failure = Raw(*EVENTS[:2], event({"error": {"message": "it broke"}}))
    server = serve(*[failure, "good"] * 10)
    client = make_client(server)
    outcomes = [read(client) for _ in range(20)]

    assert {type(outcome.error) for outcome in outcomes[::2]} == {ServerError}
    assert {outcome.text for outcome in outcomes[1::2]} == {"good"}


def test_long_error_body_is_read_to_its_limit(fails):
    """Of 60 MB, 64 KiB are kept, and memory stays flat."""
    block = b"x" * 65536
    raw = Raw(*[block] * 960, status=400)
    tracemalloc.start()
    try:
        failure = fails(raw, error=BadRequestError).error
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(failure.body) == 65536
    assert len(str(failure)) < 1000
    assert peak < 8_000_000


def test_error_body_that_is_no_gzip_keeps_the_status(fails):
    """Whatever the body is, the status is known."""
    raw = Raw(b"no gzip", status=400, headers={"Content-Encoding": "gzip"})

    assert fails(raw, error=BadRequestError).error.status_code == 400


def test_stream_that_is_no_gzip_is_a_protocol_error(fails):
    """A body that does not decompress."""
    raw = Raw(b"no gzip", headers={"Content-Encoding": "gzip"})

    fails(raw, error=StreamProtocolError)


def test_compressed_error_body_is_read(fails):
    """As any other."""
    body = gzip.compress(b'{"error": {"message": "squeezed"}}')
    raw = Raw(body, status=400, headers={"Content-Encoding": "gzip"}, framing="length")

    assert "squeezed" in str(fails(raw, error=BadRequestError, gone=False).error)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"json": {"message": "plain message"}}, "plain message"),
        ({"json": {"detail": [{"loc": ["body", "n"], "msg": "must be 1"}]}}, "body.n: must be 1"),
        ({"json": [{"error": {"message": "in a list"}}]}, "in a list"),
        ({"body": "<html><style>x{}</style><h1>Bad</h1> gateway</html>"}, "Bad gateway"),
        ({"body": b"\xff\xfe"}, "\ufffd"),
        ({"body": ""}, "no explanation"),
    ],
)
@responses.activate
def test_error_bodies_of_other_shapes_give_their_words(read, make_client, body, words):
    """Gateways answer as they please."""
    url = "https://api.example.com/v1"
    responses.post(f"{url}/chat/completions", status=418, **body)
    failure = read(make_client(url)).error

    assert isinstance(failure, APIError)
    assert words in str(failure)


@responses.activate
def test_whole_reply_by_send_message(make_client):
    """One JSON body, one Message."""
    url = "https://api.example.com/v1"
    responses.post(f"{url}/chat/completions", body=openai_body(Reply("hello")))
    message = make_client(url).send_message("hi")

    assert (message.content, message.finish_reason) == ("hello", "stop")


@responses.activate
def test_key_goes_in_its_header_and_nowhere_else(make_client):
    """Not in the URL, not in the body."""
    url = "https://api.example.com/v1"
    responses.post(f"{url}/chat/completions", body=openai_body(Reply("hello")))
    make_client(url).send_message("hi")
    (call,) = responses.calls

    assert call.request.headers["Authorization"] == "Bearer sk-test-0123456789abcdef"
    assert "0123456789abcdef" not in f"{call.request.url}{call.request.body}"


def test_unfinished_error_body_of_a_redirect_does_not_hang(fails):
    """A 302 whose page never ends."""
    raw = Raw(b"<html>", Stall(), status=302)

    fails(raw, error=BadRequestError, timeouts=Timeouts(5, 0.2, 5, 5))
