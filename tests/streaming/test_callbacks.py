"""What callbacks may rely on: the seven promises, one test each."""

from __future__ import annotations

import contextvars
import logging
import threading
import tracemalloc

import pytest

from cloudllm_sync import LLMSession, RequestTimeoutError, StreamCancelled, Timeouts
from cloudllm_sync.testing import Raw, Reply, Stall, openai_events

EVENTS = openai_events(Reply("one two three", usage=None))


@pytest.fixture
def trace():
    """Callbacks that note their name, value and thread, and whether two ran at once."""

    class Trace:
        def __init__(self):
            self.calls = []
            self.busy = threading.Lock()
            self.overlapped = False

        def note(self, name):
            def callback(value):
                free = self.busy.acquire(blocking=False)
                self.overlapped = self.overlapped or not free
                self.calls.append((name, value, threading.current_thread()))
                if free:
                    self.busy.release()

            return callback

        @property
        def options(self):
            return {name: self.note(name) for name in ("on_chunk", "on_finish", "on_error")}

        @property
        def names(self):
            return [name for name, _, _ in self.calls]

    return Trace()


def test_callbacks_come_in_order_on_one_thread_of_their_own(serve, make_client, trace):
    """Promise 1."""
    client = make_client(serve("one two three"))
    client.start_message_stream("hi", **trace.options).result(5)
    threads = {thread for _, _, thread in trace.calls}
    text = [value.content for name, value, _ in trace.calls if name == "on_chunk"]

    assert "".join(text) == "one two three"
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    assert not trace.overlapped


@pytest.mark.parametrize(
    ("raw", "last"),
    [
        (Reply("one two"), "on_finish"),
        (Raw(*EVENTS[:3]), "on_error"),
        (Raw(status=401), "on_error"),
        (Raw(), "on_error"),
    ],
)
def test_exactly_one_last_callback(serve, make_client, trace, raw, last):
    """Promise 2."""
    client = make_client(serve(raw))
    client.start_message_stream("hi", **trace.options).join(5)
    *before, end = trace.names

    assert set(before) <= {"on_chunk"}
    assert end == last


@pytest.mark.parametrize("first", ["one", Raw(*EVENTS[:2])])
def test_last_callback_may_begin_the_next_turn(serve, make_client, first):
    """Promise 3: the turn is settled and the ticket free by then."""
    session = LLMSession(make_client(serve(first, "two")), turn_timeout=0)
    seen = []

    def again(_):
        seen.append(len(session.history))
        seen.append(session.ask("next").content)

    session.submit("hi", on_finish=again, on_error=again).join(5)
    committed = 2 if first == "one" else 0

    assert seen == [committed, "two"]
    assert len(session.history) == committed + 2


def test_on_chunk_that_raises_cancels_the_stream(serve, make_client):
    """Promise 4: on_error gets StreamCancelled with that cause, and no further chunk comes."""
    server = serve(Raw(*EVENTS[:3], Stall()))
    cause = RuntimeError("no more, please")
    calls, errors = [], []

    def on_chunk(chunk):
        calls.append(chunk)
        raise cause

    handle = make_client(server).start_message_stream(
        "hi", on_chunk=on_chunk, on_error=errors.append
    )
    assert handle.join(5)
    (error,) = errors

    assert type(error) is StreamCancelled
    assert error.__cause__ is cause
    assert error.partial.content == "one"
    assert len(calls) == 1
    assert handle.exception() is error
    assert server.wait_until_idle(5)


def test_on_chunk_that_raises_at_the_finish_chunk_cancels_too(serve, make_client):
    """Promise 4: whole as the reply may be, the callback has refused it."""
    cause = RuntimeError("no more, please")
    errors = []

    def on_chunk(chunk):
        if chunk.finish_reason:
            raise cause

    client = make_client(serve("one two"))
    client.start_message_stream("hi", on_chunk=on_chunk, on_error=errors.append).join(5)
    (error,) = errors

    assert type(error) is StreamCancelled
    assert error.__cause__ is cause


@pytest.mark.parametrize("reply", ["one", Raw()])
def test_last_callback_that_raises_is_logged_and_returned(serve, make_client, caplog, reply):
    """Promise 4: a raise in the last callback is not lost."""
    cause = RuntimeError("cannot take it")

    def end(_):
        raise cause

    client = make_client(serve(reply))
    with caplog.at_level(logging.ERROR, logger="cloudllm_sync.callbacks"):
        handle = client.start_message_stream("hi", on_finish=end, on_error=end)
        handle.join(5)

    assert handle.exception() is cause
    assert caplog.records[0].exc_info[1] is cause


def test_slow_on_chunk_slows_the_provider(serve, make_client):
    """Promise 5: the server waits in send(), memory stays flat, and cancel is heard."""
    block = b"".join([EVENTS[1]] * 300)
    server = serve(Raw(*[block] * 2000))
    client = make_client(server)
    first, go = threading.Event(), threading.Event()
    seen = []

    def on_chunk(chunk):
        seen.append(chunk)
        first.set()
        go.wait(10)

    tracemalloc.start()
    try:
        handle = client.start_message_stream("hi", on_chunk=on_chunk)
        assert first.wait(5)
        threading.Event().wait(0.2)
        _, peak = tracemalloc.get_traced_memory()
        handle.cancel()
        go.set()
        assert handle.join(5)
    finally:
        tracemalloc.stop()

    assert peak < 4_000_000
    assert len(seen) < 2000
    assert type(handle.exception()) is StreamCancelled


def test_callbacks_see_the_callers_context(serve, make_client):
    """Promise 6: a copy, so that nothing gets back."""
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("the caller's")
    seen = []

    def note(_):
        seen.append(variable.get())
        variable.set("the worker's")

    handle = make_client(serve("one")).start_message_stream("hi", on_finish=note)
    variable.set("changed later")
    handle.result(5)

    assert seen == ["the caller's"]
    assert variable.get() == "changed later"


def test_cancel_and_deadlines_hold_while_the_server_is_silent(serve, make_client, trace):
    """Promise 7; every stage has a test in tests/faults."""
    server = serve(default=Raw(before_headers=(Stall(),)))
    client = make_client(server)
    cancelled = client.start_message_stream("hi", **trace.options)
    assert server.wait_for_requests(1)
    cancelled.cancel()
    late = client.start_message_stream("hi", timeouts=Timeouts(5, 0.1, 5))

    assert type(cancelled.exception(2)) is StreamCancelled
    assert type(late.exception(2)) is RequestTimeoutError
    assert trace.names == ["on_error"]


def test_callbacks_are_optional(serve, make_client):
    """The handle alone gives the reply."""
    handle = make_client(serve("one two")).start_message_stream("hi")

    assert handle.result(5).content == "one two"
