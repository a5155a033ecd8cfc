"""StreamHandle: the method names of concurrent.futures.Future."""

from __future__ import annotations

import threading

import pytest

from cloudllm_sync import (
    AuthenticationError,
    ChatStream,
    ConfigurationError,
    Message,
    MessageChunk,
    StreamCancelled,
)
from cloudllm_sync.streaming import handle as handle_module
from cloudllm_sync.streaming.handle import StreamHandle
from cloudllm_sync.testing import Raw, Reply, Stall, WaitFor, error_reply, openai_events

EVENTS = openai_events(Reply("one two three", usage=None))


@pytest.fixture
def held(serve, make_client):
    """A reply that stops after its first word until the gate is opened."""
    gate, first = threading.Event(), threading.Event()
    server = serve(Raw(*EVENTS[:2], WaitFor(gate), *EVENTS[2:]))
    handle = make_client(server).start_message_stream("hi", on_chunk=lambda chunk: first.set())
    assert first.wait(5)
    yield handle, gate
    handle.cancel()


def test_result_is_the_whole_reply(serve, make_client):
    """The same object every time, and the one that on_finish got."""
    got = []
    handle = make_client(serve("one two")).start_message_stream("hi", on_finish=got.append)

    assert handle.result(5) is handle.result() is got[0]
    assert handle.result().content == "one two"
    assert handle.exception() is None


def test_result_raises_what_on_error_got(serve, make_client):
    """And `exception()` returns it."""
    got = []
    client = make_client(serve(error_reply(401, "no")))
    handle = client.start_message_stream("hi", on_error=got.append)
    with pytest.raises(AuthenticationError) as caught:
        handle.result(5)

    assert caught.value is got[0] is handle.exception()


def test_waiting_has_a_limit(held):
    """The reply goes on."""
    handle, gate = held
    with pytest.raises(TimeoutError):
        handle.result(0.01)
    with pytest.raises(TimeoutError):
        handle.exception(timeout=0.01)
    waits = [handle.join(seconds) for seconds in (0.01, 0, -1, float("nan"))]
    gate.set()

    assert waits == [False] * 4
    assert handle.result(5).content == "one two three"


def test_done_once_the_last_callback_has_returned(serve, make_client):
    """Not before."""
    inside, go = threading.Event(), threading.Event()

    def on_finish(_):
        inside.set()
        go.wait(5)

    handle = make_client(serve("one")).start_message_stream("hi", on_finish=on_finish)
    assert inside.wait(5)
    before = handle.done(), handle.join(0)
    go.set()

    assert before == (False, False)
    assert handle.join(5) is True
    assert handle.done() is True


@pytest.mark.parametrize("timeout", [1e10, float("inf"), pytest.param(10**400, id="huge")])
def test_waiting_for_ever_is_allowed(serve, make_client, timeout):
    """The system does not wait that long; no limit is what it means."""
    handle = make_client(serve("one")).start_message_stream("hi")

    assert handle.join(timeout)
    assert handle.exception(timeout) is None
    assert handle.result(timeout).content == "one"


def test_partial_is_what_has_come(held):
    """From any thread, without waiting."""
    handle, _ = held

    assert handle.partial.content == "one"
    assert handle.partial.finish_reason is None


def test_partial_before_anything_has_come(serve, make_client):
    """An empty message, not None."""
    handle = make_client(serve(Raw(before_headers=(Stall(),)))).start_message_stream("hi")
    partial = handle.partial
    handle.cancel()

    assert isinstance(partial, Message)
    assert partial.content == ""
    assert handle.join(5)


def test_cancel_returns_at_once_and_ends_the_reply(held):
    """The handle's error is StreamCancelled."""
    handle, _ = held
    handle.cancel()
    handle.cancel()

    assert type(handle.exception(5)) is StreamCancelled
    assert handle.exception().partial.content == "one"


def test_configuration_errors_are_raised_where_the_call_is_made(serve, make_client):
    """Not given to a callback."""
    client = make_client(serve())
    errors = []
    with pytest.raises(ConfigurationError):
        client.start_message_stream([], on_error=errors.append)

    assert errors == []


def test_callback_may_ask_for_the_result_at_the_end_only(serve, make_client):
    """In on_finish it is there; in on_chunk it would wait for itself."""
    ready = threading.Event()
    seen = []

    def on_chunk(chunk):
        ready.wait(5)
        with pytest.raises(RuntimeError, match="own stream"):
            handle.result()
        seen.append("chunk")

    handle = make_client(serve(Reply(["one"]))).start_message_stream(
        "hi", on_chunk=on_chunk, on_finish=lambda message: seen.append(handle.result() is message)
    )
    ready.set()
    assert handle.join(5)

    assert set(seen[:-1]) == {"chunk"}
    assert seen[-1] is True


def test_stream_of_a_users_own_client_obeys_the_handle():
    """Its chunks are made elsewhere; cancel is heard between two of them."""
    first, go = threading.Event(), threading.Event()

    def chunks():
        yield MessageChunk("one")
        go.wait(5)
        yield MessageChunk("two", finish_reason="stop")

    handle = StreamHandle(lambda: ChatStream.of(chunks()), on_chunk=lambda chunk: first.set())
    assert first.wait(5)
    handle.cancel()
    go.set()

    assert type(handle.exception(5)) is StreamCancelled


def test_any_exception_of_a_users_own_client_ends_in_on_error():
    """With the exception as its cause."""
    errors = []

    def broken():
        raise KeyError("no such stream")

    handle = StreamHandle(broken, on_error=errors.append)
    assert handle.join(5)

    assert type(errors[0]) is StreamCancelled
    assert type(errors[0].__cause__) is KeyError


def test_exit_ends_what_is_live(serve, make_client):
    """What the interpreter's exit calls; tests/streaming/test_process_end.py sees a real one."""
    server = serve(default=Raw(before_headers=(Stall(),)))
    client = make_client(server)
    handles = [client.start_message_stream("hi") for _ in range(3)]
    assert server.wait_for_requests(3)
    handle_module._end_live_streams()

    assert all(handle.done() for handle in handles)
    assert {type(handle.exception()) for handle in handles} == {StreamCancelled}
