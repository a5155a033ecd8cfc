"""Sessions and what keeps them: failures, conflicts, two sessions of one name."""

from __future__ import annotations

import pytest

from cloudllm_sync import (
    CommitConflictError,
    LLMSession,
    MemoryStore,
    Message,
    Role,
    StoreError,
    StreamInterrupted,
)
from cloudllm_sync.testing import Cut, Reply, Stall


class Broken(MemoryStore):
    """A store whose next operation of a kind raises what it was told to."""

    def __init__(self, **errors):
        super().__init__()
        self.errors = errors

    def _maybe_raise(self, operation):
        error = self.errors.pop(operation, None)
        if error is not None:
            raise error

    def load(self, session_id, *, newest=None):
        self._maybe_raise("load")
        return super().load(session_id, newest=newest)

    def append(self, session_id, base_version, messages, usage):
        self._maybe_raise("append")
        return super().append(session_id, base_version, messages, usage)

    def clear(self, session_id, base_version):
        self._maybe_raise("clear")
        return super().clear(session_id, base_version)


FAILURES = [StoreError, OSError, ValueError]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("way", ["ask", "stream", "submit"])
def test_reply_that_could_not_be_saved_is_in_the_error(talk, failure, way, patience_s, said):
    """The answer is never lost, the history does not move, and the next turn works."""
    session, _ = talk("lost", "Hello", store=Broken(append=failure("disk full")))

    with pytest.raises(StoreError, match="disk full") as caught:
        if way == "ask":
            session.ask("a")
        elif way == "stream":
            session.stream("a").result()
        else:
            session.submit("a").result(patience_s)

    assert caught.value.reply.content == "lost"
    assert session.history == ()
    assert session.token_usage.total_tokens == 0
    assert session.ask("hi").content == "Hello"
    assert said(session) == [("user", "hi"), ("assistant", "Hello")]


def test_foreign_failure_is_the_cause(talk):
    """What the user's store raised can be seen."""
    session, _ = talk("lost", store=Broken(append=OSError("disk full")))

    with pytest.raises(StoreError) as caught:
        session.ask("a")

    assert isinstance(caught.value.__cause__, OSError)
    assert "OSError" in str(caught.value)


def test_stream_that_could_not_be_saved_raises_the_same_again(talk):
    """It does not end normally the second time."""
    session, _ = talk("lost", store=Broken(append=OSError("disk full")))
    stream = session.stream("a")
    errors = []

    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            stream.result()
        errors.append(caught.value)

    assert errors[0] is errors[1]


def test_failure_to_save_goes_to_on_error(talk, patience_s):
    """on_finish would promise a history that is not there."""
    session, _ = talk("lost", store=Broken(append=OSError("disk full")))
    ends = []

    handle = session.submit(
        "a",
        on_finish=lambda message: ends.append("finish"),
        on_error=lambda error: ends.append(error),
    )

    assert handle.join(patience_s)
    (error,) = ends
    assert isinstance(error, StoreError)
    assert error.reply.content == "lost"


def test_failure_to_save_on_leaving_after_the_finish_is_raised(talk):
    """close() is where the commit happens, so it is where its failure is told."""
    session, _ = talk(
        Reply("lost", after={3: Stall()}), "Hello", store=Broken(append=OSError("disk full"))
    )
    stream = session.stream("a")
    next(chunk for chunk in stream if chunk.finish_reason)

    with pytest.raises(StoreError) as caught:
        stream.close()

    assert caught.value.reply.content == "lost"
    assert session.ask("hi").content == "Hello"


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("way", ["ask", "stream"])
def test_store_that_cannot_be_read_fails_before_any_request(talk, failure, way):
    """Nobody is asked, the turn is given back, and the next one works."""
    store = Broken()
    session, server = talk("Hello", store=store)
    store.errors["load"] = failure("disk full")

    with pytest.raises(StoreError, match="disk full") as caught:
        getattr(session, way)("a")

    assert caught.value.reply is None
    assert server.requests == ()
    assert session.ask("hi", turn_timeout=0).content == "Hello"


@pytest.mark.parametrize("failure", FAILURES)
def test_store_that_cannot_be_read_fails_at_construction(talk, failure):
    """A session whose history is unknown is none."""
    with pytest.raises(StoreError, match="disk full"):
        talk(store=Broken(load=failure("disk full")))


@pytest.mark.parametrize("failure", FAILURES)
def test_changes_that_could_not_be_saved_change_nothing(talk, failure, said):
    """inject_message() and clear_history() move memory only after the store."""
    store = Broken()
    session, _ = talk("Hello", store=store)
    session.inject_message(Role.USER, "hi")

    store.errors["append"] = failure("disk full")
    with pytest.raises(StoreError, match="disk full"):
        session.inject_message(Role.USER, "more")
    store.errors["clear"] = failure("disk full")
    with pytest.raises(StoreError, match="disk full"):
        session.clear_history()

    assert said(session) == [("user", "hi")]
    assert session.send_current_history(turn_timeout=0).content == "Hello"


def test_partial_reply_that_could_not_be_kept_is_logged(talk, caplog):
    """The failure of the reply is what the caller hears of."""
    session, _ = talk(
        Reply("Hello there", after={2: Cut()}),
        partial="keep",
        store=Broken(append=OSError("disk full")),
    )

    with pytest.raises(StreamInterrupted):
        session.stream("a").result()

    assert session.history == ()
    assert "partial reply could not be kept" in caplog.text


def test_change_behind_the_session_s_back_is_a_conflict(talk, said):
    """The store moved on while the reply streamed: the reply is handed over, not mixed in."""
    store = MemoryStore()
    session, _ = talk("lost", "Hello", store=store, session_id="shared")
    stream = session.stream("a")
    store.append("shared", 0, [Message(Role.USER, "me first")], None)

    with pytest.raises(CommitConflictError, match="version 1, not 0") as caught:
        stream.result()

    assert caught.value.reply.content == "lost"
    assert session.history == ()
    session.ask("hi")
    assert said(session) == [("user", "me first"), ("user", "hi"), ("assistant", "Hello")]


def test_two_sessions_of_one_name_see_each_other_s_turns(talk, said):
    """Every turn begins from what the store has."""
    store = MemoryStore()
    one, _ = talk("Hello", store=store, session_id="shared")
    two, server = talk("Bye", store=store, session_id="shared")

    one.ask("hi")
    two.ask("so long")

    assert said(server.requests[0].json["messages"]) == [
        ("user", "hi"),
        ("assistant", "Hello"),
        ("user", "so long"),
    ]
    assert len(two.history) == 4
    assert two.token_usage.output_tokens == 2


def test_new_session_takes_up_a_stored_conversation(talk, connect, serve):
    """History and usage are there before the first turn."""
    store = MemoryStore()
    session, _ = talk("Hello", store=store, session_id="kept")
    session.ask("hi")

    again = LLMSession(connect(serve()), store=store, session_id="kept")

    assert again.history == session.history
    assert again.token_usage == session.token_usage
    assert again.last_token_usage == session.last_token_usage


def test_sessions_without_a_name_are_apart(talk):
    """Each gets a name of its own."""
    store = MemoryStore()
    one, _ = talk("Hello", store=store)
    two, _ = talk("Hello", store=store)

    one.ask("hi")

    assert one.session_id != two.session_id
    assert two.history == ()
