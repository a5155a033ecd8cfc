"""What turns send of a session's history: read as far as it is sent, counted, and cut to fit."""

from __future__ import annotations

from typing import Any, Optional

import attrs

from cloudllm_sync.session.arguments import Said
from cloudllm_sync.session.estimates import Estimates, EstimateTokens, estimate_tokens
from cloudllm_sync.session.history import Request, request_messages, share_that_fits
from cloudllm_sync.session.ledger import Ledger
from cloudllm_sync.session.stores import StoredSession
from cloudllm_sync.values import Message

__all__ = ["Context", "Draft"]

# How many messages are read at first: more than most requests have; then as many as were sent.
_FIRST_PAGE = 64

_ESTIMATES = "estimates"  # the name of the note


@attrs.frozen(slots=True)
class Draft:
    """What a turn begins from, and the request made of it.

    `beside` is what a request has beside its messages, as `tool_tokens()` counts it.
    """

    state: StoredSession
    system: Said
    beside: int
    request: Request = attrs.field(factory=lambda: Request((), True, 0))


class Context:
    """What the turns of a session send. Turns use it one after the other, readers at any time."""

    def __init__(self, ledger: Ledger, max_tokens: int, estimate: EstimateTokens) -> None:
        self.max_tokens = max_tokens
        self._ledger = ledger
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
            state = self._ledger.load(page)
            self._learn(state)
            draft = self.adding(new, Draft(state, system, beside))
            if not draft.request.is_all or len(state.messages) == state.length:
                break
            page *= 4
        self._page = max(_FIRST_PAGE, 2 * len(draft.request.messages))
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
        estimates = self.estimates
        return request_messages(
            draft.system.messages,
            draft.state.messages,
            new.messages,
            max_tokens=max_tokens,
            estimate=estimates.tokens,
            extra=estimates.beside(draft.beside),
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
        if not self.estimates.is_news_to(self._noted):
            return None
        return {**draft.state.notes, _ESTIMATES: self.estimates.note()}

    def _learn(self, state: StoredSession) -> None:
        """What another process has noted since counts more than what is known here."""
        note = state.notes.get(_ESTIMATES)
        if note is not None and note != self._note:
            self._note = note
            self._noted = self.estimates = self.estimates.noted(note)
