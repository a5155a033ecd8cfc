"""What turns send of a session's history: read as far as it is sent, counted, and cut to fit."""

from __future__ import annotations

import logging
from typing import Any, Optional

import attrs

from cloudllm_sync.errors import ContextLengthError, StreamCancelled
from cloudllm_sync.session.arguments import Said
from cloudllm_sync.session.estimates import Estimates, EstimateTokens, estimate_tokens
from cloudllm_sync.session.history import (
    Request,
    oldest_exchanges,
    request_messages,
    share_that_fits,
)
from cloudllm_sync.session.ledger import Ledger
from cloudllm_sync.session.stores import StoredSession
from cloudllm_sync.session.strategies import ContextStrategy, longest_summary
from cloudllm_sync.session.summaries import Summary
from cloudllm_sync.values import Message, TokenUsage

__all__ = ["Context", "Draft", "added"]

# How many messages are read at first: more than most requests have; then as many as were sent.
_FIRST_PAGE = 64

# What was never summarised is left out of a first summary where it is longer than so many requests.
_MOST_REQUESTS = 8

# The names of the notes.
_ESTIMATES = "estimates"
_SUMMARY = "summary"

_log = logging.getLogger("cloudllm_sync.session")


@attrs.frozen(slots=True)
class Draft:
    """What a turn begins from, and the request made of it.

    `beside` is what a request has beside its messages, as `tool_tokens()` counts it; `cost` is what
    a summary has cost that is not noted yet.
    """

    state: StoredSession
    system: Said
    beside: int
    summary: Optional[Summary] = None
    cost: Optional[TokenUsage] = None
    request: Request = attrs.field(factory=lambda: Request((), True, 0))

    @property
    def unsummed(self) -> int:
        """How many messages the history has after the summary."""
        return self.state.length - (self.summary.covered if self.summary is not None else 0)

    @property
    def past(self) -> tuple[Message, ...]:
        """Those of them that have been read."""
        messages = self.state.messages
        return messages[max(0, len(messages) - self.unsummed) :]


class Context:
    """What the turns of a session send. Turns use it one after the other, readers at any time."""

    def __init__(
        self,
        ledger: Ledger,
        max_tokens: int,
        estimate: EstimateTokens,
        strategy: Optional[ContextStrategy],
    ) -> None:
        self.max_tokens = max_tokens
        self._ledger = ledger
        self._strategy = strategy
        # The last summary, at which version, and its cost: if the turn fails, it is paid for.
        self._made: Optional[tuple[int, Summary, Optional[TokenUsage]]] = None
        own = None if estimate is estimate_tokens else estimate
        # All of these are guesses, each replaced as a whole: by turns, which are one after the
        # other, and by readers, who may at worst take back what was learned last.
        self.estimates = Estimates(own)
        self._noted = self.estimates
        self._note: Any = None
        self._page = _FIRST_PAGE
        self._learn(ledger.seen)

    def read(self, system: Said, new: Said, beside: int = 0) -> Draft:
        """As much of the history as a turn sends that adds `new`, and what it sends.

        What is read grows with what is sent, not with what the history holds.

        Raises:
            ContextLengthError: It does not fit.
        """
        page = self._page
        while True:
            draft = self.adding(new, self._begin(page, system, beside))
            if not draft.request.is_all or len(draft.past) == draft.unsummed:
                break
            page *= 4
        self._page = max(_FIRST_PAGE, 2 * len(draft.request.messages))
        return draft

    def _begin(self, page: int, system: Said, beside: int) -> Draft:
        state = self._ledger.load(page)
        self._learn(state)
        draft = Draft(state, system, beside)
        if self._strategy is None:
            return draft
        if self._made is not None and self._made[0] == state.version:
            return attrs.evolve(draft, summary=self._made[1], cost=self._made[2])
        summary = Summary.noted(state.notes.get(_SUMMARY), state.length)
        return attrs.evolve(draft, summary=summary)

    def summarized(self, new: Said, draft: Draft) -> Draft:
        """The same with a summary of what does not fit, if the session has one made.

        Raises:
            StreamCancelled: The turn was cancelled meanwhile.
        """
        strategy = self._strategy
        if strategy is None or draft.request.is_all:
            return draft
        keep = strategy.keep_tokens
        keep = min(self.max_tokens // 2 if keep is None else keep, self._room(new, draft))
        if keep < 0:
            return draft  # a summary would not fit, either
        draft = self._with_all_of_the_past(draft)
        count = self.estimates.tokens
        keep_last = not new.messages
        oldest = oldest_exchanges(draft.past, keep, estimate=count, keep_last=keep_last)
        earlier = draft.summary.text if draft.summary is not None else ""
        if not oldest:
            return draft
        try:
            made = strategy.summarize(earlier, oldest, self.max_tokens, count)
            text = made.content
        except StreamCancelled:
            raise
        except Exception:  # foreign code: a client of a user's own
            _log.warning("no summary: the oldest exchanges are left out", exc_info=True)
            return draft
        covered = draft.state.length - len(draft.past) + sum(map(len, oldest))
        summary, cost = Summary(text, covered), added(draft.cost, made.usage)
        self._made = draft.state.version, summary, cost
        return self.adding(new, attrs.evolve(draft, summary=summary, cost=cost))

    def _room(self, new: Said, draft: Draft) -> int:
        """How many tokens of the past fit beside all else, the longest summary included."""
        around = sum(map(self.estimates.tokens, (*draft.system.messages, *new.messages)))
        around += self.estimates.beside(draft.beside) + longest_summary(self.max_tokens)
        return self.max_tokens - around

    def _with_all_of_the_past(self, draft: Draft) -> Draft:
        """What has come after the summary, as much of it as one can be made of at once."""
        page = len(draft.state.messages)
        while len(draft.past) < draft.unsummed:
            if sum(map(self.estimates.tokens, draft.past)) > _MOST_REQUESTS * self.max_tokens:
                _log.warning("the oldest %d messages get no summary", draft.unsummed - page)
                break
            page = min(page * 4, draft.unsummed)
            state = self._ledger.load(page)
            if state.version != draft.state.version:
                break  # a lease was lost: whoever commits first wins
            draft = attrs.evolve(draft, state=state)
        return draft

    def adding(self, new: Said, draft: Draft) -> Draft:
        """The same with a request that adds `new` to the history.

        Raises:
            ContextLengthError: It does not fit.
        """
        return attrs.evolve(draft, request=self._request(new, draft, self.max_tokens))

    def shorter(self, new: Said, draft: Draft, words: str) -> Optional[Draft]:
        """The same with less of the history, as the provider said `words` about its length.

        None if nothing can be left out.
        """
        before = draft.request
        room = int(before.tokens * share_that_fits(words))
        request = self._request(new, draft, room, must_fit=False)
        is_shorter = len(request.messages) < len(before.messages)
        return attrs.evolve(draft, request=request) if is_shorter else None

    def _request(
        self, new: Said, draft: Draft, max_tokens: int, *, must_fit: bool = True
    ) -> Request:
        if draft.summary is not None:
            system = Said((*draft.system.messages, draft.summary.message()))
            try:
                return self._trimmed(new, draft, system, max_tokens, must_fit=True)
            except ContextLengthError:
                pass  # it may fit without
        return self._trimmed(new, draft, draft.system, max_tokens, must_fit=must_fit)

    def _trimmed(
        self, new: Said, draft: Draft, system: Said, max_tokens: int, *, must_fit: bool
    ) -> Request:
        return request_messages(
            system.messages,
            draft.past,
            new.messages,
            max_tokens=max_tokens,
            estimate=self.estimates.tokens,
            extra=self.estimates.beside(draft.beside),
            must_fit=must_fit,
        )

    def learn(self, draft: Draft, reply: Message) -> None:
        """What the provider says that a request had makes the next estimates better."""
        if reply.usage is not None:
            self.estimates = self.estimates.after(
                draft.request.messages, draft.beside, reply.usage.input_tokens, self.max_tokens
            )

    def notes(self, draft: Draft) -> Optional[dict[str, Any]]:
        """What is to be kept with the session from now on; None if nothing new is."""
        news: dict[str, Any] = {}
        if self.estimates.is_news_to(self._noted):
            news[_ESTIMATES] = self.estimates.note()
        if draft.summary is not None and draft.summary.note() != draft.state.notes.get(_SUMMARY):
            news[_SUMMARY] = draft.summary.note()
        return {**draft.state.notes, **news} if news else None

    def _learn(self, state: StoredSession) -> None:
        """What another process has noted since counts more than what is known here."""
        note = state.notes.get(_ESTIMATES)
        if note is not None and note != self._note:
            self._note = note
            self._noted = self.estimates = self.estimates.noted(note)


def added(left: Optional[TokenUsage], right: Optional[TokenUsage]) -> Optional[TokenUsage]:
    """The sum of what is known."""
    return left or right if left is None or right is None else left + right
