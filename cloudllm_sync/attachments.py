"""Images, sounds and documents that a user message carries."""

from __future__ import annotations

import base64
import math
import mimetypes
import os
import re
from typing import Optional, Union
from urllib.parse import urlsplit

import attrs

__all__ = ["MAX_ATTACHMENT_BYTES", "Attachment"]

MAX_ATTACHMENT_BYTES = 20 * 1024 * 1024
"""The largest file taken: providers refuse requests of more than 20 to 50 MB."""

# The first bytes of the formats that chat models read.
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"ID3\x02", "audio/mpeg"),
    (b"ID3\x03", "audio/mpeg"),
    (b"ID3\x04", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
    (b"fLaC\0", "audio/flac"),
    (b"OggS\0", "audio/ogg"),
)
# Formats whose name stands at byte 8, by the word before it (at 0 or at 4) and that name.
_BRANDS = {
    b"RIFFWEBP": "image/webp",
    b"RIFFWAVE": "audio/wav",
    b"ftypheic": "image/heic",  # what telephones write, often as .jpg
    b"ftypheix": "image/heic",
    b"ftypmif1": "image/heif",
    b"ftypavif": "image/avif",
}
# What Python's own table calls otherwise than the providers do, or knows in some versions only.
_ENDINGS = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".flac": "audio/flac",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".js": "text/javascript",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".ogg": "audio/ogg",
    ".wav": "audio/wav",
    ".webp": "image/webp",
}
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+( *; *[ -~]+)?", re.ASCII)


def _detect(data: bytes, name: str | None) -> str | None:
    """The media type told by the first bytes, or else by the file name."""
    for signature, media_type in _SIGNATURES:
        if data.startswith(signature):
            return media_type
    known = _BRANDS.get(data[:4] + data[8:12]) or _BRANDS.get(data[4:12])
    named = None if known or name is None else _by_ending(name)
    # A text may begin so, too: it counts only where nothing else tells.
    return known or named or ("audio/mpeg" if data.startswith(b"ID3") else None)


def _by_ending(name: str) -> str | None:
    known = _ENDINGS.get(os.path.splitext(name)[1].lower())
    # A table of its own: the shared one holds what the system's registry or mime.types says.
    guessed, packed_by = mimetypes.MimeTypes().guess_type(name)
    return known or (guessed if packed_by is None else None)


def _check_media_type(_self: Attachment, _field: object, value: str) -> None:
    if not isinstance(value, str) or not _MEDIA_TYPE.fullmatch(value):
        raise ValueError(f"{value!r} is no media type: write image/png or the like")


def _shown(url: object) -> str:
    """Without password and query: whoever holds a pre-signed address holds the file."""
    if not isinstance(url, str):
        return repr(url)
    return repr(re.sub(r"[?#].*", "?...", re.sub(r"//[^/@\s]*@", "//***@", url), flags=re.DOTALL))


@attrs.frozen(slots=True)
class Attachment:
    """An image, a sound or a document: its bytes, or the address where the provider finds it.

    Make one with `from_path()`, `from_bytes()` or `from_url()`.

    Raises:
        ValueError: No media type, or not either data or url.
    """

    media_type: str = attrs.field(validator=_check_media_type)
    data: Optional[bytes] = attrs.field(default=None, repr=False)
    url: Optional[str] = attrs.field(default=None, repr=_shown)
    name: Optional[str] = None

    def __attrs_post_init__(self) -> None:
        if (self.data is None) == (self.url is None):
            raise ValueError("an attachment has either data or url: use from_bytes() or from_url()")

    @classmethod
    def from_bytes(
        cls, data: bytes, media_type: str | None = None, *, name: str | None = None
    ) -> Attachment:
        """An attachment of these bytes; the type is told by the bytes, then by the name.

        Raises:
            ValueError: Empty, over 20 MiB, or of a type that neither bytes nor name tell.
        """
        label = repr(name) if name else "an attachment"
        size_bytes = memoryview(data).nbytes
        if not size_bytes:
            raise ValueError(f"{label} is empty: there is nothing to send")
        _check_size(label, size_bytes)
        data = bytes(data)
        found = media_type or _detect(data, name)
        if found is None:
            raise ValueError(f"cannot tell the type of {label}: pass media_type")
        return cls(found, data, None, name)

    @classmethod
    def from_path(
        cls, path: Union[str, bytes, os.PathLike[str]], media_type: str | None = None
    ) -> Attachment:
        """An attachment of a file, read now.

        Raises:
            ValueError: As `from_bytes()`.
            OSError: The file cannot be read.
        """
        # A name that is no text would stop the request that it goes into.
        name = os.path.basename(os.fsdecode(path)).encode("utf-8", "replace").decode()
        _check_size(repr(name), os.stat(path).st_size)
        with open(path, "rb") as file:
            data = file.read(MAX_ATTACHMENT_BYTES + 1)
        if len(data) > MAX_ATTACHMENT_BYTES:  # a device or a pipe, of which size 0 is told
            raise ValueError(f"{name!r} has more than 20 MiB: send a smaller one")
        return cls.from_bytes(data, media_type, name=name)

    @classmethod
    def from_url(cls, url: str, media_type: str | None = None) -> Attachment:
        """An attachment that the provider fetches itself; nothing is read here.

        Raises:
            ValueError: Not an http(s) address, one with a user name or password, or a type that
                its ending does not tell.
        """
        shown = _shown(url)
        url = url.strip() if isinstance(url, str) else ""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable or any(char <= " " for char in url):
            raise ValueError(f"{shown[:60]} is no http(s) address: use from_path() or from_bytes()")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the address holds a user name or password: use from_bytes()")
        found = media_type or _by_ending(parts.path)
        if found is None:
            raise ValueError(f"cannot tell the type of {shown[:80]}: pass media_type")
        return cls(found, None, url, None)

    def base64(self) -> str:
        """The bytes as base64 text; empty for an attachment that is an address."""
        return base64.b64encode(self.data or b"").decode("ascii")

    def data_url(self) -> str:
        """The address itself, or the bytes as a `data:` URL (RFC 2397)."""
        return self.url or f"data:{self.media_type};base64,{self.base64()}"


def _check_size(label: str, size_bytes: int) -> None:
    if size_bytes > MAX_ATTACHMENT_BYTES:
        size = math.ceil(size_bytes / 2**20 * 10) / 10
        raise ValueError(f"{label} has {size:.1f} MiB, over the limit of 20: send a smaller one")
