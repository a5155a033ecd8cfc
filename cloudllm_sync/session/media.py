"""How many tokens an attachment is: by its pixels, pages or seconds (pure).

Providers count in different ways; this is near the highest of them, and no file is decoded for it.
"""

from __future__ import annotations

import math
import re
from typing import Optional

from cloudllm_sync.values import Attachment

__all__ = ["media_tokens", "pixels"]

# A picture of unknown size, an address say; and a page, which providers look at as a picture, too.
_MOST = 1600
_LEAST = 258
_PIXELS_PER_TOKEN = 750
_LONGEST_SIDE = 1568
# Where a document does not tell its pages: those of scans are larger, those of text smaller.
_BYTES_PER_PAGE = 50_000
_TOKENS_PER_SECOND = 32
_BYTES_PER_SECOND = 16_000  # 128 kbit/s

_PAGE = re.compile(rb"/Type\s*/Page\b")
_JPEG_SEGMENTS = 1000  # before the one with the size; thumbnails and profiles take a few dozen
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # of C0 to CF, which all others are


def media_tokens(attachment: Attachment) -> int:
    """About how many tokens an attachment is.

    Source: Anthropic's vision guide (width * height / 750, scaled to 1568 pixels on the long side,
    at most 1600 tokens), Google's guide to tokens (a picture at least 258, a second of sound 32).
    """
    data, kind = attachment.data, attachment.media_type
    if data is None:
        return _MOST
    if kind.startswith(("text/", "application/json")):
        return (len(data) + 3) // 4
    if kind.startswith("audio/"):
        return math.ceil(len(data) / _bytes_per_second(data) * _TOKENS_PER_SECOND)
    if kind == "application/pdf":
        pages = len(_PAGE.findall(data)) or math.ceil(len(data) / _BYTES_PER_PAGE)
        return _MOST * pages
    size = pixels(data)
    return _MOST if size is None else _picture_tokens(*size)


def _picture_tokens(width: int, height: int) -> int:
    scale = min(1.0, _LONGEST_SIDE / max(width, height))
    tokens = math.ceil(width * scale * height * scale / _PIXELS_PER_TOKEN)
    return max(_LEAST, min(_MOST, tokens))


def _bytes_per_second(data: bytes) -> int:
    """What a WAV file says in its head; of all other sounds what is usual."""
    if data[:4] == b"RIFF" and data[8:16] == b"WAVEfmt " and len(data) >= 32:
        return int.from_bytes(data[28:32], "little") or _BYTES_PER_SECOND
    return _BYTES_PER_SECOND


def pixels(data: bytes) -> Optional[tuple[int, int]]:
    """Width and height of a PNG, GIF, WebP or JPEG; None if they are not to be found.

    Source: PNG specification 11.2.2; GIF89a 18; RFC 9649, 2.4 to 2.7; ITU-T T.81, B.2.2.
    """
    size = None
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        size = _two(data, 16, 4, "big")
    elif data.startswith(b"GIF8"):
        size = _two(data, 6, 2, "little")
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        size = _webp(data)
    elif data.startswith(b"\xff\xd8"):
        size = _jpeg(data)
    return size if size is not None and min(size) > 0 else None


def _two(data: bytes, at: int, width: int, order: str) -> tuple[int, int]:
    """Two numbers of so many bytes; 0 where the data ends too soon."""
    first, second = data[at : at + width], data[at + width : at + 2 * width]
    if len(second) < width:
        return 0, 0
    if order == "big":
        return int.from_bytes(first, "big"), int.from_bytes(second, "big")
    return int.from_bytes(first, "little"), int.from_bytes(second, "little")


def _webp(data: bytes) -> Optional[tuple[int, int]]:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = _two(data, 24, 3, "little")
        return (width + 1, height + 1) if len(data) >= 30 else None
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = _two(data, 26, 2, "little")
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(data: bytes) -> Optional[tuple[int, int]]:
    at = 2
    for _ in range(_JPEG_SEGMENTS):
        while data[at : at + 2] == b"\xff\xff":
            at += 1  # a marker may have more than one FF before it
        if len(data) < at + 4 or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            height, width = _two(data, at + 5, 2, "big")
            return width, height
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
