"""The stages at which a call can be held, for cancel.py and deadlines.py.

The server is a process of its own: the client's threads have the interpreter to themselves.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pathlib
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # runs in a clone, too

from cloudllm_sync import OpenAIClient, Timeouts
from cloudllm_sync.streaming.observer import CallInfo, Observer
from cloudllm_sync.testing import (
    FakeServer,
    Raw,
    RecordedRequest,
    Reply,
    Stall,
    Wait,
    error_reply,
    openai_events,
)
from cloudllm_sync.transport import budget

ROOT = pathlib.Path(__file__).resolve().parent.parent
CERTIFICATE = str(ROOT / "tests" / "testing" / "localhost.pem")
EVENTS = openai_events(Reply("one two three", usage=None))
DRIP = [step for _ in range(2000) for step in (b"x", Wait(0.005))]

# A cancel in a back-off wait is measured more often than a client may retry.
budget._ALLOWANCE = 1e9

ANSWERS = {
    "before headers": Raw(before_headers=(Stall(),)),
    "in dripping headers": Raw(b"HTTP/1.1 200 OK\r\nX: ", *DRIP, framing="none"),
    "in a stall": Raw(*EVENTS[:2], Stall()),
    "in a stall, no length": Raw(*EVENTS[:2], Stall(), framing="close"),
    "in a drip": Raw(*EVENTS[:2], b"data: ", *DRIP),
    "in back-off": error_reply(503, "busy", headers={"Retry-After": "30"}),
    "in callbacks": Raw(EVENTS[0], b"".join([EVENTS[1]] * 20000), Stall()),
}
"""What the server does for a prompt of this name."""

STAGES = ("connecting", "handshake", *ANSWERS)
CHUNK_CAME = {"in a stall", "in a stall, no length", "in a drip", "in callbacks"}
"""The stages that begin after a first chunk."""


class Retrying(Observer):
    """Notes that a back-off wait begins."""

    def __init__(self) -> None:
        self.began = threading.Event()

    def on_retry(self, call: CallInfo, error: Exception, delay_s: float) -> None:
        self.began.set()


def answer(request: RecordedRequest) -> Raw:
    return ANSWERS[request.json["messages"][-1]["content"]]


def serve(pipe: Connection) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with (
        FakeServer(default=answer) as plain,
        FakeServer(default=answer, ssl_context=context) as secure,
        full_backlog() as full,
        silent_port() as silent,
    ):
        pipe.send({"http": plain.url, "https": secure.url, "full": full, "silent": silent})
        pipe.recv()


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port where a connection neither stands nor is refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(16):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(0.05)
            try:
                sock.connect(listener.getsockname())
            except socket.timeout:
                break
        yield listener.getsockname()[1]


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port where connections stand, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    threading.Thread(target=hear, args=(sock,), daemon=True).start()

        def hear(sock: socket.socket) -> None:
            with sock, contextlib.suppress(OSError):
                while sock.recv(65536):
                    pass

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


@contextlib.contextmanager
def servers() -> Iterator[dict]:
    """The addresses of the servers, in a process of their own."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield pipe.recv()
        pipe.send("stop")
        process.join(5)
    finally:
        process.kill()


def client_for(
    stage: str, scheme: str, where: dict, timeouts: Timeouts, observer: Observer | None = None
) -> OpenAIClient:
    """A client of the server that holds calls at this stage."""
    url = where[scheme]
    if stage == "connecting":
        url = f"{scheme}://127.0.0.1:{where['full']}"
    elif stage == "handshake":
        url = f"{scheme}://127.0.0.1:{where['silent']}"
    return OpenAIClient(
        "gpt-5",
        api_key="test",
        base_url=f"{url}/v1",
        timeouts=timeouts,
        verify=CERTIFICATE,
        max_retries=1 if stage == "in back-off" else 0,
        observers=() if observer is None else (observer,),
    )


def stages_of(scheme: str, without: list[str]) -> list[str]:
    """Those that this scheme has, in the order of a call."""
    left_out = without if scheme == "https" else [*without, "handshake"]
    return [stage for stage in STAGES if stage not in left_out]


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
