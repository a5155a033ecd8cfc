"""Several session objects, and processes, on one session of a store."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import threading

import pytest

from cloudllm_sync import (
    CommitConflictError,
    ConfigurationError,
    LLMSession,
    MemoryStore,
    SessionBusyError,
    StoreError,
    StreamCancelled,
    StreamError,
)
from cloudllm_sync.session.leases import Lease
from cloudllm_sync.testing import Cut, Reply, WaitFor
from cloudllm_sync.transport.cancellation import Cancellation


class Ending(MemoryStore):
    """A store whose leases end by themselves, and which counts how often it is asked for one."""

    leases_end = True

    def __init__(self):
        super().__init__()
        self.asked = threading.Semaphore(0)
        self.lost = threading.Event()

    def lease(self, session_id, owner, seconds):
        self.asked.release()
        if self.lost.is_set():
            return seconds
        return super().lease(session_id, owner, seconds)


def no_keeper_is_left(patience_s):
    """Whether the thread that renews leases has ended."""
    keepers = [thread for thread in threading.enumerate() if thread.name == "cloudllm-leases"]
    for keeper in keepers:
        keeper.join(patience_s)
    return not any(keeper.is_alive() for keeper in keepers)


@pytest.fixture
def gate():
    """Holds a reply back until the test sets it."""
    return threading.Event()


@pytest.fixture
def two(talk, gate):
    """Two session objects of one name, whose first reply is held back; and the second's server."""

    def make(store, **options):
        held = Reply("held back", after={2: WaitFor(gate)})
        one, _ = talk(held, default="more", store=store, session_id="shared")
        other, server = talk(default="Hello", store=store, session_id="shared", **options)
        return one, other, server

    return make


@pytest.mark.parametrize("store", [MemoryStore, Ending])
@pytest.mark.parametrize("way", ["ask", "stream", "submit"])
def test_second_turn_is_refused_before_it_pays(two, store, way, gate, patience_s):
    """turn_timeout=0 is the choice for a web view."""
    one, other, server = two(store(), turn_timeout=0)
    handle = one.submit("first")
    while not handle.partial.content:
        pass

    with pytest.raises(SessionBusyError, match="'shared'") as caught:
        result = getattr(other, way)("second")
        getattr(result, "result", lambda: None)()

    assert caught.value.retryable
    assert server.requests == ()
    gate.set()
    assert handle.result(patience_s).content == "held back"
    assert other.ask("second").content == "Hello"


@pytest.mark.parametrize("store", [MemoryStore, Ending])
def test_second_turn_waits_and_begins_from_what_the_first_kept(two, store, gate, patience_s, said):
    """It sends the first turn's messages."""
    one, other, server = two(store())
    first = one.submit("first")
    while not first.partial.content:
        pass

    second = other.submit("second")
    gate.set()

    assert second.result(patience_s).content == "Hello"
    sent = said(server.requests[0].json["messages"])
    assert sent == [("user", "first"), ("assistant", "held back"), ("user", "second")]


def test_thread_that_would_wait_for_itself_is_refused_at_once(two):
    """Its own stream on another session object would never end."""
    one, other, server = two(MemoryStore())

    with one.stream("first"), pytest.raises(SessionBusyError, match="wait for itself"):
        other.ask("second")

    assert server.requests == ()


def test_wait_for_a_lease_can_be_cancelled(two, gate, patience_s):
    """As every other wait."""
    store = Ending()
    one, other, server = two(store)
    first = one.submit("first")
    assert store.asked.acquire(timeout=patience_s)
    while not first.partial.content:
        pass
    second = other.submit("second")
    assert store.asked.acquire(timeout=patience_s)

    second.cancel()

    assert isinstance(second.exception(patience_s), StreamCancelled)
    assert server.requests == ()
    gate.set()
    assert first.result(patience_s)


def test_lease_is_renewed_while_the_turn_lasts(talk, gate, patience_s):
    """A long reply does not lose it, and no thread is left afterwards."""
    store = Ending()
    session, _ = talk(
        Reply("held back", after={2: WaitFor(gate)}), store=store, session_id="a", lease_s=0.03
    )

    handle = session.submit("hi")
    asked = [store.asked.acquire(timeout=patience_s) for _ in range(5)]
    gate.set()

    assert asked == [True] * 5
    assert handle.result(patience_s)
    assert no_keeper_is_left(patience_s)


def test_lost_lease_leaves_it_to_the_version(talk, gate, patience_s, caplog):
    """Whoever committed first wins; the other's reply is in the error."""
    store = Ending()
    session, _ = talk(
        Reply("late", after={1: WaitFor(gate)}), store=store, session_id="a", lease_s=0.03
    )
    handle = session.submit("hi")
    assert store.asked.acquire(timeout=patience_s)
    store.lost.set()
    assert store.asked.acquire(timeout=patience_s)
    assert no_keeper_is_left(patience_s)  # there is nothing to renew
    store.append("a", 0, [], None)
    gate.set()

    error = handle.exception(patience_s)

    assert isinstance(error, CommitConflictError)
    assert error.reply.content == "late"
    assert "was lost" in caplog.text


@pytest.mark.parametrize("end", ["close", "drop", "cancel", "fail", "finish"])
def test_lease_is_given_back_however_the_turn_ends(talk, end):
    """The other session object goes on at once."""
    store = MemoryStore()
    script = Reply("Hello there", after={2: Cut()}) if end == "fail" else "Hello there"
    one, _ = talk(script, store=store, session_id="a", turn_timeout=0)
    other, _ = talk("Hello", store=store, session_id="a", turn_timeout=0)

    stream = one.stream("hi")
    next(stream)
    if end == "cancel":
        stream.cancel()
    if end == "close":
        stream.close()
    elif end == "drop":
        with pytest.warns(ResourceWarning):
            del stream
    else:
        with contextlib.suppress(StreamError, StreamCancelled):
            stream.result()

    assert other.ask("hi").content == "Hello"


def test_lease_that_nobody_holds_is_given_back():
    """A Ctrl-C may come between any two steps of whoever took it."""
    store = MemoryStore()
    lease = Lease(store, "a", 15.0)
    lease.wait(0, Cancellation())

    del lease

    assert store.lease("a", "somebody", 1.0) == 0.0


def test_store_that_cannot_lease_fails_before_any_request(talk):
    """Nobody is asked, the turn is given back, and the next one works."""

    class Broken(MemoryStore):
        broken = True

        def lease(self, session_id, owner, seconds):
            if self.broken:
                raise OSError("no network")
            return super().lease(session_id, owner, seconds)

    store = Broken()
    session, server = talk("Hello", store=store)

    with pytest.raises(StoreError, match=r"failed to lease .*no network"):
        session.ask("hi")

    assert server.requests == ()
    store.broken = False
    assert session.ask("hi", turn_timeout=0).content == "Hello"


@pytest.mark.parametrize("call", ["lease", "release"])
def test_lease_that_cannot_be_renewed_or_given_back_costs_no_reply(
    talk, gate, call, caplog, patience_s
):
    """It ends by itself; the reply is whole, and kept."""

    class Broken(Ending):
        broken = False

        def lease(self, session_id, owner, seconds):
            super().lease(session_id, owner, seconds)
            if self.broken and call == "lease":
                raise OSError("no network")
            return 0.0

        def release(self, session_id, owner):
            if call == "release":
                raise OSError("no network")

    store = Broken()
    session, _ = talk(Reply("Hello", after={1: WaitFor(gate)}), store=store, lease_s=0.03)

    handle = session.submit("hi")
    assert store.asked.acquire(timeout=patience_s)
    store.broken = True
    assert store.asked.acquire(timeout=patience_s)
    assert store.asked.acquire(timeout=patience_s)
    gate.set()

    assert handle.result(patience_s).content == "Hello"
    assert len(session.history) == 2
    assert "no network" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_does_not_end_its_parent_s_turn(talk):
    """Neither by its copy of the stream, nor at its exit."""
    store = MemoryStore()
    session, _ = talk("Hello there", store=store, session_id="a")
    stream = session.stream("hi")
    next(stream)

    child = os.fork()
    if child == 0:
        stream.close()
        del stream
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)

    assert store.lease("a", "somebody", 1.0) > 0
    assert stream.result().content == "Hello there"


@pytest.mark.parametrize("lease_s", [0, -1, "5", True, float("nan"), float("inf")])
def test_lease_of_no_time_is_refused(connect, serve, lease_s):
    """Before anything is asked."""
    with pytest.raises(ConfigurationError, match="lease_s"):
        LLMSession(connect(serve()), lease_s=lease_s)


def test_lease_of_a_lost_session_is_told_in_the_log_only(caplog):
    """The reply may still win."""
    caplog.set_level(logging.WARNING)
    store = Ending()
    lease = Lease(store, "a", 15.0)
    lease.wait(0, Cancellation())
    store.lost.set()

    assert not lease.renew()
    assert "whoever commits first wins" in caplog.text
    lease.release()
    assert not lease.renew()
