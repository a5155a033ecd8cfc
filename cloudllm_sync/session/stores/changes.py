"""A change of a conversation, as records: what every store that outlives the process has to do.

What is kept is a row of JSON for each message, and one for the conversation, its head.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Optional, Protocol, TypeVar, cast

import attrs

from cloudllm_sync.errors import CloudLLMError, StoreError
from cloudllm_sync.records import (
    FORMAT,
    message_from_record,
    message_to_record,
    usage_from_record,
    usage_to_record,
)
from cloudllm_sync.session.stores import SessionInfo, SessionStore, StoredSession
from cloudllm_sync.values import Message, TokenUsage

__all__ = [
    "RECENT_CHANGES",
    "Change",
    "Head",
    "RecordStore",
    "checked_format",
    "hides_what_was_said",
    "to_json",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_NOTHING = TokenUsage(0, 0, 0)
RECENT_CHANGES = (
    8  # changes of others that may come between a change and the question what became of it
)


def to_json(record: object) -> str:
    """One line of text, readable where it can be.

    Raises:
        StoreError: It holds what JSON cannot say.
    """
    try:
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        # Half of a surrogate pair, which no database takes, is escaped.
        return text if _is_text(text) else json.dumps(record, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        kind = type(error).__name__
    raise StoreError(f"a note cannot be kept: {kind} while writing it as JSON")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@attrs.frozen(slots=True, kw_only=True)
class Head:
    """All that is kept of a conversation but its messages; version 0 is one that is not there."""

    version: int = 0
    length: int = 0
    usage: TokenUsage = _NOTHING
    last_usage: Optional[TokenUsage] = None
    notes: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    recent: tuple[str, ...] = ()
    """Tokens of the latest changes, so that whoever lost the answer can see if his was made."""

    def to_text(self) -> str:
        """The record as a line of text."""
        record = attrs.asdict(self, recurse=False)
        record["usage"] = usage_to_record(self.usage)
        record["last_usage"] = self.last_usage and usage_to_record(self.last_usage)
        return to_json({"format": FORMAT, **record})

    @classmethod
    def from_text(cls, text: str, session_id: str) -> Head:
        """What `to_text()` wrote, also that of older versions.

        Raises:
            StoreError: A newer version wrote it, or it is damaged.
        """
        try:
            record = json.loads(text)
            checked_format(f"the session {session_id!r}", record["format"])
            last = record["last_usage"]
            return cls(
                version=record["version"],
                length=record["length"],
                usage=usage_from_record(record["usage"]),
                last_usage=None if last is None else usage_from_record(last),
                notes=record["notes"],
                recent=tuple(record["recent"]),
            )
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            pass
        raise damaged(session_id)

    def info(self, session_id: str, updated_at: float) -> SessionInfo:
        """The line in the table of contents."""
        return SessionInfo(session_id, self.length, self.usage, updated_at)

    def holds(
        self, session_id: str, records: Iterable[str], newest: Optional[int]
    ) -> StoredSession:
        """The conversation with its newest messages, which have to be there.

        Raises:
            StoreError: Messages are missing or damaged, or a newer version wrote them.
        """
        messages = tuple(_message(text, session_id) for text in records)
        if len(messages) != (self.length if newest is None else min(self.length, newest)):
            raise damaged(session_id)
        return StoredSession(
            self.version, messages, self.length, self.usage, self.last_usage, self.notes
        )


@attrs.frozen(slots=True, kw_only=True)
class Change:
    """What is to become of a conversation."""

    records: tuple[str, ...] = attrs.field(default=(), repr=False)
    """The messages that are added."""
    wipes: bool = False
    """Whether those that are there go."""
    next_head: Callable[[Head], Head] = attrs.field(repr=False)

    def head_after(self, head: Head, token: str = "") -> Head:
        """The head that follows, which remembers the token."""
        kept = 0 if self.wipes else head.length
        return attrs.evolve(
            self.next_head(head),
            version=head.version + 1,
            length=kept + len(self.records),
            recent=(*head.recent, token)[-RECENT_CHANGES:] if token else (),
        )


def damaged(session_id: str) -> StoreError:
    """What is kept cannot be what was written."""
    return StoreError(
        f"what is stored of the session {session_id!r} is damaged or incomplete: restore it, or "
        "delete the session"
    )


def checked_format(what: str, version: int) -> None:
    """Refuse what a newer version wrote.

    Raises:
        StoreError: This version would misread it.
    """
    if version > FORMAT:
        raise StoreError(
            f"{what} was written by a newer cloudllm_sync (format {version}, this one knows "
            f"{FORMAT}): upgrade this one"
        )


def _message(text: str, session_id: str) -> Message:
    try:
        return message_from_record(json.loads(text))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    raise damaged(session_id)


def hides_what_was_said(function: _Function) -> _Function:
    """Have errors of a store be raised without the frames that held messages.

    Tools that report errors show the local variables of every frame, and drivers hang what they
    were to write on their errors; what they complained of is in the message.
    """

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except CloudLLMError as error:
            error.__context__ = None
            raise error.with_traceback(None) from None
        finally:
            del args, options

    return cast("_Function", call)


class RecordStore(SessionStore, Protocol):
    """A store that keeps records: the changes, made of one `_commit()`."""

    def _commit(self, session_id: str, base_version: int, change: Change) -> None:
        """Make a change, if the conversation still has this version; all of it or nothing.

        Raises:
            CommitConflictError: It has another one.
            StoreError: It could not be made.
        """

    @hides_what_was_said
    def append(
        self,
        session_id: str,
        base_version: int,
        messages: Sequence[Message],
        usage: Optional[TokenUsage],
        *,
        notes: Optional[Mapping[str, Any]] = None,
    ) -> None:
        """Add messages that belong together, and what they cost; all of them or none."""

        def next_head(head: Head) -> Head:
            return attrs.evolve(
                head,
                usage=head.usage if usage is None else head.usage + usage,
                last_usage=usage,
                notes=head.notes if notes is None else notes,
            )

        change = Change(records=_records(messages), next_head=next_head)
        self._commit(session_id, base_version, change)

    @hides_what_was_said
    def clear(self, session_id: str, base_version: int) -> None:
        """Forget the messages and the notes; usage stays."""
        change = Change(wipes=True, next_head=lambda head: attrs.evolve(head, notes={}))
        self._commit(session_id, base_version, change)

    @hides_what_was_said
    def replace(self, session_id: str, base_version: int, stored: StoredSession) -> None:
        """Put a conversation in the place of what is there; all of it or none."""

        def next_head(head: Head) -> Head:
            return attrs.evolve(
                head, usage=stored.usage, last_usage=stored.last_usage, notes=stored.notes
            )

        records = _records(stored.messages)
        self._commit(
            session_id, base_version, Change(records=records, wipes=True, next_head=next_head)
        )


def _records(messages: Iterable[Message]) -> tuple[str, ...]:
    try:
        return tuple(to_json(message_to_record(message)) for message in messages)
    except ValueError as error:
        complaint = str(error)
    raise StoreError(f"a message cannot be kept: {complaint}")
