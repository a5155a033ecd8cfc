"""What attachments count: pictures by their pixels, documents by pages, sounds by seconds."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings, strategies as st

from cloudllm_sync import Attachment
from cloudllm_sync.session.media import media_tokens, pixels


def png(width, height):
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + head + struct.pack(">I", zlib.crc32(head))


def gif(width, height):
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0;"


def webp(kind, body):
    chunk = kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def lossy(width, height):
    return webp(b"VP8 ", b"\x30\1\0\x9d\1\x2a" + struct.pack("<HH", width | 0x4000, height))


def lossless(width, height):
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14))


def extended(width, height):
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp(b"VP8X", b"\x10\0\0\0" + sizes)


def segment(marker, body):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(width, height, marker=0xC0, before=b""):
    frame = segment(marker, b"\x08" + struct.pack(">HH", height, width) + b"\x03")
    return b"\xff\xd8" + segment(0xE0, b"JFIF\0" + bytes(9)) + before + frame


FORMATS = [png, gif, lossy, lossless, extended, jpeg]
formats = pytest.mark.parametrize("make", FORMATS)


@formats
def test_size_is_read_from_the_head(make):
    """Of every format that all providers take."""
    assert pixels(make(1234, 567)) == (1234, 567)


@pytest.mark.parametrize(
    "picture",
    [
        jpeg(30, 20, before=segment(0xC4, bytes(300)) + segment(0xDB, bytes(64))),
        jpeg(30, 20, marker=0xC2),
        jpeg(30, 20, before=b"\xff\xff\xff"),
    ],
    ids=["tables before it", "progressive", "fill bytes"],
)
def test_jpeg_says_its_size_behind_other_things(picture):
    """Tables look like frames by their number."""
    assert pixels(picture) == (30, 20)


@formats
def test_picture_that_is_cut_has_no_size(make):
    """Nor does it raise."""
    whole = make(1234, 567)

    sizes = {pixels(whole[:end]) for end in range(len(whole))}

    assert sizes <= {None, (1234, 567)}
    assert pixels(whole[:8]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"BM" + bytes(50),
        png(0, 7),
        webp(b"ALPH", bytes(20)),
        b"\xff\xd8" + bytes(20),
        b"\xff\xd8" + segment(0xE1, b"") * 1100 + jpeg(3, 4)[2:],
    ],
    ids=["nothing", "bitmap", "no width", "unknown chunk", "no marker", "endless segments"],
)
def test_what_does_not_say_its_size_has_none(data):
    """It counts as a picture of usual size."""
    assert pixels(data) is None


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.sampled_from([b"", *(make(9, 9)[:16] for make in FORMATS), b"\xff\xd8\xff"]),
    st.binary(max_size=80),
)
def test_any_bytes_have_a_size_or_none(head, rest):
    """No bytes raise, or take long."""
    size = pixels(head + rest)

    assert size is None or min(size) > 0


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (100, 100, 258),
        (768, 768, 787),
        (1000, 1000, 1334),
        (1092, 1092, 1590),
        (4000, 3000, 1600),
        (3136, 600, 628),
        (1, 100_000, 258),
    ],
)
def test_picture_counts_by_its_pixels(width, height, tokens):
    """Within what any provider counts for the smallest and the largest."""
    assert media_tokens(Attachment.from_bytes(png(width, height))) == tokens


def pdf(pages):
    kids = b"".join(b"<< /Type /Page /Parent 2 0 R >>\n" for _ in range(pages))
    return b"%PDF-1.4\n<< /Type /Pages /Count 3 >>\n" + kids


WAV = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)


@pytest.mark.parametrize(
    ("data", "kind", "tokens"),
    [
        (b"x" * 401, "text/plain", 101),
        (b"{}" * 20, "application/json", 10),
        (b"\0" * 50, "image/heic", 1600),
        (b"\0" * 50, "video/mp4", 1600),
        (pdf(3), "application/pdf", 3 * 1600),
        (b"%PDF-1.7" + bytes(120_000), "application/pdf", 3 * 1600),
        (b"ID3\3" + bytes(16_000 * 10 - 4), "audio/mpeg", 320),
        (WAV + bytes(32_000 * 10 - len(WAV)), "audio/wav", 320),
        (WAV[:28] + bytes(4) + bytes(16_000 - 32), "audio/wav", 32),
        (b"RIFF", "audio/wav", 1),
    ],
    ids=[
        "text",
        "json",
        "heic",
        "video",
        "pdf",
        "packed pdf",
        "mp3",
        "wav",
        "wav without a rate",
        "wav that is cut",
    ],
)
def test_other_attachments_count_by_their_kind(data, kind, tokens):
    """Text by its bytes, a document by its pages, a sound by its seconds."""
    assert media_tokens(Attachment.from_bytes(data, kind)) == tokens


def test_address_counts_as_a_large_picture():
    """Nobody looks there."""
    assert media_tokens(Attachment.from_url("https://a.example/b.png")) == 1600
