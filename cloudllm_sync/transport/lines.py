"""Body to whole lines: on time, within limits, for `requests.Response.iter_lines`.

`iter_lines` alone delivers late where the body is not chunked, takes a CR LF that two reads cut
for two line ends, and is quadratic on a long line. All three end when the blocks that it is given
end on whole lines; `LineBlocks` stands in for `response.raw` and gives it such blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any, Optional

from cloudllm_sync.codecs import ServerSentEvent
from cloudllm_sync.errors import StreamTooLargeError
from cloudllm_sync.transport.chunked import CallHTTPResponse
from cloudllm_sync.transport.clocks import Clocks
from cloudllm_sync.values import Limits

__all__ = ["NOTHING_YET", "NO_EVENT", "LineBlocks", "pieces_of", "too_large"]

_PIECE_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_BLANK_RUN = 1024
_BLANK_RUNS = (b"\n" * _BLANK_RUN, b"\r" * _BLANK_RUN)


# What a stream's own compression does not reach: it is flushed for every token. A body that is
# nothing but one short line is packed a thousand times, and costs seconds before a limit ends it.
_BOMB_BYTES = 1024 * 1024
_BOMB_TIMES = 200


def too_large(source: str, what: str, limit: int) -> StreamTooLargeError:
    """The error of something over its limit."""
    return StreamTooLargeError(
        f"{source} sent {what} of more than {limit} bytes: raise it in Limits if it is wanted"
    )


class _NothingYet(bytes):
    """No line: the reader does not want to wait longer for one."""

    def splitlines(self, keepends: bool = False) -> list[bytes]:
        """Itself, so that it comes through requests' iter_lines()."""
        return [self]


NOTHING_YET = _NothingYet()
NO_EVENT = ServerSentEvent(b"")
"""What becomes of NOTHING_YET among events."""


def pieces_of(
    raw: Any, response: Optional[CallHTTPResponse], source: str, clocks: Optional[Clocks] = None
) -> Iterator[bytes]:
    """The bytes of a urllib3 response as they arrive, decompressed, in bounded pieces.

    `read1()` is on time and bounded in every framing. Chunks that have arrived whole are taken
    past urllib3, many at a time: reading them one by one would cost more than their JSON.

    Raises:
        StreamTooLargeError: It is a bomb: compressed as no reply is.
    """
    plain = not raw.headers.get("content-encoding")
    arrived = response.arrived if plain and response is not None else bytes
    unpacked = 0
    while True:
        if response is not None and clocks is not None:
            while clocks.reader_until < math.inf and response.is_silent(clocks):
                yield NOTHING_YET
        piece = arrived() or raw.read1(_PIECE_BYTES, decode_content=True)
        if not piece:
            return
        if not plain:
            unpacked += len(piece)
            if unpacked > max(_BOMB_BYTES, _BOMB_TIMES * raw.tell()):
                raise StreamTooLargeError(
                    f"{source} sent {raw.tell()} bytes that unpack to more than {unpacked}: that "
                    "is no reply, check base_url"
                )
        yield piece


class LineBlocks:
    """Blocks of whole lines; `stream()` is what requests calls on a `raw`."""

    def __init__(
        self, pieces: Iterator[bytes], limits: Limits, source: str, *, json_lines: bool = False
    ) -> None:
        self._pieces = pieces
        self._limits = limits
        self._source = source
        self._json_lines = json_lines
        self.is_json = False
        """Whether the body begins as a JSON document does: its limit is the stream's then. Never
        where a document is one line of many: these are events."""
        self.is_cut = False
        """Whether the line that came last lacks its end."""

    def stream(
        self, amt: Optional[int] = None, decode_content: Optional[bool] = None
    ) -> Iterator[bytes]:
        """The body, cut at line ends; the last block may lack one.

        Raises:
            StreamTooLargeError: A line, or the body, is over its limit.
        """
        waiting: list[bytes] = []  # the beginning of a line whose end has not come
        waiting_bytes = 0
        room = self._limits.stream_bytes
        line_limit = self._limits.event_bytes
        after_cr = False
        for piece in self._from_the_first_character():
            if piece is NOTHING_YET:
                yield piece
                continue
            room -= len(piece)
            if room < 0:
                raise too_large(self._source, "a stream", self._limits.stream_bytes)
            if waiting_bytes + len(piece) > line_limit and not self.is_json:
                self._check_lines(waiting_bytes, piece)
            if len(piece) > _BLANK_RUN and piece[:_BLANK_RUN] in _BLANK_RUNS:
                # Two say as much, and each costs more to read than to unpack from a bomb.
                piece = piece[:2] + piece.lstrip(piece[:1])
            if after_cr and piece[:1] == b"\n":
                piece = piece[1:]  # the second half of a CR LF
            after_cr = False
            if piece[-1:] == b"\n" and not waiting:
                yield piece
                continue
            end = max(piece.rfind(b"\n"), piece.rfind(b"\r")) + 1
            if end:
                waiting.append(piece[:end])
                after_cr = piece[end - 1 : end] == b"\r" and end == len(piece)
                yield b"".join(waiting)
                waiting = []
                waiting_bytes = 0
                piece = piece[end:]
            if piece:
                waiting.append(piece)
                waiting_bytes += len(piece)
        if waiting:
            self.is_cut = True
            yield b"".join(waiting)

    def _from_the_first_character(self) -> Iterator[bytes]:
        """The pieces without a byte-order mark; looks whether the body is JSON."""
        head = b""
        for piece in self._pieces:
            head += piece
            # A mark may come in pieces.
            if len(head) >= len(_BOM) or not _BOM.startswith(head):
                break
        head = head[len(_BOM) :] if head.startswith(_BOM) else head
        # Blank lines may come before a JSON body, as long as its request is queued.
        for piece in chain((head,), self._pieces):
            first = piece.lstrip()[:1]
            self.is_json = first in (b"{", b"[") and not self._json_lines
            if piece:
                yield piece
            if first:
                break
        yield from self._pieces

    def _check_lines(self, waiting_bytes: int, piece: bytes) -> None:
        """Raise if a line is too long: the one that `piece` goes on with, or one inside of it."""
        limit = self._limits.event_bytes
        first, *others = piece.splitlines() or [b""]
        if waiting_bytes + len(first) > limit or any(len(line) > limit for line in others):
            raise too_large(self._source, "an event", limit)
