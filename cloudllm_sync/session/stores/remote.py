"""Changes on a server whose answer may be lost on the way."""

from __future__ import annotations

import secrets
from typing import Callable, TypeVar

from cloudllm_sync.errors import StoreError
from cloudllm_sync.session.stores import conflict
from cloudllm_sync.session.stores.changes import RECENT_CHANGES, Change, Head

__all__ = ["LostAnswerError", "asked_twice", "commit"]

_Answer = TypeVar("_Answer")

_TRIES = 4


class LostAnswerError(Exception):
    """The connection ended after the change was sent: it may have been made, or not."""


def asked_twice(ask: Callable[[], _Answer]) -> _Answer:
    """The answer to what may well be done twice: the server was started anew since, say.

    Raises:
        StoreError: It cannot be had.
    """
    try:
        return ask()
    except LostAnswerError:
        pass
    try:
        return ask()
    except LostAnswerError as error:
        words = str(error)
    raise StoreError(words)


def commit(
    session_id: str,
    base_version: int,
    change: Change,
    read: Callable[[], Head],
    write: Callable[[Head], bool],
) -> None:
    """Make a change once, whatever becomes of connections.

    Each head remembers the latest changes by a token. Where an answer is lost the head is read
    again: if it has the token, the change was made; else it is made now.

    Args:
        session_id: For the errors.
        base_version: The version that the change was made for.
        change: What is to become of the conversation.
        read: Gives its head.
        write: Puts this head in its place and makes the change, if the version there is still
            `base_version`, all at once; gives whether it was.

    Raises:
        CommitConflictError: Somebody else was faster.
        StoreError: The server could not be reached (any more), or refuses.
    """
    token = secrets.token_hex(6)
    lost = False
    for _ in range(_TRIES):
        head = _read(session_id, read, lost)
        if token in head.recent:
            return
        if lost and head.version > base_version + RECENT_CHANGES:
            break
        if head.version != base_version:
            raise conflict(session_id, base_version, head.version)
        try:
            if write(change.head_after(head, token)):
                return
        except LostAnswerError:
            lost = True
    raise StoreError(_unknown(session_id))


def _read(session_id: str, read: Callable[[], Head], lost: bool) -> Head:
    try:
        return read()
    except StoreError as error:
        if not lost:
            raise
        words = str(error)
    raise StoreError(f"{words}; {_unknown(session_id)}")


def _unknown(session_id: str) -> str:
    return (
        f"the connection was lost while the session {session_id!r} was saved, and whether it was "
        "is not known: load it and see"
    )
