"""Compressed bodies, asked for or not, named rightly or not."""

from __future__ import annotations

import gzip
import zlib

import pytest
from families import PIECES, TEXT
from urllib3 import HTTPResponse

from cloudllm_sync import StreamInterrupted, StreamProtocolError
from cloudllm_sync.testing import Raw, Reply


def raw_deflate(data):
    return zlib.compress(data)[2:-4]


def flushed(events, wbits=31):
    """Compressed, with a flush after each event, and never finished."""
    squeeze = zlib.compressobj(wbits=wbits)
    return [squeeze.compress(event) + squeeze.flush(zlib.Z_SYNC_FLUSH) for event in events]


def encoded(name, *steps, **options):
    return Raw(*steps, headers={"Content-Encoding": name}, **options)


GOOD = {
    "gzip": lambda f: encoded("gzip", gzip.compress(f.whole)),
    "gzip in capitals": lambda f: encoded("GZIP", gzip.compress(f.whole)),
    "x-gzip": lambda f: encoded("x-gzip", gzip.compress(f.whole)),
    "gzip twice": lambda f: encoded("gzip, gzip", gzip.compress(gzip.compress(f.whole))),
    "gzip of several members": lambda f: encoded("gzip", *map(gzip.compress, f.events)),
    "gzip without its end": lambda f: encoded("gzip", *flushed(f.events)),
    "gzip without its checksum": lambda f: encoded("gzip", gzip.compress(f.whole)[:-8]),
    "gzip with a tail": lambda f: encoded("gzip", gzip.compress(f.whole) + b"\0\0\0"),
    "gzip, one byte a segment": lambda f: encoded(
        "gzip", *[bytes([byte]) for byte in gzip.compress(f.whole)], framing="close"
    ),
    "deflate": lambda f: encoded("deflate", zlib.compress(f.whole)),
    "deflate without a header": lambda f: encoded("deflate", raw_deflate(f.whole)),
    "deflate, flushed": lambda f: encoded("deflate", *flushed(f.events, wbits=15)),
    "identity": lambda f: encoded("identity", f.whole),
    "unknown, but plain": lambda f: encoded("aws-chunked", f.whole),
    "a charset": lambda f: encoded("UTF-8", f.whole),
    "empty": lambda f: encoded("", f.whole),
}


@pytest.mark.each_wire_once
@pytest.mark.parametrize("good", GOOD)
def test_compressed_reply_is_read(succeeds, family, good):
    """What is proved when the compression's own end is missing or odd stays proved."""
    succeeds(GOOD[good](family), text=TEXT)


BAD = {
    "no gzip": (lambda f: encoded("gzip", f.whole), StreamProtocolError),
    "no deflate": (lambda f: encoded("deflate", b"\xff" + f.whole), StreamProtocolError),
    "gzip, unnamed": (lambda f: Raw(gzip.compress(f.whole)), StreamInterrupted),
    "unknown": (lambda f: encoded("lz4", b"\x1b\x05\0\xf8\xff\xfe"), StreamInterrupted),
}


@pytest.mark.each_wire_once
@pytest.mark.parametrize("bad", BAD)
def test_body_that_cannot_be_decompressed_is_an_error(fails, family, bad):
    """Nothing of it is taken for text."""
    make, error = BAD[bad]

    fails(make(family), error=error, gone=False)


@pytest.fixture
def no_extras(monkeypatch):
    """Neither brotli nor zstandard is installed."""
    monkeypatch.setattr(HTTPResponse, "CONTENT_DECODERS", ["gzip", "x-gzip", "deflate"])


@pytest.mark.each_wire_once
@pytest.mark.parametrize("name", ["br", "BR", "zstd", "gzip, br", "compress"])
@pytest.mark.usefixtures("no_extras")
def test_compression_that_nothing_here_undoes_is_named(fails, name):
    """Proxies compress what they were not asked to."""
    raw = encoded(name, b"\x1b\x05\0\xf8\xff\xfe")
    failure = fails(raw, error=StreamProtocolError).error

    assert f"content encoding {name!r}" in str(failure)


def test_gzip_that_is_cut_keeps_what_was_flushed(fails, family):
    """As a plain body that is cut."""
    begun = flushed([family.opening, family.first])
    raw = encoded("gzip", *begun, framing="close")

    fails(raw, error=StreamInterrupted, partial=PIECES[0])


def test_gzip_that_breaks_keeps_what_was_flushed(fails, family):
    """Up to the first bad byte."""
    begun = flushed([family.opening, family.first])
    raw = encoded("gzip", *begun, b"\xff" * 100)

    fails(raw, error=StreamProtocolError, partial=PIECES[0])


@pytest.mark.each_wire_once
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("split", [None, 1])
@pytest.mark.parametrize("framing", ["chunked", "length", "close", "http1.0"])
def test_framing_and_compression_do_not_matter(succeeds, framing, split, compressed):
    """Every way that a body can come."""
    succeeds(Reply(TEXT, framing=framing, split=split, gzip=compressed), text=TEXT)
