"""The text alone, for curl and for whoever reads a body as it comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from cloudllm_sync.codecs.surrogates import well_formed
from cloudllm_sync.values import Message, MessageChunk
from cloudllm_sync.web.protocols.error_texts import ErrorText, safe_text

__all__ = ["TextEncoder"]


class TextEncoder:
    """The encoder of "text". A text has no end mark: what cuts it short can only be written in."""

    name = "text"
    content_type = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = {}

    def __init__(self, *, error_text: Optional[ErrorText] = None) -> None:
        self._error_text = error_text

    def start(self) -> bytes:
        """Nothing."""
        return b""

    def chunk(self, chunk: MessageChunk, event_id: str | None = None) -> bytes:
        """The content."""
        return _utf_8(chunk.content)

    def heartbeat(self) -> bytes:
        """Nothing: whatever was sent would be part of the text."""
        return b""

    def finish(self, message: Message) -> bytes:
        """Nothing."""
        return b""

    def error(self, error: BaseException) -> bytes:
        """A last line in brackets."""
        return _utf_8(f"\n[error: {safe_text(error, self._error_text)}]")


def _utf_8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return well_formed(text).encode()
