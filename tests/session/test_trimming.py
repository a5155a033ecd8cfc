"""Requests are trimmed, histories never."""

from __future__ import annotations

import pytest

from cloudllm_sync import ContextLengthError, Role, ToolCall, ToolDefinition
from cloudllm_sync.testing import Reply

LOOK = ToolDefinition("look", "Looks it up", {"type": "object"})


@pytest.fixture
def by_words():
    """Counts a token for every word."""
    return lambda message: len(message.content.split())


def test_oldest_exchanges_are_left_out(talk, by_words, said):
    """System prompt, the newest exchanges and the question are sent; the history keeps all."""
    session, server = talk(
        default="reply of four words",
        system_prompt="Be brief.",
        max_tokens=16,
        estimate_tokens=by_words,
    )

    for n in range(5):
        session.ask(f"question {n}")

    sent = [said(request.json["messages"]) for request in server.requests]
    assert [len(messages) for messages in sent] == [2, 4, 6, 6, 6]
    assert sent[-1] == [
        ("system", "Be brief."),
        ("user", "question 2"),
        ("assistant", "reply of four words"),
        ("user", "question 3"),
        ("assistant", "reply of four words"),
        ("user", "question 4"),
    ]
    assert len(session.history) == 10


def test_exchange_is_left_out_whole(talk, by_words, said):
    """A question without its answer, or an answer alone, would mislead the model."""
    session, server = talk("a b c d", "e", max_tokens=6, estimate_tokens=by_words)

    session.ask("one two")
    session.ask("three four")

    assert said(server.requests[1].json["messages"]) == [("user", "three four")]


def test_older_exchange_is_not_sent_past_a_gap(talk, by_words, said):
    """A short old exchange that would fit does not jump over a long newer one."""
    session, server = talk("a", "b " * 20, "c", max_tokens=10, estimate_tokens=by_words)

    session.ask("short")
    session.ask("long")
    session.ask("now")

    assert said(server.requests[2].json["messages"]) == [("user", "now")]


def test_tool_calls_and_results_are_left_out_together(talk, by_words, said):
    """Half a tool exchange would be refused by every provider."""
    session, server = talk(
        Reply(tool_calls=(ToolCall("c1", "look", "{}"),)),
        "found it",
        "done",
        max_tokens=8,
        estimate_tokens=by_words,
    )
    session.ask("look it up", [LOOK])
    session.inject_message(Role.TOOL, "a long result", tool_call_id="c1")
    session.send_current_history([LOOK])

    session.ask("thanks")

    assert said(server.requests[1].json["messages"])[-1] == ("tool", "a long result")
    assert said(server.requests[2].json["messages"]) == [("user", "thanks")]


def test_running_tool_exchange_is_always_sent(talk, by_words, said):
    """send_current_history() sends the last exchange whole; only older ones are left out."""
    session, server = talk(
        "an old reply",
        Reply(tool_calls=(ToolCall("c1", "look", "{}"),)),
        "found it",
        max_tokens=7,
        estimate_tokens=by_words,
    )
    session.ask("old question")
    session.ask("look it up", [LOOK])
    session.inject_message(Role.TOOL, "a long result", tool_call_id="c1")

    session.send_current_history([LOOK])

    assert [role for role, _ in said(server.requests[2].json["messages"])] == [
        "user",
        "assistant",
        "tool",
    ]


@pytest.mark.parametrize("way", ["ask", "stream", "submit"])
def test_request_that_cannot_fit_is_refused_before_any_request(talk, by_words, way, patience_s):
    """System prompt and question alone are over the limit; the turn is given back."""
    session, server = talk(
        "Hello",
        system_prompt="one two three",
        max_tokens=5,
        estimate_tokens=by_words,
        turn_timeout=0,
    )

    with pytest.raises(ContextLengthError, match=r"about 6 tokens.*max_tokens of 5") as caught:
        if way == "submit":
            session.submit("four five six").result(patience_s)
        else:
            getattr(session, way)("four five six")

    assert caught.value.attempts == 0
    assert server.requests == ()
    assert session.history == ()
    assert session.ask("four five").content == "Hello"


def test_default_estimate_is_a_quarter_of_the_bytes(talk):
    """Longer than 8192 tokens by default: about 32 KB."""
    session, _ = talk("Hello")

    with pytest.raises(ContextLengthError):
        session.ask("x" * 4 * 8193)
    assert session.ask("x" * 4 * 8192).content == "Hello"


def test_estimated_history_tokens_count_everything(talk, by_words):
    """System prompt included, and what is no longer sent."""
    session, _ = talk(
        default="a b c", system_prompt="Be brief.", max_tokens=6, estimate_tokens=by_words
    )
    assert session.estimated_history_tokens == 2

    session.ask("one")
    session.ask("two")

    assert session.estimated_history_tokens == 2 + 4 + 4


def test_longer_system_prompt_leaves_less_room(talk, by_words, said):
    """What is trimmed is decided anew for every request."""
    session, server = talk(default="a", max_tokens=6, estimate_tokens=by_words)
    session.ask("one")

    session.set_system_prompt("w " * 5)
    session.ask("two")

    assert [role for role, _ in said(server.requests[1].json["messages"])] == ["system", "user"]
