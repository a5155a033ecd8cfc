"""Locks in a forked child: what is renewed there, whoever held it at the fork."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import weakref

import pytest

from cloudllm_sync import LLMSession, StreamCancelled
from cloudllm_sync.session import leases
from cloudllm_sync.streaming import handle as handle_module
from cloudllm_sync.testing import Reply, WaitFor
from cloudllm_sync.transport import forks, names

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


class Thing:
    """Counts how often it was renewed."""

    def __init__(self):
        self.count = 0

    def renew(self):
        self.count += 1


def in_child(work):
    """What `work` returns in a forked child; its exit code is 255 if it raises or hangs."""
    pid = os.fork()
    if pid == 0:
        code = 255
        signal.alarm(10)
        try:
            code = int(work())
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.WEXITSTATUS(status)


@contextlib.contextmanager
def held_by_another_thread(*locks):
    """At a fork in here, that thread is not in the child to give them back."""
    all_held, may_end = threading.Event(), threading.Event()

    def hold():
        with contextlib.ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            all_held.set()
            may_end.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert all_held.wait(5)
    try:
        yield
    finally:
        may_end.set()
        thread.join(5)


def test_what_is_known_is_renewed_in_the_child_only():
    """Once for each fork."""
    thing = Thing()
    forks.renew_in_children(thing)

    assert 1 == in_child(lambda: thing.count)
    assert 0 == thing.count


def test_fork_waits_for_what_cannot_be_renewed():
    """The locks of OpenSSL, say; the child may do the same at once."""
    left, forks_now = [], threading.Event()

    def work():
        with forks.no_fork:
            inside.set()
            forks_now.wait(5)
            threading.Event().wait(0.05)  # the fork would come now
            left.append(True)

    inside = threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(5)
    forks_now.set()

    def same():
        with forks.no_fork:
            return left == [True]

    assert 1 == in_child(same)
    assert forks.no_fork.acquire(blocking=False)
    forks.no_fork.release()
    thread.join(5)


def test_nothing_is_kept_alive_for_it():
    """Clients and sessions come and go."""
    thing = Thing()
    forks.renew_in_children(thing)
    gone = weakref.ref(thing)
    del thing

    assert gone() is None


def test_locks_that_were_held_do_not_hold_the_child(serve, make_client):
    """Another thread may have been in the middle of anything."""
    server = serve(default="well")
    client = make_client(server)
    session = LLMSession(client)
    conversation = session._conversation
    held = [
        client._transport._lock,
        client._transport.budget._lock,
        conversation.queue._lock,
        conversation._lock,
        conversation.ledger._lock,
        conversation.ledger.store._lock,
        leases._keeper._changed,
        forks._lock,
        handle_module.live_replies._lock,
    ]
    with held_by_another_thread(*held):
        code = in_child(lambda: session.ask("hi").content == "well")

    assert 1 == code


def test_child_may_ask_for_a_name_that_its_parent_asks_for(serve, make_client, monkeypatch):
    """The answer would come to the parent's thread only."""
    server = serve(default="well")
    client = make_client(server.base_url.replace("127.0.0.1", "localhost"))
    resolve, asked, may_answer = socket.getaddrinfo, threading.Event(), threading.Event()

    def hang(*args, **options):
        asked.set()
        may_answer.wait(20)
        return resolve(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    handle = client.start_message_stream("hi")
    assert asked.wait(5)
    with held_by_another_thread(names._lookups._lock):

        def ask():
            may_answer.set()
            return client.send_message("hi").content == "well"

        code = in_child(ask)
    may_answer.set()

    assert 1 == code
    assert "well" == handle.result(5).content


@pytest.fixture
def held_stream(serve, make_client):
    """A stream whose first chunk has come, and what lets the others come."""
    gate = threading.Event()
    server = serve(Reply("one two three", after={2: WaitFor(gate)}))
    with make_client(server).send_message_stream("hi") as stream:
        next(stream)
        yield stream
        gate.set()
        assert "one two three" == stream.result().content


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_locks_of_a_stream_do_not_hold_the_child(held_stream, end):
    """Another thread may have been about to cancel it; the parent's goes on."""
    source = held_stream._source
    with held_by_another_thread(source.cancellation._lock, source._call._claim._lock):
        code = in_child(lambda: getattr(held_stream, end)() is None)

    assert 1 == code


@pytest.fixture
def held_handle(serve, make_client):
    """A handle whose first chunk has come, and what lets the others come."""
    gate, begun = threading.Event(), threading.Event()
    server = serve(Reply("one two three", after={2: WaitFor(gate)}))
    handle = make_client(server).start_message_stream("hi", on_chunk=lambda chunk: begun.set())
    assert begun.wait(5)
    yield handle, gate
    gate.set()
    assert "one two three" == handle.result(5).content


def test_child_does_not_wait_for_its_parents_worker(held_handle):
    """It will not end there: the reply counts as cancelled."""
    handle, _ = held_handle
    with held_by_another_thread(handle._done._cond, handle._cancellation._lock):

        def wait():
            handle.cancel()
            return type(handle.exception()) is StreamCancelled

        code = in_child(wait)

    assert 1 == code


def test_exit_of_the_child_leaves_the_parents_streams_alone(held_handle):
    """It cancels its own only."""
    handle, _ = held_handle

    assert 1 == in_child(lambda: handle_module._end_live_streams() is None)
    assert not handle.done()


def test_reply_that_was_whole_at_the_fork_is_whole_in_the_child(held_handle):
    """Though another thread was asking for it just then."""
    handle, gate = held_handle
    gate.set()
    handle.result(5)
    with held_by_another_thread(handle._done._cond):
        code = in_child(lambda: handle.result(5).content == "one two three")

    assert 1 == code


def test_fork_in_a_callback_leaves_the_worker_a_worker(serve, make_client):
    """There the worker goes on, as the child's only thread."""
    codes = []

    def fork(chunk):
        if not codes:
            codes.append(in_child(lambda: not handles[0].done()))

    handles = []
    named = threading.Event()

    def on_chunk(chunk):
        named.wait(5)
        fork(chunk)

    handles.append(make_client(serve("one two")).start_message_stream("hi", on_chunk=on_chunk))
    named.set()
    handles[0].result(5)

    assert [1] == codes


def test_turn_that_runs_in_the_parent_does_not_block_the_child(serve, make_client):
    """The child has a copy of the history, and that turn is not its own."""
    server = serve("one two", "three")
    session = LLMSession(make_client(server), turn_timeout=0)
    with session.stream("hi") as stream:
        next(stream)
        code = in_child(lambda: session.ask("you").content == "three")
        text = "".join(chunk.content for chunk in stream)

    assert 1 == code
    assert " two" == text
    assert 2 == len(session.history)


def test_cancel_in_the_child_leaves_the_parents_stream_alone(serve, make_client):
    """They share the connection, and a shutdown would end it for both."""
    cancelled = threading.Event()
    server = serve(Reply("one two three", after={2: WaitFor(cancelled)}))
    with make_client(server).send_message_stream("hi") as stream:
        next(stream)

        def cancel():
            stream.cancel()
            return 0

        code = in_child(cancel)
        cancelled.set()

        assert 0 == code
        assert "one two three" == stream.result().content
