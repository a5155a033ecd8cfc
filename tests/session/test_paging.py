"""What a turn reads of a long history: as much as it sends, whatever the history holds."""

from __future__ import annotations

import pytest

from cloudllm_sync import LLMSession, MemoryStore, Message, Role, ToolCall


class Counting(MemoryStore):
    """A store that counts the messages that it gives."""

    def __init__(self):
        super().__init__()
        self.given = 0

    def load(self, session_id, *, newest=None):
        loaded = super().load(session_id, newest=newest)
        self.given += len(loaded.messages)
        return loaded


def exchanges(number):
    """As many questions, each with its answer."""
    for n in range(number):
        yield Message(Role.USER, f"question {n}")
        yield Message(Role.ASSISTANT, f"answer {n}")


@pytest.fixture
def long_talk(talk):
    """Makes a session whose history has so many exchanges, and the server and store."""

    def make(number, **options):
        store = Counting()
        store.append("long", 0, list(exchanges(number)), None)
        session, server = talk(default="ok", store=store, session_id="long", **options)
        return session, server, store

    return make


@pytest.mark.parametrize("length", [100, 1_000, 10_000])
def test_turn_reads_no_more_of_a_longer_history(long_talk, length):
    """Opening the session and a turn cost what is sent."""
    session, server, store = long_talk(length, max_tokens=100)

    session.ask("hi")

    sent = len(server.requests[0].json["messages"])
    assert 10 < sent < 40
    assert store.given == 64


def test_turn_that_sends_much_reads_as_much(long_talk, said):
    """Pages are read until the request is full; the next turn begins with a fitting page."""
    session, server, store = long_talk(2_000, max_tokens=4_000)

    session.ask("hi")
    session.ask("hi")

    sent = said(server.requests[0].json["messages"])
    assert 1_000 < len(sent) < 2_000
    assert sent[0][0] == "user"
    assert sent[-2:] == [("assistant", "answer 1999"), ("user", "hi")]
    first, second = 64 + 256 + 1024 + 4000, 2 * len(sent)
    assert store.given in range(first, first + second + 3)


def test_whole_history_is_there_when_it_is_asked_for(long_talk):
    """Reading it is what costs; the next turn reads little again."""
    session, _, store = long_talk(500, max_tokens=50)
    session.ask("hi")
    before = store.given

    history = session.history

    assert [message.content for message in history[:2]] == ["question 0", "answer 0"]
    assert [message.content for message in history[-2:]] == ["hi", "ok"]
    assert len(history) == 1_002
    assert session.history is history
    assert store.given == before + 1_002


def test_exchange_longer_than_a_page_is_not_cut(talk, said):
    """A page that begins in the middle of an exchange is not taken for its beginning."""
    store = MemoryStore()
    messages = [Message(Role.USER, "long"), *[Message(Role.ASSISTANT, "more")] * 100]
    store.append("long", 0, messages, None)
    session, server = talk("ok", store=store, session_id="long")

    session.ask("hi")

    sent = said(server.requests[0].json["messages"])
    assert sent == [("user", "long"), *[("assistant", "more")] * 100, ("user", "hi")]


def test_exchange_that_does_not_fit_whole_is_not_sent_in_part(talk, said):
    """Its page alone would have fitted."""
    store = MemoryStore()
    messages = [Message(Role.USER, "long " * 400), *[Message(Role.ASSISTANT, "more")] * 100]
    store.append("long", 0, messages, None)
    session, server = talk("ok", store=store, session_id="long", max_tokens=300)

    session.ask("hi")

    assert said(server.requests[0].json["messages"]) == [("user", "hi")]


def test_request_that_would_be_sent_is_read_from_the_store(long_talk, serve, connect):
    """request_messages shows what another session of this name has added."""
    session, _, store = long_talk(3, max_tokens=1_000)
    other = LLMSession(connect(serve("new")), store=store, session_id="long")

    other.ask("and now?")

    assert session.request_messages[-1].content == "new"


def test_result_finds_its_call_behind_a_page_of_results(talk):
    """However many calls a reply had."""
    store = MemoryStore()
    calls = tuple(ToolCall(f"c{n}", "look", "{}") for n in range(101))
    results = [Message(Role.TOOL, "found", tool_call_id=f"c{n}") for n in range(100)]
    store.append("many", 0, [Message(Role.ASSISTANT, "", tool_calls=calls), *results], None)
    session, _ = talk(store=store, session_id="many")

    session.inject_message(Role.TOOL, "the last", tool_call_id="c100")

    assert session.history[-1].content == "the last"
    assert len(session.history) == 102
