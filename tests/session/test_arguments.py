"""Sessions that cannot work are refused where they are made."""

from __future__ import annotations

import pytest

from cloudllm_sync import (
    Attachment,
    ChatOptions,
    ConfigurationError,
    LLMSession,
    OpenAIClient,
    Role,
    SummarizeOldest,
)

NOT_OPTIONS = {"temperature": 0}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"system_prompt": None}, "system_prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 10.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "8192"}, "max_tokens"),
        ({"partial": "yes"}, "partial"),
        ({"partial": True}, "partial"),
        ({"turn_timeout": -1}, "turn_timeout"),
        ({"turn_timeout": None}, "turn_timeout"),
        ({"options": NOT_OPTIONS}, "options must be ChatOptions"),
        ({"session_id": 5}, "session_id"),
        ({"estimate_tokens": 4}, "estimate_tokens"),
        ({"context": "trim"}, "context"),
        ({"context": SummarizeOldest}, "context"),
        ({"context": SummarizeOldest(OpenAIClient("m", api_key="k"), 8192)}, "keep_tokens"),
    ],
    ids=str,
)
def test_argument_that_cannot_work_is_named(connect, serve, options, named):
    """The message says which one."""
    with pytest.raises(ConfigurationError, match=named):
        LLMSession(connect(serve()), **options)


@pytest.mark.parametrize("keep_tokens", [-1, 1.5, True, "100"])
def test_number_of_tokens_to_keep_is_checked(keep_tokens):
    """Where the strategy is made."""
    with pytest.raises(ConfigurationError, match="keep_tokens must be a number"):
        SummarizeOldest(OpenAIClient("m", api_key="k"), keep_tokens)


def test_strategy_needs_a_client():
    """A name is none."""
    with pytest.raises(ConfigurationError, match="SummarizeOldest needs a client, not str"):
        SummarizeOldest("gpt-5")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"options": NOT_OPTIONS}, "options must be ChatOptions"),
        ({"timeouts": 5}, "timeouts must be Timeouts"),
        ({"turn_timeout": -1}, "turn_timeout"),
        ({"turn_timeout": "1"}, "turn_timeout"),
        ({"tools": ["weather"]}, r"tools\[0\] must be a ToolDefinition"),
        ({"attachments": "cat.png"}, "cannot be sent"),
    ],
    ids=str,
)
@pytest.mark.parametrize("way", ["ask", "stream"])
def test_argument_of_a_turn_that_cannot_work_is_named(talk, way, options, named):
    """Before any request, and the turn is given back."""
    session, server = talk("Hello", turn_timeout=0)

    with pytest.raises(ConfigurationError, match=named):
        getattr(session, way)("hi", **options)

    assert server.requests == ()
    assert session.ask("hi").content == "Hello"


def test_facts_of_a_session_can_be_read(talk):
    """Model, limit and name are as given."""
    session, _ = talk(max_tokens=100, session_id="mine")

    assert (session.model_name, session.max_tokens, session.session_id) == ("gpt-5", 100, "mine")


def test_system_prompt_must_be_text(talk):
    """Also later."""
    session, _ = talk()

    with pytest.raises(ConfigurationError, match="system prompt"):
        session.set_system_prompt(None)


def test_options_of_a_turn_win_over_the_session_s_and_the_client_s(serve, connect):
    """Three layers, merged one by one."""
    server = serve(default="Hello")
    client = connect(
        server, options=ChatOptions(temperature=0.1, top_p=0.1, extra_body={"a": 1, "b": 1})
    )
    session = LLMSession(client, options=ChatOptions(top_p=0.2, seed=2, extra_body={"b": 2}))

    session.ask("hi", options=ChatOptions(seed=3, extra_body={"c": 3}))
    session.stream("hi").result()

    first, second = (request.json for request in server.requests)
    assert (first["temperature"], first["top_p"], first["seed"]) == (0.1, 0.2, 3)
    assert (first["a"], first["b"], first["c"]) == (1, 2, 3)
    assert second["seed"] == 2


@pytest.mark.parametrize("way", ["ask", "stream", "submit"])
def test_attachments_go_with_the_message(talk, way, patience_s):
    """They are kept in the history, and sent again with the next turn."""
    picture = Attachment.from_url("https://example.com/cat.png", "image/png")
    session, server = talk(default="a cat")

    if way == "ask":
        session.ask("what?", attachments=[picture])
    elif way == "stream":
        session.stream("what?", attachments=[picture]).result()
    else:
        session.submit("what?", attachments=[picture]).result(patience_s)
    session.ask("again")

    assert session.history[0].attachments == (picture,)
    for request in server.requests:
        parts = request.json["messages"][0]["content"]
        assert [part["type"] for part in parts] == ["text", "image_url"]


def test_role_may_be_a_word(talk):
    """As in JSON."""
    session, _ = talk("Hello")

    session.send_message("user", "hi")

    assert session.history[0].role is Role.USER
