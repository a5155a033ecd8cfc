"""Servers that a test may stop, freeze and start again, and a line to them that gets cut."""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

from cloudllm_sync.session.stores import sql_tables

PATIENCE_S = 30.0
QUIET = {
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
    "cwd": "/",
}


def free_port():
    """One to which 10,000 can be added, as nodes of a Redis cluster do."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port < 55_000:
            return port


def unprivileged():
    """Databases refuse to run as root."""
    return {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}


def program(name, folders, package):
    """The path of a program that is installed; the test is skipped if it is not."""
    places = [os.environ.get("PATH", ""), *sorted(glob.glob(folders), reverse=True)]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"needs {package}: Debian's package has it")
    return found


class Server:
    """A program of others on a port of its own; how it is started, and when it is up, differ."""

    end = signal.SIGKILL

    def __init__(self, *options):
        # Not in pytest's folder, which is its user's alone.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cloudllm-test-"))
        if unprivileged():
            shutil.chown(self.folder, **unprivileged())
        self.options = options
        self.port = free_port()
        self._process = None

    def start(self):
        with open(self.folder / "log", "ab") as log:
            out = {**QUIET, "stdout": log, "stderr": log}
            self._process = subprocess.Popen(self.command(), **out, **unprivileged())
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_up():
            self.check_that_it_runs()
            assert time.monotonic() < deadline, f"it does not answer: {self._last_words()}"
            time.sleep(0.01)  # nothing here can tell when it listens
        return self

    def check_that_it_runs(self):
        """A server that has ended by itself is no fault of what is tested."""
        status = self._process.poll()
        assert status is None, f"it has ended ({status}): {self._last_words()}"

    def _last_words(self):
        return (self.folder / "log").read_text("utf-8", "replace")[-3000:]

    def kill(self):
        if self._process is not None:
            self._process.send_signal(self.end)
            self._process.wait(PATIENCE_S)

    def remove(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

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
        always = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]
        place = ["--port", str(self.port), "--dir", str(self.folder)]
        return [program("redis-server", "", "redis-server"), *always, *place, *self.options]

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


class PostgreSQLServer(Server):
    """The user `me` needs no password; what is committed need not outlive the machine."""

    end = signal.SIGQUIT  # at once, with all its processes; SIGKILL would leave them

    def command(self):
        if not (self.folder / "data").exists():
            made = [self._program("initdb"), "-D", self.folder / "data", "-U", "me", "-A", "trust"]
            subprocess.run(
                [*made, "-E", "UTF8", "--no-sync"], check=True, **QUIET, **unprivileged()
            )
        settings = ["fsync=off", f"port={self.port}", "unix_socket_directories=", *self.options]
        settings += ["listen_addresses=127.0.0.1", "max_connections=200"]
        place = ["-D", str(self.folder / "data")]
        return [self._program("postgres"), *place, *(f"--{setting}" for setting in settings)]

    def is_up(self):
        ready = [self._program("pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, **QUIET, check=False).returncode == 0

    def url(self, user="me"):
        return f"postgresql://{user}@127.0.0.1:{self.port}/postgres"

    @staticmethod
    def _program(name):
        return program(name, "/usr/lib/postgresql/*/bin", "PostgreSQL")


class MariaDBServer(Server):
    """The user `root` needs no password."""

    def command(self):
        data = self.folder / "data"
        place = ["--no-defaults", f"--datadir={data}"]
        if not data.exists():
            make = program("mariadb-install-db", "/usr/bin", "MariaDB")
            method = "--auth-root-authentication-method=normal"
            made = [make, *place, method, "--skip-test-db"]
            subprocess.run(made, check=True, **QUIET, **unprivileged())
        settings = [f"--port={self.port}", f"--socket={self.folder / 'socket'}"]
        settings += ["--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=2"]
        settings += ["--max-connections=200", *self.options]
        return [program("mariadbd", "/usr/sbin", "MariaDB"), *place, *settings]

    def is_up(self):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1.0) as talk,
        ):
            return len(talk.recv(16)) > 4  # its greeting
        return False

    def url(self, user="root"):
        return f"mysql://{user}@127.0.0.1:{self.port}/mysql"


def empty_tables(url):
    """Our tables without rows. Dropping them for each test made MariaDB 10.11 crash once."""
    engine = sql_tables.make_engine(url)
    with engine.begin() as connection:
        sql_tables.metadata.create_all(connection)
        for table in sql_tables.metadata.sorted_tables:
            connection.execute(table.delete())
    engine.dispose()


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
