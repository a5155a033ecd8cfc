"""Where conversations are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Protocol

import attrs

from cloudllm_sync.errors import CommitConflictError
from cloudllm_sync.session.stores.names import checked_session_id
from cloudllm_sync.values import Message, TokenUsage

if TYPE_CHECKING:
    from cloudllm_sync.session.stores.lines import File

__all__ = ["SessionInfo", "SessionStore", "StoredSession", "checked_session_id", "conflict"]


@attrs.frozen(slots=True)
class StoredSession:
    """What a store holds of one conversation; version 0 is one that nobody has written yet.

    `messages` are the newest of its `length` messages: as many as were asked for. `notes` are the
    session's own: small JSON that it wants to find again.
    """

    version: int = 0
    # No repr of what was said: tools that report errors show local variables.
    messages: tuple[Message, ...] = attrs.field(default=(), repr=False)
    # Not by @length.default: pyright wants the argument then.
    length: int = attrs.Factory(lambda stored: len(stored.messages), takes_self=True)
    usage: TokenUsage = attrs.field(factory=lambda: TokenUsage(0, 0, 0))
    last_usage: Optional[TokenUsage] = None
    notes: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen(slots=True)
class SessionInfo:
    """A line of a store's table of contents; `updated_at` is in seconds since 1970, UTC."""

    session_id: str
    length: int
    usage: TokenUsage
    updated_at: float


class SessionStore(Protocol):
    """Keeps conversations. Any thread may call it, and any process that can reach it.

    Every change says which version it was based on, makes the version one higher, and is refused
    with CommitConflictError if somebody else was faster. What cannot be read or saved is a
    StoreError. A name that `checked_session_id()` refuses is a ConfigurationError.

    A store of one's own inherits from this class: it gets `export()` and `import_()` then.
    """

    leases_end: bool
    """Whether a lease ends by itself, so that whoever needs longer has to ask for it again."""

    def load(self, session_id: str, *, newest: Optional[int] = None) -> StoredSession:
        """The conversation with its newest messages, None for all; an unknown one is empty.

        It costs what it gives, not what the conversation holds.
        """

    def append(
        self,
        session_id: str,
        base_version: int,
        messages: Sequence[Message],
        usage: Optional[TokenUsage],
        *,
        notes: Optional[Mapping[str, Any]] = None,
    ) -> None:
        """Add messages that belong together, and what they cost; all of them or none.

        Args:
            session_id: Whose they are.
            base_version: The version that they were made for.
            messages: In order.
            usage: What they cost; None if that is not known.
            notes: The new notes; None leaves them as they are.

        Raises:
            CommitConflictError: Somebody else changed the conversation since `base_version`.
            StoreError: They could not be saved.
        """

    def clear(self, session_id: str, base_version: int) -> None:
        """Forget the messages and the notes; usage stays. Raises as `append()`."""

    def replace(self, session_id: str, base_version: int, stored: StoredSession) -> None:
        """Put a conversation in the place of what is there; all of it or none.

        Its own version is not taken: it follows `base_version`, as after every change. Raises as
        `append()`.
        """

    def delete(self, session_id: str) -> None:
        """Forget all of a conversation. Nothing happens to an unknown one."""

    def sessions(
        self, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> tuple[SessionInfo, ...]:
        """The conversations whose names begin so, by name (code points), those after `after`.

        The next page begins after the last name of this one.
        """

    def lease(self, session_id: str, owner: str, seconds: float) -> float:
        """Ask to be the only one who works on a conversation for so long.

        Returns:
            0.0 if it is the owner's now, who may ask again to get more time; else the seconds
            after which the other's lease will have ended, if he asks for no more.
        """

    def release(self, session_id: str, owner: str) -> None:
        """Give a lease back; nothing happens if it is not the owner's (any more)."""

    def close(self) -> None:
        """Close what is open. Idempotent; whoever asks for something later opens it again."""

    def export(self, file: File, *, prefix: str = "") -> int:
        """Write the conversations whose names begin so, as a line of JSON each.

        No more than one is in memory at a time. One that is changed meanwhile is written as it
        was at one moment, one that is deleted perhaps not.

        Args:
            file: A path, whose file is there only once all is written, or an open text file.
            prefix: What the names begin with.

        Returns:
            How many there were.

        Raises:
            StoreError: They could not be read, or not be written.
        """
        from cloudllm_sync.session.stores.lines import export_lines

        return export_lines(self, file, prefix)

    def import_(self, file: File, *, replace: bool = False) -> int:
        """Take in what `export()` of any store has written, also of older versions.

        Each line, a conversation, is taken in whole or not at all; those before a line that
        raises stay.

        Args:
            file: A path, or an open text file.
            replace: Whether a conversation that is there is replaced; else it is an error.

        Returns:
            How many there were.

        Raises:
            StoreError: A line is damaged or of a newer version, which the error names by its
                number, or a conversation is there already or could not be saved.
        """
        from cloudllm_sync.session.stores.lines import import_lines

        return import_lines(self, file, replace)


def conflict(session_id: str, base_version: int, version: int) -> CommitConflictError:
    """Somebody else was faster."""
    return CommitConflictError(
        f"the session {session_id!r} is at version {version}, not {base_version}: "
        "somebody else changed it meanwhile"
    )
