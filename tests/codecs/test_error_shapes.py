"""The refusals of wire/WIRE.md, provider by provider, and what bodies can be beside them."""

from __future__ import annotations

import json
import time

import pytest

from cloudllm_sync.codecs.error_bodies import error_from_body, error_from_json
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


def openai(message, code=None, kind="invalid_request_error"):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


TOO_LONG = "This model's maximum context length is 8 tokens. However, you requested 9."
INVALID = "invalid_request_error"
LOCATED = [{"loc": ["body", "messages", 0], "msg": "Field required", "type": "missing"}]
FILTERED = {
    "error": {
        "code": "content_filter",
        "message": "boom",
        "param": "prompt",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
    }
}
GOOGLE = {
    "error": {
        "code": 429,
        "message": "boom",
        "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "x.RetryInfo", "retryDelay": "31s"}],
    }
}
GOOGLE_KEY = {
    "error": {
        "code": 400,
        "message": "boom",
        "status": "INVALID_ARGUMENT",
        "details": [{"reason": "API_KEY_INVALID"}],
    }
}
XAI_KEY = "Incorrect API key provided: xa***ey. You can obtain an API key from the console."

# Each: status, body; class, words, code, type.
SHAPES = {
    "OpenAI, key": (401, openai("boom", "invalid_api_key"), AuthenticationError, "boom",
                    "invalid_api_key", INVALID),
    "OpenAI, length": (400, openai(TOO_LONG, "context_length_exceeded"), ContextLengthError,
                       TOO_LONG, "context_length_exceeded", INVALID),
    "OpenAI, parameter": (400, openai("boom", "unsupported_parameter"), BadRequestError, "boom",
                          "unsupported_parameter", INVALID),
    "OpenAI, model": (404, openai("boom", "model_not_found"), BadRequestError, "boom",
                      "model_not_found", INVALID),
    "OpenAI, rate": (429, openai("boom", "rate_limit_exceeded", "requests"), RateLimitError,
                     "boom", "rate_limit_exceeded", "requests"),
    "OpenAI, quota": (429, openai("boom", "insufficient_quota", "insufficient_quota"),
                      QuotaExceededError, "boom", "insufficient_quota", "insufficient_quota"),
    "OpenAI, server": (500, openai("boom", None, "server_error"), ServerError, "boom", None,
                       "server_error"),
    "xAI, key": (400, {"code": "invalid-argument", "error": XAI_KEY}, AuthenticationError,
                 XAI_KEY, "invalid-argument", None),
    "xAI, object": (404, {"error": {"message": "boom"}}, BadRequestError, "boom", None, None),
    "OpenRouter": (429, {"error": {"code": 429, "message": "boom"}, "user_id": "u"},
                   RateLimitError, "boom", "429", None),
    "OpenRouter, credit": (402, {"error": {"code": 402, "message": "boom"}}, QuotaExceededError,
                           "boom", "402", None),
    "OpenRouter, time": (408, {"error": {"code": 408, "message": "boom"}}, ServerError, "boom",
                         "408", None),
    "DeepSeek, balance": (402, openai("Insufficient Balance", "invalid_request_error", "unknown"),
                          QuotaExceededError, "Insufficient Balance", INVALID, "unknown"),
    "Mistral, key": (401, {"detail": "Invalid API Key"}, AuthenticationError, "Invalid API Key",
                     None, None),
    "Mistral, gateway": (401, {"message": "Unauthorized", "request_id": "r"}, AuthenticationError,
                         "Unauthorized", None, None),
    "Mistral, rate": (429, {"object": "error", "message": "boom", "type": "rate_limited",
                            "param": None, "code": "1300"}, RateLimitError, "boom", "1300",
                      "rate_limited"),
    "Mistral, field": (422, {"detail": LOCATED}, BadRequestError,
                       "body.messages.0: Field required", None, None),
    "Mistral, field in the message": (422, {"object": "error", "message": {"detail": LOCATED},
                                            "type": INVALID, "code": None}, BadRequestError,
                                      "body.messages.0: Field required", None, INVALID),
    "Perplexity": (401, {"error": {"message": "boom", "type": "invalid_api_key", "code": 401}},
                   AuthenticationError, "boom", "401", "invalid_api_key"),
    "Perplexity, length": (400, {"error": {"message": "boom", "type": "too_many_prompt_tokens",
                                           "code": 400}}, ContextLengthError, "boom", "400",
                           "too_many_prompt_tokens"),
    "Azure, filter": (400, FILTERED, BadRequestError, "boom", "content_filter", "400"),
    "Azure, key": (401, {"error": {"code": "401", "message": "boom"}}, AuthenticationError,
                   "boom", "401", None),
    "Azure, gateway": (401, {"statusCode": 401, "message": "boom"}, AuthenticationError, "boom",
                       None, None),
    "Azure, deployment": (404, {"error": {"code": "DeploymentNotFound", "message": "boom"}},
                          BadRequestError, "boom", "DeploymentNotFound", None),
    "Azure, rate": (429, {"error": {"code": "RateLimitReached", "message": "boom"}},
                    RateLimitError, "boom", "RateLimitReached", None),
    "Anthropic": (529, {"type": "error", "error": {"type": "overloaded_error", "message": "boom"}},
                  ServerError, "boom", None, "overloaded_error"),
    "Anthropic, length": (400, {"type": "error", "error": {
        "type": INVALID, "message": "prompt is too long: 9 tokens > 8 maximum"}},
        ContextLengthError, "prompt is too long: 9 tokens > 8 maximum", None, INVALID),
    "Gemini": (429, GOOGLE, RateLimitError, "boom", "429", "RESOURCE_EXHAUSTED"),
    "Gemini, in an array": (429, [GOOGLE], RateLimitError, "boom", "429", "RESOURCE_EXHAUSTED"),
    "Gemini, key": (400, GOOGLE_KEY, AuthenticationError, "boom", "400", "INVALID_ARGUMENT"),
    "Ollama": (404, {"error": "boom"}, BadRequestError, "boom", None, None),
    "a list of errors": (400, {"errors": [{"message": "boom"}]}, BadRequestError, "boom", None,
                         None),
    "a problem's title": (500, {"type": "about:blank", "title": "boom"}, ServerError, "boom",
                          None, "about:blank"),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body", "cls", "words", "code", "kind"), SHAPES.values(),
                         ids=SHAPES)  # fmt: skip
def test_refusal_of_a_provider_is_understood(status, body, cls, words, code, kind):
    """Class, words, code and type, as the provider's section has them."""
    error = refused(status, body)

    assert type(error) is cls
    assert str(error).startswith(f"Acme answered with status {status}: {words}")
    assert (error.code, error.type, error.status_code) == (code, kind, status)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "one", "detail": "two"}, "message": "three"}, "one"),
        ({"error": "two", "message": "three"}, "two"),
        ({"error": {"code": 7}, "message": "three", "detail": "four"}, "three"),
        ({"error": {"code": 7}, "detail": "four"}, "four"),
        ({"message": "three", "detail": "four", "errors": ["five"]}, "three"),
        ({"message": None, "detail": "four", "errors": ["five"]}, "four"),
        ({"message": "", "detail": None, "errors": [{"message": "five"}, "six"]}, "five"),
        ({"error": {"message": "", "code": None}, "message": "three"}, "three"),
        ([{"message": "three"}, {"error": "no"}], "three"),
        ([[{"error": {"message": "one"}}]], "one"),
        (["first", "second"], "first"),
        ("just text", "just text"),
        ('{"error":{"message":"one"}}', "one"),
        ({"message": {"message": "deep"}}, "deep"),
        ({"error": {"message": {"error": {"message": "deep"}}}}, "deep"),
        ({"error": {"error": {"message": "deep"}}}, "deep"),
        ({"detail": ["one", "two"]}, "one; two"),
        ({"detail": [{"loc": ["a"], "message": "no"}]}, "a: no"),
        ({"detail": {"error": {"message": "deep"}}}, "deep"),
        ("\ufeff{}".encode(), "{}"),
        ('\ufeff{"error":"boom"}'.encode(), "boom"),
        (b'\n\n\n{"error":"boom"}', "boom"),
        (b'{"error":"boom"}\n{"error":"again"}', "boom"),
        (b'{"error":"boom"} and more', "boom"),
        (b'event: error\ndata: {"error":"boom"}\n\ndata: [DONE]\n\n', "boom"),
        (b': hello\n\ndata: {"id":1}\n\ndata: {"error":"boom"}\n\n', "boom"),
        (b"a < b and b > c", "a < b and b > c"),
        (b"null", "null"),
        (b"true", "true"),
        (b"-1.5", "-1.5"),
        (b"[5]", "[5]"),
        (b'""', '""'),
        (b"\r\n \t", "no explanation"),
    ],
)  # fmt: skip
def test_words_are_found_in_the_order_of_the_wire(body, words):
    """The error's own message first, the body itself last; whatever wraps them."""
    assert str(refused(500, body)) == f"Acme answered with status 500: {words}"


def provider_returned(raw, name="Anthropic", message="Provider returned error"):
    return {
        "error": {
            "message": message,
            "code": 429,
            "metadata": {"raw": raw, "provider_name": name},
        },
        "user_id": "u",
    }


RAW = '{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (provider_returned(RAW), "Provider returned error (Anthropic: slow down)"),
        (provider_returned(json.loads(RAW)), "Provider returned error (Anthropic: slow down)"),
        (provider_returned(RAW, None), "Provider returned error (slow down)"),
        (provider_returned(" slow \n down "), "Provider returned error (Anthropic: slow down)"),
        (
            provider_returned("<html><title>502 Bad Gateway</title>...</html>"),
            "Provider returned error (Anthropic: 502 Bad Gateway)",
        ),
        (provider_returned("slow", message="go slow"), "go slow"),
        (provider_returned(""), "Provider returned error"),
        (provider_returned(None), "Provider returned error"),
        (provider_returned(5), "Provider returned error"),
        (provider_returned({}), "Provider returned error"),
        ({"error": {"message": "boom", "metadata": "odd"}}, "boom"),
        ({"error": {"message": "boom", "metadata": []}}, "boom"),
    ],
)
def test_error_of_the_provider_behind_openrouter_is_told(body, words):
    """`Provider returned error` alone helps nobody; what it returned is JSON text, or any text."""
    whole, streamed = refused(500, body), error_from_json("Acme", body)

    assert str(whole) == f"Acme answered with status 500: {words}"
    assert f"reported an error: {words}" in str(streamed)


def test_error_of_the_provider_behind_openrouter_is_classed():
    """A context length that only the upstream's own words name."""
    raw = json.dumps({"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}})

    assert type(refused(400, provider_returned(raw))) is ContextLengthError


def test_what_is_quoted_of_a_provider_is_bounded():
    """As is every body that is told as it is."""
    assert len(str(refused(500, provider_returned("x" * 60_000)))) < 700


PAGE = (
    "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
    "<title>\n  api.example.com | 502: Bad gateway &amp; more\n</title>"
    "<style>p {color: red}</style>"
    "</head><body><p>" + "words " * 500 + "</p></body></html>"
)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (PAGE, "api.example.com | 502: Bad gateway & more"),
        (PAGE.upper().replace("&AMP;", "&amp;"), "API.EXAMPLE.COM | 502: BAD GATEWAY & MORE"),
        ("\ufeff \n" + PAGE, "api.example.com | 502: Bad gateway & more"),
        (
            "<html><head><title>503</title></head><body><h1>503</h1>nginx</body></html>",
            "503",
        ),
        (
            "<html><head><title>Error</title></head><body><pre>Cannot POST /v1</pre></html>",
            "Error Cannot POST /v1",
        ),
        ("<html><head><title></title></head><body>boom &lt;1&gt;</body></html>", "boom <1>"),
        ("<html><body><h1>boom</h1></body></html>", "boom"),
        ("<html><title>boom", "boom"),
        ("<?xml version='1.0'?><Error><Code>7</Code><Message>boom</Message></Error>", "7 boom"),
        ("<html><body>" + "a" * 1000, "a" * 500),
        ("<title>" + "a" * 1000, "a" * 500),
    ],
)
def test_page_is_told_by_its_title(page, words):
    """Not by its markup; by its words where the title says nothing."""
    error = refused(502, page.encode())

    assert str(error) == f"Acme answered with status 502: {words}"
    assert error.body == page


@pytest.mark.parametrize(
    "body",
    [
        b"<title>" * 9_000,
        b"<title " * 9_000,
        b"<title>a" * 8_000,
        b"data: {\n\n" * 7_000,
        b"data: [\n" * 8_000,
        b"[" * 65_000,
        b'{"error":' * 7_000,
        b'"' * 65_000,
        json.dumps({"error": {"message": "a", "metadata": {"raw": "<title>" * 9_000}}}).encode(),
        json.dumps({"detail": [{"loc": ["a"] * 50, "msg": "b"}] * 200}).encode(),
        json.dumps({"detail": ["a"] * 15_000}).encode(),
    ],
    ids=range(11),
)
def test_hostile_body_of_64_kib_takes_no_time(body):
    """The most that is read; the CPU of it, against that of a body of 4 KiB."""
    large, small = (min(cpu_of(body[:size]) for _ in range(5)) for size in (65_536, 4_096))

    assert large < 100 * small + 0.05


def cpu_of(body):
    began = time.process_time()
    refused(500, body)
    return time.process_time() - began


@pytest.mark.parametrize(
    "error", [{"code": "", "message": ""}, {"message": None}, {"message": "", "details": []}]
)
def test_error_object_that_says_nothing_is_no_error(error):
    """Absent, null, empty: all the same, in good chunks too."""
    assert error_from_json("Acme", {"error": error, "choices": []}) is None
