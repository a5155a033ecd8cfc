"""Runs: one turn of several rounds, whose tools are called here."""

from __future__ import annotations

import threading

import pytest

from cloudllm_sync import (
    ClaudeClient,
    ConfigurationError,
    ContextLengthError,
    GeminiClient,
    LLMSession,
    Message,
    OpenAICompatibleClient,
    OpenAIResponsesClient,
    Role,
    SessionBusyError,
    StreamCancelled,
    StreamInterrupted,
    TokenUsage,
    ToolCall,
    ToolDefinition,
    ToolRoundsError,
    tool,
)
from cloudllm_sync.testing import Cut, Reply, Stall, error_reply

WIRES = {
    "chat": lambda server: OpenAICompatibleClient("m", base_url=server.base_url),
    "claude": lambda server: ClaudeClient("m", base_url=server.url, api_key="k"),
    "gemini": lambda server: GeminiClient("m", base_url=server.url, api_key="k"),
    "responses": lambda server: OpenAIResponsesClient("m", base_url=server.base_url, api_key="k"),
}
NEVER = threading.Event()


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


@tool
def fail() -> None:
    """Never works."""
    raise LookupError("no such row")


@tool(timeout_s=0.05)
def wait() -> None:
    """Takes too long."""
    NEVER.wait(1.0)


TOOLS = [weather, fail, wait]


def calling(*calls, text="", **options):
    """A reply that asks for tools."""
    made = [
        ToolCall(f"call_{number}_{name}", name, arguments)
        for number, (name, arguments) in enumerate(calls)
    ]
    return Reply(text, tool_calls=made, **options)


ULM = calling(("weather", '{"city": "Ulm"}'))


def roles(messages):
    return "".join(message.role.value[0] for message in messages)


@pytest.fixture
def session_on(serve, closing):
    """Makes a session on a wire, and its server."""

    def make(wire, *script, **options):
        server = serve(*script)
        return LLMSession(closing.enter_context(WIRES[wire](server)), **options), server

    return make


@pytest.mark.parametrize("way", ["run", "run_stream"])
@pytest.mark.parametrize("wire", WIRES)
def test_three_rounds_on_every_wire(session_on, wire, way):
    """Parallel calls, one failing, one late, one with bad arguments, and the last word."""
    session, server = session_on(
        wire,
        calling(
            ("weather", '{"city": "Ulm"}'),
            ("fail", "{}"),
            ("wait", "{}"),
            ("weather", '{"town": 5}'),
            text="I look. ",
        ),
        calling(("weather", '{"city": "Bonn"}')),
        "Sun everywhere.",
    )
    seen, texts = [], []

    def note(call, result):
        seen.append((call.name, result.error is None))

    if way == "run":
        reply = session.run(
            "user", "How is it?", TOOLS, on_tool=note, on_chunk=lambda c: texts.append(c.content)
        )
    else:
        with session.run_stream("user", "How is it?", TOOLS, on_tool=note) as chunks:
            texts.extend(chunk.content for chunk in chunks)
            reply = chunks.result()

    assert reply.content == "Sun everywhere."
    assert "".join(texts) == "I look. Sun everywhere."
    assert session.history[-1] == reply
    assert roles(session.history) == "uattttata"
    results = [message.content for message in session.history if message.role is Role.TOOL]
    assert results[0] == "sun in Ulm"
    assert results[1] == "Error: LookupError: no such row"
    assert results[2] == "Error: wait did not answer within 0.05 s"
    assert results[3].startswith("Error: the arguments of weather do not fit: Object ")
    assert results[4] == "sun in Bonn"
    assert len(server.requests) == 3
    assert sorted(seen[:4]) == [
        ("fail", False),
        ("wait", False),
        ("weather", False),
        ("weather", True),
    ]
    assert seen[4] == ("weather", True)
    for text in results:
        assert text in server.requests[2].body.decode().replace("\\u00e9", "é")


def test_usage_of_a_run_is_that_of_all_its_rounds(talk):
    """They were all paid for."""
    session, _ = talk(
        calling(("weather", '{"city": "Ulm"}'), usage=TokenUsage(10, 5, 15)),
        Reply("Sun.", usage=TokenUsage(30, 2, 32)),
    )

    reply = session.run("user", "hi", [weather])

    assert reply.usage == TokenUsage(30, 2, 32)
    total = session.token_usage
    assert (total.input_tokens, total.output_tokens, total.total_tokens) == (40, 7, 47)
    assert session.last_token_usage == total


def test_run_without_calls_is_a_turn(talk, said):
    """The model needs no tool for everything."""
    session, server = talk("Hello")

    assert session.run("user", "hi", [weather]).content == "Hello"
    assert said(session) == [("user", "hi"), ("assistant", "Hello")]
    assert server.requests[0].json["tools"][0]["function"]["name"] == "weather"


def test_run_begins_from_the_history(talk, said):
    """And the next turn from the run's."""
    session, server = talk("Hello Ada", ULM, "Sun.", "Bye")
    session.ask("I am Ada")

    session.run("user", "Weather?", [weather])
    session.ask("Bye")

    sent = said(server.requests[3].json["messages"])
    assert [role for role, _ in sent] == [
        *("user", "assistant"),
        *("user", "assistant", "tool", "assistant"),
        "user",
    ]


@pytest.mark.parametrize("partial", ["discard", "keep"])
@pytest.mark.parametrize("fault", ["cut", "refused", "cancel", "close", "tool", "drop"])
def test_run_that_does_not_end_leaves_the_history_alone(talk, fault, partial):
    """Or keeps its whole rounds, with the text that had come."""
    second = {
        "cut": Reply("Sun and rain", after={2: Cut()}),
        "refused": error_reply(400, "no"),
        "tool": calling(("leave", "{}")),
    }.get(fault, Reply("Sun and rain", after={2: Stall()}))
    session, _ = talk(ULM, second, "Hello", partial=partial, turn_timeout=0)

    @tool
    def leave() -> None:
        raise SystemExit

    def to_the_end(chunks):
        for chunk in chunks:
            if "Sun" in chunk.content:
                if fault == "cancel":
                    chunks.cancel()
                elif fault in ("close", "drop"):
                    return

    chunks = session.run_stream("user", "hi", [weather, leave])
    if fault == "drop":
        to_the_end(chunks)
        with pytest.warns(ResourceWarning):
            del chunks
    elif fault == "close":
        with chunks:
            to_the_end(chunks)
    else:
        with pytest.raises((StreamInterrupted, StreamCancelled, Exception, SystemExit)), chunks:
            to_the_end(chunks)

    kept = roles(session.history)
    if partial == "discard":
        assert kept == ""
    else:
        assert kept == ("uata" if fault in ("cut", "cancel", "close", "drop") else "uat")
    assert session.ask("hi").content == "Hello"


def test_run_that_is_closed_after_its_last_finish_is_whole(talk):
    """As a stream is."""
    session, _ = talk(ULM, Reply("Sun.", after={3: Stall()}))

    with session.run_stream("user", "hi", [weather]) as chunks:
        for chunk in chunks:
            if chunk.finish_reason == "stop":
                break

    assert roles(session.history) == "uata"
    assert chunks.result().content == "Sun."


@pytest.mark.parametrize("partial", ["discard", "keep"])
def test_model_that_never_stops_is_stopped(talk, partial):
    """After max_rounds requests, without running what the last reply asks for."""
    session, server = talk(default=ULM, partial=partial)
    called = []

    with pytest.raises(ToolRoundsError, match="after 3 rounds: raise max_rounds") as caught:
        session.run("user", "hi", [weather], max_rounds=3, on_tool=lambda *a: called.append(a))

    assert len(server.requests) == 3
    assert len(called) == 2
    assert caught.value.partial.tool_calls
    assert roles(session.history) == ("" if partial == "discard" else "uatat")


def test_calls_that_a_length_cut_are_not_run(talk):
    """Their arguments may be half of what was meant."""
    session, server = talk(calling(("weather", '{"city": "Ul'), finish_reason="length"))
    called = []

    reply = session.run("user", "hi", [weather], on_tool=lambda *a: called.append(a))

    assert reply.finish_reason == "length"
    assert called == []
    assert len(server.requests) == 1


def test_paused_reply_goes_on(session_on):
    """Claude's own tools may take a pause; the reply so far is sent back."""
    session, server = session_on("claude", Reply("Wait. ", finish_reason="pause_turn"), "Done.")

    reply = session.run("user", "hi", [weather])

    assert reply.content == "Done."
    assert [message["role"] for message in server.requests[1].json["messages"]] == [
        "user",
        "assistant",
    ]


def test_run_is_refused_what_it_cannot_call(talk):
    """Before anything is sent."""
    session, server = talk(default="Hello")
    plain = ToolDefinition("find", "", {"type": "object"})

    for tools, complaint in [
        ([plain], "make 'find' a function with @tool"),
        ([weather, weather], "two tools are named 'weather'"),
        (weather, "must be a sequence of Tool"),
        (None, "must be a sequence of Tool"),
        ([5], r"tools\[0\] must be a ToolDefinition"),
    ]:
        with pytest.raises(ConfigurationError, match=complaint):
            session.run("user", "hi", tools)
    for rounds in (0, -1, True, "8"):
        with pytest.raises(ConfigurationError, match="max_rounds"):
            session.run("user", "hi", [weather], max_rounds=rounds)

    assert server.requests == ()


def test_callbacks_that_raise_end_the_run(talk):
    """What they raise is what the caller gets."""
    session, _ = talk(ULM, ULM, "Hello", turn_timeout=0)

    def fail_with(*_):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        session.run("user", "hi", [weather], on_tool=fail_with)
    with pytest.raises(RuntimeError, match="mine"):
        session.run("user", "hi", [weather], on_chunk=fail_with)

    assert session.history == ()
    assert session.ask("hi").content == "Hello"


def test_run_that_outgrows_max_tokens_says_so(talk):
    """Before the request that would be too long."""

    @tool
    def much() -> str:
        return "word " * 1000

    session, server = talk(calling(("much", "{}")), "never", max_tokens=100)

    with pytest.raises(ContextLengthError):
        session.run("user", "hi", [much])

    assert len(server.requests) == 1
    assert session.history == ()


def test_session_is_busy_while_a_run_lasts(talk):
    """Also while a tool runs."""
    session, _ = talk(calling(("ask", "{}")), "Done.", turn_timeout=0)
    errors = []

    @tool
    def ask() -> str:
        with pytest.raises(SessionBusyError) as caught:
            session.ask("hi")
        errors.append(caught.value)
        return "busy"

    assert session.run("user", "hi", [ask]).content == "Done."
    assert len(errors) == 1


def test_client_that_cannot_stream_runs_too(said):
    """Its replies come in one chunk each."""
    replies = [
        Message(
            Role.ASSISTANT,
            "I look.",
            tool_calls=[ToolCall("c1", "weather", '{"city": "Ulm"}')],
            finish_reason="tool_calls",
        ),
        Message(Role.ASSISTANT, "Sun.", finish_reason="stop"),
    ]

    class Whole:
        model_name = provider_name = "mine"

        def send_message(self, messages, tools=None):
            return replies.pop(0)

        def send_message_stream(self, messages, tools=None):
            return None

    session = LLMSession(Whole())

    with session.run_stream("user", "hi", [weather]) as chunks:
        texts = [chunk.content for chunk in chunks]

    assert texts == ["I look.", "Sun."]
    assert said(session)[2] == ("tool", "sun in Ulm")
    assert chunks.partial.content == "Sun."


def test_run_shows_what_it_has_so_far(talk):
    """The round's text, and the messages of those before."""
    session, _ = talk(ULM, "Sun and rain")
    seen = []

    with session.run_stream("user", "hi", [weather]) as chunks:
        for chunk in chunks:
            if chunk.content:
                seen.append((roles(chunks.messages), chunks.partial.content))
        assert list(chunks) == []

    assert seen[0] == ("at", "Sun")
    assert roles(chunks.messages) == "ata"


def test_run_does_not_pickle(talk):
    """It holds a connection."""
    session, _ = talk("Hello")
    import pickle

    with session.run_stream("user", "hi", [weather]) as chunks, pytest.raises(TypeError):
        pickle.dumps(chunks)


def test_ended_run_raises_its_error_again(talk):
    """It does not end normally the second time."""
    session, _ = talk(error_reply(400, "no"), Reply("Hello there", after={1: Cut()}))

    with pytest.raises(Exception, match="no"):
        session.run_stream("user", "hi", [weather])
    chunks = session.run_stream("user", "hi", [weather])
    for _ in range(2):
        with pytest.raises(StreamInterrupted):
            chunks.result()

    chunks.close()
