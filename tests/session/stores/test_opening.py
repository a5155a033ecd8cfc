"""Stores by their URL."""

from __future__ import annotations

import contextlib
import sys

import pytest

from cloudllm_sync import ConfigurationError, MemoryStore, Message, Role, SQLiteStore, open_store
from cloudllm_sync.session.stores.opening import store_kind

PASSWORD = "pass-0123456789"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", "MemoryStore"),
        (" MEMORY: ", "MemoryStore"),
        ("redis://localhost:6379/0", "RedisStore"),
        ("rediss://user:secret@localhost/0", "RedisStore"),
        ("unix:///run/redis.sock", "RedisStore"),
        ("postgresql://localhost/chats", "SQLStore"),
        ("postgres://localhost/chats", "SQLStore"),
        ("postgresql+psycopg://localhost/chats", "SQLStore"),
        ("mysql://localhost/chats", "SQLStore"),
        ("mariadb://localhost/chats", "SQLStore"),
        ("sqlite+pysqlite:///chats.db", "SQLStore"),
    ],
)
def test_url_names_a_store(url, kind):
    """A server is not asked yet."""
    with contextlib.closing(open_store(url)) as store:
        assert kind == type(store).__name__


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (" MEMORY: ", "memory"),
        ("SQLite:///chats.db", "sqlite"),
        ("rediss://user:secret@localhost/0", "redis"),
        ("mariadb://localhost/chats", "sql"),
        ("sqlite+pysqlite:///chats.db", "sql"),
    ],
)
def test_kind_of_store_is_known_before_it_is_opened(tmp_path, monkeypatch, url, kind):
    """Nothing is made of the URL."""
    monkeypatch.chdir(tmp_path)

    assert kind == store_kind(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["sqlite:///{}", "SQLite:///{}"])
def test_file_by_its_whole_path(tmp_path, form):
    """Four slashes in all."""
    with contextlib.closing(open_store(form.format(tmp_path / "chats.db"))) as store:
        store.append("chat", 0, [Message(Role.USER, "hi")], None)

    with contextlib.closing(SQLiteStore(tmp_path / "chats.db")) as store:
        assert store.load("chat").length == 1


def test_file_in_the_working_directory(tmp_path, monkeypatch):
    """Three slashes."""
    monkeypatch.chdir(tmp_path)

    open_store("sqlite:///chats.db").close()

    assert (tmp_path / "chats.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite://chats.db",
        "sqlite:///a.db?mode=ro",
        "sqlite:a",
    ],
)
def test_path_that_was_written_otherwise_is_refused(url):
    """The error says how; a file with an odd name would be a new one."""
    with pytest.raises(ConfigurationError, match="write sqlite:///"):
        open_store(url)


def test_memory_is_no_file():
    """As of SQLiteStore."""
    with pytest.raises(ConfigurationError, match="MemoryStore"):
        open_store("sqlite:///:memory:")


@pytest.mark.parametrize(
    "url",
    ["", "chats.db", "mongodb://h/a", "http://h", "C:\\chats.db", "://", None, 7, MemoryStore()],
)
def test_unknown_url_is_refused(url):
    """The error lists what there is."""
    with pytest.raises(ConfigurationError, match=r"memory:.*sqlite:///PATH.*redis://|a string"):
        open_store(url)


@pytest.mark.parametrize(
    "url",
    [f"mongodb://me:{PASSWORD}@h/a", f"redis://:{PASSWORD}@h:x/0", f"postgresql:me:{PASSWORD}"],
)
def test_password_is_in_no_report(url, report_of):
    """Not even of a URL that is refused."""
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)

    assert PASSWORD not in report_of(caught.value)


def test_missing_library_is_named(monkeypatch):
    """With the words that install it."""
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ImportError, match=r'pip install "cloudllm-sync\[redis\]"'):
        open_store("redis://localhost/0")
