"""Places where conversations are kept, one for each kind of store."""

from __future__ import annotations

import contextlib
import uuid

import pytest
from servers import MariaDBServer, PostgreSQLServer, empty_tables

from cloudllm_sync import MemoryStore, RedisStore, SQLiteStore, SQLStore


class Memory:
    """One store in this process, whoever opens it."""

    pickles = False

    def __init__(self, request):
        self._store = MemoryStore()

    def open(self):
        return self._store


class SQLiteFile:
    """A file in the test's folder."""

    pickles = True

    def __init__(self, request):
        self.path = request.getfixturevalue("tmp_path") / "chats.db"

    def open(self):
        return SQLiteStore(self.path)


class Redis:
    """Keys in the test run's server that begin with a word of the test's own."""

    pickles = False

    def __init__(self, request):
        self.url = request.getfixturevalue("redis_server")
        self.prefix = f"{uuid.uuid4().hex}:"

    def open(self):
        return RedisStore(self.url, prefix=self.prefix)


class Tables:
    """The tables of a database, without rows."""

    pickles = False

    def __init__(self, url):
        self.url = url
        empty_tables(url)

    def open(self):
        return SQLStore(self.url)


def _tables_of(name):
    def make(request):
        server = request.getfixturevalue(name)
        server.check_that_it_runs()
        return Tables(server.url())

    return make


def _tables_of_sqlite(request):
    return Tables(f"sqlite:///{request.getfixturevalue('tmp_path')}/tables.db")


PLACES = {
    "memory": Memory,
    "sqlite": SQLiteFile,
    "redis": Redis,
    "postgresql": _tables_of("postgresql_server"),
    "mariadb": _tables_of("mariadb_server"),
    "sqlite by SQLAlchemy": _tables_of_sqlite,
}
LASTING = [name for name in PLACES if name != "memory"]


@pytest.fixture(scope="session")
def postgresql_server():
    """A server of this test run's own; a test may stop it and start it again."""
    yield from _run(PostgreSQLServer())


@pytest.fixture(scope="session")
def mariadb_server():
    """A server of this test run's own; a test may stop it and start it again."""
    yield from _run(MariaDBServer())


def _run(server):
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(params=PLACES)
def place(request):
    """An empty place that stores can be opened on, as often as wanted."""
    return PLACES[request.param](request)


@pytest.fixture(params=LASTING)
def lasting_place(request):
    """An empty place that other processes reach, too."""
    return PLACES[request.param](request)


@pytest.fixture
def open_store_on():
    """Opens a store on a place; closed after the test."""
    with contextlib.ExitStack() as stack:

        def open_one(place):
            store = place.open()
            stack.callback(store.close)
            return store

        yield open_one


@pytest.fixture
def store(place, open_store_on):
    """A store on an empty place."""
    return open_store_on(place)


@pytest.fixture
def lasting_store(lasting_place, open_store_on):
    """A store on an empty place that other processes reach, too."""
    return open_store_on(lasting_place)
