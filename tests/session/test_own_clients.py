"""Clients of a user's own: four members, no base class."""

from __future__ import annotations

import pytest

from cloudllm_sync import (
    ChatOptions,
    ChatStream,
    ClientWrapper,
    ConfigurationError,
    LLMSession,
    Message,
    MessageChunk,
    Role,
    StreamCancelled,
    StreamingNotSupportedError,
    StreamInterrupted,
    Timeouts,
    ToolDefinition,
)

CHUNKS = (
    MessageChunk("Hello"),
    MessageChunk(" there"),
    MessageChunk(finish_reason="stop"),
)
TOOL = ToolDefinition("weather", "Tells it", {"type": "object"})


class Own:
    """Answers with the chunks that it was made of, and notes what it was given."""

    model_name = "mine"
    provider_name = "Home"

    def __init__(self, chunks=CHUNKS, *, wrap=None):
        self.chunks = chunks
        self.wrap = wrap
        self.calls = []

    def send_message(self, messages, tools=None, **given):
        self.calls.append((tuple(messages), tools, given))
        return ChatStream.of(self.chunks).result()

    def send_message_stream(self, messages, tools=None, **given):
        self.calls.append((tuple(messages), tools, given))
        return None if self.wrap is None else self.wrap(self.chunks)


class Narrow:
    """Knows neither options nor clocks."""

    model_name = "narrow"
    provider_name = "Home"

    def send_message(self, messages, tools):
        return Message(Role.ASSISTANT, f"{len(messages)} heard")

    def send_message_stream(self, messages, tools):
        return ChatStream.of([MessageChunk(f"{len(messages)} heard", finish_reason="stop")])


def generator(chunks):
    yield from chunks


@pytest.mark.parametrize("own", [Own(), Narrow()])
def test_four_members_make_a_client(own):
    """No base class is needed."""
    assert isinstance(own, ClientWrapper)
    assert LLMSession(own).model_name == own.model_name


def test_client_that_cannot_stream_gives_none(said):
    """None says so, before anything has happened; the session goes on."""
    session = LLMSession(Own(), turn_timeout=0)

    assert session.send_message_stream(Role.USER, "hi") is None
    assert session.stream_current_history() is None
    assert session.history == ()
    assert session.ask("hi").content == "Hello there"
    assert said(session) == [("user", "hi"), ("assistant", "Hello there")]


def test_stream_of_a_client_that_cannot_is_an_error():
    """stream() promises a stream, so it raises; the turn is given back."""
    session = LLMSession(Own(), turn_timeout=0)

    with pytest.raises(StreamingNotSupportedError, match=r"Home cannot stream: use send_message"):
        session.stream("hi")

    assert session.ask("hi").content == "Hello there"


def test_submit_to_a_client_that_cannot_stream_goes_to_on_error(patience_s):
    """It is found out on the worker."""
    session = LLMSession(Own(), turn_timeout=0)
    errors = []

    handle = session.submit("hi", on_error=errors.append)

    assert handle.join(patience_s)
    assert isinstance(errors[0], StreamingNotSupportedError)
    assert session.ask("hi").content == "Hello there"


@pytest.mark.parametrize("wrap", [generator, list, iter, ChatStream.of])
def test_chunks_of_any_kind_make_a_stream(wrap, said):
    """A plain generator will do, or a list."""
    session = LLMSession(Own(wrap=wrap), turn_timeout=0)

    stream = session.stream("hi")

    assert isinstance(stream, ChatStream)
    assert list(stream.text()) == ["Hello", " there"]
    assert said(session) == [("user", "hi"), ("assistant", "Hello there")]
    assert session.history[-1].finish_reason == "stop"


def test_callbacks_work_with_a_generator(patience_s):
    """submit() over a plain generator."""
    session = LLMSession(Own(wrap=generator))
    seen = []

    reply = session.submit("hi", on_chunk=lambda chunk: seen.append(chunk.content)).result(
        patience_s
    )

    assert reply.content == "Hello there"
    assert seen == ["Hello", " there", ""]


def test_generator_without_a_finish_reason_is_no_whole_reply():
    """The same proof is asked of everybody."""
    session = LLMSession(Own(CHUNKS[:2], wrap=generator), turn_timeout=0)

    with pytest.raises(StreamInterrupted) as caught:
        session.stream("hi").result()

    assert caught.value.partial.content == "Hello there"
    assert session.history == ()


def test_generator_left_early_is_closed():
    """Its finally block runs."""
    closed = []

    def chunks(_):
        try:
            yield from CHUNKS
        finally:
            closed.append(True)

    session = LLMSession(Own(wrap=chunks), turn_timeout=0)
    with session.stream("hi") as stream:
        next(stream)

    assert closed == [True]
    assert session.history == ()
    assert session.ask("hi")


def test_generator_that_raises_leaves_nothing():
    """Its exception comes through as it is, and the turn is given back."""

    def chunks(_):
        yield CHUNKS[0]
        raise KeyError("mine")

    session = LLMSession(Own(wrap=chunks), turn_timeout=0)

    with pytest.raises(KeyError, match="mine"):
        session.stream("hi").result()

    assert session.history == ()
    assert session.ask("hi").content == "Hello there"


@pytest.mark.parametrize("way", ["ask", "stream"])
def test_client_that_raises_leaves_nothing(way):
    """Whatever it raises goes to the caller, and the turn is given back."""
    own = Own()
    session = LLMSession(own, turn_timeout=0)

    def fail(*args, **given):
        raise KeyError("mine")

    own.send_message = own.send_message_stream = fail
    with pytest.raises(KeyError, match="mine"):
        getattr(session, way)("hi")
    del own.send_message, own.send_message_stream

    assert session.history == ()
    assert session.ask("hi").content == "Hello there"


def test_client_that_raises_in_a_submit_is_told_to_on_error(patience_s):
    """on_error gets one of the family, with the user's exception as its cause."""
    own = Own()
    own.send_message_stream = lambda *args: {}["mine"]
    session = LLMSession(own, turn_timeout=0)
    errors = []

    assert session.submit("hi", on_error=errors.append).join(patience_s)

    assert isinstance(errors[0], StreamCancelled)
    assert isinstance(errors[0].__cause__, KeyError)
    assert session.ask("hi")


def test_client_that_knows_no_options_is_not_given_any(patience_s):
    """Its signatures have only messages and tools."""
    session = LLMSession(Narrow(), "Be brief.")

    assert session.ask("hi").content == "2 heard"
    assert session.stream("hi").result().content == "4 heard"
    assert session.submit("hi").result(patience_s).content == "6 heard"
    assert session.send_current_history().content == "7 heard"


def test_options_and_clocks_are_passed_if_given():
    """Those of the turn win over the session's, one by one."""
    own = Own()
    session = LLMSession(own, options=ChatOptions(temperature=1.0, seed=7))
    clocks = Timeouts(total_s=5)

    session.ask("a")
    session.ask("b", [TOOL], options=ChatOptions(temperature=0.0), timeouts=clocks)

    assert own.calls[0][1:] == (None, {"options": ChatOptions(temperature=1.0, seed=7)})
    assert own.calls[1][1:] == (
        [TOOL],
        {"options": ChatOptions(temperature=0.0, seed=7), "timeouts": clocks},
    )


@pytest.mark.parametrize("client", [None, "gpt-5", object()])
def test_what_is_no_client_is_refused(client):
    """The first argument is often forgotten."""
    with pytest.raises(ConfigurationError, match="must be a client"):
        LLMSession(client)


def test_client_that_read_its_stream_already_still_ends_the_turn():
    """A wrapper that logs whole replies hands over a stream that has ended."""

    def read_whole(chunks):
        stream = ChatStream.of(chunks)
        stream.result()
        return stream

    session = LLMSession(Own(wrap=read_whole), turn_timeout=0)

    assert session.stream("hi").result().content == "Hello there"
    assert session.ask("hi").content == "Hello there"
    assert len(session.history) == 4
