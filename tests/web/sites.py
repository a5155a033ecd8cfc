"""Web servers as users run them, each a process of its own on a free port."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import attrs

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATIENCE_S = 20.0

GTHREAD = ["-m", "gunicorn", "--worker-class", "gthread", "--threads", "64", "--bind"]
COMMANDS = {
    "gunicorn flask": [*GTHREAD, "127.0.0.1:{port}", "flask_app:app"],
    "gunicorn django": [*GTHREAD, "127.0.0.1:{port}", "django_app:app"],
    "waitress flask": ["-m", "waitress", "--port={port}", "--threads=64", "flask_app:app"],
    "runserver django": ["django_app.py", "127.0.0.1:{port}"],
}


@attrs.frozen
class Site:
    """An application that is served, and who looks at it."""

    port: int
    log: pathlib.Path
    _open: list[Any] = attrs.field(factory=list)  # connections and responses

    def open(self, path: str, **query: object) -> http.client.HTTPResponse:
        """A response whose headers have come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        self._open.append(connection)
        connection.request("GET", f"/{path}?{urlencode(query)}")
        self._open.append(connection.getresponse())
        return self._open[-1]

    def leave(self) -> None:
        """Close what is open."""
        while self._open:
            self._open.pop().close()

    def get(self, path: str, **query: object) -> bytes:
        """A whole body.

        Raises:
            AssertionError: The view failed.
        """
        response = self.open(path, **query)
        body = response.read()
        assert response.status == 200, f"{body!r}\n{self.log.read_text()[-3000:]}"
        return body

    def json(self, path: str, **query: object) -> object:
        """A whole body, read as JSON."""
        return json.loads(self.get(path, **query))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def serving(server: str, upstream: str) -> Iterator[Site]:
    """The application behind this server, whose model is `upstream`."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/log", "w+") as log:
        command = [part.format(port=port) for part in COMMANDS[server]]
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=HERE / "apps",
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE / "apps")]),
                "UPSTREAM": upstream,
                "STORE": f"sqlite:///{folder}/chats.db",
                "DATABASE": f"{folder}/site.db",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(port, process, log)
            site = Site(port, pathlib.Path(log.name))
            yield site
            site.leave()
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes], log: object) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)  # another program starts
    log.seek(0)
    raise AssertionError(f"the server did not start: {log.read()[-3000:]}")
