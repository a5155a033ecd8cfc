"""A file that is killed, forked, locked, full, foreign, newer: nothing that was said is lost."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import sqlite3
import threading

import pytest

from cloudllm_sync import ConfigurationError, Message, Role, SQLiteStore, StoredSession, StoreError
from cloudllm_sync.session.stores import sqlite

HI = Message(Role.USER, "my-private-prompt")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chats.db"


@pytest.fixture
def open_store(path):
    """Opens a store on the file; closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(contextlib.closing(SQLiteStore(path)))


@pytest.fixture
def other_program(path):
    """A connection that another program might have to the file."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def in_child(act):
    """What a forked child's act gives; it ends without any cleaning up."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writer, repr(act()).encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        if not select.select([told], [], [], 30)[0]:
            os.kill(pid, signal.SIGKILL)
        words = told.read().decode()
    os.waitpid(pid, 0)
    return words


def test_two_files_beside_it_go_when_it_is_closed(path):
    """What is left is one file that can be copied."""
    store = SQLiteStore(str(path))
    store.append("chat", 0, [HI], None)
    beside = sorted(os.listdir(path.parent))

    store.close()

    assert ["chats.db", "chats.db-shm", "chats.db-wal"] == beside
    assert ["chats.db"] == os.listdir(path.parent)


def test_relative_path_is_taken_as_of_now(path, monkeypatch):
    """Where the process goes later does not matter."""
    monkeypatch.chdir(path.parent)
    store = SQLiteStore("chats.db")
    store.close()
    monkeypatch.chdir("/")

    store.append("chat", 0, [HI], None)

    store.close()
    assert repr(store) == f"SQLiteStore({str(path)!r})"
    assert path.exists()


@pytest.mark.parametrize("bad", ["", ":memory:", "a\0b", None, 7, b"chats.db"])
def test_path_of_no_file_is_refused(bad):
    """Each connection to memory would be a database of its own."""
    with pytest.raises(ConfigurationError, match=r"path|MemoryStore"):
        SQLiteStore(bad)


def test_missing_folder_is_named(tmp_path):
    """And asked for."""
    with pytest.raises(StoreError, match=r"gone.*chats\.db.*folder"):
        SQLiteStore(tmp_path / "gone" / "chats.db")


def test_file_that_is_no_database_is_left_as_it_is(path):
    """Somebody's notes, say."""
    path.write_bytes(b"my notes\n" * 1000)

    with pytest.raises(StoreError, match="not a database: give the path of another"):
        SQLiteStore(path)

    assert path.read_bytes() == b"my notes\n" * 1000


def test_database_of_another_program_is_left_as_it_is(path, other_program):
    """No tables are put beside its own."""
    other_program.execute("CREATE TABLE notes (text)")

    with pytest.raises(StoreError, match="of another program"):
        SQLiteStore(path)

    assert [("notes",)] == other_program.execute("SELECT name FROM sqlite_master").fetchall()
    assert [("delete",)] == other_program.execute("PRAGMA journal_mode").fetchall()


def test_newer_file_is_left_as_it_is(path, other_program, open_store):
    """The error says what to do."""
    open_store().append("chat", 0, [HI], None)
    other_program.execute("PRAGMA user_version = 2")

    with pytest.raises(StoreError, match=r"newer cloudllm_sync \(format 2, .* 1\): upgrade"):
        open_store()

    assert [(2,)] == other_program.execute("PRAGMA user_version").fetchall()
    assert [(1,)] == other_program.execute("SELECT count(*) FROM messages").fetchall()


@pytest.mark.parametrize("table", ["sessions", "messages"])
@pytest.mark.parametrize("rest", ["", "{", "7", "{}", "[" * 100_000])
def test_damaged_conversation_is_an_error(open_store, other_program, table, rest):
    """Rather than a shorter one; it can be deleted, and others are as they were."""
    store = open_store()
    for name in ["chat", "other"]:
        store.append(name, 0, [HI, HI], None)
    column = {"sessions": "head", "messages": "record"}[table]
    other_program.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = 1", [rest])

    with pytest.raises(StoreError, match=r"'chat' is damaged or incomplete"):
        store.load("chat")

    assert store.load("other").length == 2
    store.delete("chat")
    store.append("chat", 0, [HI], None)


def test_missing_message_is_an_error(open_store, other_program):
    """Rather than a shorter conversation."""
    store = open_store()
    store.append("chat", 0, [HI, HI], None)
    other_program.execute("DELETE FROM messages WHERE position = 0")

    with pytest.raises(StoreError, match="damaged or incomplete"):
        store.load("chat")

    assert store.load("chat", newest=1).messages == (HI,)


@pytest.mark.parametrize("way", ["append", "clear", "delete", "lease", "release"])
def test_file_that_is_locked_too_long_is_an_error(open_store, other_program, monkeypatch, way):
    """It can be read meanwhile, and written to afterwards."""
    store = open_store()
    store.append("chat", 0, [HI], None)
    store.close()
    monkeypatch.setattr(sqlite, "_BUSY_S", 0.05)
    other_program.execute("BEGIN IMMEDIATE")
    given = {"append": (1, [HI], None), "clear": (1,), "lease": ("me", 1), "release": ("me",)}

    with pytest.raises(StoreError, match="locked: another process"):
        getattr(store, way)("chat", *given.get(way, ()))

    assert store.load("chat").messages == (HI,)
    other_program.execute("ROLLBACK")
    store.append("chat", 1, [HI], None)


def test_full_disk_changes_nothing(open_store, monkeypatch):
    """The turn before it is there, and so is room for one that fits."""
    store = open_store()
    store.append("chat", 0, [HI], None)
    with store._pool.borrowed() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")

    with pytest.raises(StoreError, match="full: make room"):
        store.append("chat", 1, [Message(Role.USER, "x" * 100_000)], None)

    store.append("chat", 1, [HI], None)
    assert store.load("chat").messages == (HI, HI)


def test_file_that_may_not_be_written_to_is_an_error(path, open_store):
    """What is in it can be read, if its folder may be written to."""
    with contextlib.closing(SQLiteStore(path)) as store:
        store.append("chat", 0, [HI], None)
    path.chmod(0o444)
    for folder in [path.parent, *path.parent.parents]:
        with contextlib.suppress(PermissionError):
            folder.chmod(folder.stat().st_mode | 0o005)

    def act():
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        try:
            with contextlib.closing(SQLiteStore(path)) as store:
                store.append("chat", 1, [HI], None)
        except StoreError as error:
            return str(error)

    assert "make the file and its folder writable" in in_child(act)
    assert open_store().load("chat").messages == (HI,)


def test_what_was_said_is_in_no_report(open_store, other_program, monkeypatch, report_of):
    """Neither in the words of an error, nor in a local variable beside it."""
    store = open_store()
    store.append("chat", 0, [HI], None)
    store.close()
    monkeypatch.setattr(sqlite, "_BUSY_S", 0.05)
    other_program.execute("BEGIN IMMEDIATE")
    errors = []

    for act in (
        lambda: store.append("chat", 1, [HI], None),
        lambda: store.append("chat", 1, [HI], None, notes={"bad": {"my-private-prompt"}}),
        lambda: store.append("", 1, [HI], None),
        lambda: store.replace("chat", 1, store.load("chat")),
    ):
        with pytest.raises((StoreError, ConfigurationError)) as caught:
            act()
        errors.append(report_of(caught.value))

    other_program.execute("ROLLBACK")
    assert [report for report in errors if "my-private-prompt" in report] == []


def test_note_that_is_no_json_is_refused(open_store):
    """And nothing of the turn is kept."""
    store = open_store()

    with pytest.raises(StoreError, match="cannot be kept"):
        store.append("chat", 0, [HI], None, notes={"a": object()})

    assert store.load("chat").version == 0


def test_child_reads_and_writes_by_connections_of_its_own(open_store):
    """Parent and child both go on with one store."""
    store = open_store()
    store.append("chat", 0, [HI], None)

    def act():
        store.append("chat", 1, [HI], None)
        return store.load("chat").length

    assert in_child(act) == "2"
    store.append("chat", 2, [HI], None)
    assert store.load("chat").length == 3


def test_what_a_child_committed_outlives_the_parent_s_connections(path, open_store):
    """Else SQLite in the child would take the parent's locks for its own.

    The parent's last close would then delete the journal that the child writes to.
    """
    store = open_store()
    store.append("chat", 0, [HI], None)
    context = multiprocessing.get_context("fork")
    opened, closed = context.Event(), context.Event()

    def child():
        store.load("chat")
        opened.set()
        closed.wait(20)
        store.append("chat", 1, [HI], None)
        os._exit(0)

    process = context.Process(target=child)
    process.start()
    opened.wait(20)
    store.close()
    closed.set()
    process.join(20)

    assert process.exitcode == 0
    assert open_store().load("chat").length == 2


def test_fork_waits_for_threads_that_are_writing(open_store):
    """A child that is forked in the middle of a change finds the file in order."""
    store = open_store()
    done = threading.Event()
    written = []

    def write():
        while not done.is_set():
            store.append("busy", len(written), [HI], None)
            written.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        told = []
        for number in range(20):
            name = f"child {number}"

            def act(name=name):
                store.append(name, 0, [HI], None)
                busy = store.load("busy")
                return busy.version == busy.length

            told.append(in_child(act))
    finally:
        done.set()
        thread.join(20)

    assert ["True"] * 20 == told
    assert len(store.sessions()) == 21
    assert store.load("busy").length == len(written)


def test_no_more_connections_stay_than_a_few(open_store):
    """However many threads once had one at the same time."""
    store = open_store()
    together = threading.Barrier(20)

    def use():
        with store._pool.borrowed() as connection:
            together.wait(20)
            connection.execute("SELECT 1")

    threads = [threading.Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(store._pool._idle) == 8


def steps_of(store, act):
    """How many steps SQLite's machine takes for it: its work, on any machine."""
    counted = [0]

    def count():
        counted[0] += 1

    with store._pool.borrowed() as connection:
        connection.set_progress_handler(count, 1)
    act()
    with store._pool.borrowed() as connection:
        connection.set_progress_handler(None, 1)
    return counted[0]


def test_cost_of_a_turn_does_not_grow_with_the_history(open_store):
    """Reading the newest messages and adding two, of 100, 1,000 and 10,000."""
    store = open_store()
    costs = []

    for length in [100, 1_000, 10_000]:
        name = f"chat {length}"
        store.replace(name, 0, StoredSession(messages=(HI,) * length))
        costs.append(
            (
                steps_of(store, lambda name=name: store.load(name, newest=20)),
                steps_of(store, lambda name=name: store.append(name, 1, [HI, HI], None)),
            )
        )

    assert costs[0] == costs[1] == costs[2]
    assert steps_of(store, lambda: store.load("chat 100")) > 2 * costs[0][0]


def test_many_processes_may_make_the_file_at_once(path):
    """One makes the tables, the others find them."""
    context = multiprocessing.get_context("fork")
    together = context.Barrier(6)
    left = context.Queue()

    def child(number):
        together.wait(20)
        store = SQLiteStore(path)
        store.append(str(number), 0, [HI], None)
        store.close()
        left.put(number)

    processes = [context.Process(target=child, args=(number,)) for number in range(6)]
    for process in processes:
        process.start()
    found = sorted(left.get(timeout=30) for _ in processes)
    for process in processes:
        process.join(20)

    assert list(range(6)) == found
    with contextlib.closing(SQLiteStore(path)) as store:
        assert [str(number) for number in range(6)] == [
            info.session_id for info in store.sessions()
        ]
