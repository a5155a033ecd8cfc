"""What the server was asked: a request as it came, and the reading of its head; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from cloudllm_sync.transport.credentials import SECRET_HEADER

__all__ = ["Headers", "RecordedRequest", "RequestHead", "parse_head"]


class Headers(Mapping[str, str]):
    """Header fields by name, in whatever case; a field that came twice is joined with a comma."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: dict[str, str] = {}
        for name, value in fields:
            key = name.lower()
            known = self._fields.get(key)
            self._fields[key] = value if known is None else f"{known}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        # Failed assertions print it, and the key may be a real one.
        shown = {
            name: "***" if SECRET_HEADER.search(name) else value
            for name, value in self._fields.items()
        }
        return f"Headers({shown!r})"


@attrs.frozen
class RecordedRequest:
    """A request as the server got it.

    `path` has the query. The names in `headers` are in lower case, any case finds them.
    `connection` tells, from 1, over which accepted connection it came.
    """

    method: str
    path: str
    headers: Headers
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        """The body, parsed.

        Raises:
            ValueError: It is no JSON.
        """
        return json.loads(self.body)


@attrs.frozen
class RequestHead:
    """The request line and the headers."""

    method: str
    path: str
    version: str
    headers: Headers

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to use the connection again."""
        return self.version == "HTTP/1.1" and self.headers.get("connection", "").lower() != "close"

    @property
    def body_bytes(self) -> int:
        """The length of the body.

        Raises:
            ValueError: It is not given as a plain number.
        """
        if "transfer-encoding" in self.headers:
            raise ValueError("a chunked request body is not understood: send Content-Length")
        length = self.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise ValueError(f"Content-Length {length!r} is no number")
        return int(length)


def parse_head(head: bytes) -> RequestHead:
    """The request line and headers, without the blank line.

    Raises:
        ValueError: It is no HTTP/1 request.

    Source: RFC 9112, 3 and 5.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise ValueError(f"{first[:80]!r} is no HTTP/1.1 request line")
    fields = [line.partition(":") for line in lines]
    if not all(colon for _, colon, _ in fields):
        raise ValueError("a header line without a colon")
    headers = Headers((name.strip(), value.strip()) for name, _, value in fields)
    return RequestHead(words[0], words[1], words[2], headers)
