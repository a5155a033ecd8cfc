"""Fixtures for tests that talk to the fake server; and how many processes the suite takes."""

from __future__ import annotations

import os
import pathlib
import socket
import ssl
import sys
import threading
import time
import traceback
import types

import attrs
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "session" / "stores"))

from servers import RedisServer

import cloudllm_sync
from cloudllm_sync import CloudLLMError, OpenAIClient, Timeouts
from cloudllm_sync.testing import FakeServer
from cloudllm_sync.transport import retry

KEY = "sk-test-0123456789abcdef"
CERTIFICATE = str(pathlib.Path(__file__).parent / "testing" / "localhost.pem")
# Far over what any reply here takes: a test that meets it hangs.
PATIENCE_S = 20.0
# More of them collect longer than they test.
MOST_PROCESSES = 8
_PACKAGE = str(pathlib.Path(cloudllm_sync.__file__).parent)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Test folders in several processes, where pytest-xdist is: tests often wait.

    Files and single tests run in one, as they do with -n 0, --pdb or -s; with --cov, too, as
    pytest-cov has looked at -n before.
    """
    asked = config.option
    if getattr(asked, "numprocesses", 0) is not None or "PYTEST_XDIST_WORKER" in os.environ:
        return
    if asked.usepdb or asked.capture == "no" or getattr(asked, "cov_source", None):
        return
    if any(os.path.isdir(path) for path in config.args):
        asked.numprocesses = min((os.cpu_count() or 1) + 1, MOST_PROCESSES)
        asked.dist = "worksteal"


@attrs.frozen
class Outcome:
    """How a reply ended, and what was handed on before; `seconds` since it was asked for."""

    chunks: list
    message: object
    error: object
    seconds: float
    threads: frozenset

    @property
    def text(self):
        return "".join(chunk.content for chunk in self.chunks)


def _pull(client, prompt="hi", *, on_chunk=None, **options):
    began = time.monotonic()
    chunks, message, error = [], None, None
    try:
        with client.send_message_stream(prompt, **options) as stream:
            for chunk in stream:
                chunks.append(chunk)
                if on_chunk is not None:
                    on_chunk(chunk)
            message = stream.result()
    except CloudLLMError as failure:
        error = failure
    seconds = time.monotonic() - began
    return Outcome(chunks, message, error, seconds, frozenset([threading.current_thread()]))


def _push(client, prompt="hi", *, on_chunk=None, **options):
    began = time.monotonic()
    chunks, ends, threads = [], [], set()

    def keep(chunk):
        threads.add(threading.current_thread())
        chunks.append(chunk)
        if on_chunk is not None:
            on_chunk(chunk)

    def end(value):
        threads.add(threading.current_thread())
        ends.append((value, time.monotonic() - began))

    handle = client.start_message_stream(
        prompt, on_chunk=keep, on_finish=end, on_error=end, **options
    )
    assert handle.join(PATIENCE_S)
    ((value, seconds),) = ends
    failed = isinstance(value, CloudLLMError)
    assert handle.exception() is (value if failed else None)
    message, error = (None, value) if failed else (value, None)
    return Outcome(chunks, message, error, seconds, frozenset(threads))


@pytest.fixture(params=["generator", "callbacks"])
def read(request):
    """Reads a client's reply to its end, by either way; gives an Outcome."""
    return {"generator": _pull, "callbacks": _push}[request.param]


@pytest.fixture
def pull():
    """Reads a client's reply to its end by the generator; gives an Outcome."""
    return _pull


@pytest.fixture
def push():
    """Reads a client's reply to its end by callbacks; gives an Outcome."""
    return _push


@pytest.fixture
def make_client():
    """Makes clients for a server, or for a base URL; they are closed after the test."""
    made = []

    def make(server, **options):
        base_url = server if isinstance(server, str) else server.base_url
        options.setdefault("timeouts", Timeouts(5, 5, 5, 15))
        client = OpenAIClient("gpt-5", api_key=KEY, base_url=base_url, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def serve():
    """Starts fake servers; they are closed after the test."""
    started = []

    def start(*script, **options):
        server = FakeServer(*script, **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture
def texts_of():
    """Everything of an error that may end up in a log: its words, fields, causes and traceback."""

    def texts(error):
        shown = [str(error), repr(error), repr(vars(error))]
        shown += traceback.format_exception(type(error), error, error.__traceback__)
        seen = error
        while seen is not None:
            shown += [repr(seen), repr(seen.args), repr(getattr(seen, "__dict__", ""))]
            seen = seen.__cause__ or seen.__context__
        return "\n".join(shown)

    return texts


@pytest.fixture
def no_backoff(monkeypatch):
    """Retries follow each other at once."""
    monkeypatch.setattr(retry, "_BASE_S", 0.0)


@pytest.fixture(scope="session")
def certificate():
    """The path of a certificate for 127.0.0.1, its key with it."""
    return CERTIFICATE


@pytest.fixture(scope="session")
def server_tls():
    """The server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
def full_backlog():
    """The base URL of a port where a connection neither stands nor is refused."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(16):
        sock = socket.socket()
        sock.settimeout(0.05)
        waiting.append(sock)
        try:
            sock.connect(listener.getsockname())
        except socket.timeout:
            break
    else:
        pytest.skip("this system takes any number of connections")
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    for sock in [*waiting, listener]:
        sock.close()


@pytest.fixture
def silent_port():
    """A listening socket; whoever connects hears nothing unless the test accepts and talks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        yield listener


def _chain_of(error):
    """The error with everything that Python hangs on it, transitively: causes and contexts."""
    found, todo = [], [error]
    while todo:
        one = todo.pop()
        if one is not None and not any(one is other for other in found):
            found.append(one)
            todo += [one.__cause__, one.__context__]
    return found


def _report_of(error):
    """What a reporter of errors shows: the words, and the local variables of the SDK's frames."""
    lines = []
    for one in _chain_of(error):
        report = traceback.TracebackException(
            type(one), one, one.__traceback__, capture_locals=True
        )
        lines += report.format_exception_only()
        for frame in report.stack:
            if _PACKAGE in frame.filename:
                lines += [f"{name} = {value}" for name, value in (frame.locals or {}).items()]
    return "\n".join(lines)


def _things_in(value, seen=None):
    """Every object that can be reached from a value by attributes and items, frames excepted."""
    seen = {} if seen is None else seen
    if id(value) in seen or isinstance(value, (type, types.ModuleType, types.FunctionType)):
        return seen
    seen[id(value)] = value
    if isinstance(value, (str, bytes, int, float, bool, type(None), types.TracebackType)):
        return seen
    inner = []
    if isinstance(value, dict):
        inner += [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner += list(value)
    inner += list(getattr(value, "__dict__", {}).values())
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            inner.append(getattr(value, name, None))
    if isinstance(value, BaseException):
        inner += [value.args, value.__cause__, value.__context__]
    for item in inner:
        _things_in(item, seen)
    return seen


@pytest.fixture
def report_of():
    """What a reporter of errors shows: words, and local variables of the SDK's frames."""
    return _report_of


@pytest.fixture
def things_in():
    """Everything that can be reached from a value, by id."""
    return _things_in


@pytest.fixture(scope="session")
def redis_server():
    """The URL of a redis-server of this test run's own."""
    server = RedisServer()
    try:
        yield server.start().url()
    finally:
        server.remove()
