"""The benchmarks' server: one process, prepared bytes, never the bottleneck.

The path of a request names the body: `/chunks/20000/v1/chat/completions` is answered with 20,000
texts, one HTTP chunk per event. It is prepared when it is asked for first, which is a warm-up.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import socket
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

import bodies

prepared = functools.lru_cache(maxsize=None)(bodies.body)


def _answer(sock: socket.socket) -> None:
    reader = sock.makefile("rb")
    with sock, contextlib.suppress(OSError):  # some close before they have read the end
        while line := reader.readline():
            length = 0
            while (header := reader.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            reader.read(length)
            name, count = line.split()[1].decode().split("/")[1:3]
            body = prepared(name, int(count))
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {body.content_type}\r\n"
            sock.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + body.begin)
            for _ in range(body.times):
                sock.sendall(body.block)
            sock.sendall(body.end)


def _serve(pipe: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        pipe.send(listener.getsockname()[1])
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_answer, args=(sock,), daemon=True).start()


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Its address, while it runs."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that a server that fails is the end of the pipe
    try:
        yield f"http://127.0.0.1:{pipe.recv()}"
    finally:
        process.kill()
        process.join()
