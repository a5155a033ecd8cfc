"""What changes a history without a question: injected messages, tool loops, clear, the prompt."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync import ConfigurationError, Role, ToolCall, ToolDefinition
from cloudllm_sync.testing import Reply

WEATHER = ToolDefinition(
    "weather", "The weather in a city", {"type": "object", "properties": {"city": {}}}
)
OSLO = ToolCall("call_1", "weather", '{"city":"Oslo"}')
ROME = ToolCall("call_2", "weather", '{"city":"Rome"}')


@pytest.mark.parametrize("role", [Role.USER, Role.ASSISTANT, Role.SYSTEM, "user", "assistant"])
def test_injected_message_is_sent_with_the_next_turn(talk, said, role):
    """Any role, as a member or as its word; nothing is sent by itself."""
    session, server = talk("Hello")

    session.inject_message(role, "by the way")
    assert server.requests == ()
    session.ask("hi")

    word = Role(role).value
    assert said(server.requests[0].json["messages"]) == [(word, "by the way"), ("user", "hi")]
    assert said(session) == [(word, "by the way"), ("user", "hi"), ("assistant", "Hello")]


def test_injected_question_can_be_answered(talk, said):
    """send_current_history() sends what is there, and adds only the reply."""
    session, server = talk("Hello", "Hello again", system_prompt="Be brief.")
    session.inject_message(Role.USER, "hi")

    assert session.send_current_history().content == "Hello"
    session.inject_message(Role.USER, "more")
    assert session.stream_current_history().result().content == "Hello again"

    assert said(server.requests[0].json["messages"]) == [("system", "Be brief."), ("user", "hi")]
    assert [role for role, _ in said(session)] == ["user", "assistant"] * 2


def test_empty_history_cannot_be_sent(talk):
    """Nothing to answer: refused before any I/O, and the turn is given back."""
    session, server = talk("Hello", turn_timeout=0)

    with pytest.raises(ConfigurationError, match="messages is empty"):
        session.send_current_history()

    assert server.requests == ()
    assert session.ask("hi").content == "Hello"


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_tool_loop(talk, way):
    """Two calls at once, two results, and the answer; the wire has every part in its place."""
    session, server = talk(
        Reply("Let me look.", tool_calls=(OSLO, ROME)), "Oslo is colder.", system_prompt="Be brief."
    )
    results = {"Oslo": "-4 °C", "Rome": "12 °C"}

    if way == "whole":
        reply = session.ask("Which is colder?", [WEATHER])
    else:
        reply = session.stream("Which is colder?", [WEATHER]).result()
    for call in reply.tool_calls:
        session.inject_message(Role.TOOL, results[call.parsed()["city"]], tool_call_id=call.id)
    if way == "whole":
        answer = session.send_current_history([WEATHER])
    else:
        answer = session.stream_current_history([WEATHER]).result()

    assert answer.content == "Oslo is colder."
    asked, loop = (request.json for request in server.requests)
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["weather"]
    assert loop["tools"] == asked["tools"]
    system, user, calls, first, second = loop["messages"]
    assert (system["role"], user["content"]) == ("system", "Which is colder?")
    assert calls["content"] == "Let me look."
    assert [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in calls["tool_calls"]
    ] == [("call_1", "weather", {"city": "Oslo"}), ("call_2", "weather", {"city": "Rome"})]
    assert [first, second] == [
        {"role": "tool", "tool_call_id": "call_1", "content": "-4 °C"},
        {"role": "tool", "tool_call_id": "call_2", "content": "12 °C"},
    ]
    assert [message.role.value for message in session.history] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]


def test_results_may_come_in_any_order(talk):
    """Whichever tool is ready first."""
    session, server = talk(Reply(tool_calls=(OSLO, ROME)), "done")
    session.ask("go", [WEATHER])

    session.inject_message(Role.TOOL, "two", tool_call_id="call_2")
    session.inject_message(Role.TOOL, "one", tool_call_id="call_1")

    assert session.send_current_history([WEATHER]).content == "done"
    assert len(server.requests) == 2


@pytest.mark.parametrize("call_id", [None, "", "call_9"])
def test_result_of_no_open_call_is_refused(talk, call_id):
    """It names the calls that are open."""
    session, _ = talk(Reply(tool_calls=(OSLO, ROME)))
    session.ask("go", [WEATHER])

    with pytest.raises(ConfigurationError, match="open are call_1, call_2"):
        session.inject_message(Role.TOOL, "result", tool_call_id=call_id)

    assert len(session.history) == 2


def test_second_result_of_one_call_is_refused(talk):
    """One call, one result."""
    session, _ = talk(Reply(tool_calls=(OSLO,)))
    session.ask("go", [WEATHER])
    session.inject_message(Role.TOOL, "one", tool_call_id="call_1")

    with pytest.raises(ConfigurationError, match="open are none"):
        session.inject_message(Role.TOOL, "again", tool_call_id="call_1")


def test_result_after_another_message_is_refused(talk):
    """The conversation has gone on: no provider would take the result any more."""
    session, _ = talk(Reply(tool_calls=(OSLO,)))
    session.ask("go", [WEATHER])
    session.inject_message(Role.USER, "never mind")

    with pytest.raises(ConfigurationError, match="open are none"):
        session.inject_message(Role.TOOL, "late", tool_call_id="call_1")


def test_result_in_an_empty_history_is_refused(talk):
    """Nobody called."""
    session, _ = talk()

    with pytest.raises(ConfigurationError, match="open are none"):
        session.inject_message(Role.TOOL, "result", tool_call_id="call_1")


def test_missing_result_is_told_before_any_request(talk):
    """send_current_history() with an open call would be refused by every provider."""
    session, server = talk(Reply(tool_calls=(OSLO, ROME)), "Hello", turn_timeout=0)
    session.ask("go", [WEATHER])
    session.inject_message(Role.TOOL, "one", tool_call_id="call_1")

    with pytest.raises(ConfigurationError, match="call_2"):
        session.send_current_history([WEATHER])

    assert len(server.requests) == 1


@pytest.mark.parametrize("answered", [(), ("call_1",)], ids=["none", "one of two"])
@pytest.mark.parametrize("text", ["", "Let me look."])
def test_orphaned_calls_never_reach_the_wire(talk, answered, text, said):
    """The user asked something else instead of giving results: the calls are left out, with the
    results there are; the text stays, and so does the history.
    """
    session, server = talk(Reply(text, tool_calls=(OSLO, ROME)), "Hello")
    session.ask("go", [WEATHER])
    for call_id in answered:
        session.inject_message(Role.TOOL, "one", tool_call_id=call_id)

    session.ask("never mind")

    sent = server.requests[1].json["messages"]
    assert said(sent) == [
        ("user", "go"),
        *([("assistant", text)] if text else []),
        ("user", "never mind"),
    ]
    assert not any("tool_calls" in message for message in sent)
    assert len(session.history) == 4 + len(answered)
    assert session.history[1].tool_calls == (OSLO, ROME)


@pytest.mark.parametrize("way", ["send_message", "send_message_stream", "start_message_stream"])
def test_tool_result_as_a_question_is_refused(talk, way):
    """It could not say which call it answers; it was dropped in silence once."""
    session, server = talk(default="Hello", turn_timeout=0)

    with pytest.raises(ConfigurationError, match="inject_message"):
        getattr(session, way)(Role.TOOL, "-4 °C")

    assert server.requests == ()
    assert session.history == ()


def test_only_tool_results_have_a_call_id(talk):
    """A likely mistake: the role was forgotten."""
    session, _ = talk()

    with pytest.raises(ConfigurationError, match=r"Role\.TOOL"):
        session.inject_message(Role.USER, "-4 °C", tool_call_id="call_1")

    assert session.history == ()


@pytest.mark.parametrize(("role", "content"), [("robot", "hi"), (None, "hi"), (Role.USER, None)])
def test_message_that_is_none_is_refused(talk, role, content):
    """Before anything happens, wherever it is passed."""
    session, server = talk("Hello", turn_timeout=0)

    for method in (
        session.send_message,
        session.send_message_stream,
        session.start_message_stream,
        session.inject_message,
    ):
        with pytest.raises(ConfigurationError, match="cannot be sent"):
            method(role, content)

    assert server.requests == ()
    assert session.history == ()
    assert session.ask("hi").content == "Hello"


def test_other_roles_can_be_sent(talk, said):
    """send_message() takes the role first: a system note, or the beginning of an answer."""
    session, _ = talk("noted", "there")

    session.send_message(Role.SYSTEM, "The user is called Ada.")
    session.send_message_stream("assistant", "Hello").result()

    assert said(session) == [
        ("system", "The user is called Ada."),
        ("assistant", "noted"),
        ("assistant", "Hello"),
        ("assistant", "there"),
    ]


def test_cleared_history_is_forgotten(talk, said):
    """Usage and system prompt stay."""
    session, server = talk("Hello", "Bye", system_prompt="Be brief.")
    session.ask("hi")
    used = session.token_usage

    session.clear_history()

    assert session.history == ()
    assert session.token_usage == used
    assert session.last_token_usage == used
    session.ask("so long")
    assert said(server.requests[1].json["messages"]) == [
        ("system", "Be brief."),
        ("user", "so long"),
    ]


def test_system_prompt_can_be_changed(talk, said):
    """From the next turn on; empty for none. It is never in the history."""
    session, server = talk("one", "two", "three", system_prompt="Be brief.")

    session.ask("a")
    session.set_system_prompt("Be kind.")
    session.ask("b")
    session.set_system_prompt("")
    session.ask("c")

    firsts = [said(request.json["messages"])[0] for request in server.requests]
    assert firsts == [("system", "Be brief."), ("system", "Be kind."), ("user", "a")]
    assert [role for role, _ in said(session)] == ["user", "assistant"] * 3


def test_request_messages_are_what_would_be_sent(talk, said):
    """The property and the wire agree."""
    session, server = talk("Hello", "Bye", system_prompt="Be brief.")
    session.ask("hi")
    session.inject_message(Role.USER, "so long")

    promised = said(session.request_messages)
    session.send_current_history()

    assert said(server.requests[1].json["messages"]) == promised
    assert promised[0] == ("system", "Be brief.")


def test_history_cannot_be_changed_from_outside(talk):
    """A tuple: what was handed out stays as it was."""
    session, _ = talk("Hello", "Bye")
    session.ask("hi")

    before = session.history
    session.ask("so long")

    assert isinstance(before, tuple)
    assert len(before) == 2
