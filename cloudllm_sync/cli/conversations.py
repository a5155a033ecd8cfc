"""Where conversations are kept: a file in the user's own data folder."""

from __future__ import annotations

import contextlib
import os
import pathlib

import platformdirs

from cloudllm_sync.cli.exits import complain, leave_by
from cloudllm_sync.session.stores.sqlite import SQLiteStore

__all__ = ["FOLDER_VARIABLE", "opened_store"]

FOLDER_VARIABLE = "CLOUDLLM_DATA"


def opened_store() -> SQLiteStore:
    """The store, in a folder that nobody else may read."""
    given = os.environ.get(FOLDER_VARIABLE)
    folder = pathlib.Path(given or platformdirs.user_data_dir("cloudllm", appauthor=False))
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        complain(f"no folder for conversations at {folder}: {error.strerror}")
        leave_by(1)
    path = folder / "conversations.db"
    with contextlib.suppress(OSError):  # the store says better what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    return SQLiteStore(path)
