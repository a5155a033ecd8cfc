"""The AI SDK itself, installed once, and a Node process that reads by it."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import threading
from typing import Any

import attrs
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # sites.py

_SOURCE = pathlib.Path(__file__).parent / "ai_sdk"
_FILES = ("package.json", "package-lock.json", "read.mjs")
# Far over what either takes: whoever meets it hangs.
_INSTALL_S = 300.0
_READ_S = 60.0


def _install(folder: pathlib.Path) -> None:
    """`npm ci`, unless it has been done; other test processes wait for the one that does it."""
    texts = [(_SOURCE / name).read_bytes() for name in _FILES]
    version = hashlib.sha256(b"\0".join(texts)).hexdigest()
    done = folder / "installed"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists() and done.read_text() == version:
            return
        for name, text in zip(_FILES, texts):
            (folder / name).write_bytes(text)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        ran = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_S, check=False
        )
        if ran.returncode:
            pytest.skip(
                f"needs the npm package ai: {' '.join(command)} failed: {ran.stderr[-500:]}"
            )
        done.write_text(version)


@attrs.frozen
class Reader:
    """A Node process that reads responses as a page does."""

    process: subprocess.Popen[str]
    errors: pathlib.Path

    def read(self, version: int, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        """What the AI SDK of this version makes of a response."""
        asked = {"version": version, "headers": headers, "body": base64.b64encode(body).decode()}
        hang = threading.Timer(_READ_S, self.process.kill)
        hang.start()
        try:
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        finally:
            hang.cancel()
        assert answer, f"Node ended: {self.errors.read_text()[-2000:]}"
        return json.loads(answer)


@pytest.fixture(scope="session")
def ai_sdk(request, tmp_path_factory):
    """A Reader. Installed where pytest keeps its cache, for the runs to come."""
    for program, package in (("node", "nodejs"), ("npm", "npm")):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: Debian's package {package} has it")
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("ai-sdk") if cache else tmp_path_factory.mktemp("ai-sdk")
    _install(folder)
    errors = tmp_path_factory.mktemp("node") / "stderr"
    with contextlib.ExitStack() as stack:
        stderr = stack.enter_context(open(errors, "w"))
        process = stack.enter_context(
            subprocess.Popen(
                ["node", "read.mjs"],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                encoding="utf-8",
            )
        )
        yield Reader(process, errors)
        process.stdin.close()
