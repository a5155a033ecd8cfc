"""Keys and prompts are in nothing that may end up in a log, a pickle or an error report."""

from __future__ import annotations

import copy
import logging
import pickle

import pytest
import requests
import urllib3

from cloudllm_sync import (
    APIError,
    AuthenticationError,
    CloudLLMError,
    ConnectError,
    FallbackClient,
    LLMSession,
    OpenAICompatibleClient,
    RequestTimeoutError,
    StreamInterrupted,
    Timeouts,
)
from cloudllm_sync.testing import Cut, Raw, Reply, Reset, Stall, error_reply

PROMPT = "my-private-prompt"


def ask_whole(client):
    """Nothing but the client is in this frame: the SDK's own frames are looked at."""
    client.send_message(PROMPT)


def ask_streamed(client):
    """As above."""
    with client.send_message_stream(PROMPT) as stream:
        for _ in stream:
            pass


def ask_by_callbacks(client):
    """As above."""
    client.start_message_stream(PROMPT).result(10)


@pytest.fixture(params=[ask_whole, ask_streamed, ask_by_callbacks], ids=lambda way: way.__name__)
def ask(request):
    """One of the three ways to ask."""
    return request.param


@pytest.fixture(
    params=[
        "refused",
        "reset",
        "garbage",
        "cut",
        "reset in the body",
        "stalled head",
        "stalled body",
        "status",
        "echo",
        "redirect",
        "TLS",
        "proxy",
        "name",
        "bad chunk",
    ]
)
def failing(request, make, serve, server_tls, key):
    """A client whose every request fails in one of the ways there are."""
    fault = request.param
    soon = Timeouts(first_chunk_s=0.05, idle_s=0.05)
    if fault == "refused":
        gone = serve()
        gone.close()
        return make(gone)
    if fault == "TLS":
        return make(serve(ssl_context=server_tls))
    if fault == "proxy":
        proxy = serve(default=error_reply(403, "no"))
        return make(base_url="https://far.invalid/v1", proxies={"https": proxy.url})
    if fault == "name":
        return make(base_url="https://far-away.invalid/v1")
    answers = {
        "reset": Raw(before_headers=(Reset(),)),
        "garbage": Raw(b"garbage\r\n\r\n", framing="none"),
        "cut": Raw(b"data: {", Cut()),
        "reset in the body": Raw(b"data: {", Reset()),
        "stalled head": Raw(before_headers=(Stall(),)),
        "stalled body": Raw(b": hold on\n\n", Stall()),
        "status": error_reply(500, "sorry"),
        "echo": lambda sent: error_reply(
            401, f"Incorrect API key provided: {sent.headers['authorization']}"
        ),
        "redirect": Raw(status=307, headers={"Location": "http://127.0.0.1:1/"}, framing="length"),
        "bad chunk": Raw(b"xyz\r\n", framing="none", before_headers=()),
    }
    return make(serve(default=answers[fault]), timeouts=soon)


def test_errors_hold_no_request_and_no_key(failing, ask, key, things_in):
    """Neither they, nor what caused them, nor anything that can be reached from there."""
    with pytest.raises(CloudLLMError) as caught:
        ask(failing)

    reached = things_in(caught.value).values()
    kinds = (
        requests.PreparedRequest,
        requests.Request,
        requests.Response,
        requests.RequestException,
        urllib3.HTTPConnectionPool,
        urllib3.connection.HTTPConnection,
        urllib3.BaseHTTPResponse,
        urllib3.exceptions.HTTPError,
    )
    assert [thing for thing in reached if isinstance(thing, kinds)] == []
    texts = [thing for thing in reached if isinstance(thing, str)]
    texts += [thing.decode("latin-1") for thing in reached if isinstance(thing, bytes)]
    assert [text for text in texts if key in text or PROMPT in text] == []


def test_reports_with_local_variables_show_no_key_and_no_prompt(failing, ask, key, report_of):
    """As Sentry and the like make them: every frame's locals, of every error in the chain."""
    with pytest.raises(CloudLLMError) as caught:
        ask(failing)

    shown = report_of(caught.value)
    assert "self = " in shown
    assert key not in shown
    assert PROMPT not in shown


def test_reports_of_a_fallback_show_no_key_and_no_prompt(failing, ask, key, report_of):
    """All of its clients have failed."""
    with pytest.raises(CloudLLMError) as caught:
        ask(FallbackClient([failing, failing]))

    shown = report_of(caught.value)
    assert "self = " in shown
    assert key not in shown
    assert PROMPT not in shown


def test_every_fault_is_told_as_what_it_is(failing, ask):
    """The faults above are those that they are meant to be, not mistakes of these tests."""
    kinds = (ConnectError, RequestTimeoutError, APIError, StreamInterrupted)

    with pytest.raises(kinds):
        ask(failing)


def test_echoed_key_is_masked(make, serve, key):
    """A server that repeats the key in its refusal; message and body are masked."""
    body = f"Incorrect API key provided: {key}. It is {key}!"

    with pytest.raises(AuthenticationError) as caught:
        make(serve(error_reply(401, body))).send_message("hi")

    assert key not in str(caught.value) + caught.value.body
    assert "***" in str(caught.value)
    assert "***" in caught.value.body


def test_key_echoed_inside_a_stream_is_masked(make, serve, key):
    """An error event is an error body as well."""
    reply = Reply("Hello", error={"message": f"bad key {key}", "type": "server_error"})

    with pytest.raises(CloudLLMError) as caught:
        make(serve(reply)).send_message_stream("hi").result()

    assert key not in str(caught.value) + caught.value.body


@pytest.mark.parametrize("show", [repr, str, lambda client: repr(vars(client))])
def test_client_does_not_show_its_key(make, serve, kind, key, show):
    """Printed by mistake, or by a debugger; before and after its first request."""
    client = make(serve("Hello"), kind, headers={"X-Token": "hunter2"})

    before = show(client)
    client.send_message("hi")

    for shown in (before, show(client)):
        assert key not in shown
        assert "hunter2" not in shown


def test_parts_of_a_client_do_not_show_the_key(make, serve, key, things_in):
    """Whatever can be reached from it and has a repr."""
    client = make(serve("Hello"))
    client.send_message("hi")

    keepers = [
        type(thing).__name__
        for thing in things_in(client).values()
        if not isinstance(thing, (str, bytes)) and key in repr(thing)
    ]

    assert keepers == []


@pytest.mark.parametrize("copying", [pickle.dumps, copy.deepcopy, copy.copy])
def test_client_does_not_pickle(make, serve, kind, copying):
    """Its key would be written down; its connections are no use elsewhere."""
    client = make(serve(), kind)
    if copying is copy.copy:
        assert copying(client).model_name == "gpt-5"
        return

    with pytest.raises(
        TypeError, match=f"{kind.__name__} holds a key .* make one where it is used"
    ):
        copying(client)


def test_client_without_a_key_does_not_pickle(make, serve):
    """The same for all."""
    with pytest.raises(TypeError):
        pickle.dumps(make(serve(), OpenAICompatibleClient, api_key=None))


def test_stream_and_session_do_not_pickle(make, serve):
    """They hold the client."""
    client = make(serve("Hello"))

    with client.send_message_stream("hi") as stream, pytest.raises(TypeError):
        pickle.dumps(stream)
    with pytest.raises(TypeError, match="same store and session_id"):
        pickle.dumps(LLMSession(client))
    with pytest.raises(TypeError, match="FallbackClient holds clients"):
        pickle.dumps(FallbackClient([client]))


def test_errors_pickle_without_secrets(failing, ask, key):
    """To another process, where they say the same."""
    with pytest.raises(CloudLLMError) as caught:
        ask(failing)

    written = pickle.dumps(caught.value)

    assert key.encode() not in written
    assert PROMPT.encode() not in written
    again = pickle.loads(written)
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))


def test_logs_at_debug_hold_no_key_and_no_prompt(failing, ask, key, caplog):
    """Of this package, of requests and of urllib3, of all there is."""
    with caplog.at_level(logging.DEBUG):
        for name in ("cloudllm_sync", "requests", "urllib3"):
            assert logging.getLogger(name).isEnabledFor(logging.DEBUG)
        with pytest.raises(CloudLLMError):
            ask(failing)

    shown = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert key not in shown
    assert PROMPT not in shown


def test_logs_of_a_good_call_hold_no_key_and_no_text(make, serve, ask, key, caplog):
    """Neither the prompt nor the reply."""
    with caplog.at_level(logging.DEBUG):
        ask(make(serve("private-answer")))

    shown = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    for secret in (key, PROMPT, "private-answer"):
        assert secret not in shown
