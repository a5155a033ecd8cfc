"""Where conversations are kept: a file in the user's own data folder."""

from __future__ import annotations

import contextlib
import os
import pathlib
from typing import Optional

import platformdirs

from cloudllm_sync.errors import StoreError
from cloudllm_sync.session.stores import SessionInfo
from cloudllm_sync.session.stores.sqlite import SQLiteStore

__all__ = ["FOLDER_VARIABLE", "all_kept", "opened_store"]

FOLDER_VARIABLE = "CLOUDLLM_DATA"
_PAGE = 100


def opened_store() -> SQLiteStore:
    """The store, in a folder that nobody else may read.

    Raises:
        StoreError: It cannot be opened.
    """
    given = os.environ.get(FOLDER_VARIABLE)
    folder = pathlib.Path(given or platformdirs.user_data_dir("cloudllm", appauthor=False))
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        complaint = f"no folder for conversations at {str(folder)!r}: {error.strerror}"
        raise StoreError(complaint) from error
    path = folder / "conversations.db"
    with contextlib.suppress(OSError):  # the store says better what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    return SQLiteStore(path)


def all_kept() -> list[SessionInfo]:
    """All conversations, the latest first."""
    store = opened_store()
    found: list[SessionInfo] = []
    after: Optional[str] = ""
    while after is not None:
        page = store.sessions(after=after, limit=_PAGE)
        found += page
        after = page[-1].session_id if len(page) == _PAGE else None
    return sorted(found, key=lambda info: info.updated_at, reverse=True)
