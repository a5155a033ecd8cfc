"""One turn after the other: take a ticket, look at the history, ask, settle, give it back.

The engine under LLMSession.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Optional

import attrs

from cloudllm_sync.clients.wrapper import ClientWrapper
from cloudllm_sync.errors import CloudLLMError, StoreError, StreamCancelled
from cloudllm_sync.session.arguments import Said
from cloudllm_sync.session.history import EstimateTokens, request_messages
from cloudllm_sync.session.stores import SessionStore, StoredSession
from cloudllm_sync.session.turns import Ticket, TicketQueue
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.transport.cancellation import current_cancellation
from cloudllm_sync.transport.credentials import hides_arguments
from cloudllm_sync.transport.forks import renew_in_children
from cloudllm_sync.values import ChatOptions, Message, Timeouts, ToolDefinition

__all__ = ["Conversation", "Partial", "Wish"]

Partial = Literal["discard", "keep"]

_log = logging.getLogger("cloudllm_sync.session")

_STORE_WORDS = 200


@attrs.frozen(slots=True, kw_only=True)
class Wish:
    """What a caller wants of one turn."""

    new: Said
    tools: Optional[Sequence[ToolDefinition]] = attrs.field(default=None, repr=False)
    options: Optional[ChatOptions] = attrs.field(default=None, repr=False)
    timeouts: Optional[Timeouts] = None
    turn_timeout_s: float = 0.0

    def given(self) -> dict[str, Any]:
        """Only what was given: a client of a user's own may know no options."""
        wishes = {"options": self.options, "timeouts": self.timeouts}
        return {name: wish for name, wish in wishes.items() if wish is not None}


class Conversation:
    """The state of a session, and the turns that change it."""

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
    ) -> None:
        self.client = client
        self.max_tokens = max_tokens
        self.session_id = session_id
        self.estimate = estimate
        self.queue = TicketQueue()
        self._store = store
        self._partial = partial
        # Re-entrant: the garbage collector may end a stream, and so a turn, anywhere.
        self._lock = threading.RLock()
        # Both are written under _lock, as a whole; readers take one reference.
        self._system = system
        self.state = self._load()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a lock of its own."""
        self._lock = threading.RLock()

    @property
    def system(self) -> tuple[Message, ...]:
        """The system prompt, or nothing."""
        return self._system.messages

    def set_system(self, system: Said) -> None:
        """Another system prompt, from the next turn on."""
        with self._lock:
            self._system = system

    def request(self, state: StoredSession, new: Sequence[Message]) -> tuple[Message, ...]:
        """What a turn sends that adds `new`."""
        return request_messages(
            self.system,
            state.messages,
            new,
            max_tokens=self.max_tokens,
            estimate=self.estimate,
        )

    # --- turns ---

    def whole(self, wish: Wish) -> Message:
        """A turn whose reply comes at once."""
        turn = self._begin(wish, self.queue.enter())
        try:
            reply = self.client.send_message(turn.request, wish.tools, **wish.given())
        except BaseException as error:
            turn.settle(None, _as_failure(error))
            raise
        turn.settle(reply, None)
        return reply

    def stream(self, wish: Wish, ticket: Ticket) -> Optional[ChatStream]:
        """A turn whose reply is streamed; None if the client cannot."""
        turn = self._begin(wish, ticket)
        try:
            open_stream = getattr(self.client, "send_message_stream", None)
            stream = open_stream and open_stream(turn.request, wish.tools, **wish.given())
        except BaseException as error:
            turn.settle(None, _as_failure(error))
            raise
        if stream is None:
            turn.ticket.release()
            return None
        if not isinstance(stream, ChatStream):
            stream = ChatStream.of(stream)
        stream.settle_with(turn.settle)
        return stream

    @contextlib.contextmanager
    def change(self, timeout_s: float) -> Iterator[StoredSession]:
        """A turn without a request, for changes of the history."""
        ticket = self.queue.enter()
        ticket.wait(timeout_s, current_cancellation())
        try:
            yield self._load()
        finally:
            ticket.release()

    def append(self, state: StoredSession, said: Said, reply: Message | None = None) -> None:
        """Add to the store, and only then to what readers see.

        Raises:
            StoreError: The store has failed; what readers see has not moved.
        """
        usage = reply.usage if reply is not None else None
        try:
            changed = self._store.append(self.session_id, state.version, said.messages, usage)
        except StoreError as error:
            error.reply = error.reply or reply
            raise
        except Exception as error:  # foreign code: a store of a user's own
            raise self._store_failed("save", error, reply) from error
        self._swap(changed)

    def clear(self, state: StoredSession) -> None:
        """Forget the messages.

        Raises:
            StoreError: The store has failed; what readers see has not moved.
        """
        try:
            changed = self._store.clear(self.session_id, state.version)
        except StoreError:
            raise
        except Exception as error:  # foreign code, as above
            raise self._store_failed("clear", error) from error
        self._swap(changed)

    def settle(
        self,
        state: StoredSession,
        new: Said,
        reply: Optional[Message],
        error: Optional[CloudLLMError],
    ) -> None:
        """The end of a turn: its messages enter the history together, or none of them does."""
        if reply is not None:
            self.append(state, Said((*new.messages, reply)), reply)
            return
        kept = _kept(error) if self._partial == "keep" else None
        if kept is None:
            return
        try:
            self.append(state, Said((*new.messages, kept)), kept)
        except StoreError:
            _log.warning("the partial reply could not be kept", exc_info=True)

    @hides_arguments
    def _begin(self, wish: Wish, ticket: Ticket) -> _Turn:
        ticket.wait(wish.turn_timeout_s, current_cancellation())
        try:
            state = self._load()
            self._swap(state)
            return _Turn(self, ticket, state, wish.new, self.request(state, wish.new.messages))
        except BaseException:
            ticket.release()
            raise

    def _load(self) -> StoredSession:
        try:
            return self._store.load(self.session_id)
        except StoreError:
            raise
        except Exception as error:  # foreign code, as above
            raise self._store_failed("load", error) from error

    def _store_failed(
        self, what: str, error: Exception, reply: Message | None = None
    ) -> StoreError:
        where = "" if reply is None else ": the reply is in .reply"
        # Databases quote what they were given, after the first line of what they say.
        said = f"{type(error).__name__}: {error}".split("\n", 1)[0][:_STORE_WORDS]
        return StoreError(
            f"the store failed to {what} session {self.session_id!r} ({said}){where}", reply=reply
        )

    def _swap(self, state: StoredSession) -> None:
        with self._lock:
            self.state = state


@attrs.frozen(slots=True)
class _Turn:
    """One turn: what it began from, and what it sends."""

    _conversation: Conversation
    ticket: Ticket
    _state: StoredSession
    _new: Said
    request: tuple[Message, ...] = attrs.field(repr=False)

    def settle(self, reply: Optional[Message], error: Optional[CloudLLMError]) -> None:
        """Commit or forget, then let the next turn begin."""
        try:
            self._conversation.settle(self._state, self._new, reply, error)
        finally:
            self.ticket.release()


def _as_failure(error: BaseException) -> CloudLLMError:
    return error if isinstance(error, CloudLLMError) else CloudLLMError(type(error).__name__)


def _kept(error: Optional[CloudLLMError]) -> Optional[Message]:
    """What is worth keeping of a failed reply: its text, without half-written tool calls."""
    if error is None or error.partial is None or not error.partial.content:
        return None
    reason = "cancelled" if isinstance(error, StreamCancelled) else "error"
    return attrs.evolve(error.partial, tool_calls=(), finish_reason=reason)
