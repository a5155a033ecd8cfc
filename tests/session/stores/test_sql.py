"""Databases that are stopped, locked, left in the middle: nothing is lost, nothing comes twice."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import sys
import threading

import pytest
import sqlalchemy
from servers import Line, empty_tables

from cloudllm_sync import (
    CommitConflictError,
    ConfigurationError,
    Message,
    Role,
    SQLStore,
    StoredSession,
    StoreError,
    TokenUsage,
)
from cloudllm_sync.session.stores import sql, sql_tables

HI = Message(Role.USER, "my-private-prompt")
USAGE = TokenUsage(1, 2, 3)
PASSWORD = "pass-0123456789"


@pytest.fixture(params=["postgresql_server", "mariadb_server"])
def server(request):
    """A server with empty tables."""
    server = request.getfixturevalue(request.param)
    server.check_that_it_runs()
    empty_tables(server.url())
    return server


@pytest.fixture
def postgresql(postgresql_server):
    """A server with empty tables."""
    empty_tables(postgresql_server.url())
    return postgresql_server


@pytest.fixture
def open_store():
    """Opens stores; closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *given: stack.enter_context(contextlib.closing(SQLStore(*given)))


@pytest.fixture
def own_engine():
    """Makes engines as users make them; closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(server, **options):
            url = sql_tables.make_engine(server.url()).url
            engine = sqlalchemy.create_engine(url, **options)
            stack.callback(engine.dispose)
            return engine

        yield make


@pytest.fixture
def line(server):
    """A line to the server, and the URL of its near end."""
    with contextlib.closing(Line(server.port)) as line:
        line.url = server.url().replace(str(server.port), str(line.port))
        yield line


@pytest.mark.parametrize(
    "url", ["", "chats.db", "postgresql//localhost", "nosuch://localhost/a", "mysql+nosuch://h/a"]
)
def test_no_url_of_a_database_is_refused(url):
    """The error says how one is written."""
    with pytest.raises(ConfigurationError, match="write postgresql://"):
        SQLStore(url)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_database_in_memory_is_refused(url):
    """Each connection would have another one."""
    with pytest.raises(ConfigurationError, match="use MemoryStore"):
        SQLStore(url)


@pytest.mark.parametrize("engine", [None, 7, b"sqlite:///a.db"])
def test_what_is_neither_url_nor_engine_is_refused(engine):
    """Before it is used."""
    with pytest.raises(ConfigurationError, match="pass a URL or an Engine"):
        SQLStore(engine)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://h/a", "psycopg"),
        ("postgres://h/a", "psycopg"),
        ("mysql://h/a", "pymysql"),
        ("mariadb://h/a", "pymysql"),
        ("mysql+pymysql://h/a", "pymysql"),
        ("sqlite:///a.db", "pysqlite"),
    ],
)
def test_driver_that_is_installed_is_found(url, driver):
    """Also where the URL names none."""
    assert driver == sql_tables.make_engine(url).dialect.driver


@pytest.mark.parametrize(
    ("url", "wanted"), [("postgresql://h/a", r"psycopg\[binary\]"), ("mysql://h/a", "PyMySQL")]
)
def test_missing_driver_is_named(monkeypatch, url, wanted):
    """With the words that install it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ImportError, match=f'pip install "{wanted}"'):
        SQLStore(url)


def test_missing_library_is_named(monkeypatch):
    """With the words that install it."""
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)

    with pytest.raises(ImportError, match=r'pip install "cloudllm-sync\[sql\]"'):
        SQLStore("sqlite:///a.db")


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_engine_of_ones_own_is_used_and_stays_open(server, own_engine, isolation):
    """Of threads that race one wins, whatever the transactions are like."""
    engine = own_engine(server, isolation_level=isolation)
    store = SQLStore(engine)
    store.append("chat", 0, [HI], USAGE)
    together = threading.Barrier(6)
    outcomes = []

    def race():
        for version in range(1, 6):
            together.wait(60)
            try:
                store.append("chat", version, [HI], USAGE)
                outcomes.append("won")
            except CommitConflictError:
                outcomes.append("lost")
            except BaseException as error:
                outcomes.append(repr(error))

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    store.close()

    assert sorted(outcomes) == ["lost"] * 25 + ["won"] * 5
    assert store.load("chat").length == 6
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT 1")).scalar() == 1


def test_stopped_server_is_an_error_and_a_started_one_is_used_again(server, open_store):
    """By a store that had connections, and by one that had none; what was said is there."""
    stores = [open_store(server.url()) for _ in range(2)]
    stores[0].append("chat", 0, [HI], None)
    server.kill()

    try:
        for store in stores:
            for act in (
                lambda store=store: store.load("chat"),
                lambda store=store: store.append("chat", 1, [HI], None),
                lambda store=store: store.lease("chat", "me", 1),
            ):
                with pytest.raises(StoreError, match=r"^(postgresql|mysql|mariadb): ."):
                    act()
    finally:
        server.start()

    for version, store in enumerate(stores, 1):
        store.append("chat", version, [HI], None)
        assert store.load("chat").length == version + 1


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("way", ["append", "clear", "replace"])
def test_change_whose_answer_is_lost_is_made_once(server, line, open_store, way, answered):
    """Whether the server had made it or not; nobody is told of a conflict with himself."""
    direct, store = open_store(server.url()), open_store(line.url)
    store.append("chat", 0, [HI], USAGE)
    given = {
        "append": ([HI], USAGE),
        "clear": (),
        "replace": (StoredSession(messages=(HI,) * 2, usage=USAGE + USAGE),),
    }[way]
    cut_at_commit_after(store, line, "UPDATE cloudllm_sessions", answered)

    getattr(store, way)("chat", 1, *given)

    stored = direct.load("chat")
    assert line.cuts == 1
    assert stored.version == 2
    if way == "clear":
        assert (0, USAGE) == (stored.length, stored.usage)
    else:
        assert ((HI, HI), USAGE + USAGE) == (stored.messages, stored.usage)


@pytest.mark.parametrize("answered", [True, False])
def test_lease_whose_answer_is_lost_is_had(server, line, open_store, answered):
    """Nobody waits for himself."""
    direct, store = open_store(server.url()), open_store(line.url)
    store.append("chat", 0, [HI], USAGE)
    cut_at_commit_after(store, line, "INSERT INTO cloudllm_leases", answered)

    wait = store.lease("chat", "me", 60)

    assert (0.0, 1) == (wait, line.cuts)
    assert direct.lease("chat", "you", 60) > 0


def cut_at_commit_after(store, line, statement, answered):
    """Have the line cut when the transaction with this statement is to be committed."""

    def arm(connection, cursor, said, *given):
        if said.startswith(statement) and not line.cuts:
            line.cut_at(b"COMMIT", answered=answered)

    sqlalchemy.event.listen(store._engine, "after_cursor_execute", arm)


def test_change_that_waits_too_long_is_an_error(postgresql, open_store, own_engine, monkeypatch):
    """Somebody locks the table: it is left as it is, and used again afterwards."""
    monkeypatch.setattr(sql, "_STATEMENT_MS", 100)
    store = open_store(postgresql.url())
    store.append("chat", 0, [HI], None)
    with own_engine(postgresql).begin() as connection:
        connection.execute(sqlalchemy.text("LOCK TABLE cloudllm_sessions"))

        with pytest.raises(StoreError, match="statement timeout"):
            store.append("chat", 1, [HI], None)

    store.append("chat", 1, [HI], None)
    assert store.load("chat").length == 2


def test_user_without_rights_is_told(postgresql, open_store, own_engine):
    """The database's words say which right is missing."""
    with own_engine(postgresql).begin() as connection:
        connection.execute(sqlalchemy.text("DROP ROLE IF EXISTS guest"))
        connection.execute(sqlalchemy.text("CREATE ROLE guest LOGIN"))

    with pytest.raises(StoreError, match="permission denied"):
        open_store(postgresql.url("guest")).append("chat", 0, [HI], None)


def test_no_secret_is_in_a_report(server, open_store, report_of, things_in):
    """Neither the password nor what was said: in words, variables, causes."""
    with_password = server.url().replace("@", f":{PASSWORD}@")
    stores = [open_store(server.url()), open_store(with_password)]
    stores[0].append("chat", 0, [HI], None)
    stores[0].lease("chat", "me", 1)
    server.kill()
    errors = []

    try:
        for act in (
            *(lambda store=store: store.append("chat", 1, [HI], None) for store in stores),
            *(lambda store=store: store.load("chat") for store in stores),
            lambda: SQLStore(with_password.replace("://", "+nosuch://")),
            lambda: SQLStore(with_password.replace("://", "//")),
        ):
            with pytest.raises((StoreError, ConfigurationError)) as caught:
                act()
            errors.append(report_of(caught.value) + repr(things_in(caught.value)))
    finally:
        server.start()

    shown = [*errors, *map(repr, stores)]
    secrets = [PASSWORD, "my-private-prompt"]
    assert [text for text in shown if any(secret in text for secret in secrets)] == []


def test_refused_statement_is_not_quoted(server, open_store, own_engine, report_of):
    """It has the messages in it; the error has what the database says of it."""
    store = open_store(own_engine(server))
    store.append("chat", 0, [HI], None)
    with own_engine(server).begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE cloudllm_messages"))

    with pytest.raises(StoreError, match="cloudllm_messages") as caught:
        store.append("chat", 1, [HI], None)

    assert "my-private-prompt" not in report_of(caught.value)


def test_many_processes_may_make_the_tables_at_once(server, own_engine):
    """One makes them, the others find them."""
    sql_tables.metadata.drop_all(own_engine(server))
    context = multiprocessing.get_context("fork")
    together = context.Barrier(6)
    left = context.Queue()

    def child(number):
        store = SQLStore(server.url())
        together.wait(60)
        try:
            store.append(str(number), 0, [HI], None)
            left.put(number)
        except BaseException as error:
            left.put(repr(error))
        store.close()

    processes = [context.Process(target=child, args=(number,)) for number in range(6)]
    for process in processes:
        process.start()
    found = [left.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)

    assert set(range(6)) == set(found)


def test_child_has_connections_of_its_own(server, open_store):
    """Parent and child go on with one store, and neither gets the other's answers."""
    store = open_store(server.url())
    store.append("parent", 0, [HI], None)
    pid = os.fork()
    if not pid:
        try:
            for version in range(50):
                store.append("child", version, [HI], None)
            store.close()
        finally:
            os._exit(0)

    lengths = {store.load("parent").length for _ in range(50)}

    os.waitpid(pid, 0)
    assert lengths == {1}
    assert store.load("child").length == 50
