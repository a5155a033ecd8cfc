"""Stores by one string, for settings files and command lines."""

from __future__ import annotations

import re

from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.session.stores import SessionStore
from cloudllm_sync.transport.credentials import hides_arguments

__all__ = ["open_store", "store_kind"]

_KNOWN = "memory:, sqlite:///PATH, redis://, rediss://, postgresql://, mysql:// and mariadb://"
_SCHEME = re.compile(r"([a-z]+)(\+[a-z0-9]+)?:", re.IGNORECASE)
_PATH = re.compile(r"sqlite:///([^?#]+)", re.IGNORECASE)


@hides_arguments
def open_store(url: str) -> SessionStore:
    """The store that a URL names.

    `sqlite:///chats.db` is a file in the working directory, `sqlite:////var/lib/chats.db` one by
    its whole path; `redis://HOST:PORT/0` (`rediss://` with TLS) a Redis; `postgresql://...`,
    `mysql://...` and `mariadb://...` databases, as SQLAlchemy writes them; `memory:` a store of
    this process alone.

    Raises:
        ConfigurationError: Any other URL.
        ImportError: What the store needs is not installed; the error says how to.
        StoreError: The file cannot be opened; servers are not asked yet.
    """
    kind = store_kind(url)
    url = url.strip()
    if kind == "memory":
        from cloudllm_sync.session.stores.memory import MemoryStore

        return MemoryStore()
    if kind == "sqlite":
        from cloudllm_sync.session.stores.sqlite import SQLiteStore

        return SQLiteStore(_path_in(url))
    if kind == "redis":
        from cloudllm_sync.session.stores.redis import RedisStore

        return RedisStore(url)
    from cloudllm_sync.session.stores.sql import SQLStore

    return SQLStore(url)


@hides_arguments
def store_kind(url: str) -> str:
    """Which store a URL names: "memory", "sqlite", "redis" or "sql". Nothing is opened.

    Raises:
        ConfigurationError: `open_store()` would refuse it.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"a store's URL must be a string, not {type(url).__name__}")
    url = url.strip()
    found = _SCHEME.match(url)
    scheme, driver = (found[1].lower(), found[2]) if found else ("", None)
    if url.lower() == "memory:":
        return "memory"
    if scheme == "sqlite" and not driver:
        _path_in(url)
        return "sqlite"
    if scheme in ("redis", "rediss", "unix"):
        return "redis"
    if scheme in ("postgresql", "postgres", "mysql", "mariadb", "sqlite"):
        return "sql"
    raise ConfigurationError(f"no store has such a URL: there are {_KNOWN}")


def _path_in(url: str) -> str:
    path = _PATH.fullmatch(url)
    if path is None:
        raise ConfigurationError(
            "write sqlite:///chats.db for a file in the working directory, "
            "sqlite:////var/lib/chats.db for one by its whole path, and nothing behind it"
        )
    return path[1]
