"""One process that sends many streams by schedule, on a selectors loop.

    python benchmarks/paced_server.py [--pem FILE]

It prints its port and serves until its standard input is closed. The first part of a path says
what to send: `/120-40/...` is 120 tokens, 40 a second, the first at once; `/5-inf/...` is five, all
at once. Every token's text is the moment for which its sending was scheduled, by the clock of
`time.monotonic()`, which on Linux all processes share. `/connections` tells how many connections
came before this one.

All bytes but these stamps are made beforehand, so that it is never the slow end.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import heapq
import json
import pathlib
import re
import select
import selectors
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Optional

import attrs

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STAMP = b"%015.6f"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@attrs.frozen
class Body:
    """What a stream of one wire is made of; a token is `before`, its stamp and `after`."""

    start: bytes
    before: bytes
    after: bytes
    end: bytes


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(data: object, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def _body(start: bytes, token: bytes, *end: bytes) -> Body:
    stamp = STAMP % 0
    before, after = _http_chunk(token.replace(b"TEXT", stamp)).split(stamp)
    first = _http_chunk(start) if start else b""
    return Body(HEAD + first, before, after, b"".join(map(_http_chunk, end)) + b"0\r\n\r\n")


def chat() -> Body:
    """Chat Completions."""

    def chunk(delta: dict[str, str], finish_reason: Optional[str] = None) -> bytes:
        return _event(
            {
                "id": "chatcmpl-Bq3nHnmCbFzT9mTR2bM7xYw1kQp5d",
                "object": "chat.completion.chunk",
                "created": 1787150085,
                "model": "gpt-5.4-mini-2026-03-17",
                "system_fingerprint": "fp_62a23a81ef",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
            }
        )

    return _body(b"", chunk({"content": "TEXT"}), chunk({}, "stop"), b"data: [DONE]\n\n")


def claude() -> Body:
    """Anthropic Messages."""

    def typed(kind: str, **fields: object) -> bytes:
        return _event({"type": kind, **fields}, kind)

    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m"}
    usage = {"input_tokens": 9, "output_tokens": 1}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    return _body(
        typed("message_start", message={**message, "usage": usage})
        + typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "TEXT"}),
        typed("content_block_stop", index=0),
        typed("message_delta", delta=stop, usage={"output_tokens": 5}),
        typed("message_stop"),
    )


class Connection:
    """One connection, and the stream that it is sent."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self.asked = b""
        self.left = 0
        """How many tokens are to come."""
        self.interval_s = 0.0
        self.due_s = 0.0
        self.head = b""
        """What is yet to be sent before the next token."""
        self.body: Optional[Body] = None

    def request(self) -> Optional[bytes]:
        """The path of the next request, once all of it is here."""
        head, found, rest = self.asked.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if not found or len(rest) < size:
            return None
        self.asked = rest[size:]
        return head.split()[1]

    def begin(self, path: bytes, body: Body, now: float) -> None:
        """Take up the stream that the path names."""
        count, rate = path.split(b"/")[1].split(b"-")
        self.left, self.interval_s, self.due_s = int(count), 1 / float(rate), now
        self.head, self.body = body.start, body

    def next_bytes(self) -> bytes:
        """All that is due at the same moment as the next token."""
        body = self.body
        assert body is not None
        token = body.before + STAMP % self.due_s + body.after
        count = 1 if self.interval_s else self.left
        self.left -= count
        self.due_s += self.interval_s
        head, self.head = self.head, b""
        return head + token * count + (b"" if self.left else body.end)


class Server:
    """The loop."""

    def __init__(self, listener: socket.socket, context: Optional[ssl.SSLContext]) -> None:
        self._listener = listener
        self._context = context
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, int, Connection]] = []
        self._count = 0
        self._bodies = {True: claude(), False: chat()}

    def serve(self) -> None:
        """Until standard input is closed."""
        self._stopped = False
        self._selector.register(sys.stdin, selectors.EVENT_READ, self._stop)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        while not self._stopped:
            wait_s = self._due[0][0] - time.monotonic() if self._due else 3600.0
            # epoll's own wait is in whole milliseconds.
            select.select([self._selector], [], [], max(0.0, wait_s))
            for key, _ in self._selector.select(0):
                key.data()
            self._send_due()

    def _stop(self) -> None:
        self._stopped = True

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            try:
                sock = self._context.wrap_socket(sock, server_side=True)
            except OSError as error:
                print(f"handshake: {error}", file=sys.stderr)
                return
        sock.setblocking(False)
        connection = Connection(sock, self._count)
        self._count += 1
        read = functools.partial(self._read, connection)
        self._selector.register(sock, selectors.EVENT_READ, read)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(65536)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.asked += data
        path = connection.request()
        if path is None:
            return
        if path == b"/connections":
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d"
            number = connection.number
            connection.sock.sendall(answer % (len(str(number)), number))
            return
        now = time.monotonic()
        connection.begin(path, self._bodies[path.endswith(b"/messages")], now)
        heapq.heappush(self._due, (now, connection.number, connection))

    def _send_due(self) -> None:
        now = time.monotonic()
        due = self._due
        while due and due[0][0] <= now:
            connection = heapq.heappop(due)[2]
            if connection.left:
                self._send(connection)
            if connection.left:
                heapq.heappush(due, (connection.due_s, connection.number, connection))

    def _send(self, connection: Connection) -> None:
        data = connection.next_bytes()
        try:
            if connection.sock.send(data) == len(data):
                return
            print("a client does not read: its stream is cut", file=sys.stderr)
        except OSError:
            pass  # it has left
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        connection.left = 0
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.sock)
        connection.sock.close()


@contextlib.contextmanager
def running(pem: str = "") -> Iterator[int]:
    """A server in a process of its own; its port.

    Args:
        pem: A certificate and its key, for TLS.
    """
    command = [sys.executable, str(pathlib.Path(__file__)), *(("--pem", pem) if pem else ())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pem", default="", help="speak TLS with this certificate and key")
    args = parser.parse_args()
    context = None
    if args.pem:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.pem)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    Server(listener, context).serve()


if __name__ == "__main__":
    main()
