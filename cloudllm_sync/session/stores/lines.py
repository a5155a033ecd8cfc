"""Conversations as lines of JSON: taken out of one store, put into another."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import TextIO, Union, cast

from cloudllm_sync.errors import CommitConflictError, ConfigurationError, StoreError
from cloudllm_sync.records import (
    FORMAT,
    message_from_record,
    message_to_record,
    usage_from_record,
    usage_to_record,
)
from cloudllm_sync.session.stores import SessionStore, StoredSession
from cloudllm_sync.session.stores.changes import checked_format, hides_what_was_said, to_json
from cloudllm_sync.session.stores.names import checked_session_id

__all__ = ["File", "export_lines", "import_lines"]

File = Union[str, "os.PathLike[str]", TextIO]

_PAGE = 100
_TRIES = 10
_WORDS = 200


@hides_what_was_said
def export_lines(store: SessionStore, file: File, prefix: str) -> int:
    """Write a line for each conversation, by name; gives how many."""
    written = 0
    with _writing(file) as lines:
        for session_id in _names(store, prefix):
            stored = store.load(session_id)
            if stored.version:  # else it was deleted meanwhile
                lines.write(_line(session_id, stored) + "\n")
                written += 1
    return written


@hides_what_was_said
def import_lines(store: SessionStore, file: File, replace: bool) -> int:
    """Put in what a file has, line by line; gives how many conversations."""
    read = 0
    with _reading(file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                _import_line(store, line, replace, f"line {number}, after {read} conversations")
                read += 1
    return read


def _names(store: SessionStore, prefix: str) -> Iterator[str]:
    after = ""
    while page := store.sessions(prefix=prefix, after=after, limit=_PAGE):
        for info in page:
            after = info.session_id
            yield after


def _line(session_id: str, stored: StoredSession) -> str:
    last = stored.last_usage
    return to_json(
        {
            "format": FORMAT,
            "session_id": session_id,
            "usage": usage_to_record(stored.usage),
            "last_usage": None if last is None else usage_to_record(last),
            "notes": dict(stored.notes),
            "messages": [message_to_record(message) for message in stored.messages],
        }
    )


def _import_line(store: SessionStore, line: str, replace: bool, place: str) -> None:
    session_id, stored = _parsed(line, place)
    for _ in range(_TRIES):
        version = store.load(session_id, newest=0).version
        if version and not replace:
            raise StoreError(
                f"{place}: the session {session_id!r} is there already: pass replace=True to have "
                "what is there replaced"
            )
        # Somebody may change it meanwhile.
        with contextlib.suppress(CommitConflictError):
            store.replace(session_id, version, stored)
            return
    raise StoreError(f"{place}: the session {session_id!r} is changed all the time: try later")


def _parsed(line: str, place: str) -> tuple[str, StoredSession]:
    """What a line says.

    Raises:
        StoreError: It is damaged, or a newer version wrote it.
    """
    try:
        record = json.loads(line)
        checked_format(place, record["format"])
        last = record["last_usage"]
        notes = record["notes"]
        if not isinstance(notes, dict):
            raise TypeError("notes")
        return checked_session_id(record["session_id"]), StoredSession(
            messages=tuple(message_from_record(message) for message in record["messages"]),
            usage=usage_from_record(record["usage"]),
            last_usage=None if last is None else usage_from_record(last),
            notes=notes,
        )
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        words = f"{type(error).__name__}: {error}"[:_WORDS]
    raise StoreError(f"{place}: no conversation that was exported ({words})")


@contextlib.contextmanager
def _writing(file: File) -> Iterator[TextIO]:
    """A path gets its file when all is written: an older export is not lost to half a one."""
    if not isinstance(file, (str, os.PathLike)):
        yield _text(file, "write")
        return
    path = os.fspath(file)
    try:
        with open(path + ".part", "w", encoding="utf-8", newline="\n") as lines:
            yield lines
        os.replace(path + ".part", path)
    except OSError as error:
        raise StoreError(f"{path!r} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(path + ".part")


@contextlib.contextmanager
def _reading(file: File) -> Iterator[TextIO]:
    try:
        if isinstance(file, (str, os.PathLike)):
            with open(file, encoding="utf-8-sig") as lines:
                yield lines
        else:
            yield _text(file, "read")
        return
    except OSError as error:
        words = str(error.strerror)
    except UnicodeDecodeError:
        words = "it is no UTF-8"
    raise StoreError(f"{getattr(file, 'name', file)!r} cannot be read: {words}")


def _text(file: object, method: str) -> TextIO:
    if not hasattr(file, method) or "b" in str(getattr(file, "mode", "")):
        raise ConfigurationError("file must be a path, or a file that was opened as text")
    return cast("TextIO", file)
