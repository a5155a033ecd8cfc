"""Answers with another status than 200: one error of the right class, the key masked."""

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
    OpenAIClient,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    StreamProtocolError,
    Timeouts,
)
from cloudllm_sync.testing import FakeServer, Raw, Reply, Stall, openai_body

NO_RETRY = {"x-should-retry": "false"}
KEY = "sk-test-0123456789abcdef"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, QuotaExceededError),
        (403, AuthenticationError),
        (404, BadRequestError),
        (422, BadRequestError),
        (501, ServerError),
    ],
)
def test_refusal_is_an_error_of_its_own_class(fails, family, status, error):
    """Status, the provider's words and the request id are in it; one request was sent."""
    named = family.request_id_header
    raw = family.refusal(status, headers={named: "req_7"} if named else None)
    failure = fails(raw, error=error, gone=False).error

    assert failure.status_code == status
    assert failure.request_id == (named and "req_7")
    assert "no such luck" in str(failure)
    assert failure.retryable is False


# One table says what a status is, for every wire.
@pytest.mark.one_lane
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (code, BadRequestError)
        for code in (405, 406, 407, 409, 410, 411, 413, 415, 426, 431, 451, 499)
    ]
    + [(code, ServerError) for code in (505, 507, 520, 524, 599, 600, 999)],
)
def test_rarer_status_is_of_its_hundreds_class(fails, family, status, error):
    """One request, and the provider's words."""
    failure = fails(family.refusal(status), error=error, gone=False).error

    assert failure.status_code == status
    assert "no such luck" in str(failure)


@pytest.mark.each_wire_once
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_refusal_that_lasts_is_raised_after_three_attempts(fails, no_backoff, family, status):
    """With the last answer's words."""
    error = RateLimitError if status == 429 else ServerError
    script = [family.refusal(status, f"attempt {n}") for n in (1, 2, 3)]
    failure = fails(*script, error=error, requests=3, gone=False).error

    assert failure.status_code == status
    assert "attempt 3" in str(failure)
    assert failure.retryable is True


@pytest.mark.parametrize(
    ("status", "kind", "message", "error"),
    [
        (429, "quota", "pay", QuotaExceededError),
        (429, "rate", "slowly", RateLimitError),
        (401, "key", "who are you", AuthenticationError),
        (400, "request", "prompt is too long: 9 tokens > 8 maximum", ContextLengthError),
        (400, "request", "Incorrect API key provided", AuthenticationError),
        (500, "broken", "broke", ServerError),
    ],
)
def test_refusal_in_the_providers_words(fails, lane, family, status, kind, message, error):
    """What waiting does not cure gets one request; what the provider forbids, too.

    But a session asks once more with less of its history if that was too long.
    """
    shortens = error is ContextLengthError and "session" in lane.way
    raw = family.refusal(status, message, kind=kind, headers=NO_RETRY)
    script = [raw, raw] if shortens else [raw]
    failure = fails(*script, error=error, requests=len(script), gone=False).error

    assert message in str(failure)


@pytest.mark.each_wire_once
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_refused(fails, family, status):
    """The prompt does not go to another host, and POST does not become GET."""
    with FakeServer("stolen") as elsewhere:
        raw = Raw(status=status, headers={"Location": elsewhere.url + family.path})
        failure = fails(raw, error=BadRequestError, gone=False).error

        assert failure.status_code == status
        assert elsewhere.requests == ()


@pytest.mark.each_wire_once
@pytest.mark.parametrize("location", ["", "/", "http://[", "javascript:alert(1)", "\xff", None])
def test_redirect_to_anywhere_is_refused(fails, location):
    """Nobody reads where it goes."""
    headers = {} if location is None else {"Location": location}

    fails(Raw(status=302, headers=headers), error=BadRequestError, gone=False)


@pytest.mark.each_wire_once
def test_unfinished_body_of_a_redirect_does_not_hang(fails):
    """A 302 whose page never ends."""
    raw = Raw(b"<html>", Stall(), status=302)

    fails(raw, error=BadRequestError, timeouts=Timeouts(5, 0.1, 5, 5))


@pytest.mark.each_wire_once
@pytest.mark.parametrize(
    "body",
    [
        f"Incorrect API key provided: {KEY}.".encode(),
        json.dumps({"error": {"message": f"Key {KEY}", "code": KEY, "type": KEY}}).encode(),
        json.dumps({"error": f"Bearer {KEY}"}).encode(),
        json.dumps({"detail": [{"loc": ["header"], "msg": KEY}]}).encode(),
        f"<h1>{KEY}</h1>".encode(),
        (KEY * 10_000).encode(),
        gzip.compress(KEY.encode()),
    ],
    ids=["text", "fields", "string", "detail", "page", "long", "compressed"],
)
def test_key_that_is_echoed_is_masked(fails, body):
    """Servers say what they were sent; `fails` looks into every field."""
    headers = {"Content-Encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {}
    headers["WWW-Authenticate"] = f'Bearer realm="api", error="{KEY}"'
    raw = Raw(body, status=401, headers=headers, framing="length")
    failure = fails(raw, error=AuthenticationError, gone=False).error

    assert "***" in str(failure)
    assert "***" in failure.body


@pytest.mark.one_lane
def test_key_that_json_writes_in_another_way_is_masked(serve):
    """A slash may have a backslash before it."""
    key = "sk-abcdefghijkl/mnop"
    body = json.dumps({"error": {"message": "no", "code": key, "type": f"t {key}"}}).encode()
    body = body.replace(b"/mnop", rb"\/mnop")
    server = serve(Raw(body, status=401, content_type="application/json"))

    with OpenAIClient("m", api_key=key, base_url=server.base_url) as client:
        with pytest.raises(AuthenticationError) as caught:
            client.send_message("hi")

    error = caught.value
    assert "mnop" not in f"{error} {error.code} {error.type} {error.body}"


@pytest.mark.each_wire_once
@pytest.mark.parametrize("status", [201, 202, 204, 205, 206])
def test_other_good_statuses_are_no_reply(fails, status):
    """204 and the like hold nothing that could be read."""
    raw = Raw(b"", status=status, content_type="text/plain", framing="length")
    failure = fails(raw, error=StreamProtocolError).error

    assert str(status) in str(failure)
    assert status == 204 or "text/plain" in str(failure)


@pytest.mark.each_wire_once
@pytest.mark.parametrize("status", [204, 304])
def test_body_of_a_status_without_one_is_not_the_next_reply(
    read, serve, make_client, no_backoff, status
):
    """It is sent all the same: before the next answer it is garbage, and that is asked for anew."""
    headers = {"Content-Length": "4"}
    bodiless = Raw(b"evil", status=status, framing="length", headers=headers)
    client = make_client(serve(bodiless, default="second"))
    first = read(client)

    assert first.error is not None
    assert read(client).text == "second"


BODIES = {
    "error a string": ({"error": "in a string"}, "in a string"),
    "message": ({"message": "plain message"}, "plain message"),
    "detail": ({"detail": "some detail"}, "some detail"),
    "detail, a list": (
        {"detail": [{"loc": ["body", "n"], "msg": "at least 1"}]},
        "body.n: at least 1",
    ),
    "errors": ({"errors": [{"message": "first of them"}]}, "first of them"),
    "in a list": ([{"error": {"message": "in a list"}}], "in a list"),
    "page": (b"<html><style>x{}</style><h1>Bad</h1> gateway</html>", "Bad gateway"),
    "page without end": (b"<html><script>x" + b"y" * 5000, "no explanation"),
    "text": (b"just words", "just words"),
    "not UTF-8": (b"\xff\xfe", "\ufffd"),
    "nothing": (b"", "no explanation"),
    "white space": (b" \r\n\t ", "no explanation"),
    "null": (None, "null"),
    "a number": (42, "42"),
    "empty list": ([], "[]"),
    "empty object": ({}, "{}"),
    "error null": ({"error": None}, "error"),
    "error empty": ({"error": {}}, "error"),
    "error a number": ({"error": 7}, "7"),
    "error a list": ({"error": ["one", "two"]}, "one"),
    "message null": ({"error": {"message": None, "code": "c7"}}, "c7"),
    "message an object": ({"error": {"message": {"text": "inside"}}}, "inside"),
    "message a list": ({"error": {"message": ["of lines"]}}, "of lines"),
    "message a number": ({"error": {"message": 5}}, "5"),
    "NUL": ({"error": {"message": "a\0b"}}, "a\0b"),
    "a lone surrogate": (b'{"error": {"message": "half \\ud83d"}}', "half \ufffd"),
    "an event": (b'event: error\ndata: {"error": {"message": "as an event"}}\n\n', "as an event"),
    "JSON that is cut": (b'{"error": {"message": "cut he', "cut he"),
    "JSON nested too deep": (b'{"a":' * 20_000, "a"),
    "a long number": (b'{"code": ' + b"9" * 10_000 + b', "message": "m"}', "9"),
    "code a list": ({"error": {"message": "m7", "code": [1, {"a": 2}]}}, "m7"),
    "type an object": ({"error": {"message": "m8", "type": {"a": 2}}}, "m8"),
    "code NaN": (b'{"error": {"message": "m9", "code": NaN}}', "m9"),
}


# What is made of a body does not depend on who reads.
@pytest.mark.each_wire_once
@pytest.mark.parametrize("body", BODIES)
def test_error_body_of_another_shape_gives_its_words(fails, body):
    """Gateways answer as they please; text always encodes to UTF-8."""
    sent, words = BODIES[body]
    data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    failure = fails(Raw(data, status=418), error=BadRequestError, gone=False).error

    assert words in str(failure)
    assert f"{failure} {failure.code} {failure.type} {failure.body}".encode()
    assert all(field is None or isinstance(field, str) for field in (failure.code, failure.type))


@pytest.mark.each_wire_once
def test_long_error_body_is_read_to_its_limit(fails):
    """Of 60 MB, 64 KiB are kept, and memory stays flat."""
    raw = Raw(*[b"x" * 65536] * 960, status=400)
    tracemalloc.start()
    try:
        failure = fails(raw, error=BadRequestError).error
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(failure.body) == 65536
    assert len(str(failure)) < 1000
    assert peak < 8_000_000


@pytest.mark.each_wire_once
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_error_body_that_does_not_decompress_keeps_the_status(fails, encoding):
    """Whatever the body is, the status is known."""
    raw = Raw(b"\xffno gzip", status=400, headers={"Content-Encoding": encoding})

    assert fails(raw, error=BadRequestError).error.status_code == 400


def test_compressed_error_body_is_read(fails, family):
    """As any other."""
    body = gzip.compress(json.dumps(family.refuse({"message": "squeezed"})).encode())
    raw = Raw(body, status=400, headers={"Content-Encoding": "gzip"}, framing="length")

    assert "squeezed" in str(fails(raw, error=BadRequestError, gone=False).error)


@responses.activate
@pytest.mark.one_lane
def test_whole_reply_by_send_message(make_client):
    """One JSON body, one Message."""
    responses.post("https://api.example.com/v1/chat/completions", body=openai_body(Reply("hello")))
    message = make_client("https://api.example.com").send_message("hi")

    assert (message.content, message.finish_reason) == ("hello", "stop")


@pytest.mark.each_wire_once
def test_key_goes_in_its_header_and_nowhere_else(read, serve, make_client):
    """Not in the URL, not in the body."""
    server = serve("hello")
    read(make_client(server))
    (request,) = server.requests

    assert [name for name, value in request.headers.items() if KEY in value] != []
    assert KEY[8:] not in f"{request.path}{request.body}"


@pytest.mark.each_wire_once
def test_refusal_is_one_of_the_family(fails, family):
    """Whoever catches APIError has all of it."""
    failure = fails(family.refusal(418), error=BadRequestError, gone=False).error

    assert isinstance(failure, APIError)
    assert isinstance(failure.body, str)
