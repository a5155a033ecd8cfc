"""Ends that look like one and are none, and retries that must not be."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync import (
    ConfigurationError,
    LLMSession,
    OpenAIClient,
    ServerError,
    StreamCancelled,
    StreamInterrupted,
    ToolCall,
)
from cloudllm_sync.testing import Cut, Raw, Reply, Stall

CALL = ToolCall("c1", "rm", '{"path": "/tmp/x"}')


def break_at_finish(session):
    """Read as most people do: to the finish reason, and no further."""
    with session.stream("hi") as stream:
        for chunk in stream:
            if chunk.finish_reason:
                break


@pytest.mark.each_wire_once
def test_cut_in_a_tool_call_shows_no_finish_reason(serve, make_client, family):
    """Whoever acts on the finish reason would run half a call."""
    events = family.encode(Reply(tool_calls=[CALL], usage=None))
    last = len(events) - family.end_marks - 1
    half = [event for event in events[:last] if b"stop_reason" not in event]
    session = LLMSession(make_client(serve(Raw(*half, framing="close"))))

    with pytest.raises(StreamInterrupted) as caught:
        break_at_finish(session)

    assert caught.value.partial.finish_reason is None
    assert session.history == ()


@pytest.mark.each_wire_once
@pytest.mark.also_over_tls
def test_stream_that_is_dropped_closes_its_connection(serve, make_client, family):
    """With a ResourceWarning, so that the slip is found; the client goes on."""
    server = serve(Raw(family.begun, Stall()), "fine")
    client = make_client(server)
    stream = client.send_message_stream("hi")
    next(stream)

    with pytest.warns(ResourceWarning, match="dropped"):
        del stream
    assert server.wait_until_idle(2)
    assert client.send_message_stream("hi").result().content == "fine"


@pytest.mark.parametrize("error", [{"message": "blocked", "type": "moderation"}, {"message": "no"}])
@pytest.mark.one_lane
def test_error_event_that_names_no_overload_is_not_sent_again(serve, make_client, error):
    """A verdict on the prompt stays the same, and may have been billed."""
    server = serve(Reply(error=error), "never")

    with pytest.raises(ServerError):
        make_client(server).send_message_stream("hi").result()
    assert len(server.requests) == 1


@pytest.mark.one_lane
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


@pytest.mark.one_lane
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


@pytest.mark.one_lane
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


@pytest.mark.one_lane
def test_socks_proxy_is_refused_at_construction():
    """Rather than by a TypeError at the first request."""
    with pytest.raises(ConfigurationError, match="SOCKS"):
        OpenAIClient("m", api_key="k", proxies={"https": "socks5://127.0.0.1:1"})
