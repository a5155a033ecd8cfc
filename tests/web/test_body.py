"""The body of a response: what a web server's thread sees."""

from __future__ import annotations

import contextvars
import threading
import time

import pytest

from cloudllm_sync import (
    ChatStream,
    ConfigurationError,
    LLMSession,
    MemoryStore,
    MessageChunk,
    ToolCallDelta,
)
from cloudllm_sync.relay import open_relay
from cloudllm_sync.testing import FakeServer, Raw, Reply, Stall, Wait, WaitFor, openai_events
from cloudllm_sync.web.response import response_parts

EVENTS = openai_events(Reply("one two three", usage=None))


# And how much the server has taken by then; nothing comes before "one".
WHEN = {
    "never begun": 0,
    "before the first chunk": 2,
    "the worker has stopped": 1,
    "handed over": 3,
}


def joined(body):
    return b"".join(body).decode()


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "cloudllm-stream"]


def ended(threads):
    for thread in threads:
        thread.join(5)
    return not any(thread.is_alive() for thread in threads)


def test_nothing_is_read_before_it_is_asked_for():
    """A HEAD request, or an error in what comes after the view, costs no thread."""
    asked = []

    def chunks():
        asked.append(1)
        yield MessageChunk("one", finish_reason="stop")

    body = response_parts(ChatStream.of(chunks()), protocol="text").body

    assert asked == []
    assert joined(body) == "one"


def test_tool_call_is_gone_on_with_after_a_reload():
    """A browser that comes back is given the rest of the second call as the second call's."""
    calls = [
        ToolCallDelta(0, "1", "f", "{}"),
        ToolCallDelta(1, "2", "g", '{"a": '),
        ToolCallDelta(1, None, None, "1}"),
    ]
    with open_relay("memory:") as relay:
        chunks = [MessageChunk(tool_call_delta=call) for call in calls]
        relay.publish(ChatStream.of([*chunks, MessageChunk(finish_reason="tool_calls")]), "key")
        followed = relay.follow("key")
        next(followed), next(followed)
        rest = joined(response_parts(relay.follow("key", after=followed.last_event_id)).body)

    assert 'data: {"tool_call":{"index":1,"arguments":"1}"}}' in rest


def test_body_of_a_stream_without_an_end_ends():
    """Of a user's own: no heartbeats for ever."""

    class Endless:
        partial = None

        def __iter__(self):
            return iter(())

        def result(self):
            return None

        def cancel(self):
            pass

        close = cancel

    assert joined(response_parts(Endless(), heartbeat_s=0.05).body).count("\n\n") < 10


def test_reply_is_closed_if_no_response_can_be_made_of_it(serve, make_client):
    """Headers that are none."""
    flask = pytest.importorskip("cloudllm_sync.web.flask")
    server = serve(Raw(*EVENTS[:2], Stall()))
    stream = make_client(server).send_message_stream("hi")
    with pytest.raises(Exception):  # the framework's own
        flask.stream_response(stream, headers={"X-Odd": "two\nlines"})

    assert server.wait_until_idle(5)


def test_body_that_nobody_asks_for_is_closed(serve, make_client):
    """And with it the provider's stream."""
    server = serve(Raw(*EVENTS[:2], Stall()))
    body = response_parts(make_client(server).send_message_stream("hi")).body
    body.close()

    assert server.wait_until_idle(5)
    assert list(body) == []


def test_body_that_nobody_asks_for_is_finished_where_that_is_the_policy(serve, make_client):
    """The turn enters the history all the same."""
    session = LLMSession(make_client(serve("one two three")))
    body = response_parts(session.stream("hi"), on_disconnect="finish").body
    body.close()

    assert ended(workers())
    assert session.history[-1].content == "one two three"


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("policy", ["cancel", "finish"])
def test_close_returns_at_once_and_ends_the_body(serve, make_client, policy, when):
    """Whoever reads by then, and whatever is waited for; a second time it does nothing."""
    gate = threading.Event()
    begun = 0 if when == "before the first chunk" else 2
    server = serve(Raw(*EVENTS[:begun], WaitFor(gate), *EVENTS[begun:]))
    stream = make_client(server).send_message_stream("hi")
    body = response_parts(stream, heartbeat_s=0.05, protocol="text", on_disconnect=policy).body
    pieces = [next(body) for _ in range(WHEN[when])]
    if when == "the worker has stopped":
        assert ended(workers())
    body.close()
    body.close()
    gate.set()

    assert b"".join(pieces) == (b"one" if when == "handed over" else b"")
    assert list(body) == []
    assert ended(workers())
    assert stream.ended_well == (policy == "finish")


def test_worker_keeps_nothing_of_the_request(serve, make_client):
    """It runs in an empty context: what a framework keeps there would live as long as the reply."""
    of_the_request = contextvars.ContextVar("of_the_request", default="nothing")
    of_the_request.set("the request")
    seen = []

    def chunks():
        seen.append(of_the_request.get())
        yield MessageChunk("one", finish_reason="stop")

    joined(response_parts(ChatStream.of(chunks()), protocol="text").body)

    assert seen == ["nothing"]


def test_worker_goes_on_in_the_span_of_the_view():
    """Later rounds of a run, and its tools, belong to the request that asked for them."""
    trace = pytest.importorskip("opentelemetry.trace")
    of_the_view = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False))
    seen = []

    def chunks():
        seen.append(trace.get_current_span())
        yield MessageChunk("one", finish_reason="stop")

    with trace.use_span(of_the_view):
        body = response_parts(ChatStream.of(chunks()), protocol="text").body
    joined(body)

    assert [of_the_view] == seen


def test_chunks_that_wait_are_one_piece():
    """A slow browser costs fewer writes."""
    all_there = threading.Event()

    def chunks():
        for _ in range(100):
            yield MessageChunk("x")
        yield MessageChunk(finish_reason="stop")
        all_there.set()

    body = response_parts(ChatStream.of(chunks()), protocol="text").body
    next(body)
    assert all_there.wait(5)
    pieces = list(body)

    assert b"".join(pieces) == b"x" * 100
    assert len(pieces) <= 2


def test_pieces_are_gathered_where_that_is_asked_for():
    """At most so many a second, everything delivered."""

    def chunks():
        for _ in range(40):
            time.sleep(0.01)  # a model at its pace
            yield MessageChunk("x")
        yield MessageChunk(finish_reason="stop")

    def count(**options):
        body = response_parts(ChatStream.of(chunks()), protocol="text", **options).body
        pieces = [piece for piece in body if piece]
        assert b"".join(pieces) == b"x" * 40
        return len(pieces)

    assert count(min_interval_s=0.1) < count() / 2


@pytest.mark.parametrize("of_a_handle", [False, True])
def test_servers_thread_reads_what_has_begun(serve, make_client, of_a_handle):
    """No second thread wakes for each token; a handle has its own worker."""
    gate = threading.Event()
    client = make_client(serve(Raw(*EVENTS[:2], WaitFor(gate), *EVENTS[2:])))
    reply = (client.start_message_stream if of_a_handle else client.send_message_stream)("hi")
    body = response_parts(reply, heartbeat_s=0.05, protocol="text").body
    before = [next(body) for _ in range(4)]
    readers = workers()
    gate.set()

    assert before == [b"", b"one", b"", b""]
    assert len(readers) == of_a_handle
    assert joined(body) == " two three"


def test_text_is_not_held_back_for_more(serve, make_client):
    """What has come goes out, though a heartbeat is far."""
    gates = [threading.Event(), threading.Event()]
    server = serve(Raw(*EVENTS[:2], WaitFor(gates[0]), EVENTS[2], WaitFor(gates[1]), *EVENTS[3:]))
    stream = make_client(server).send_message_stream("hi")
    body = response_parts(stream, heartbeat_s=60, protocol="text").body
    first = [next(body), next(body)]
    gates[0].set()
    late = threading.Timer(3, gates[1].set)
    late.start()
    second = next(body)
    gates[1].set()
    late.cancel()

    assert first == [b"", b"one"]
    assert second == b" two"
    assert joined(body) == " three"


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_servers_thread_gathers_where_that_is_asked_for(
    make_client, certificate, server_tls, is_encrypted
):
    """All that has come meanwhile, in however many packets and TLS records."""
    token = openai_events(Reply("x"))[1]
    paced = [step for _ in range(40) for step in (token, Wait(0.01))]
    with FakeServer(
        Raw(EVENTS[0], *paced, *EVENTS[4:]), ssl_context=server_tls if is_encrypted else None
    ) as server:
        stream = make_client(server, verify=certificate).send_message_stream("hi")
        body = response_parts(stream, protocol="text", min_interval_s=0.1).body
        pieces = [piece for piece in body if piece]

    assert b"".join(pieces) == b"x" * 40
    assert len(pieces) <= 20


def test_silence_is_told_whoever_reads(serve, make_client):
    """Before the first chunk, and after it."""
    gates = [threading.Event(), threading.Event()]
    server = serve(Raw(WaitFor(gates[0]), *EVENTS[:2], WaitFor(gates[1]), *EVENTS[2:]))
    body = response_parts(make_client(server).send_message_stream("hi"), heartbeat_s=0.02).body
    seen = []
    for gate in gates:
        seen.append([next(body) for _ in range(5)])
        gate.set()
        while (piece := next(body)) == b": \n\n":
            pass
        seen.append(piece)

    assert seen[0] == seen[2][:5] == [b": \n\n"] * 5
    assert b'"one"' in seen[1]
    assert b'" two"' in seen[3]
    body.close()


def test_error_after_the_handing_over_is_the_last_piece(serve, make_client):
    """And what came with it is before it."""
    gate = threading.Event()
    error = b'data: {"error": {"message": "boom", "code": 500}}\n\n'
    server = serve(Raw(*EVENTS[:2], WaitFor(gate), EVENTS[2] + error))
    body = response_parts(make_client(server).send_message_stream("hi"), heartbeat_s=0.02).body
    while b"one" not in next(body):
        pass
    next(body)
    gate.set()
    rest = joined(body)

    assert rest.index('" two"') < rest.index("event: failed")
    assert rest.endswith("\n\n")


def test_store_that_fails_at_the_end_is_an_error_for_the_browser(serve, make_client):
    """Whatever it raises, and though all has been sent."""

    class Full(MemoryStore):
        def append(self, *args, **options):
            raise RuntimeError("disk full")

    gate = threading.Event()
    client = make_client(serve(Raw(*EVENTS[:2], WaitFor(gate), *EVENTS[2:])))
    session = LLMSession(client, session_id="s", store=Full())
    body = response_parts(session.stream("hi"), heartbeat_s=0.02).body
    while b"one" not in next(body):
        pass
    next(body)
    gate.set()
    rest = joined(body)

    assert "event: failed" in rest
    assert "disk full" not in rest


def test_chunks_that_say_nothing_do_not_keep_heartbeats_back(serve, make_client):
    """Reasoning, where only the text is sent."""
    thought = b'data: {"choices":[{"index":0,"delta":{"reasoning":"hm"}}]}\n\n'
    thoughts = [step for _ in range(100) for step in (thought, Wait(0.01))]
    server = serve(Raw(*EVENTS[:2], *thoughts, Stall()))
    body = response_parts(
        make_client(server).send_message_stream("hi"), heartbeat_s=0.05, protocol="text"
    ).body
    while b"one" not in next(body):
        pass
    beats = [next(body) for _ in range(5)]
    body.close()

    assert beats == [b""] * 5


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"protocol": "morse"}, "sse, ai-sdk, openai, text"),
        ({"on_disconnect": "ignore"}, "'cancel' or 'finish'"),
        ({"heartbeat_s": 0}, "above 0"),
        ({"heartbeat_s": float("inf")}, "above 0"),
        ({"heartbeat_s": "15"}, "above 0"),
        ({"min_interval_s": -1}, "from 0"),
        ({"min_interval_s": 60}, "from 0"),
        ({"min_interval_s": None}, "from 0"),
    ],
)
def test_argument_that_cannot_be_is_refused(options, why):
    """With what it could be."""
    with pytest.raises(ConfigurationError, match=why):
        response_parts(ChatStream.of([]), **options)


@pytest.mark.parametrize("given", [None, "text", [MessageChunk("x")], 5])
def test_what_is_no_stream_is_refused(given):
    """As a client that cannot stream gives None."""
    with pytest.raises(ConfigurationError, match="sends a stream"):
        response_parts(given)


def test_followed_reply_names_its_events():
    """So that a browser can say where it was."""

    class Followed:
        last_event_id = None

        def __iter__(self):
            for number in range(2):
                self.last_event_id = f"5-{number}"
                yield MessageChunk("x")
            yield MessageChunk(finish_reason="stop")

        def __getattr__(self, name):
            return getattr(self.stream, name)

        stream = ChatStream.of([MessageChunk("xx", finish_reason="stop")])

    text = joined(response_parts(Followed()).body)

    assert "id: 5-0\n" in text
    assert "id: 5-1\n" in text
