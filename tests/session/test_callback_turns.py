"""The next turn from the last callback of the one before."""

from __future__ import annotations

import threading

import pytest

from cloudllm_sync import ConfigurationError, SessionBusyError, StreamCancelled
from cloudllm_sync.testing import Cut, Reply, error_reply


@pytest.mark.parametrize("way", ["ask", "stream", "submit"])
def test_on_finish_may_start_the_next_turn(talk, way, patience_s, said):
    """The turn is settled and the ticket free before on_finish."""
    session, _ = talk("one", "two", turn_timeout=0)
    replies = []

    def go_on(message):
        if way == "ask":
            replies.append(session.ask("b"))
        elif way == "stream":
            replies.append(session.stream("b").result())
        else:
            replies.append(session.submit("b"))

    handle = session.submit("a", on_finish=go_on)

    assert handle.exception(patience_s) is None
    if way == "submit":
        replies = [replies[0].result(patience_s)]
    assert replies[0].content == "two"
    assert said(session) == [
        ("user", "a"),
        ("assistant", "one"),
        ("user", "b"),
        ("assistant", "two"),
    ]


@pytest.mark.parametrize(
    "failure",
    [error_reply(400, "no"), Reply("Hello there", after={2: Cut()})],
    ids=["refused", "cut"],
)
def test_on_error_may_start_the_next_turn(talk, failure, patience_s, said):
    """A retry of the user's own, from where the error is heard."""
    session, _ = talk(failure, "one", turn_timeout=0)
    replies = []

    handle = session.submit("a", on_error=lambda error: replies.append(session.ask("a")))

    assert handle.join(patience_s)
    assert [reply.content for reply in replies] == ["one"]
    assert said(session) == [("user", "a"), ("assistant", "one")]


def test_on_error_of_a_raising_on_chunk_may_start_the_next_turn(talk, patience_s, said):
    """on_chunk raised: the turn is cancelled, and over, when on_error hears of it."""
    session, _ = talk("lost words", "one", turn_timeout=0)
    errors = []

    def on_chunk(chunk):
        raise KeyError("mine")

    def on_error(error):
        errors.append(error)
        session.ask("a")

    handle = session.submit("a", on_chunk=on_chunk, on_error=on_error)

    assert handle.join(patience_s)
    assert isinstance(errors[0], StreamCancelled)
    assert isinstance(errors[0].__cause__, KeyError)
    assert said(session) == [("user", "a"), ("assistant", "one")]


def test_cancelled_turn_s_on_error_may_start_the_next_turn(talk, patience_s):
    """The cancel was for the old turn only."""
    session, _ = talk(Reply("a b c", token_delay_s=5), "one", turn_timeout=0)
    heard = threading.Event()
    replies = []
    handle = session.submit(
        "a",
        on_chunk=lambda chunk: heard.set(),
        on_error=lambda error: replies.append(session.ask("again")),
    )
    assert heard.wait(patience_s)
    handle.cancel()

    assert handle.join(patience_s)
    assert [reply.content for reply in replies] == ["one"]


def test_chain_of_turns_does_not_grow(talk, echo, patience_s):
    """Fifty turns, each begun by the one before: one thread at a time."""
    session, _ = talk(default=echo)
    ended = threading.Event()
    alive = []

    def go_on(message):
        names = [thread.name for thread in threading.enumerate()]
        alive.append(names.count("cloudllm-stream"))
        if len(session.history) < 100:
            session.submit("more", on_finish=go_on)
        else:
            ended.set()

    session.submit("first", on_finish=go_on)

    assert ended.wait(patience_s)
    assert len(session.history) == 100
    assert max(alive) <= 3


def test_message_that_is_none_is_refused_on_the_spot(talk):
    """A mistake of the caller is raised to the caller, and holds no turn."""
    session, server = talk("one", turn_timeout=0)
    errors = []

    with pytest.raises(ConfigurationError):
        session.submit(None, on_error=errors.append)

    assert errors == []
    assert server.requests == ()
    assert session.ask("a").content == "one"


def test_refused_at_once_while_a_submit_runs(talk, patience_s):
    """turn_timeout=0: the second click on a button is told so on the spot."""
    gate = threading.Event()
    session, _ = talk(lambda request: gate.wait(patience_s) and "one", turn_timeout=0)
    handle = session.submit("a")

    with pytest.raises(SessionBusyError):
        session.submit("b")
    gate.set()

    assert handle.result(patience_s).content == "one"
