"""Turns of several rounds: all their messages enter the history together."""

from __future__ import annotations

import pytest

from cloudllm_sync import (
    CloudLLMError,
    ContextLengthError,
    Message,
    Role,
    StreamCancelled,
    TokenUsage,
    ToolCall,
)
from cloudllm_sync.session.arguments import Said
from cloudllm_sync.session.conversation import Wish

QUESTION = Message(Role.USER, "hi")
CALL = Message(
    Role.ASSISTANT, "", tool_calls=(ToolCall("c1", "look", "{}"),), usage=TokenUsage(1, 2, 3)
)
RESULT = Message(Role.TOOL, "found", tool_call_id="c1")
REPLY = Message(Role.ASSISTANT, "done", usage=TokenUsage(10, 20, 30))


@pytest.fixture
def begin(talk):
    """Begins a turn of a session; gives both."""

    def make(**options):
        session, _ = talk(**options)
        conversation = session._conversation
        return session, conversation.begin(Wish(new=Said((QUESTION,))), conversation.queue.enter())

    return make


def test_rounds_and_reply_are_kept_together(begin):
    """Nothing is there before the end; usage is that of all rounds."""
    session, turn = begin()

    turn.add_round([CALL, RESULT])
    before = session.history
    turn.settle(REPLY, None)

    assert before == ()
    assert session.history == (QUESTION, CALL, RESULT, REPLY)
    assert session.token_usage == session.last_token_usage == TokenUsage(11, 22, 33)


def test_request_of_the_next_round_has_the_rounds_before(begin):
    """And the history, as far as there is room for it."""
    _, turn = begin(system_prompt="Be brief.")

    turn.add_round([CALL, RESULT])

    assert turn.request[1:] == (QUESTION, CALL, RESULT)
    assert turn.request[0].role is Role.SYSTEM


def test_failed_turn_forgets_its_rounds(begin):
    """History is unchanged, and the next turn may begin."""
    session, turn = begin()

    turn.add_round([CALL, RESULT])
    turn.settle(None, StreamCancelled("stop"))

    assert session.history == ()
    session.inject_message(Role.USER, "next")


@pytest.mark.parametrize("text", ["", "half"])
def test_failed_turn_keeps_its_whole_rounds_if_asked_to(begin, text):
    """What had arrived of the last reply, too, if there was any text."""
    session, turn = begin(partial="keep")

    turn.add_round([CALL, RESULT])
    turn.settle(None, CloudLLMError("no", partial=Message(Role.ASSISTANT, text)))

    kept = [message.content for message in session.history]
    assert kept == ["hi", "", "found", *([text] if text else [])]
    assert session.token_usage == TokenUsage(1, 2, 3)


def test_round_that_does_not_fit_is_an_error(begin):
    """Before anything is sent."""
    session, turn = begin(max_tokens=20)

    with pytest.raises(ContextLengthError):
        turn.add_round([CALL, Message(Role.TOOL, "found " * 40, tool_call_id="c1")])

    turn.release()
    assert session.history == ()
