"""What was said in a session is in no report of an error, whichever way it was asked."""

from __future__ import annotations

import pytest

from cloudllm_sync import CloudLLMError, LLMSession, MemoryStore, Role, StoreError
from cloudllm_sync.testing import Cut, Raw, error_reply

PROMPT = "my-private-prompt"
SYSTEM = "my-private-system"
ANSWER = "private-answer"


def by(method, *before, ends=lambda made: made):
    def ask(session):
        ends(getattr(session, method)(*before, PROMPT))

    return ask


def read(stream):
    stream.result()


def wait(handle):
    handle.result(10)


WAYS = {
    "ask": by("ask"),
    "stream": by("stream", ends=read),
    "submit": by("submit", ends=wait),
    "send_message": by("send_message", "user"),
    "send_message_stream": by("send_message_stream", Role.USER, ends=read),
    "start_message_stream": by("start_message_stream", "user", ends=wait),
    "send_current_history": lambda session: session.send_current_history(),
    "stream_current_history": lambda session: session.stream_current_history().result(),
    "inject_message": by("inject_message", Role.USER),
}
ASKING = [way for way in WAYS if way != "inject_message"]
ways = pytest.mark.parametrize("way", WAYS)


class Failing(MemoryStore):
    """Fails as a database does: its words go on with what it was given."""

    broken = ()

    def load(self, session_id, *, newest=None):
        return self._do("load", super().load, session_id)

    def append(self, session_id, base_version, messages, usage):
        return self._do("append", super().append, session_id, base_version, messages, usage)

    def _do(self, what, act, *args):
        if what in self.broken:
            raise RuntimeError(f"disk full\n[parameters: ({PROMPT!r}, {SYSTEM!r}, {ANSWER!r})]")
        return act(*args)


@pytest.mark.parametrize(
    ("way", "fault"),
    [("inject_message", "busy")]
    + [(way, fault) for way in ASKING for fault in ("refused", "cut", "busy")],
)
def test_failed_turn_shows_no_conversation(way, fault, talk, report_of):
    """Every frame of the session's, of the client's, and of the stream's."""
    script = {"cut": Raw(b"data: {", Cut())}.get(fault, error_reply(500, "sorry"))
    session, _ = talk(ANSWER, default=script, system_prompt=SYSTEM, turn_timeout=0)
    session.ask(PROMPT)
    session.inject_message("user", PROMPT)
    held = session._conversation.queue.enter() if fault == "busy" else None

    with pytest.raises(CloudLLMError) as caught:
        WAYS[way](session)

    if held is not None:
        held.release()
    shown = report_of(caught.value)
    assert "self = " in shown
    for secret in (PROMPT, SYSTEM, ANSWER):
        assert secret not in shown


@ways
@pytest.mark.parametrize("broken", ["load", "append"])
def test_store_that_fails_shows_no_prompt(way, broken, talk, report_of):
    """Databases quote their parameters; the first line of what they say is kept."""
    store = Failing()
    session, _ = talk(ANSWER, default=ANSWER, system_prompt=SYSTEM, store=store)
    session.ask(PROMPT)
    store.broken = (broken,)

    with pytest.raises(StoreError) as caught:
        WAYS[way](session)

    error = caught.value
    assert "RuntimeError: disk full" in str(error)
    error.__cause__ = error.__context__ = error.reply = None  # the store's own words; the reply
    shown = report_of(error)
    assert PROMPT not in shown
    assert SYSTEM not in shown


def test_session_that_cannot_be_loaded_shows_no_prompt(talk, report_of):
    """The system prompt is an argument of the constructor."""
    store = Failing()
    store.broken = ("load",)

    with pytest.raises(StoreError) as caught:
        talk(system_prompt=SYSTEM, store=store)

    caught.value.__cause__ = caught.value.__context__ = None
    assert SYSTEM not in report_of(caught.value)


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"turn_timeout": -1}, {"session_id": 5}])
def test_session_that_cannot_be_made_shows_no_prompt(wrong, report_of):
    """As above."""
    with pytest.raises(CloudLLMError) as caught:
        LLMSession(object(), SYSTEM, **wrong)

    assert SYSTEM not in report_of(caught.value)


@pytest.mark.parametrize("method", ["ask", "stream", "submit"])
@pytest.mark.parametrize("wrong", [{"options": 5}, {"turn_timeout": "x"}, {"attachments": "a.png"}])
def test_refused_message_is_shown_nowhere(method, wrong, talk, report_of):
    """Before the turn begins."""
    session, _ = talk()

    with pytest.raises(CloudLLMError) as caught:
        getattr(session, method)(PROMPT, **wrong)

    assert PROMPT not in report_of(caught.value)


def test_session_shows_no_conversation(talk):
    """Its repr, and those of its parts."""
    session, _ = talk(ANSWER, system_prompt=SYSTEM)
    session.ask(PROMPT)

    shown = repr(session) + repr(vars(session)) + repr(vars(session._conversation))
    for secret in (PROMPT, SYSTEM, ANSWER):
        assert secret not in shown
