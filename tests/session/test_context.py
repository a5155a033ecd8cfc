"""Requests stay under max_tokens as the provider counts: the session learns from its reports."""

from __future__ import annotations

import json
import math
import random
import re

import pytest

from cloudllm_sync import (
    ConfigurationError,
    ContextLengthError,
    LLMSession,
    MemoryStore,
    Message,
    Role,
    ServerError,
    TokenUsage,
    ToolDefinition,
)
from cloudllm_sync.session.estimates import estimate_tokens
from cloudllm_sync.testing import Reply

LOOK = ToolDefinition("look", "Looks it up in " + "many " * 300 + "places", {"type": "object"})


def by_words(text):
    """As many have it: four tokens are three words; every Chinese character is a word."""
    return math.ceil(len(re.findall(r"[一-鿿]|[^\s一-鿿]+", text)) * 1.3)


def by_pieces(text):
    """As old tokenizers did: short pieces, and every sign by itself."""
    found = re.findall(r"[a-z]{1,3}|[A-Z\d]{1,2}|[^\s]", text)
    return len(found)


COUNTERS = {"words": (by_words, 4, 3), "pieces": (by_pieces, 8, 60)}
WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "considerable",
    "quantity",
    "of",
    "information",
    "and",
    "was",
    "responsible",
    "for",
    "it",
]

# Of many more tokens than a quarter of its bytes.
DENSE = "{} " * 1_300


def english(rnd):
    return " ".join(rnd.choices(WORDS, k=rnd.randint(5, 60)))


def chinese(rnd):
    return "".join(rnd.choices("的一是不了人我在有他这为之大来以个中上们", k=rnd.randint(10, 120)))


def code(rnd):
    lines = (f"    {rnd.choice(WORDS)}[{rnd.randint(0, 99)}] = " for _ in range(rnd.randint(1, 9)))
    return "\n".join(line + f"{rnd.choice(WORDS)}({rnd.choice(WORDS)!r})" for line in lines)


def rows(rnd):
    return json.dumps([{"name": rnd.choice(WORDS), "price": rnd.randint(0, 9)}] * rnd.randint(1, 9))


@pytest.fixture
def counted(talk):
    """Makes a session with a server that counts in its own way, and the list of its counts."""

    def make(counter, say, **options):
        count, message_tokens, request_tokens = COUNTERS[counter]
        counts = []

        def answer(request):
            messages = request.json["messages"]
            texts = [message["content"] for message in messages]
            tokens = request_tokens + sum(message_tokens + count(text) for text in texts)
            tokens += count(json.dumps(request.json.get("tools", "")))
            counts.append(tokens)
            return Reply(say(), usage=TokenUsage(tokens, 5, tokens + 5, tokens // 2))

        session, _ = talk(default=answer, **options)
        return session, counts

    return make


@pytest.mark.parametrize("counter", COUNTERS)
@pytest.mark.parametrize("kind", [english, chinese, code, rows], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("max_tokens", [600, 4_000])
def test_max_tokens_are_not_exceeded_after_some_turns(counted, counter, kind, max_tokens):
    """As the server counts, which the session does not know; and the room is used."""
    rnd = random.Random(f"{counter} {kind.__name__} {max_tokens}")
    session, counts = counted(counter, lambda: kind(rnd), max_tokens=max_tokens)

    for _ in range(60):
        session.ask(kind(rnd))

    assert max(counts[10:]) <= max_tokens
    assert max(counts[10:]) > 0.75 * max_tokens or sum(counts[-2:]) > counts[-1] > counts[10]


@pytest.mark.parametrize("counter", COUNTERS)
def test_definitions_of_tools_count(counted, counter):
    """They are sent with every request."""
    rnd = random.Random(counter)
    session, counts = counted(counter, lambda: english(rnd), max_tokens=1_500)

    for _ in range(40):
        session.ask(english(rnd), [LOOK])

    assert 1_000 < max(counts[10:]) <= 1_500


def test_tools_that_leave_no_room_are_refused_before_any_request(counted):
    """They count by their size from the first turn on."""
    session, counts = counted("words", lambda: "", max_tokens=300)

    with pytest.raises(ContextLengthError, match="max_tokens of 300"):
        session.ask("hi", [LOOK])

    assert counts == []


def test_estimated_history_tokens_are_as_the_provider_counts(counted):
    """After ten turns, to within a tenth."""
    rnd = random.Random(1)
    session, counts = counted("pieces", lambda: english(rnd), max_tokens=100_000)

    for _ in range(11):
        session.ask(english(rnd))

    estimate = session.estimated_history_tokens
    session.ask("")

    assert 1 <= estimate / counts[-1] < 1.1


@pytest.mark.parametrize("way", ["ask", "stream", "submit"])
def test_every_way_learns(counted, way, patience_s):
    """Whole replies, streams and callbacks."""
    session, _ = counted("pieces", lambda: "ok", max_tokens=4_000)
    before = by_tokens(session)

    reply = getattr(session, way)(DENSE)
    if way != "ask":
        reply.result(*([patience_s] if way == "submit" else []))

    assert by_tokens(session) > 1.1 * before


def by_tokens(session):
    """What the session takes a text for."""
    return session._conversation.context.estimates.tokens(Message(Role.USER, DENSE))


class Noting(MemoryStore):
    """Notes which notes it was given."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def append(self, session_id, base_version, messages, usage, **notes):
        self.noted.append(notes)
        super().append(session_id, base_version, messages, usage, **notes)


def test_next_process_begins_with_what_was_learned(counted):
    """It is kept with the session."""
    store = MemoryStore()
    options = {"max_tokens": 4_000, "store": store, "session_id": "s"}
    first, _ = counted("pieces", lambda: "ok", **options)
    first.ask(DENSE)

    second, _ = counted("pieces", lambda: "ok", **options)

    assert by_tokens(second) == pytest.approx(by_tokens(first), abs=3)


def test_other_process_that_has_learned_more_is_believed(counted):
    """With its next turn a session takes over what the store has."""
    options = {"max_tokens": 4_000, "store": MemoryStore(), "session_id": "s"}
    first, _ = counted("pieces", lambda: "ok", **options)
    second, _ = counted("pieces", lambda: "ok", **options)
    second.ask(DENSE)
    learned = by_tokens(second)

    _ = first.request_messages

    assert by_tokens(first) == pytest.approx(learned, abs=3)


def test_notes_are_given_only_when_there_is_news(counted):
    """A store of a user's own need not know any until then."""
    store = Noting()
    session, _ = counted("pieces", lambda: "ok", max_tokens=4_000, store=store, session_id="s")

    for _ in range(3):
        session.ask("hi")
    few = list(store.noted)
    for _ in range(40):
        session.ask(DENSE[:800])

    assert few == [{}] * 3
    assert 0 < sum("notes" in given for given in store.noted) < 15


def test_cleared_session_still_knows_how_its_provider_counts(counted):
    """The notes are gone with the history; what this object has learned is not."""
    session, _ = counted("pieces", lambda: "ok", max_tokens=4_000)
    session.ask(DENSE)
    learned = by_tokens(session)

    session.clear_history()
    session.ask("hi")

    assert by_tokens(session) == learned


def test_failed_turn_teaches_nothing(talk):
    """What it reports is not kept, as the rest of it is not."""
    broken = Reply("a b c", error={"message": "no"}, usage=TokenUsage(3_000, 1, 3_001))
    session, _ = talk(broken)
    before = by_tokens(session)

    with pytest.raises(ServerError):
        session.stream(DENSE).result()

    assert by_tokens(session) == before


@pytest.mark.parametrize("answer", ["many", KeyError("x")], ids=["no number", "raises"])
def test_own_estimate_that_fails_is_an_error_before_any_request(talk, answer):
    """The turn is given back."""
    calls = []

    def estimate(message):
        calls.append(message)
        if len(calls) > 1:
            return 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    session, server = talk("Hello", estimate_tokens=estimate, turn_timeout=0)

    with pytest.raises(ConfigurationError, match="estimate_tokens"):
        session.ask("hi")

    assert server.requests == ()
    assert session.ask("hi").content == "Hello"


def test_own_estimate_is_not_scaled(counted):
    """It may be the provider's own tokenizer."""
    session, _ = counted(
        "pieces",
        lambda: "ok",
        max_tokens=4_000,
        estimate_tokens=lambda message: len(message.content),
    )

    session.ask("abc " * 500)
    session.ask("d")

    assert session.estimated_history_tokens == 2_000 + 1 + 2 * len("ok")


def test_default_estimate_named_is_the_default(serve, connect):
    """Whoever passes it on asks for nothing else."""
    session = LLMSession(connect(serve()), estimate_tokens=estimate_tokens)

    assert session._conversation.context.estimates.own is None
