"""Ends that look like one and are none, and retries that must not be."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync import (
    AuthenticationError,
    ConfigurationError,
    LLMSession,
    OpenAIClient,
    ServerError,
    StreamCancelled,
    StreamInterrupted,
    ToolCall,
)
from cloudllm_sync.testing import Cut, Raw, Reply, Stall, openai_events

CALL = ToolCall("c1", "rm", '{"path": "/tmp/x"}')


def break_at_finish(session):
    """Read as most people do: to the finish reason, and no further."""
    with session.stream("hi") as stream:
        for chunk in stream:
            if chunk.finish_reason:
                break


def test_cut_in_a_tool_call_shows_no_finish_reason(serve, make_client):
    """Whoever acts on the finish reason would run half a call."""
    half = openai_events(Reply(tool_calls=[CALL]))[:3]
    session = LLMSession(make_client(serve(Raw(*half, framing="close"))))

    with pytest.raises(StreamInterrupted) as caught:
        break_at_finish(session)

    assert caught.value.partial.finish_reason is None
    assert session.history == ()


def test_finish_reason_error_is_no_reply_for_who_leaves_there(serve, make_client):
    """The loop is left at the finish reason; the turn has failed all the same."""
    session = LLMSession(make_client(serve(Reply("half an ans", finish_reason="error"))))
    stream = session.stream("hi")
    for chunk in stream:
        if chunk.finish_reason:
            break
    stream.close()

    with pytest.raises(ServerError):
        stream.result()
    assert session.history == ()


@pytest.mark.parametrize("error", [{"message": "blocked", "type": "moderation"}, {"message": "no"}])
def test_error_event_that_names_no_overload_is_not_sent_again(serve, make_client, error):
    """A verdict on the prompt stays the same, and may have been billed."""
    server = serve(Reply(error=error), "never")

    with pytest.raises(ServerError):
        make_client(server).send_message_stream("hi").result()
    assert len(server.requests) == 1


def test_cancel_of_a_stream_opened_in_a_callback_leaves_the_outer_one(serve, make_client):
    """Each reply has its own cancel."""
    server = serve("one two", Reply("a b", after={2: Stall()}))
    client = make_client(server)
    ends = []

    def on_chunk(chunk):
        if not ends:
            inner = client.send_message_stream("title?")
            next(inner)
            inner.cancel()
            with pytest.raises(StreamCancelled):
                inner.result()
            ends.append(inner)

    handle = client.start_message_stream("hi", on_chunk=on_chunk)

    assert handle.result(10).content == "one two"


def test_join_in_a_callback_does_not_wait_for_itself(serve, make_client):
    """It says that the callback is not over."""
    joined = []
    handles = []
    client = make_client(serve(Reply("one", after={0: Cut()}), "one"), max_retries=0)

    def on_end(_):
        while not handles:
            pass
        joined.append(handles[0].join())

    handles.append(client.start_message_stream("hi", on_error=on_end))

    assert handles[0].join(10)
    assert joined == [False]


def test_error_that_quotes_the_prompt_does_not_switch_usage_off(serve, make_client):
    """Only a request that was accepted without it shows that the server refuses it."""
    refusal = {"error": {"message": "bad content: 'what does stream_options do?'"}}

    def refuse(request):
        return Raw(json.dumps(refusal).encode(), status=400, content_type="application/json")

    server = serve(refuse, refuse, "fine")
    client = make_client(server)
    with pytest.raises(Exception, match="bad content"):
        client.send_message_stream("hi").result()

    assert client.send_message_stream("hi").result().usage is not None


def test_key_is_masked_in_every_field_of_an_error(serve, make_client):
    """Code, type, and a body that writes its slash as JSON may."""
    key = "sk-abcdefghijkl/mnop"
    body = json.dumps({"error": {"message": "no", "code": key, "type": f"t {key}"}}).encode()
    body = body.replace(b"/mnop", rb"\/mnop")
    server = serve(Raw(body, status=401, content_type="application/json"))

    with OpenAIClient("m", api_key=key, base_url=server.base_url) as client:
        with pytest.raises(AuthenticationError) as caught:
            client.send_message("hi")

    error = caught.value
    assert "mnop" not in f"{error} {error.code} {error.type} {error.body}"


def test_socks_proxy_is_refused_at_construction():
    """Rather than by a TypeError at the first request."""
    with pytest.raises(ConfigurationError, match="SOCKS"):
        OpenAIClient("m", api_key="k", proxies={"https": "socks5://127.0.0.1:1"})
