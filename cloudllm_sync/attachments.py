"""Images, sounds and documents that a user message carries."""

from __future__ import annotations

import base64
import mimetypes
import os
from typing import Optional, Union

import attrs

__all__ = ["MAX_ATTACHMENT_BYTES", "Attachment"]

MAX_ATTACHMENT_BYTES = 20 * 1024 * 1024
"""The largest file taken: providers refuse requests of more than 20 to 50 MB."""

# The first bytes of the formats that chat models read.
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
)
# What mimetypes calls otherwise than the providers do, or knows on some systems only.
_ENDINGS = {".wav": "audio/wav", ".webp": "image/webp"}


def _detect(data: bytes, name: str | None) -> str | None:
    """The media type told by the first bytes, or else by the file name."""
    for signature, media_type in _SIGNATURES:
        if data.startswith(signature):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] in (b"WEBP", b"WAVE"):
        return "image/webp" if data[8:12] == b"WEBP" else "audio/wav"
    if name is None:
        return None
    known = _ENDINGS.get(os.path.splitext(name)[1].lower())
    return known or mimetypes.guess_type(name)[0]


@attrs.frozen(slots=True)
class Attachment:
    """An image, a sound or a document: its bytes, or the address where the provider finds it.

    Make one with `from_path()`, `from_bytes()` or `from_url()`.
    """

    media_type: str
    data: Optional[bytes] = attrs.field(default=None, repr=False)
    url: Optional[str] = None
    name: Optional[str] = None

    @classmethod
    def from_bytes(
        cls, data: bytes, media_type: str | None = None, *, name: str | None = None
    ) -> Attachment:
        """An attachment of these bytes; the type is told by the bytes, then by the name.

        Raises:
            ValueError: Empty, over 20 MiB, or of a type that neither bytes nor name tell.
        """
        label = repr(name) if name else "an attachment"
        if not data:
            raise ValueError(f"{label} is empty: there is nothing to send")
        if len(data) > MAX_ATTACHMENT_BYTES:
            size = len(data) / 2**20
            raise ValueError(
                f"{label} has {size:.1f} MiB, over the limit of 20: send a smaller one"
            )
        found = media_type or _detect(data, name)
        if found is None:
            raise ValueError(f"cannot tell the type of {label}: pass media_type")
        return cls(found, bytes(data), None, name)

    @classmethod
    def from_path(
        cls, path: Union[str, os.PathLike[str]], media_type: str | None = None
    ) -> Attachment:
        """An attachment of a file, read now.

        Raises:
            ValueError: As `from_bytes()`.
            OSError: The file cannot be read.
        """
        size = os.stat(path).st_size
        if size > MAX_ATTACHMENT_BYTES:
            raise ValueError(
                f"{os.fspath(path)!r} has {size / 2**20:.1f} MiB, over the limit of 20: "
                "send a smaller one"
            )
        with open(path, "rb") as file:
            return cls.from_bytes(file.read(), media_type, name=os.path.basename(path))

    @classmethod
    def from_url(cls, url: str, media_type: str | None = None) -> Attachment:
        """An attachment that the provider fetches itself; nothing is read here.

        Raises:
            ValueError: Not an http(s) address, or a type that its ending does not tell.
        """
        if not url.lower().startswith(("https://", "http://")):
            raise ValueError(f"{url[:60]!r} is no http(s) address: use from_path() or from_bytes()")
        path = url.split("?", 1)[0].split("#", 1)[0]
        found = media_type or _detect(b"", path)
        if found is None:
            raise ValueError(f"cannot tell the type of {path[:80]!r}: pass media_type")
        return cls(found, None, url, None)

    def base64(self) -> str:
        """The bytes as base64 text; empty for an attachment that is an address."""
        return base64.b64encode(self.data or b"").decode("ascii")

    def data_url(self) -> str:
        """The address itself, or the bytes as a `data:` URL (RFC 2397)."""
        return self.url or f"data:{self.media_type};base64,{self.base64()}"
