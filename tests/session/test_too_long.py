"""The provider's own word that a request was too long: less is sent, once."""

from __future__ import annotations

import re
import threading

import attrs
import pytest

from cloudllm_sync import (
    ChatStream,
    ClaudeClient,
    ContextLengthError,
    GeminiClient,
    LLMSession,
    MemoryStore,
    Message,
    MessageChunk,
    Observer,
    OpenAIClient,
    OpenAIResponsesClient,
    RequestTimeoutError,
    Role,
    ServerError,
    StreamCancelled,
    Timeouts,
    ToolCall,
)
from cloudllm_sync.testing import Reply, Stall, error_reply

TELLING = {
    "chat": "This model's maximum context length is 500 tokens. However, your messages resulted "
    "in 1000 tokens. Please reduce the length of the messages.",
    "claude": "prompt is too long: 1000 tokens > 500 maximum",
    "gemini": "The input token count (1000) exceeds the maximum number of tokens allowed (500).",
    "responses": "Your input exceeds the context window of this model.",
}
CLIENTS = {
    "chat": (OpenAIClient, "/v1"),
    "claude": (ClaudeClient, ""),
    "gemini": (GeminiClient, ""),
    "responses": (OpenAIResponsesClient, "/v1"),
}
TOO_LONG = error_reply(400, TELLING["chat"], code="context_length_exceeded")
AS_EVENT = Reply(error={"message": TELLING["chat"], "code": "context_length_exceeded"})
HISTORY = [
    message
    for n in range(5)
    for message in (
        Message(Role.USER, f"question {n} " + "x" * 388),
        Message(Role.ASSISTANT, f"answer {n} " + "y" * 390),
    )
]
ways = pytest.mark.parametrize("way", ["ask", "stream", "submit"])
said_how = pytest.mark.parametrize("refusal", [TOO_LONG, AS_EVENT], ids=["status", "event"])


@pytest.fixture
def long_talk(serve, connect):
    """Makes a session with a history of about a thousand tokens, and its server."""

    def make(*script, history=HISTORY, client=None, **options):
        store = MemoryStore()
        store.append("long", 0, history, None)
        server = serve(*script)
        client = client or connect(server, **options)
        return LLMSession(client, store=store, session_id="long", turn_timeout=0), server

    return make


def answer_by(way, session, patience_s):
    """The reply to a question, asked in this way."""
    if way == "submit":
        return session.submit("and now?").result(patience_s)
    reply = getattr(session, way)("and now?")
    return reply.result() if way == "stream" else reply


def sent(request):
    """The beginnings of the messages of a Chat Completions request."""
    return [message["content"][:10] for message in request.json["messages"]]


@ways
@said_how
def test_less_is_sent_once_more(long_talk, way, refusal, patience_s):
    """The oldest exchanges are left out; the history has them all, and the answer."""
    session, server = long_talk(refusal, "Hello")

    reply = answer_by(way, session, patience_s)

    first, second = map(sent, server.requests)
    assert reply.content == "Hello"
    assert len(first) == 11
    assert second == first[-len(second) :]
    assert second[0] == "question 3"
    assert [message.content for message in session.history[-2:]] == ["and now?", "Hello"]
    assert len(session.history) == 12


@ways
@pytest.mark.parametrize("wire", CLIENTS)
@pytest.mark.parametrize("as_event", [False, True], ids=["status", "event"])
def test_every_wire_says_it_in_its_own_words(long_talk, closing, serve, wire, way, as_event):
    """And every client retries; where the words tell lengths, as much is sent as fits."""
    words = TELLING[wire]
    code = "context_length_exceeded" if wire in ("chat", "responses") else "invalid_request_error"
    refusal = Reply(error={"message": words, "code": code, "type": code})
    server = serve(refusal if as_event else error_reply(400, words, code=code), "Hello")
    kind, version = CLIENTS[wire]
    client = closing.enter_context(kind("m", api_key="k", base_url=server.url + version))
    session, _ = long_talk(client=client)

    reply = answer_by(way, session, 10)

    first, second = (request.body.decode() for request in server.requests)
    assert reply.content == "Hello"
    assert "question 0" in first
    assert "question 0" not in second
    assert "question 4" in second


@ways
@said_how
def test_second_refusal_is_raised(long_talk, way, refusal, patience_s, said):
    """It is the provider's error, after two requests; the turn leaves nothing behind."""
    session, server = long_talk(refusal, refusal, "Hello")

    with pytest.raises(ContextLengthError, match="maximum context length is 500") as caught:
        answer_by(way, session, patience_s)

    assert caught.value.attempts == len(server.requests) == 2
    assert caught.value.partial is None
    assert list(session.history) == HISTORY
    assert session.ask("and now?").content == "Hello"


@pytest.mark.parametrize("way", ["stream", "submit"])
def test_second_refusal_in_another_manner_is_raised_too(long_talk, way, patience_s):
    """The first by its status, the second by an event."""
    session, server = long_talk(TOO_LONG, AS_EVENT, "Hello")

    with pytest.raises(ContextLengthError):
        answer_by(way, session, patience_s)

    assert len(server.requests) == 2


@ways
@said_how
def test_other_error_of_the_second_request_is_raised(long_talk, way, refusal, patience_s):
    """Both requests count."""
    session, server = long_talk(refusal, error_reply(500, "broken"))

    with pytest.raises(ServerError, match="broken") as caught:
        answer_by(way, session, patience_s)

    assert caught.value.attempts == len(server.requests) == 2
    assert list(session.history) == HISTORY


@ways
@said_how
def test_request_that_cannot_be_shorter_is_not_sent_again(long_talk, way, refusal, patience_s):
    """System prompt and question are always sent."""
    session, server = long_talk(refusal, history=[])

    with pytest.raises(ContextLengthError) as caught:
        answer_by(way, session, patience_s)

    assert caught.value.attempts == len(server.requests) == 1
    assert session.history == ()


def test_words_without_lengths_halve_the_request(long_talk):
    """Nobody knows how much fits."""
    session, server = long_talk(error_reply(400, "prompt is too long"), "Hello")

    session.ask("and now?")

    assert [len(request.json["messages"]) for request in server.requests] == [11, 5]


def test_all_of_the_history_is_left_out_if_it_must_be(long_talk):
    """The question alone is sent, though it is not sure to fit."""
    words = "maximum context length is 5 tokens. However, you requested 9000 tokens"
    session, server = long_talk(error_reply(400, words), "Hello")

    session.ask("and now?")

    assert sent(server.requests[1]) == ["and now?"]


def test_tool_call_keeps_its_result(long_talk):
    """Exchanges are left out whole."""
    call = Message(Role.ASSISTANT, "", tool_calls=(ToolCall("c1", "look", '{"at": "all"}'),))
    result = Message(Role.TOOL, "z" * 400, tool_call_id="c1")
    history = [*HISTORY[:4], Message(Role.USER, "look"), call, result, *HISTORY[4:6]]
    session, server = long_talk(TOO_LONG, "Hello", history=history)

    session.ask("and now?")

    assert [message["role"] for message in server.requests[1].json["messages"]] == [
        *["user", "assistant", "tool", "user", "assistant", "user"],
    ]


@pytest.mark.parametrize("way", ["stream", "submit"])
def test_refusal_after_the_first_chunk_is_not_retried(long_talk, way, patience_s):
    """What was handed on cannot be taken back."""
    half = Reply("Hel", error={"message": TELLING["chat"], "code": "context_length_exceeded"})
    session, server = long_talk(half, "Hello")

    with pytest.raises(ContextLengthError) as caught:
        answer_by(way, session, patience_s)

    assert caught.value.partial.content == "Hel"
    assert len(server.requests) == 1


@said_how
@pytest.mark.parametrize("way", ["stream", "submit"])
def test_second_request_can_be_cancelled(long_talk, elsewhere, way, refusal, patience_s):
    """From another thread, while it waits."""
    session, server = long_talk(refusal, Reply("Hello", after={0: Stall()}))
    opening = elsewhere(getattr(session, way), "and now?")
    stream = opening.result(patience_s) if way == "submit" or refusal is AS_EVENT else None
    reading = elsewhere(stream.result) if way == "stream" and stream is not None else None
    assert server.wait_for_requests(2, patience_s)
    stream = stream or opening.result(patience_s)

    stream.cancel()

    with pytest.raises(StreamCancelled):
        reading.result(patience_s) if reading else stream.result()
    assert list(session.history) == HISTORY


class Told(Observer):
    """Notes what it is told, by name."""

    def __init__(self):
        self.names = []

    def on_start(self, call):
        self.names.append("start")

    def on_first_chunk(self, call):
        self.names.append("first chunk")

    def on_finish(self, call, message):
        self.names.append("finish")

    def on_error(self, call, error):
        self.names.append(type(error).__name__)


@ways
@said_how
def test_observers_see_two_calls(long_talk, way, refusal, patience_s):
    """Each with its end."""
    told = Told()
    session, _ = long_talk(refusal, "Hello", observers=[told])

    answer_by(way, session, patience_s)

    assert told.names == ["start", "ContextLengthError", "start", "first chunk", "finish"]


@ways
@said_how
def test_observers_see_two_failures(long_talk, way, refusal, patience_s):
    """Each told once."""
    told = Told()
    session, _ = long_talk(refusal, error_reply(500, "broken"), observers=[told])

    with pytest.raises(ServerError):
        answer_by(way, session, patience_s)

    assert told.names == ["start", "ContextLengthError", "start", "ServerError"]


def slowly(request):
    """Refuses after a while."""
    threading.Event().wait(0.2)
    return TOO_LONG


@pytest.mark.parametrize("refusal", [slowly, attrs.evolve(AS_EVENT, delay_s=0.2)])
def test_time_is_that_of_one_call(long_talk, refusal):
    """The deadline is for both requests together."""
    session, _ = long_talk(refusal, Reply("Hello", after={0: Stall()}))

    with pytest.raises(RequestTimeoutError) as caught:
        session.stream("and now?", timeouts=Timeouts(total_s=0.5)).result()

    left_s = float(re.search(r"([\d.]+) s", str(caught.value))[1])
    assert left_s <= 0.3


class Own:
    """A client of a user's own, whose chunks fail before the first."""

    model_name = provider_name = "own"

    def __init__(self):
        self.lengths = []

    def send_message(self, messages, tools=None):
        return self.send_message_stream(messages).result()

    def send_message_stream(self, messages, tools=None):
        self.lengths.append(len(messages))
        return ChatStream.of(self._chunks(messages))

    def _chunks(self, messages):
        if len(messages) > 5:
            raise ContextLengthError("too much for me")
        yield MessageChunk("Hello", finish_reason="stop")


@ways
def test_client_of_a_users_own_may_say_it_too(long_talk, way, patience_s):
    """By the same error, when its stream is opened or read."""
    own = Own()
    session, _ = long_talk(client=own)

    assert answer_by(way, session, patience_s).content == "Hello"
    assert own.lengths == [11, 5]


def test_stream_that_is_closed_unread_sends_nothing_more(long_talk):
    """Only reading finds the error."""
    session, server = long_talk(AS_EVENT)

    session.stream("and now?").close()

    assert len(server.requests) == 1
    assert list(session.history) == HISTORY
