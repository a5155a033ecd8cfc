"""Chunked bodies: all HTTP chunks that have arrived, in one go.

Servers send one HTTP chunk for every event, and http.client reads them one by one, which costs
more than decoding their JSON. `ArrivedChunks` takes apart what its buffer holds already.
"""

from __future__ import annotations

import http.client
import io
from itertools import repeat
from typing import Any, Optional, cast

from cloudllm_sync.transport.clocks import Clocks

__all__ = ["CallHTTPResponse"]

_LF = 10
_FEW_BYTES = 1024  # two or three chunks: the loop is faster then
_PIECE_BYTES = 64 * 1024


class _Head:
    """A file that notes whether it ended while status line and headers were read."""

    def __init__(self, fp: io.BufferedReader) -> None:
        self._fp = fp
        self.close = fp.close
        self.is_cut = False

    def readline(self, limit: int = -1) -> bytes:
        line = self._fp.readline(limit)
        self.is_cut = not line
        return line


class CallHTTPResponse(http.client.HTTPResponse):
    """http.client's response; `arrived()` is beside it, and leaves its state as `read1()` does."""

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        claim = getattr(sock, "claim", None)
        if claim is not None:
            claim.response = self

    def begin(self) -> None:
        """Read status line and headers, and forget what is no header among them: urllib3 would
        log it, as a warning and as it is, and it may be a key sent back.

        Raises:
            http.client.RemoteDisconnected: They were cut off. http.client takes what had come for
                all of them, so that a reply would seem to have begun.
        """
        fp = cast(Any, self.fp)
        self.fp = head = cast(Any, _Head(fp))
        try:
            super().begin()
        finally:
            if self.fp is head:
                self.fp = fp
        if head.is_cut:
            raise http.client.RemoteDisconnected("the connection ended in the headers")
        self.msg.defects.clear()
        self.msg.set_payload("")

    def _read_status(self) -> tuple[str, int, str]:
        """The status line of the answer, past informational ones: http.client skips 100 only.

        Source: RFC 9110, 15.2. 101 is no such answer: nobody asked for another protocol.
        """
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 102 <= status < 200:
                return version, status, reason
            http.client.parse_headers(cast(Any, self.fp))

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            # http.client would read on to the end of the connection.
            raise ValueError(f"a chunk of {size} bytes")
        return size

    def is_silent(self, clocks: Clocks) -> bool:
        """Whether nothing has come by `clocks.reader_until`.

        False where there is something to read, or the end. Half the head of a chunk counts as
        something: whoever reads waits for the rest.
        """
        fp = cast(Optional[io.BufferedReader], self.fp)
        if fp is None:
            return False
        clocks.gave_up = False
        clocks.may_give_up = True
        try:
            window = fp.peek(1)
            if self.chunk_left == 0 and window == b"\r\n":
                fp.read(2)
                self.chunk_left = None
                window = fp.peek(1)
        finally:
            clocks.may_give_up = False
        return clocks.gave_up

    def arrived(self) -> bytes:
        """The data of all whole chunks in the buffer, which is filled once if it is empty; or more
        of a chunk that `read1()` began.

        Nothing if there are none, at the end, and where the framing is unusual: `read1()` goes on
        from there, and finds the errors.
        """
        fp = cast(Optional[io.BufferedReader], self.fp)
        if fp is None or not self.chunked:
            return b""
        if self.chunk_left:
            more = fp.read1(min(self.chunk_left, _PIECE_BYTES))
            self.chunk_left -= len(more)
            return more
        window = fp.peek(1)
        at = 2 if self.chunk_left == 0 else 0  # the end of a chunk that read1() began
        many = len(window) > _FEW_BYTES
        data, end = (many and _by_lines(window, at)) or _by_sizes(window, at)
        if data:
            fp.read(end)
            self.chunk_left = None
        return data


def _by_lines(window: bytes, at: int) -> Optional[tuple[bytes, int]]:
    """The data of all whole chunks, and where they end, if no data holds a CR.

    Most bodies are such, and taking them apart is then the interpreter's work, not a loop's.
    """
    # Size, LF and data, LF and size, ..., then the beginning of one or two more.
    fields = window[at:].split(b"\r")
    whole = (len(fields) - 1) // 2 * 2
    parts = [field[1:] for field in fields[1:whole:2] if len(field) > 1 and field[0] == _LF]
    try:
        if list(map(int, fields[:whole:2], repeat(16))) != list(map(len, parts)):
            return None  # a CR in the data, or the last chunk of all
    except ValueError:
        return None  # an extension, or nonsense
    rest = b"\r".join(fields[whole:])
    if rest[:1] != b"\n":
        return None  # the end of the last chunk has not arrived
    return b"".join(parts), len(window) - len(rest) + 1


def _by_sizes(window: bytes, at: int) -> tuple[bytes, int]:
    """The data of the whole chunks up to the last one, or to unusual framing; where they end."""
    parts = []
    while at < len(window):
        head = window.find(b"\r\n", at, at + 18)
        if head < 0:
            break
        try:
            size = int(window[at:head], 16)
        except ValueError:
            break  # an extension, or nonsense
        end = head + 2 + size
        if size <= 0 or window[end : end + 2] != b"\r\n":
            break  # the last chunk, or one that has not arrived
        parts.append(window[head + 2 : end])
        at = end + 2
    return (parts[0] if len(parts) == 1 else b"".join(parts)), at
