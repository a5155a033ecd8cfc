"""Gunicorn's settings, read where gunicorn itself would read them.

Seen are `GUNICORN_CMD_ARGS`, `WEB_CONCURRENCY`, and the file that they name, or `gunicorn.conf.py`,
which is run as gunicorn runs it, but in a process of its own. Not seen is the command line of a
gunicorn that runs: give it as `arguments`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NoReturn, Optional

from cloudllm_sync.web.doctor import Gunicorn

__all__ = ["read_gunicorn"]

_DEFAULT_FILE = "gunicorn.conf.py"
_FILE_PATIENCE_S = 10.0
_FIELDS: Mapping[str, tuple[str, type]] = {
    "worker_class": ("worker_class", str),
    "threads": ("threads", int),
    "workers": ("workers", int),
    "timeout": ("timeout_s", float),
}

# Runs a configuration file and prints what it sets of these; what it prints itself comes before.
_RUN_FILE = """
import importlib, json, runpy, sys
file, names = sys.argv[1], sys.argv[2:]
kind, colon, module = file.partition(":")
if kind == "python" and colon:
    found = vars(importlib.import_module(module))
else:
    found = runpy.run_path(module if kind == "file" and colon else file)
found = {name: found[name] for name in names if name in found}
name_of = lambda value: value.__module__ + "." + value.__qualname__
print()
print(json.dumps(found, default=name_of))
"""


def read_gunicorn(
    environ: Mapping[str, str], folder: str, *, arguments: str = ""
) -> Optional[Gunicorn]:
    """Gunicorn's settings if it were started in this folder; None if nothing is said of it there.

    Args:
        environ: The environment it would have.
        folder: The folder it would be started in.
        arguments: Its command line, which wins; without its program's name, or with it.
    """
    said: dict[str, Any] = {}
    unread = []
    given = {"GUNICORN_CMD_ARGS": environ.get("GUNICORN_CMD_ARGS", ""), "arguments": arguments}
    for where, text in given.items():
        try:
            said.update(_options(text))
        except ValueError as error:  # without the text: it may set the environment, keys in it
            unread.append(f"{where}: {error}")
    file = said.pop("config", "") or _default_file(folder)
    if not file and not any(given.values()):
        return None
    in_file: dict[str, Any] = {}
    try:
        in_file = _run(file, folder, environ) if file else {}
    except ValueError as error:
        unread.append(f"{file}: {error}")
    found = {"workers": environ.get("WEB_CONCURRENCY") or 1, **in_file, **said}
    return _gunicorn(found, unread)


def _gunicorn(found: Mapping[str, Any], unread: list[str]) -> Gunicorn:
    values: dict[str, Any] = {}
    for name, (field, kind) in _FIELDS.items():
        if name in found:
            try:
                values[field] = kind(found[name])
            except (TypeError, ValueError):
                unread.append(f"{name} is {found[name]!r}")
    return Gunicorn(**values, unread="; ".join(unread))


class _Parser(argparse.ArgumentParser):
    """Raises ValueError for what it cannot read, in place of ending the program."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _options(text: str) -> dict[str, Any]:
    """Those of gunicorn's options that matter here; the others are passed over."""
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-k", "--worker-class")
    parser.add_argument("--threads")
    parser.add_argument("-w", "--workers")
    parser.add_argument("-t", "--timeout")
    parser.add_argument("-c", "--config")
    known, _ = parser.parse_known_args(shlex.split(text))
    return vars(known)


def _default_file(folder: str) -> str:
    return _DEFAULT_FILE if os.path.exists(os.path.join(folder, _DEFAULT_FILE)) else ""


def _run(file: str, folder: str, environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        ran = subprocess.run(  # noqa: S603  the user's own file, as gunicorn runs it
            [sys.executable, "-c", _RUN_FILE, file, *_FIELDS],
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FILE_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"it did not end within {_FILE_PATIENCE_S:g} s") from None
    if ran.returncode:
        last = ran.stderr.strip().rpartition("\n")[2]
        raise ValueError(last or f"it ended with {ran.returncode}")
    found: dict[str, Any] = json.loads(ran.stdout.rstrip("\n").rpartition("\n")[2])
    return found
