"""A bare HTTP client for the tests of the fake server: every byte of an answer can be seen."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

from cloudllm_sync.testing import FakeServer

TIMEOUT_S = 5.0
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def request_bytes(fields: dict[str, Any], *headers: str) -> bytes:
    """A request as it goes over the wire."""
    body = json.dumps(fields).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


@contextlib.contextmanager
def asked(server: FakeServer, fields: dict[str, Any] | None = None) -> Iterator[socket.socket]:
    """A connection on which a request was sent."""
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as sock:
        sock.sendall(request_bytes(STREAM if fields is None else fields))
        yield sock


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    """What comes up to the mark and a little more; what came if the connection ends first."""
    data = b""
    while mark not in data:
        part = sock.recv(65536)
        if not part:
            break
        data += part
    return data


def read_all(sock: socket.socket) -> bytes:
    """What comes until the connection ends."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def answer_bytes(server: FakeServer, fields: dict[str, Any] | None = None) -> tuple[bytes, bytes]:
    """Head and body of an answer as they come over the wire, on a connection of their own."""
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as sock:
        sock.sendall(request_bytes(STREAM if fields is None else fields, "Connection: close"))
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
    return head, body


def chunks(body: bytes) -> list[bytes]:
    """The HTTP chunks of a body, which must be whole."""
    found = []
    while body:
        size, _, body = body.partition(b"\r\n")
        data, end = body[: int(size, 16)], body[int(size, 16) :][:2]
        assert end == b"\r\n"
        found.append(data)
        body = body[len(data) + 2 :]
    assert found.pop() == b""
    return found


@contextlib.contextmanager
def connected(server: FakeServer) -> Iterator[http.client.HTTPConnection]:
    """A connection that is kept alive between requests."""
    port = int(server.url.rpartition(":")[2])
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    ) as connection:
        yield connection


def post(
    connection: http.client.HTTPConnection,
    fields: dict[str, Any] | None = None,
    path: str = "/v1/chat/completions",
) -> tuple[http.client.HTTPResponse, bytes]:
    """A request over that connection: the response and its whole body."""
    body = json.dumps(STREAM if fields is None else fields)
    connection.request("POST", path, body, {"X-Case": "Kept"})
    response = connection.getresponse()
    return response, response.read()


def payloads(body: bytes) -> list[Any]:
    """The events of an SSE body with LF line ends, `[DONE]` as that string."""
    assert body.endswith(b"\n\n")
    data = [event.removeprefix(b"data: ") for event in body[:-2].split(b"\n\n")]
    return ["[DONE]" if text == b"[DONE]" else json.loads(text) for text in data]


def said(body: bytes) -> str:
    """The visible text of such a body."""
    choices = [choice for event in payloads(body)[:-1] for choice in event["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)
