"""Refusals of every shape: the class, the message, and what is said about retrying."""

from __future__ import annotations

import json
import time

import pytest

from cloudllm_sync.codecs.error_bodies import error_from_body, error_from_json, find_error
from cloudllm_sync.errors import (
    AuthenticationError,
    BadRequestError,
    ContextLengthError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)


def refused(status, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_from_body("Acme", status, data)


def said(message="boom", **fields):
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("status", "expected", "retryable"),
    [
        (302, BadRequestError, False),
        (400, BadRequestError, False),
        (401, AuthenticationError, False),
        (402, QuotaExceededError, False),
        (403, AuthenticationError, False),
        (404, BadRequestError, False),
        (405, BadRequestError, False),
        (408, ServerError, True),
        (409, BadRequestError, False),
        (413, BadRequestError, False),
        (415, BadRequestError, False),
        (422, BadRequestError, False),
        (429, RateLimitError, True),
        (500, ServerError, True),
        (501, ServerError, False),
        (502, ServerError, True),
        (503, ServerError, True),
        (504, ServerError, True),
        (529, ServerError, True),
    ],
)
def test_status_says_the_class_and_whether_to_retry(status, expected, retryable):
    """Where the body says nothing more."""
    error = refused(status, said())

    assert expected is type(error)
    assert retryable == error.retryable
    assert status == error.status_code
    assert f"Acme answered with status {status}: boom" in str(error)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, said("This model's maximum context length is 8 tokens"), ContextLengthError),
        (400, said("prompt is too long: 9 tokens > 8 maximum"), ContextLengthError),
        (400, said("It exceeds the maximum number of tokens allowed"), ContextLengthError),
        (400, said(type="too_many_prompt_tokens"), ContextLengthError),
        (400, said(code="context_length_exceeded"), ContextLengthError),
        (413, said("prompt is too long"), ContextLengthError),
        (422, said("prompt is too long"), ContextLengthError),
        (500, said("prompt is too long"), ServerError),
        (400, {"code": "x", "error": "Incorrect API key provided: xai-***"}, AuthenticationError),
        (400, said("API key not valid. Please pass a valid API key."), AuthenticationError),
        (400, said(code="invalid_api_key"), AuthenticationError),
        (400, said(code="content_filter", status=400), BadRequestError),
        (429, said(code="insufficient_quota"), QuotaExceededError),
        (429, said(type="insufficient_quota"), QuotaExceededError),
        (429, said(code="billing_hard_limit_reached"), QuotaExceededError),
        (429, said(code="rate_limit_exceeded"), RateLimitError),
    ],
)
def test_body_narrows_the_class(status, body, expected):
    """Context lengths, quotas, and wrong keys that are reported as bad requests."""
    error = refused(status, body)

    assert expected is type(error)
    assert not (error.retryable and isinstance(error, QuotaExceededError))


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (refused(401, said()), "check the key and what it may use"),
        (refused(400, said("prompt is too long")), "send a shorter conversation"),
        (refused(402, said()), "check plan and billing"),
        (refused(429, said()), "send fewer requests, or wait"),
    ],
)
def test_message_says_what_to_do(error, hint):
    """After the provider's own words."""
    assert str(error).endswith(f"({hint})")


@pytest.mark.parametrize(
    "body",
    [
        said(),
        {"error": "boom"},
        {"message": "boom", "request_id": "r"},
        {"detail": "boom"},
        {"detail": [{"msg": "boom"}]},
        {"detail": {"message": "boom"}},
        {"detail": {"msg": "boom"}},
        {"errors": [{"message": "boom"}]},
        {"errors": ["boom"]},
        {"error": True, "message": "boom"},
        {"error": None, "message": "boom"},
        {"error": {}, "message": "boom"},
        {"error": {"detail": "boom"}},
        {"object": "error", "message": "boom"},
        {"statusCode": 400, "message": "boom"},
        [said()],
        [{"message": "boom"}],
        b"boom",
        b" \n boom \n",
        b"<html><head><style>p {}</style><script>x<y</script></head><p>boom</p></html>",
        b'data: {"error":{"message":"boom"}}\n\n',
        b'event: error\r\ndata: {"error":\r\ndata: {"message":"boom"}}\r\n\r\n',
    ],
)
def test_message_is_found_in_every_shape(body):
    """Objects, arrays, text, pages, events."""
    assert str(refused(400, body)) == "Acme answered with status 400: boom"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"detail": [{"loc": ["body", 0], "msg": "no"}, {"msg": "bad"}]}, "body.0: no; bad"),
        ({"detail": [{"loc": "body", "msg": "no"}]}, "body: no"),
        ({"detail": [{"loc": 5, "msg": "no"}, "odd"]}, "5: no"),
        ({"detail": [{"loc": ["\ud83c"], "msg": "\udf27"}]}, "\ufffd: \ufffd"),
        (said("\ud83c"), "\ufffd"),
        ({"error": "\ud83c"}, "\ufffd"),
        ({"error": {"reason": "no"}}, '{"reason": "no"}'),
        ({"error": ["no"]}, '["no"]'),
        ({"error": 7}, "7"),
        ('data: {"error":{"message":"a\u2028b"}}'.encode(), "a\u2028b"),
        (b"", "no explanation"),
        (b"<html></html>", "no explanation"),
        (b"<script>never closed", "no explanation"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 60_000, "[" * 500),
        ([], "[]"),
        ({"errors": []}, '{"errors": []}'),
        ({"detail": 5.5}, "5.5"),
        ({"detail": None}, '{"detail": null}'),
        (b"a" * 1000, "a" * 500),
        (5, "5"),
    ],
)
def test_odd_bodies_are_told_as_they_are(body, message):
    """Shortened, without markup, and always as text that encodes."""
    error = refused(400, body)

    assert str(error).encode().decode() == f"Acme answered with status 400: {message}"


@pytest.mark.parametrize(
    ("body", "code", "kind"),
    [
        (said(code="c", type="t"), "c", "t"),
        (said(code=1300), "1300", None),
        (said(code="", type=None), None, None),
        (said(code=True, type=["t"]), None, None),
        (said(status="RESOURCE_EXHAUSTED", code=429), "429", "RESOURCE_EXHAUSTED"),
        ({"code": "c", "type": "t", "error": "boom"}, "c", "t"),
        ({"code": "c", "type": "t", "message": "boom"}, "c", "t"),
        (b"boom", None, None),
    ],
)
def test_code_and_type_are_text(body, code, kind):
    """Numbers in codes are as good; empty is none."""
    error = refused(400, body)

    assert (error.code, error.type) == (code, kind)


def test_body_is_kept_as_it_came():
    """For whoever has to talk to the provider's support."""
    assert refused(400, b'{"error": "boom",  "x": 1}').body == '{"error": "boom",  "x": 1}'


@pytest.mark.parametrize("piece", [b"<", b"<script", b"<style>", b"</", b"<a "])
def test_page_of_unclosed_tags_takes_no_time(piece):
    """64 KiB, the most that is read, in a few milliseconds."""
    began = time.process_time()
    refused(500, piece * (65536 // len(piece)))

    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("body", "expected", "retryable"),
    [
        (said(), ServerError, False),
        (said("The model is overloaded"), ServerError, True),
        (said("blocked", type="moderation"), ServerError, False),
        (said(type="overloaded_error"), ServerError, True),
        (said(type="server_error"), ServerError, True),
        (said(type="rate_limit_error"), RateLimitError, True),
        (said(status="RESOURCE_EXHAUSTED"), RateLimitError, True),
        (said(code="insufficient_quota"), QuotaExceededError, False),
        (said(type="billing_error"), QuotaExceededError, False),
        (said(type="authentication_error"), AuthenticationError, False),
        (said(type="permission_error"), AuthenticationError, False),
        (said(type="invalid_request_error"), BadRequestError, False),
        (said(type="not_found_error"), BadRequestError, False),
        (said("prompt is too long"), ContextLengthError, False),
        (said(code=401), AuthenticationError, False),
        (said(code="429"), RateLimitError, True),
        (said(code=503), ServerError, True),
        (said(status=400), BadRequestError, False),
        (said(status_code=500, code=1300), ServerError, True),
        ({"error": "boom", "status_code": 429}, RateLimitError, True),
        ({"object": "error", "message": "boom", "code": 404}, BadRequestError, False),
    ],
)
def test_error_inside_a_reply_is_classed_by_what_it_names(body, expected, retryable):
    """Its own status if it has one, else type and code; what is unknown is the server's fault."""
    error = error_from_json("Acme", body)

    assert expected is type(error)
    assert retryable == error.retryable
    assert str(error).startswith("Acme reported an error: ")


def test_error_nested_too_deep_to_be_shown_is_still_an_error():
    """json.loads can go deeper than json.dumps."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    error = error_from_json("Acme", {"error": deep, "message": "boom"})

    assert str(error) == "Acme reported an error: boom"
    assert error.body == "something nested too deep to be shown"


@pytest.mark.parametrize(
    "body",
    [
        None,
        5,
        "error",
        [],
        [[]],
        {},
        {"error": None},
        {"error": ""},
        {"error": {}},
        {"error": False},
        {"message": "boom"},
        {"detail": "boom"},
        {"object": "error"},
        {"object": "error", "message": ""},
    ],
)
def test_what_is_no_error_is_none(body):
    """Inside a reply only the plain shapes count: a `message` may be anything."""
    assert find_error(body) is None
    assert error_from_json("Acme", body) is None


@pytest.mark.parametrize(
    ("details", "cls", "wait_s"),
    [
        ([{"reason": "API_KEY_INVALID"}], AuthenticationError, None),
        ([{"@type": "x.RetryInfo", "retryDelay": "31s"}], BadRequestError, 31.0),
        ([{"retryDelay": "1.5s"}, {"reason": "other"}], BadRequestError, 1.5),
        ([{"retryDelay": "soon"}, "nothing", None], BadRequestError, None),
        ("nothing", BadRequestError, None),
    ],
)
def test_details_of_google_tell_reason_and_wait(details, cls, wait_s):
    """Google names a wrong key, and how long to wait, beside the message only."""
    body = {"error": {"code": 400, "message": "API key expired", "details": details}}

    error = error_from_body("Gemini", 400, json.dumps(body).encode())

    assert (type(error), error.retry_after_s) == (cls, wait_s)


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 399])
def test_redirect_says_that_it_is_not_followed(status):
    """Nobody sees that from "302"."""
    error = error_from_body("OpenAI", status, b"<html>Moved</html>")

    assert f"answered with status {status}: " in str(error)
    assert str(error).endswith("(redirects are not followed: check base_url)")


@pytest.mark.parametrize("status", [400, 404, 500])
def test_other_refusals_say_nothing_of_redirects(status):
    """They are none."""
    assert "redirect" not in str(error_from_body("OpenAI", status, b"no"))
