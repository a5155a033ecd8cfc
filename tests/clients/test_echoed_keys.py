"""A server that sends the key back, wherever it likes: it is masked before anybody sees it."""

from __future__ import annotations

import base64
import copy
import http.client
import json
import logging
import pickle
import urllib.parse

import pytest

from cloudllm_sync import (
    ClaudeClient,
    CloudLLMError,
    ConfigurationError,
    GeminiClient,
    OpenAIClient,
    OpenAICompatibleClient,
    OpenAIResponsesClient,
    StreamInterrupted,
)
from cloudllm_sync.testing import Cut, Raw, Reply, error_reply

KEY = "sk-secret/0123+456789=abcdef"
PROMPT = "my-private-prompt"
BASIC = base64.b64encode(f"Bearer {KEY}".encode()).decode()
KINDS = [OpenAIClient, ClaudeClient, GeminiClient, OpenAIResponsesClient]


def escaped(pattern):
    return "".join(pattern % ord(char) for char in KEY)


def refusal(text, **options):
    return Raw(
        text.encode(),
        **{"status": 401, "content_type": "application/json", "framing": "length", **options},
    )


def said(text, **more):
    return json.dumps({"error": {"message": text, **more}})


def head(*lines, body="no"):
    """A whole answer, in its own words."""
    return Raw("\r\n".join([*lines, "", body]).encode(), framing="none")


OK = "HTTP/1.1 200 OK"
STREAM = "Content-Type: text/event-stream"
ANSWERS = {
    "plain": refusal(said(f"Incorrect API key provided: {KEY}. See {KEY}!")),
    "percent-encoded": refusal(said(f"see https://x.example/?key={urllib.parse.quote(KEY, '')}")),
    "all percent-encoded": refusal(said(escaped("%%%02x"))),
    "base64": refusal(said(f"Authorization: Basic {BASIC}")),
    "JSON escapes": refusal('{{"error": {{"message": "bad {}"}}}}'.format(escaped("\\u%04X"))),
    "JSON in JSON": refusal(said(json.dumps({"key": KEY.replace("/", "\\/")}))),
    "HTML": refusal(f"<p>bad <b>{escaped('&#%d;')}</b>", content_type="text/html"),
    "code and type": refusal(said("bad", code=KEY, type=f"wrong {KEY}")),
    "cut off at the message's limit": refusal("y " * 243 + KEY, content_type="text/plain"),
    "cut off in an odd shape": refusal(json.dumps({"error": {"a": "y " * 238 + KEY}})),
    "cut off at the body's limit": refusal(" " * (64 * 1024 - 20) + KEY, content_type="text/plain"),
    "a challenge": refusal("no", headers={"WWW-Authenticate": f'Bearer realm="{KEY}"'}),
    "request id": refusal(said("no"), headers={"x-request-id": f"req-{KEY}"}),
    "redirect": refusal("", status=307, headers={"Location": f"http://127.0.0.1:1/?{KEY}"}),
    "reason": head(f"HTTP/1.1 500 {KEY}", "Content-Length: 2"),
    "no status": head(f"HTTP/1.1 xyz {KEY}"),
    "no HTTP": head(f"Bearer {KEY}"),
    "no header": head(OK, STREAM, f"{KEY}", "X-More: 1"),
    "content type": refusal("no", status=202, content_type=f"text/{KEY}"),
    "content type of a reply": refusal("no", status=200, content_type=f"text/{KEY}"),
    "chunk size": head(OK, STREAM, "Transfer-Encoding: chunked", body=f"{KEY}\r\n"),
    "length": head(OK, STREAM, f"Content-Length: {KEY}"),
    "encoding": head(OK, STREAM, f"Content-Encoding: gzip, {KEY}", "Content-Length: 2"),
    "event": Reply("Hello", error={"message": f"bad {KEY}", "type": KEY, "code": KEY}),
    "first event": Raw(f"event: error\ndata: {said(f'bad {BASIC}')}\n\n".encode()),
    "broken event": Raw(f'data: {{"error": {{"message": "bad {KEY}\n\n'.encode()),
    "bare line": Raw(f"{said(f'bad {KEY}')}\n\n".encode()),
    "event's name": Raw(f'event: {KEY}\ndata: {{"a": 1}}\n\n'.encode(), Cut()),
}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def echoed(request, make, serve, ask, caplog):
    """Asks a server for an answer; gives the error, and what was logged meanwhile."""
    kind = request.param

    def fail(answer, **options):
        server = serve(default=answer)
        at = server.url if kind in (ClaudeClient, GeminiClient) else server.base_url
        client = make(kind=kind, base_url=at, api_key=KEY, **options)
        with caplog.at_level(logging.DEBUG), pytest.raises(CloudLLMError) as caught:
            ask(client)
        return caught.value, "".join(
            f"{record.getMessage()}{vars(record)}{record.exc_text}" for record in caplog.records
        )

    return fail


def ask_whole(client):
    client.send_message(PROMPT)


def ask_streamed(client):
    client.send_message_stream(PROMPT).result()


def ask_by_callbacks(client):
    client.start_message_stream(PROMPT).result(10)


@pytest.fixture(params=[ask_whole, ask_streamed, ask_by_callbacks], ids=lambda way: way.__name__)
def ask(request):
    """One of the three ways to ask."""
    return request.param


@pytest.mark.parametrize("place", ANSWERS)
def test_key_that_is_sent_back_is_nowhere(place, echoed, report_of, things_in):
    """Neither in words, fields, causes, pickles, copies, local variables, nor in any log."""
    error, logged = echoed(ANSWERS[place])

    copied = copy.deepcopy(error)
    shown = [str(error), repr(error), repr(vars(error)), repr(vars(copied)), report_of(error)]
    shown += [logged, pickle.dumps(error).decode("latin-1")]
    texts = [str(thing) for thing in things_in(error).values() if isinstance(thing, (str, bytes))]
    for text in [*shown, *texts]:
        for secret in (KEY, KEY[:14], urllib.parse.quote(KEY, ""), BASIC[12:24], escaped("%%%02x")):
            assert secret not in text
        assert PROMPT not in text


def test_request_id_of_a_stream_is_masked(make, serve):
    """Support is given it, in an open ticket."""
    reply = Reply("Hello", headers={"x-request-id": f"req-{KEY}"})

    with make(serve(reply), api_key=KEY).send_message_stream("hi") as stream:
        shown = stream.request_id

    assert shown == "req-***"


HEADERS = {
    "AUTHORIZATION": "Bearer other-secret-0123",
    "Proxy-Authorization": "Basic other-secret-0123",
    "cookie": "theme=dark; sid=other-secret-0123",
    "X-Api-Key": "other-secret-0123",
    "api-KEY": "other-secret-0123",
    "x-goog-api-key": "other-secret-0123",
    "cf-access-client-secret": "other-secret-0123",
    "Helicone-Auth": "Bearer other-secret-0123",
    "X-Token": "other-secret-0123",
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("api_key", [KEY, None])
def test_key_in_a_header_of_ones_own_is_masked(make, serve, name, kind, api_key, report_of):
    """A gateway's, in any letter case; with and without a key of the provider's."""
    if api_key is None:
        kind = OpenAICompatibleClient
    server = serve(default=lambda sent: error_reply(401, f"not {dict(sent.headers)}"))
    at = server.url if kind in (ClaudeClient, GeminiClient) else server.base_url
    client = make(kind=kind, base_url=at, api_key=api_key, headers={name: HEADERS[name]})

    with pytest.raises(CloudLLMError) as caught:
        ask_whole(client)

    shown = f"{report_of(caught.value)}{vars(caught.value)}{vars(client)!r}"
    assert "other-secret-0123" not in shown
    assert KEY not in shown


def test_debuglevel_of_http_client_prints_nothing(make, serve, monkeypatch, capsys):
    """It is set for the whole process, for another library say, and prints every header."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    ask_whole(make(serve("Hello"), api_key=KEY))

    printed = capsys.readouterr()

    assert printed.out + printed.err == ""


PASSWORD = "proxy-hunter2"


@pytest.mark.parametrize(
    "proxy",
    [
        "ftp://me:{}@127.0.0.1:1",
        "http://me:{}@127.0.0.1:99999",
        "http://me:{}@127.0.0.1:0",
        "http://me:{}@",
        "http://me:{}@bad host",
        "http://me:{}\r\n@127.0.0.1:1",
        "http://me:a/{}@127.0.0.1:1",
        "http://me:a#{}@127.0.0.1:1",
        "http://me:{}@[::1",
        b"http://me:{}@127.0.0.1:1",
    ],
)
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_proxy_that_cannot_be_read_is_refused(make, proxy, way, monkeypatch, report_of):
    """When the client is made; it was shown by the first request's error, if that was one."""
    proxy = proxy.replace(
        *(part if isinstance(proxy, str) else part.encode() for part in ("{}", PASSWORD))
    )
    options = {"proxies": {"https": proxy}}
    if way == "environment":
        proxy = proxy if isinstance(proxy, str) else "http://me:" + PASSWORD + "@:1"
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        options = {}

    with pytest.raises(ConfigurationError, match="proxy") as caught:
        make(base_url="https://far.invalid/v1", **options)

    assert PASSWORD not in report_of(caught.value)


@pytest.mark.parametrize("scheme", ["http://", ""])
@pytest.mark.parametrize("target", ["https", "http"])
def test_password_of_a_proxy_is_nowhere(make, serve, scheme, target, report_of, caplog):
    """The proxy says it back, in clear and as it was sent; to CONNECT, and to a plain request."""
    sent = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    proxy = serve(default=error_reply(403, f"no {PASSWORD} {sent}"))
    address = f"{scheme}me:{PASSWORD.replace('-', '%2D')}@{proxy.url[len('http://') :]}"
    at = f"{target}://far.invalid/v1"
    client = make(base_url=at, proxies={target: address}, allow_http=True)

    with caplog.at_level(logging.DEBUG), pytest.raises(CloudLLMError, match="403") as caught:
        ask_whole(client)

    shown = f"{report_of(caught.value)}{vars(caught.value)}{vars(client)!r}{caplog.text}"
    assert PASSWORD not in shown
    assert sent[8:] not in shown


def test_key_that_the_limit_of_a_message_cuts_is_masked_before(make, serve):
    """So few characters of it are left that nobody would know them for a key's."""
    answer = refusal("y " * 246 + KEY, content_type="text/plain")

    with pytest.raises(CloudLLMError) as caught:
        ask_whole(make(serve(answer), api_key=KEY))

    assert "y *** (check the key" in str(caught.value)


def test_unused_variables_of_proxies_are_not_read(make, serve, monkeypatch):
    """Only the one that serves this address has to be right."""
    monkeypatch.setenv("HTTP_PROXY", "http://[::1")
    monkeypatch.setenv("NO_PROXY", "localhost,[::1,10.0.0.0/8")

    assert make(base_url="https://far.invalid/v1").model_name == "gpt-5"


def test_reply_is_handed_on_as_it_came(make, serve):
    """What the model says is the caller's, the key in it, too: `partial` is the same text."""
    chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": KEY}}]})
    client = make(serve(Raw(f"data: {chunk}\n\n".encode(), Cut())), api_key=KEY)

    with pytest.raises(StreamInterrupted) as caught:
        ask_streamed(client)

    assert caught.value.partial.content == KEY
    assert KEY not in str(caught.value)
