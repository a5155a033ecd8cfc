"""Turns of one session, one after the other."""

from __future__ import annotations

import collections
import contextlib
import gc
import threading
import time
import weakref

import pytest

from cloudllm_sync import LLMSession, SessionBusyError, StreamCancelled, TokenUsage
from cloudllm_sync.testing import Reply, Stall, WaitFor


@pytest.fixture
def gate():
    """Holds a reply back until the test sets it."""
    return threading.Event()


@pytest.fixture
def held(gate):
    """A reply that begins at once and ends when the gate opens."""
    return Reply("held back", after={2: WaitFor(gate)})


def test_turns_are_served_first_come_first_served(talk, held, gate, echo, said, patience_s):
    """Nine submits wait behind a running one, and run in the order in which they came."""
    session, server = talk(held, default=echo)
    first = session.submit("first")
    assert server.wait_for_requests(1)

    others = [session.submit(f"number {n}") for n in range(9)]
    gate.set()

    assert all(handle.result(patience_s) for handle in [first, *others])
    questions = [text for role, text in said(session) if role == "user"]
    assert questions == ["first", *(f"number {n}" for n in range(9))]


def test_sixteen_threads_share_a_session(talk, echo, elsewhere, patience_s):
    """Intact pairs, every reply to its own question, usage adds up."""
    session, server = talk(default=echo)
    start = threading.Barrier(16)

    def work(thread):
        start.wait(patience_s)
        for n in range(4):
            text = f"{thread}/{n}"
            way = (thread + n) % 3
            if way == 0:
                reply = session.ask(text)
            elif way == 1:
                reply = session.stream(text).result()
            else:
                reply = session.submit(text).result(patience_s)
            assert reply.content == f"re: {text}"

    for done in [elsewhere(work, thread) for thread in range(16)]:
        done.result(patience_s)

    history = session.history
    questions, replies = history[::2], history[1::2]
    assert len(history) == 128
    assert {message.role.value for message in questions} == {"user"}
    assert [reply.content for reply in replies] == [f"re: {q.content}" for q in questions]
    by_thread = collections.defaultdict(list)
    for question in questions:
        thread, n = question.content.split("/")
        by_thread[thread].append(int(n))
    assert all(order == [0, 1, 2, 3] for order in by_thread.values())
    assert session.token_usage == sum((r.usage for r in replies), TokenUsage(0, 0, 0))
    sent = [len(request.json["messages"]) for request in server.requests]
    assert sent == list(range(1, 129, 2))


def test_readers_never_wait(talk, held, gate):
    """History and usage can be read while a turn streams."""
    session, _ = talk(held)
    with session.stream("hi") as stream:
        next(stream)

        assert session.history == ()
        assert session.request_messages == ()
        assert session.token_usage.total_tokens == 0
        assert session.estimated_history_tokens == 0
        gate.set()
        stream.result()


@pytest.mark.parametrize("way", ["ask", "stream", "inject", "clear"])
def test_waiting_ends_with_busy_after_turn_timeout(talk, held, gate, elsewhere, way, patience_s):
    """It waits as long as it was told to, and says how long that was."""
    session, server = talk(held, turn_timeout=0.15)
    ways = {
        "ask": lambda: session.ask("me too"),
        "stream": lambda: session.stream("me too"),
        "inject": lambda: session.inject_message("user", "me too"),
        "clear": session.clear_history,
    }
    with session.stream("hi") as stream:
        next(stream)
        began = time.monotonic()
        with pytest.raises(SessionBusyError, match="still running") as caught:
            elsewhere(ways[way]).result(patience_s)

        assert 0.15 <= caught.value.waited_s <= time.monotonic() - began
        assert caught.value.retryable
        gate.set()
        stream.result()
    assert len(server.requests) == 1


def test_busy_submit_is_told_to_on_error(talk, held, gate, patience_s):
    """A submit waits on its worker, so its time-out goes to on_error."""
    session, _ = talk(held)
    errors = []
    with session.stream("hi") as stream:
        handle = session.submit("me too", on_error=errors.append, turn_timeout=0.05)

        assert handle.join(patience_s)
        gate.set()
        stream.result()
    (error,) = errors
    assert isinstance(error, SessionBusyError)
    assert error.waited_s >= 0.05


def test_turn_timeout_of_a_turn_wins(talk, held, gate, elsewhere, patience_s):
    """The session's is 300 s; the turn wants an answer now."""
    session, _ = talk(held, "Hello")
    with session.stream("hi") as stream:
        with pytest.raises(SessionBusyError):
            elsewhere(session.ask, "me too", turn_timeout=0.01).result(patience_s)
        gate.set()
        stream.result()

    assert session.ask("now", turn_timeout=0).content == "Hello"


@pytest.mark.parametrize("way", ["ask", "stream", "submit"])
def test_zero_refuses_at_once(talk, held, gate, elsewhere, way, patience_s):
    """turn_timeout=0, the choice for a web view: no waiting, and submit raises right away."""
    session, server = talk(held, turn_timeout=0)
    errors = []
    with session.stream("hi") as stream:
        next(stream)
        options = {"on_error": errors.append} if way == "submit" else {}
        with pytest.raises(SessionBusyError) as caught:
            elsewhere(getattr(session, way), "me too", **options).result(patience_s)
        gate.set()
        stream.result()

    assert caught.value.waited_s < 0.1
    assert caught.value.retryable
    assert errors == []
    assert len(server.requests) == 1


def test_zero_is_served_when_nobody_runs(talk):
    """Refusing at once is not refusing always."""
    session, _ = talk("one", "two", "three", turn_timeout=0)

    assert session.ask("a").content == "one"
    assert session.stream("b").result().content == "two"
    assert session.submit("c").result(5).content == "three"


@pytest.mark.parametrize("way", ["ask", "stream", "inject", "clear"])
def test_thread_with_an_unfinished_stream_is_refused_at_once(talk, held, gate, way):
    """It would wait for itself until the time-out."""
    session, server = talk(held, "again")
    ways = {
        "ask": lambda: session.ask("me too"),
        "stream": lambda: session.stream("me too"),
        "inject": lambda: session.inject_message("user", "me too"),
        "clear": session.clear_history,
    }
    with session.stream("hi") as stream:
        next(stream)
        began = time.monotonic()
        with pytest.raises(SessionBusyError, match="wait for itself"):
            ways[way]()
        assert time.monotonic() - began < 1
        gate.set()
        stream.result()

    assert session.ask("now").content == "again"
    assert len(server.requests) == 2


def test_callback_on_chunk_is_refused_at_once(talk, patience_s):
    """The worker reads the stream that it would wait for."""
    session, _ = talk("Hello there")
    refused = []

    def on_chunk(chunk):
        try:
            session.ask("me too")
        except SessionBusyError as error:
            refused.append(error)

    session.submit("hi", on_chunk=on_chunk).result(patience_s)

    assert len(refused) == 4
    assert {error.waited_s for error in refused} == {0.0}


def test_thread_that_submitted_may_wait_for_its_own_submit(talk, echo, said):
    """A submit's turn belongs to its worker: the thread that made it waits, it is not refused."""
    session, _ = talk(default=echo)

    for n in range(20):
        session.submit(f"a{n}")
        session.ask(f"b{n}")

    questions = [text for role, text in said(session) if role == "user"]
    assert questions == [f"{way}{n}" for n in range(20) for way in "ab"]


def test_queued_submit_can_be_cancelled(talk, held, gate, patience_s, said):
    """While it waits for its turn; the running turn and the ones behind it are not disturbed."""
    session, server = talk(held, "third")
    errors = []
    with session.stream("first") as stream:
        next(stream)
        second = session.submit("second", on_error=errors.append)
        third = session.submit("third")
        second.cancel()

        assert second.join(patience_s)
        assert isinstance(errors[0], StreamCancelled)
        gate.set()
        stream.result()
    assert third.result(patience_s).content == "third"
    assert [text for role, text in said(session) if role == "user"] == ["first", "third"]
    assert len(server.requests) == 2


@pytest.mark.parametrize("way", ["ask", "stream"])
def test_ctrl_c_while_opening_gives_the_turn_back(talk, way, monkeypatch):
    """KeyboardInterrupt while the request is made: the session is free for the next turn."""
    session, _ = talk("Hello")
    client = session._conversation.client

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(client._transport, "send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            getattr(session, way)("hi")

    assert session.history == ()
    assert session.ask("again", turn_timeout=0).content == "Hello"


def test_dropped_stream_gives_its_turn_back(talk):
    """A stream that nobody reads any more is cancelled, with a warning."""
    session, _ = talk(Reply("Hello there", after={2: Stall()}), "Hello")

    def drop():
        stream = session.stream("hi")
        next(stream)
        gone = weakref.ref(stream)
        del stream
        gc.collect()
        return gone

    with pytest.warns(ResourceWarning, match="dropped before its end"):
        gone = drop()

    assert gone() is None
    assert session.history == ()
    assert session.ask("again", turn_timeout=0).content == "Hello"


def test_thread_that_cannot_be_started_gives_its_turn_back(talk, monkeypatch):
    """The operating system's limit of threads is no reason for a session to be busy for ever."""
    session, _ = talk("Hello")

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="start new thread"):
            session.submit("hi")

    assert session.ask("again", turn_timeout=0).content == "Hello"


def test_stream_may_be_read_by_another_thread(talk, elsewhere, patience_s, said):
    """The turn ends where the stream is read, whoever opened it."""
    session, _ = talk("Hello there", "Bye")
    stream = session.stream("hi")

    reply = elsewhere(stream.result).result(patience_s)

    assert session.history[-1] is reply
    assert session.ask("so long").content == "Bye"


def test_sessions_do_not_wait_for_each_other(talk, held, gate, connect):
    """Two sessions on one client are two conversations."""
    session, _ = talk(held, "Hello")
    other = LLMSession(session._conversation.client)
    with session.stream("hi") as stream:
        next(stream)

        assert other.ask("hi", turn_timeout=0).content == "Hello"
        gate.set()
        stream.result()


def test_closed_stream_lets_the_waiting_turn_begin(talk, held, elsewhere, patience_s):
    """The one that waits is woken by close(), not by its time-out."""
    session, server = talk(held, "Hello")
    stream = session.stream("hi")
    waiting = session.submit("me too")
    with contextlib.suppress(StopIteration):
        next(stream)
    stream.close()

    assert waiting.result(patience_s).content == "Hello"
    assert len(server.requests) == 2
