"""Servers that a test may stop, freeze and start again, and a line to them that gets cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

PATIENCE_S = 30.0


def free_port():
    """One to which 10,000 can be added, as nodes of a Redis cluster do."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port < 55_000:
            return port


class Server:
    """A program of others on a port of its own; how it is started, and when it is up, differ."""

    def __init__(self, folder, *options):
        self.folder = folder
        self.options = options
        self.port = free_port()
        self._process = None

    def start(self):
        self._process = subprocess.Popen(
            self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_up():
            assert self._process.poll() is None, f"{self.command()[0]} has ended"
            assert time.monotonic() < deadline, f"{self.command()[0]} does not answer"
            time.sleep(0.01)  # nothing here can tell when it listens
        return self

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @contextlib.contextmanager
    def frozen(self):
        """It keeps its connections, takes new ones, and answers nobody."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)


class RedisServer(Server):
    """What it keeps is on the disk before it answers, so that a killed one finds it again."""

    def command(self):
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("needs redis-server: Debian's package has it")
        always = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]
        place = ["--port", str(self.port), "--dir", str(self.folder)]
        return [program, *always, *place, *self.options]

    def is_up(self):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1.0) as talk,
        ):
            talk.sendall(b"PING\r\n")
            return talk.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def url(self, credentials=""):
        return f"redis://{credentials}127.0.0.1:{self.port}/0"


class Line:
    """A port that leads to another one, and is cut when somebody says the wrong word.

    `cut_at(word)` arms it once. Before the word has gone on, or after its answer has come and
    before it has been handed on: the server has done then what nobody was told of.
    """

    def __init__(self, port):
        self._to = port
        self._lock = threading.Lock()
        self._word = None  # guarded by _lock, as the following
        self._answered = False
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_at(self, word, *, answered):
        with self._lock:
            self._word, self._answered = word, answered

    def close(self):
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except ConnectionRefusedError:
                    self._end(near)
                    continue
                self._sockets.append(far)
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near, far):
        """One end waits while the other one talks, as clients of databases do."""
        doomed = threading.Event()
        threading.Thread(target=self._back, args=(near, far, doomed), daemon=True).start()
        with contextlib.suppress(OSError):
            while said := near.recv(65536):
                heard = self._hears(said)
                if heard == "before":
                    break
                if heard == "after":
                    doomed.set()
                far.sendall(said)
        self._end(near, far)

    def _back(self, near, far, doomed):
        with contextlib.suppress(OSError):
            while said := far.recv(65536):
                if doomed.is_set():
                    break
                near.sendall(said)
        self._end(near, far)

    def _hears(self, said):
        with self._lock:
            if self._word is None or self._word not in said:
                return None
            self._word = None
            self.cuts += 1
            return "after" if self._answered else "before"

    @staticmethod
    def _end(*sockets):
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
