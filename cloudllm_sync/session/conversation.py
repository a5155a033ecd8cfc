"""One turn after the other: take a ticket, look at the history, ask, settle, give it back.

The engine under LLMSession.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Callable, Literal, Optional, TypeVar

import attrs

from cloudllm_sync.clients.wrapper import ClientWrapper
from cloudllm_sync.errors import (
    CloudLLMError,
    ContextLengthError,
    StoreError,
    StreamCancelled,
    StreamingNotSupportedError,
)
from cloudllm_sync.session.arguments import Said, Wish
from cloudllm_sync.session.context import Context, Draft, added
from cloudllm_sync.session.estimates import EstimateTokens, tool_tokens
from cloudllm_sync.session.leases import Lease
from cloudllm_sync.session.ledger import Ledger
from cloudllm_sync.session.stores import SessionStore, StoredSession
from cloudllm_sync.session.strategies import ContextStrategy
from cloudllm_sync.session.turns import Ticket, TicketQueue
from cloudllm_sync.streaming.handle import OnChunk, OnError, OnFinish, StreamHandle
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.transport.cancellation import current_cancellation
from cloudllm_sync.transport.credentials import hides_arguments
from cloudllm_sync.transport.forks import renew_in_children
from cloudllm_sync.values import Message, Role, TokenUsage

__all__ = ["Conversation", "Partial", "Turn", "Wish", "as_failure"]

Partial = Literal["discard", "keep"]
_Answer = TypeVar("_Answer")

_log = logging.getLogger("cloudllm_sync.session")

# How many messages are read where none are sent: those in which calls may wait for results.
_PAGE = 64


class Conversation:
    """A session's turns: what they send, and what they change."""

    def __init__(
        self,
        client: ClientWrapper,
        *,
        system: Said,
        max_tokens: int,
        session_id: str,
        store: SessionStore,
        partial: Partial,
        estimate: EstimateTokens,
        strategy: Optional[ContextStrategy],
        lease_s: float,
    ) -> None:
        self.client = client
        self.partial = partial
        self.queue = TicketQueue()
        self.ledger = Ledger(store, session_id)
        self.context = Context(self.ledger, max_tokens, estimate, strategy)
        self._lease_s = lease_s
        # Re-entrant: the garbage collector may end a stream, and so a turn, anywhere.
        self._lock = threading.RLock()
        self.system = system  # written under _lock, as a whole
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a lock of its own."""
        self._lock = threading.RLock()

    def set_system(self, system: Said) -> None:
        """Another system prompt, from the next turn on."""
        with self._lock:
            self.system = system

    # --- turns ---

    def whole(self, wish: Wish) -> Message:
        """A turn whose reply comes at once."""
        turn = self.begin(wish, self.queue.enter())
        try:
            reply = self.send(turn, wish)
        except BaseException as error:
            turn.settle(None, as_failure(error))
            raise
        turn.settle(reply, None)
        return reply

    def stream(self, wish: Wish, ticket: Ticket) -> Optional[ChatStream]:
        """A turn whose reply is streamed; None if the client cannot."""
        turn = self.begin(wish, ticket)
        try:
            stream = self.open(turn, wish)
        except BaseException as error:
            turn.settle(None, as_failure(error))
            raise
        if stream is None:
            turn.release()
            return None
        stream.settle_with(turn.settle)
        return stream

    def open_turn(self, wish: Wish) -> Optional[ChatStream]:
        """`stream()` for a caller who has no ticket yet."""
        return self.stream(wish, self.enter(wish))

    def start(
        self,
        wish: Wish,
        on_chunk: Optional[OnChunk],
        on_finish: Optional[OnFinish],
        on_error: Optional[OnError],
    ) -> StreamHandle:
        """A turn whose reply is streamed on a worker thread. It is in the queue on return."""
        ticket = self.enter(wish)

        def open_stream() -> ChatStream:
            return self.streamed(self.stream(wish, ticket))

        try:
            return StreamHandle(
                open_stream, on_chunk=on_chunk, on_finish=on_finish, on_error=on_error
            )
        except BaseException:
            ticket.release()  # no thread could be started
            raise

    def streamed(self, stream: Optional[ChatStream]) -> ChatStream:
        """The stream, for those who cannot do without.

        Raises:
            StreamingNotSupportedError: There is none.
        """
        if stream is None:
            raise StreamingNotSupportedError(
                f"{self.client.provider_name} cannot stream: use send_message()"
            )
        return stream

    def send(self, turn: Turn, wish: Wish) -> Message:
        """The client's answer to a turn's request, at once."""
        return self._asked(
            turn,
            wish,
            lambda wish: self.client.send_message(turn.request, wish.tools, **wish.given()),
        )

    def open(self, turn: Turn, wish: Wish) -> Optional[ChatStream]:
        """The client's answer to a turn's request as a stream; None if it cannot."""
        began = time.monotonic()
        stream = self._asked(turn, wish, lambda wish: self._opened(turn, wish))

        def replace(error: CloudLLMError) -> Optional[Callable[[], ChatStream]]:
            if not turn.shorten(error):
                return None
            return lambda: self.streamed(self._opened(turn, wish.later(began)))

        if stream is not None:
            stream.replace_with(replace)
        return stream

    def _opened(self, turn: Turn, wish: Wish) -> Optional[ChatStream]:
        open_stream = getattr(self.client, "send_message_stream", None)
        stream = open_stream and open_stream(turn.request, wish.tools, **wish.given())
        if stream is None or isinstance(stream, ChatStream):
            return stream
        return ChatStream.of(stream)

    def _asked(self, turn: Turn, wish: Wish, ask: Callable[[Wish], _Answer]) -> _Answer:
        """What the client answers; asked once more if the provider found the request too long."""
        began = time.monotonic()
        try:
            return ask(wish)
        except ContextLengthError as error:
            if not turn.shorten(error):
                raise
            attempts = error.attempts
        try:
            return ask(wish.later(began))
        except CloudLLMError as error:
            error.attempts += attempts
            raise

    @contextlib.contextmanager
    def change(self, timeout_s: float) -> Iterator[StoredSession]:
        """A turn without a request, for changes of the history."""
        ticket = self.queue.enter()
        lease = self._wait(ticket, timeout_s)
        try:
            state = self._newest_exchange()
            self.ledger.see(state)
            yield state
        finally:
            lease.release()
            ticket.release()

    @hides_arguments
    def begin(self, wish: Wish, ticket: Ticket) -> Turn:
        """A turn that is to be settled, or released.

        Raises:
            SessionBusyError: Another turn of the session does not end in time.
            StoreError: The store has failed.
            ContextLengthError: It does not fit.
        """
        lease = self._wait(ticket, wish.turn_timeout_s)
        try:
            beside = tool_tokens(wish.tools, wish.options)
            draft = self.context.read(self.system, wish.new, beside)
            draft = self.context.summarized(wish.new, draft)
            self.ledger.see(draft.state)
            return Turn(self, ticket, lease, wish.new, draft)
        except BaseException:
            lease.release()
            ticket.release()
            raise

    def _newest_exchange(self) -> StoredSession:
        """The newest messages, the one with the calls that the last results answer among them."""
        page = _PAGE
        while True:
            state = self.ledger.load(page)
            begins = any(message.role is not Role.TOOL for message in state.messages)
            if begins or len(state.messages) == state.length:
                return state
            page *= 4

    def enter(self, wish: Wish) -> Ticket:
        """A place in the queue of this object's turns."""
        return self.queue.enter(refuse=wish.turn_timeout_s == 0)

    def _wait(self, ticket: Ticket, timeout_s: float) -> Lease:
        """Wait for the other turns, first those of this object, then those of all others."""
        began = time.monotonic()
        cancellation = current_cancellation()
        ticket.wait(timeout_s, cancellation)
        lease = Lease(self.ledger.store, self.ledger.session_id, self._lease_s)
        try:
            with self.ledger.failures_to("lease"):
                lease.wait(timeout_s - (time.monotonic() - began), cancellation)
        except BaseException:
            lease.release()
            ticket.release()
            raise
        return lease


@attrs.define(slots=True)
class Turn:
    """One turn: what it began from, what it sends, and what has come of it before the reply."""

    _conversation: Conversation
    _ticket: Ticket
    _lease: Lease
    _new: Said
    _draft: Draft
    _rounds: Said = attrs.field(factory=Said)
    _usage: Optional[TokenUsage] = None
    _settled: bool = False
    _may_shorten: bool = True

    @property
    def request(self) -> tuple[Message, ...]:
        """The messages to send."""
        return self._draft.request.messages

    def add_round(self, messages: Sequence[Message]) -> None:
        """A reply that asked for tools, and their results: the turn's `request` has them from now.

        Raises:
            ContextLengthError: They do not fit; the round is kept all the same.
        """
        context = self._conversation.context
        self._rounds = Said((*self._rounds.messages, *messages))
        for message in messages:
            self._usage = added(self._usage, message.usage)
            context.learn(self._draft, message)
        self._draft = context.adding(self._so_far(), self._draft)
        self._may_shorten = True

    def shorten(self, error: CloudLLMError) -> bool:
        """Leave more of the history out of `request`, after what it has cost; whether it is done.

        Only the provider's own word that it was too long is a reason, and only once for a request.
        """
        if not self._may_shorten or not isinstance(error, ContextLengthError):
            return False
        self._may_shorten = False
        context = self._conversation.context
        shorter = context.shorter(self._so_far(), self._draft, str(error))
        if shorter is None:
            return False
        _log.warning(
            "the provider refused %d messages as too long, sending %d: lower max_tokens",
            len(self.request),
            len(shorter.request.messages),
        )
        self._draft = shorter
        return True

    def _so_far(self) -> Said:
        return Said((*self._new.messages, *self._rounds.messages))

    def settle(self, reply: Optional[Message], error: Optional[CloudLLMError]) -> None:
        """Its messages enter the history together, or none of them does; the next turn may begin.

        Only the first call counts.

        Raises:
            StoreError: They could not be saved; `reply` is in it.
        """
        if self._settled:
            return
        self._settled = True
        try:
            if reply is not None:
                self._conversation.context.learn(self._draft, reply)
                self._commit(reply)
            elif self._conversation.partial == "keep":
                self._keep(_kept(error))
        finally:
            self.release()

    def release(self) -> None:
        """Let the next turn begin. Idempotent."""
        self._lease.release()
        self._ticket.release()

    def _commit(self, *replies: Message) -> None:
        usage = added(self._draft.cost, self._usage)
        for reply in replies:
            usage = added(usage, reply.usage)
        said = Said((*self._so_far().messages, *replies))
        self._conversation.ledger.append(
            self._draft.state,
            said,
            usage,
            reply=replies[-1] if replies else None,
            notes=self._conversation.context.notes(self._draft),
        )

    def _keep(self, partial: Optional[Message]) -> None:
        if partial is None and not self._rounds.messages:
            return
        try:
            self._commit(*([] if partial is None else [partial]))
        except StoreError:
            _log.warning("the partial reply could not be kept", exc_info=True)


def as_failure(error: BaseException) -> CloudLLMError:
    """The error that ends the turn."""
    return error if isinstance(error, CloudLLMError) else CloudLLMError(type(error).__name__)


def _kept(error: Optional[CloudLLMError]) -> Optional[Message]:
    """What is worth keeping of a failed reply: its text, without half-written tool calls."""
    if error is None or error.partial is None or not error.partial.content:
        return None
    reason = "cancelled" if isinstance(error, StreamCancelled) else "error"
    return attrs.evolve(error.partial, tool_calls=(), finish_reason=reason)
