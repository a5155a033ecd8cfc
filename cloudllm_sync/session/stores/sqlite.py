"""Conversations in a file, for any number of threads and processes of one machine."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional, Union

from cloudllm_sync.errors import ConfigurationError, StoreError
from cloudllm_sync.session.stores import SessionInfo, StoredSession, conflict
from cloudllm_sync.session.stores.changes import (
    Change,
    Head,
    RecordStore,
    hides_what_was_said,
)
from cloudllm_sync.session.stores.connections import ConnectionPool
from cloudllm_sync.session.stores.names import checked_page, checked_session_id, prefix_end

if TYPE_CHECKING:
    import sqlite3

__all__ = ["SQLiteStore"]

_BUSY_S = 10.0
_FORMAT = 1
_APPLICATION_ID = 0x434C4C4D  # "CLLM": tells our files from those of other programs
_TABLES = f"""
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, head TEXT NOT NULL,
    updated_at REAL NOT NULL);
CREATE TABLE messages (
    session INTEGER NOT NULL, position INTEGER NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (session, position));
CREATE TABLE leases (
    session_id TEXT PRIMARY KEY, owner TEXT NOT NULL, ends_at REAL NOT NULL) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT};
"""
# What to do, by what SQLite says.
_ADVICE = {
    "locked": "another process writes to it for too long",
    "readonly": "make the file and its folder writable",
    "not a database": "give the path of another file, this one was left as it is",
    "malformed": "restore it from a backup, or try `sqlite3 FILE .recover`",
    "full": "make room on the disk",
    "unable to open": "does its folder exist, and may it be written to?",
}


class SQLiteStore(RecordStore):
    """Keeps conversations in one file, the store for one machine.

    Any number of threads and processes may use it, and be killed at any time: a turn is in the
    file whole or not at all, and once `append()` has returned it is on the disk. A lease is timed
    by the machine's clock. It pickles, as its path.

    The file has to be on a disk of this machine: SQLite's locks do not work over networks.
    """

    leases_end = True

    def __init__(self, path: Union[str, os.PathLike[str]]) -> None:
        """Open a file, and make it if it is not there.

        Args:
            path: Its path; a relative one is taken as of now. Two more files beside it,
                with `-wal` and `-shm`, belong to it.

        Raises:
            ConfigurationError: No path of a file.
            StoreError: It cannot be opened, is of another program or of a newer version.
        """
        self._path = _checked_path(path)
        self._pool = ConnectionPool(self._connect)
        with self._connection():
            pass

    @hides_what_was_said
    def load(self, session_id: str, *, newest: Optional[int] = None) -> StoredSession:
        """The conversation with its newest messages, None for all; an unknown one is empty."""
        checked_session_id(session_id)
        with self._connection() as connection:
            connection.execute("BEGIN")
            number, head = _head(connection, session_id)
            first = 0 if newest is None else max(0, head.length - newest)
            rows = connection.execute(
                "SELECT record FROM messages WHERE session = ? AND position >= ? ORDER BY position",
                (number, first),
            ).fetchall()
            connection.execute("COMMIT")
        return head.holds(session_id, (record for (record,) in rows), newest)

    def delete(self, session_id: str) -> None:
        """Forget all of a conversation."""
        checked_session_id(session_id)
        with self._writing() as connection:
            connection.execute(
                "DELETE FROM messages WHERE session IN (SELECT number FROM sessions WHERE id = ?)",
                (session_id,),
            )
            connection.execute("DELETE FROM sessions WHERE id = ?", (session_id,))

    def sessions(
        self, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> tuple[SessionInfo, ...]:
        """The conversations whose names begin so, by name, those that come after `after`."""
        checked_page(prefix, after, limit)
        end: Union[str, bytes, None] = prefix_end(prefix)
        if end is None:
            end = b""  # bytes sort behind all text
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT id, head, updated_at FROM sessions WHERE id >= ? AND id < ? AND id > ? "
                "ORDER BY id LIMIT ?",
                (prefix, end, after, min(limit, 2**62)),
            ).fetchall()
        return tuple(Head.from_text(head, name).info(name, at) for name, head, at in rows)

    def lease(self, session_id: str, owner: str, seconds: float) -> float:
        """Ask to be the only one who works on a conversation for so long."""
        checked_session_id(session_id)
        with self._connection() as connection:
            # Whoever waits asks often; looking first, he does not stop those who write.
            wait = _wait_for_lease(connection, session_id, owner)
        if wait > 0:
            return wait
        with self._writing() as connection:
            wait = _wait_for_lease(connection, session_id, owner)
            if wait > 0:
                return wait
            connection.execute(
                "INSERT OR REPLACE INTO leases VALUES (?, ?, ?)",
                (session_id, owner, time.time() + seconds),
            )
        return 0.0

    def release(self, session_id: str, owner: str) -> None:
        """Give a lease back."""
        checked_session_id(session_id)
        with self._writing() as connection:
            connection.execute(
                "DELETE FROM leases WHERE session_id = ? AND owner = ?", (session_id, owner)
            )

    def close(self) -> None:
        """Close what is open, whereupon the two files beside it go away."""
        self._pool.close()

    def __repr__(self) -> str:
        return f"SQLiteStore({self._path!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return SQLiteStore, (self._path,)

    def _commit(self, session_id: str, base_version: int, change: Change) -> None:
        checked_session_id(session_id)
        with self._writing() as connection:
            number, head = _head(connection, session_id)
            if head.version != base_version:
                raise conflict(session_id, base_version, head.version)
            after = change.head_after(head)
            if number is None:
                number = connection.execute(
                    "INSERT INTO sessions (id, head, updated_at) VALUES (?, ?, ?)",
                    (session_id, after.to_text(), time.time()),
                ).lastrowid
            else:
                connection.execute(
                    "UPDATE sessions SET head = ?, updated_at = ? WHERE number = ?",
                    (after.to_text(), time.time(), number),
                )
            if change.wipes:
                connection.execute("DELETE FROM messages WHERE session = ?", (number,))
            first = after.length - len(change.records)
            connection.executemany(
                "INSERT INTO messages VALUES (?, ?, ?)",
                ((number, first + place, text) for place, text in enumerate(change.records)),
            )

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection whose errors are ours."""
        import sqlite3

        try:
            with self._pool.borrowed() as connection:
                yield connection
        except sqlite3.Error as error:
            words = str(error)
            advice = next((advice for word, advice in _ADVICE.items() if word in words), "")
            complaint = f"{self._path!r}: {words}" + (advice and f": {advice}")
            raise StoreError(complaint) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All that is done in it, or nothing."""
        with self._connection() as connection:
            _begin_to_write(connection)
            yield connection  # what raises closes the connection, and so takes all back
            connection.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        connection = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._check(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        """Make the tables if there is nothing, and touch nothing that is not ours."""
        if _pragma(connection, "user_version") == 0:
            connection.execute("BEGIN IMMEDIATE")
            found = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not found:
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
            connection.execute("COMMIT")
        if _pragma(connection, "application_id") != _APPLICATION_ID:
            raise StoreError(f"{self._path!r} is a database of another program: give another path")
        version = _pragma(connection, "user_version")
        if version > _FORMAT:
            raise StoreError(
                f"{self._path!r} was written by a newer cloudllm_sync (format {version}, this one "
                f"knows {_FORMAT}): upgrade this one"
            )
        _use_wal(connection)


def _checked_path(path: object) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigurationError(f"path must be a path, not {type(path).__name__}")
    name = os.fsdecode(path)
    if name in ("", ":memory:"):
        raise ConfigurationError(f"{name!r} is no path of a file: for memory use MemoryStore()")
    if "\0" in name:
        raise ConfigurationError("the path holds a NUL, which no file name has")
    return os.path.abspath(name)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _use_wal(connection: sqlite3.Connection) -> None:
    """Have readers and a writer not wait for each other, where the file system allows it."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete":
        _when_free(connection, "PRAGMA journal_mode = WAL")


def _begin_to_write(connection: sqlite3.Connection) -> None:
    # SQLite looks every 100 ms for a lock: beside one that writes all the time that is too seldom.
    connection.execute("PRAGMA busy_timeout = 0")
    _when_free(connection, "BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_S * 1000:.0f}")


def _when_free(connection: sqlite3.Connection, statement: str) -> None:
    """Run what needs a lock that others have, as soon as they let it go."""
    import sqlite3

    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.001, 0.008))  # noqa: S311


def _wait_for_lease(connection: sqlite3.Connection, session_id: str, owner: str) -> float:
    """Seconds for which somebody else has it."""
    row = connection.execute(
        "SELECT ends_at FROM leases WHERE session_id = ? AND owner != ?", (session_id, owner)
    ).fetchone()
    return 0.0 if row is None else float(row[0]) - time.time()


def _head(connection: sqlite3.Connection, session_id: str) -> tuple[Optional[int], Head]:
    row = connection.execute(
        "SELECT number, head FROM sessions WHERE id = ?", (session_id,)
    ).fetchone()
    return (None, Head()) if row is None else (row[0], Head.from_text(row[1], session_id))
