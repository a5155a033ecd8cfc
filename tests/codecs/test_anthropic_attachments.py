"""Attachments as blocks of the Messages API."""

from __future__ import annotations

import base64

import pytest
from anthropic_request import (
    PNG,
    turns,
    user,
    wire,
)

from cloudllm_sync.attachments import Attachment
from cloudllm_sync.errors import (
    ConfigurationError,
    UnsupportedOptionError,
)


@pytest.mark.parametrize(
    ("attachment", "expected"),
    [
        (
            Attachment.from_bytes(PNG),
            {
                "type": "image",
                "source": {
                    "type": "base64",
                    "media_type": "image/png",
                    "data": base64.b64encode(PNG).decode(),
                },
            },
        ),
        (
            Attachment.from_url("https://x.org/a.jpg"),
            {"type": "image", "source": {"type": "url", "url": "https://x.org/a.jpg"}},
        ),
        (
            Attachment.from_bytes(b"%PDF-1", name="a.pdf"),
            {
                "type": "document",
                "source": {
                    "type": "base64",
                    "media_type": "application/pdf",
                    "data": base64.b64encode(b"%PDF-1").decode(),
                },
            },
        ),
        (
            Attachment.from_url("https://x.org/a.pdf"),
            {"type": "document", "source": {"type": "url", "url": "https://x.org/a.pdf"}},
        ),
        (
            Attachment.from_bytes("Größe".encode(), "text/plain"),
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "Größe"},
            },
        ),
    ],
)
@pytest.mark.parametrize("text", ["look", ""])
def test_attachments_come_before_the_text(attachment, expected, text):
    """Claude reads images best so; text is not needed beside them."""
    blocks = turns(user(text, attachment))[0]["content"]

    assert blocks == [expected] + ([{"type": "text", "text": text}] if text else [])


@pytest.mark.parametrize(
    "attachment",
    [
        Attachment.from_bytes(b"ID3..."),
        Attachment.from_bytes(b"RIFF....WAVE"),
        Attachment.from_bytes(b"<svg/>", "image/svg+xml"),
        Attachment.from_bytes(b"PK", "application/zip"),
        Attachment.from_url("https://x.org/a.txt"),
        Attachment.from_url("https://x.org/a.wav"),
    ],
)
def test_attachments_that_the_wire_cannot_say_are_refused(attachment):
    """Audio, formats that Claude does not read, and addresses of anything but images and PDF."""
    with pytest.raises(UnsupportedOptionError, match="Acme takes no"):
        wire(user("hi", attachment))


@pytest.mark.parametrize(("name", "shown"), [("a.txt", "a.txt"), (None, "an attachment")])
def test_text_that_is_not_utf_8_is_refused(name, shown):
    """It would be sent mangled."""
    with pytest.raises(ConfigurationError, match=shown):
        wire(user("hi", Attachment.from_bytes(b"\xff\xfe", "text/plain", name=name)))
