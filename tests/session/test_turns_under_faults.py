"""A session under fault: sixteen threads, a seeded plan of a thousand turns, every way to fail.

The plan says how each turn is read, what the server does to it, and where it is cancelled. What the
history must be at the end follows from what the callers saw, and from the requests as they came.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Optional

import attrs
import pytest

from cloudllm_sync import (
    CloudLLMError,
    ConnectError,
    LLMSession,
    Message,
    OpenAIClient,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    StreamCancelled,
    StreamInterrupted,
    StreamProtocolError,
    Timeouts,
    TokenUsage,
)
from cloudllm_sync.testing import (
    Cut,
    FakeServer,
    Raw,
    Reply,
    Reset,
    Stall,
    error_reply,
    openai_body,
    openai_events,
)
from cloudllm_sync.transport import budget

THREADS = 16
TURNS = 500  # of each kind of session: a thousand in all
PATIENCE_S = 60.0
SHORT = Timeouts(5, 0.03, 0.03)
LONG = Timeouts(PATIENCE_S, PATIENCE_S, PATIENCE_S)

# What each fault must end in if nobody cancels; None is a whole reply. A reset may overtake the
# headers, and then no answer has come.
FAULTS = {
    "whole": None,
    "slow": None,
    "busy, then fine": None,
    "cut": (StreamInterrupted,),
    "reset": (StreamInterrupted, ConnectError),
    "refused": (RateLimitError,),
    "error in the stream": (ServerError,),
    "stall": (RequestTimeoutError,),
    "no JSON": (StreamProtocolError,),
}
WAYS = ("ask", "stream", "break", "submit", "cancelled stream", "cancelled submit")
# After which of its events a turn is cancelled.
POINTS = ("begun", "asked", "chunk 1", "chunk 3", "over")


@attrs.frozen
class Turn:
    """One line of the plan."""

    number: int
    way: str
    fault: str
    words: int
    point: str
    delay_s: float
    reached: threading.Event = attrs.field(factory=threading.Event, eq=False)

    @property
    def text(self) -> str:
        return f"turn {self.number}"

    @property
    def reply(self) -> Reply:
        return Reply([f"{self.number}:{word} " for word in range(self.words)])

    def answer(self, *, streamed: bool, attempt: int):
        """What the server does with this turn's request."""
        reply = self.reply
        if self.fault == "slow":
            return attrs.evolve(reply, token_delay_s=0.001, first_token_delay_s=0.001)
        if self.fault == "busy, then fine" and attempt == 1:
            return error_reply(500, "busy")
        if self.fault == "refused":
            return error_reply(429, "slow down", headers={"x-should-retry": "false"})
        if self.fault == "error in the stream":
            error = {"message": "it broke", "type": "server_error"}
            return attrs.evolve(reply, error=error, finish_reason="")
        good = openai_events(reply)[:3] if streamed else [openai_body(reply)[:40]]
        last = {"cut": Cut(), "reset": Reset(), "stall": Stall(), "no JSON": b"data: {no\n\n"}
        if self.fault in last:
            return Raw(*good, last[self.fault], content_type="text/event-stream")
        return reply

    def passed(self, point: str) -> None:
        """The turn has come this far."""
        if point == self.point or point == "over":
            self.reached.set()


@attrs.frozen
class Seen:
    """How a turn ended for its caller; `partial` is what had come of a reply that failed."""

    turn: Turn
    message: Optional[Message]
    error: Optional[CloudLLMError]

    @property
    def was_cancelled(self) -> bool:
        return isinstance(self.error, StreamCancelled)


def plan_of(seed: int) -> list[Turn]:
    """The same turns for the same seed."""
    chance = random.Random(seed)
    kinds = list(itertools.product(WAYS, FAULTS))
    drawn = kinds + chance.choices(kinds, k=TURNS - len(kinds))
    chance.shuffle(drawn)
    return [
        Turn(
            number,
            way,
            fault,
            words=chance.randint(3, 9),
            point=chance.choice(POINTS),
            delay_s=chance.choice([0.0, chance.random() * 0.003]),
        )
        for number, (way, fault) in enumerate(drawn)
    ]


class Callers:
    """Takes turns on a session, each the way that the plan says."""

    def __init__(self, session: LLMSession, cancellers: ThreadPoolExecutor) -> None:
        self._session = session
        self._cancellers = cancellers

    def take(self, turn: Turn) -> Seen:
        wishes = {"timeouts": SHORT if turn.fault == "stall" else LONG}
        try:
            if turn.way == "ask":
                return Seen(turn, self._session.ask(turn.text, **wishes), None)
            if turn.way.endswith("submit"):
                return self._submit(turn, wishes)
            with self._session.stream(turn.text, **wishes) as stream:
                return self._pull(turn, stream)
        except CloudLLMError as error:
            return Seen(turn, None, error)
        finally:
            turn.passed("over")

    def _pull(self, turn: Turn, stream) -> Seen:
        cancelling = self._cancel_later(turn, stream)
        turn.passed("begun")
        turn.passed("asked")
        try:
            for seen, _ in enumerate(stream, 1):
                turn.passed(f"chunk {seen}")
                if turn.way == "break" and seen == turn.words:
                    break
            else:
                return Seen(turn, stream.result(), None)
        finally:
            turn.passed("over")
            wait(cancelling, PATIENCE_S)
        stream.close()
        return Seen(turn, None, _error_of(stream))

    def _submit(self, turn: Turn, wishes) -> Seen:
        chunks, ends = itertools.count(1), []
        handle = self._session.submit(
            turn.text,
            on_chunk=lambda chunk: turn.passed(f"chunk {next(chunks)}"),
            on_finish=lambda message: ends.append(Seen(turn, message, None)),
            on_error=lambda error: ends.append(Seen(turn, None, error)),
            **wishes,
        )
        cancelling = self._cancel_later(turn, handle)
        turn.passed("begun")
        assert handle.join(PATIENCE_S)
        turn.passed("over")
        wait(cancelling, PATIENCE_S)
        (seen,) = ends
        assert handle.exception() is seen.error
        return seen

    def _cancel_later(self, turn: Turn, reply) -> list:
        """Cancel from another thread, once the turn has come so far, and a moment later."""
        if not turn.way.startswith("cancelled"):
            return []

        def cancel():
            assert turn.reached.wait(PATIENCE_S)
            threading.Event().wait(turn.delay_s)
            reply.cancel()

        return [self._cancellers.submit(cancel)]


def _error_of(stream) -> CloudLLMError:
    with pytest.raises(CloudLLMError) as caught:
        next(stream)
    return caught.value


def open_files() -> set[str]:
    """The descriptors of this process, sockets among them."""
    return set(os.listdir("/dev/fd"))


@pytest.fixture
def run(no_backoff, monkeypatch):
    """Runs a plan; gives what the callers saw, the requests, and the session."""
    monkeypatch.setattr(budget, "_ALLOWANCE", 1e9)  # the plan counts on every retry

    def go(plan, *, partial):
        attempts = [itertools.count(1) for _ in plan]

        def answer(request):
            asked = request.json
            turn = plan[int(asked["messages"][-1]["content"].split()[1])]
            turn.passed("asked")
            attempt = next(attempts[turn.number])
            return turn.answer(streamed=bool(asked.get("stream")), attempt=attempt)

        with (
            FakeServer(default=answer) as server,
            OpenAIClient(
                "gpt-5", api_key="test", base_url=server.base_url, max_retries=1
            ) as client,
            ThreadPoolExecutor(THREADS) as cancellers,
            ThreadPoolExecutor(THREADS) as threads,
        ):
            session = LLMSession(
                client, "Be brief.", 10**9, partial=partial, turn_timeout=PATIENCE_S
            )
            callers = Callers(session, cancellers)
            shares = [
                threads.submit(lambda share: [*map(callers.take, share)], plan[n::THREADS])
                for n in range(THREADS)
            ]
            seen = [one for share in shares for one in share.result(2 * PATIENCE_S)]
            return seen, server.requests, session

    return go


def check_outcomes(seen) -> None:
    """Each turn ended as the plan says; a cancelled one may have ended before it was cancelled."""
    for one in seen:
        expected = FAULTS[one.turn.fault]
        if one.turn.way in ("ask", "stream", "submit") and expected is None:
            assert one.error is None, one
        elif one.turn.way in ("ask", "stream", "submit"):
            assert isinstance(one.error, expected), one
        elif one.error is not None:
            assert isinstance(one.error, (StreamCancelled, *(expected or ()))), one
        if one.message is not None:
            assert one.message.content == "".join(one.turn.reply.text)
            assert one.message.usage == one.turn.reply.reported_usage


def committed(seen, partial: str) -> list[tuple[Turn, Message, str]]:
    """What must be in the history: question, reply, finish reason."""
    kept = [(one.turn, one.message, "stop") for one in seen if one.message is not None]
    for one in seen:
        came = one.error and one.error.partial
        if partial == "keep" and came and came.content:
            kept.append((one.turn, came, "cancelled" if one.was_cancelled else "error"))
    return kept


def check_history(seen, session, partial) -> None:
    """Exactly the turns that count, pair by pair, each caller's in the order of its calls."""
    questions, replies = session.history[::2], session.history[1::2]
    assert {message.role.value for message in questions} == {"user"}
    assert {message.role.value for message in replies} == {"assistant"}
    assert len(questions) == len(replies)
    expected = committed(seen, partial)
    pairs = [(q.content, r.content, r.finish_reason) for q, r in zip(questions, replies)]

    assert sorted((turn.text, r.content, why) for turn, r, why in expected) == sorted(pairs)
    order = [int(question.split()[1]) for question, _, _ in pairs]
    for thread in range(THREADS):
        mine = [number for number in order if number % THREADS == thread]
        assert sorted(mine) == mine
    usages = [reply.usage for _, reply, _ in expected if reply.usage is not None]
    assert sum(usages, TokenUsage(0, 0, 0)) == session.token_usage


def check_requests(seen, requests, session) -> None:
    """Each request is the system prompt, the history as it was, and the question."""
    history = [{"role": m.role.value, "content": m.content} for m in session.history]
    by_number = {one.turn.number: one for one in seen}
    place = {pair["content"]: at for at, pair in enumerate(history) if at % 2 == 0}
    newest = 0
    for request in requests:
        system, *before, question = request.json["messages"]
        assert system["content"] == "Be brief."
        assert before == history[: len(before)]
        assert len(before) == place.get(question["content"], len(before))
        one = by_number[int(question["content"].split()[1])]
        # The server may read late what was given up early.
        if not one.was_cancelled and one.turn.fault != "stall":
            assert len(before) >= newest
            newest = len(before)


@pytest.mark.parametrize(("partial", "seed"), [("discard", 1), ("keep", 2)])
def test_history_is_the_completed_turns_in_one_order(run, partial, seed):
    """Sixteen threads, random faults: nothing is lost, doubled, mixed up or left behind."""
    threads, files = set(threading.enumerate()), open_files()
    plan = plan_of(seed)

    seen, requests, session = run(plan, partial=partial)

    assert len(plan) == len(seen)
    check_outcomes(seen)
    check_history(seen, session, partial)
    check_requests(seen, requests, session)
    del seen, session  # the tracebacks of kept errors hold what was used
    gc.collect()  # a socket that was not closed warns, and warnings are errors here
    assert threads == set(threading.enumerate())
    assert files == open_files()


def test_plan_is_the_same_for_the_same_seed():
    """A failure can be had again."""
    assert plan_of(1) == plan_of(1)
    assert plan_of(1) != plan_of(2)
