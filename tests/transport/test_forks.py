"""Locks in a forked child: what is renewed there, whoever held it at the fork."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import weakref

import pytest

from cloudllm_sync import LLMSession
from cloudllm_sync.testing import Reply, WaitFor
from cloudllm_sync.transport import forks

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


def test_what_is_known_is_renewed_in_the_child_only():
    """Once for each fork."""
    thing = Thing()
    forks.renew_in_children(thing)

    assert 1 == in_child(lambda: thing.count)
    assert 0 == thing.count


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
        conversation._store._lock,
        forks._lock,
    ]
    all_held, may_end = threading.Event(), threading.Event()

    def hold():
        with contextlib.ExitStack() as stack:
            for lock in held:
                stack.enter_context(lock)
            all_held.set()
            may_end.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert all_held.wait(5)
    try:
        code = in_child(lambda: session.ask("hi").content == "well")
    finally:
        may_end.set()
        thread.join(5)

    assert 1 == code


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
