"""What turns send of a session's history: read as far as it is sent, counted, and cut to fit."""

from __future__ import annotations

from typing import Any, Optional

from cloudllm_sync.session.arguments import Said
from cloudllm_sync.session.estimates import Estimates, EstimateTokens, estimate_tokens
from cloudllm_sync.session.history import Request, request_messages
from cloudllm_sync.session.ledger import Ledger
from cloudllm_sync.session.stores import StoredSession
from cloudllm_sync.values import Message

__all__ = ["Context"]

# How many messages are read at first: more than most requests have; then as many as were sent.
_FIRST_PAGE = 64

_ESTIMATES = "estimates"  # the name of the note


class Context:
    """What the turns of a session send. Turns use it one after the other, readers at any time.

    `beside` is what a request has beside its messages, as `tool_tokens()` counts it.
    """

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

    def request(self, system: Said, state: StoredSession, new: Said, beside: int = 0) -> Request:
        """What a turn sends that adds `new`.

        Raises:
            ContextLengthError: It does not fit.
        """
        estimates = self.estimates
        return request_messages(
            system.messages,
            state.messages,
            new.messages,
            max_tokens=self.max_tokens,
            estimate=estimates.tokens,
            extra=estimates.beside(beside),
        )

    def read(self, system: Said, new: Said, beside: int = 0) -> tuple[StoredSession, Request]:
        """As much of the history as a turn sends that adds `new`, and what it sends.

        What is read grows with what is sent, not with what the history holds.
        """
        page = self._page
        while True:
            state = self._ledger.load(page)
            self._learn(state)
            request = self.request(system, state, new, beside)
            if not request.is_all or len(state.messages) == state.length:
                break
            page *= 4
        self._page = max(_FIRST_PAGE, 2 * len(request.messages))
        return state, request

    def learn(self, request: Request, beside: int, reply: Message) -> None:
        """What the provider says that a request had makes the next estimates better."""
        if reply.usage is not None:
            self.estimates = self.estimates.after(
                request.messages, beside, reply.usage.input_tokens, self.max_tokens
            )

    def notes(self, state: StoredSession) -> Optional[dict[str, Any]]:
        """What is to be kept with the session from now on; None if nothing new is."""
        if not self.estimates.is_news_to(self._noted):
            return None
        return {**state.notes, _ESTIMATES: self.estimates.note()}

    def _learn(self, state: StoredSession) -> None:
        """What another process has noted since counts more than what is known here."""
        note = state.notes.get(_ESTIMATES)
        if note is not None and note != self._note:
            self._note = note
            self._noted = self.estimates = self.estimates.noted(note)
