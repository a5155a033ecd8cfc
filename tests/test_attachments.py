"""Attachments: what they are is told by their bytes, then by their names."""

from __future__ import annotations

import pathlib
import pickle

import pytest

from cloudllm_sync.attachments import MAX_ATTACHMENT_BYTES, Attachment

PNG = b"\x89PNG\r\n\x1a\n...."


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"%PDF-1.7", "application/pdf"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90", "audio/mpeg"),
    ],
)
def test_bytes_tell_the_type(data, media_type):
    """Whatever the name says."""
    assert media_type == Attachment.from_bytes(data).media_type
    assert media_type == Attachment.from_bytes(data, name="a.txt").media_type


NAMES = [
    ("a.png", "image/png"),
    ("a.JPG", "image/jpeg"),
    ("a.gif", "image/gif"),
    ("a.webp", "image/webp"),
    ("a.WEBP", "image/webp"),
    ("a.wav", "audio/wav"),
    ("a.mp3", "audio/mpeg"),
    ("a.b.pdf", "application/pdf"),
    ("a.txt", "text/plain"),
]


@pytest.mark.parametrize(("name", "media_type"), NAMES)
def test_name_tells_the_type_of_unknown_bytes(name, media_type):
    """By its ending, the same on every system."""
    assert media_type == Attachment.from_bytes(b"RIFF....AVI ", name=name).media_type


@pytest.mark.parametrize(("name", "media_type"), NAMES)
def test_address_tells_the_type(name, media_type):
    """Without query and fragment; nothing is fetched."""
    attachment = Attachment.from_url(f"https://e.com/x/{name}?a=b.zip#c.zip")

    assert media_type == attachment.media_type
    assert (attachment.data, attachment.name) == (None, None)


def test_given_type_wins():
    """The caller knows."""
    assert Attachment.from_bytes(PNG, "image/x-own").media_type == "image/x-own"
    assert Attachment.from_url("http://e.com/a", "image/png").media_type == "image/png"


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Attachment.from_bytes(b""), "an attachment is empty: there is nothing to send"),
        (lambda: Attachment.from_bytes(b"", name="a.png"), "'a.png' is empty"),
        (lambda: Attachment.from_bytes(b"x"), "the type of an attachment: pass media_type"),
        (lambda: Attachment.from_bytes(b"x", name="a.qqq"), "the type of 'a.qqq': pass"),
        (lambda: Attachment.from_bytes(b"x", name="noending"), "the type of 'noending': pass"),
        (
            lambda: Attachment.from_bytes(bytes(MAX_ATTACHMENT_BYTES + 2**20), name="a.png"),
            "'a.png' has 21.0 MiB, over the limit of 20: send a smaller one",
        ),
        (lambda: Attachment.from_url("a.png"), "'a.png' is no http.s. address: use from_path"),
        (lambda: Attachment.from_url("file:///a.png"), "is no http.s. address"),
        (lambda: Attachment.from_url("https://e.com/a"), "the type of 'https://e.com/a': pass"),
    ],
)
def test_what_cannot_be_sent_is_refused(make, match):
    """With what to do about it."""
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_file_is_read_now(kind, tmp_path):
    """Its name goes along, its folder does not."""
    path = tmp_path / "a.bin"
    path.write_bytes(PNG)
    attachment = Attachment.from_path(kind(path))
    path.unlink()

    assert Attachment("image/png", PNG, None, "a.bin") == attachment


def test_large_file_is_refused_unread(tmp_path):
    """A film is not read into memory to find that out."""
    path = tmp_path / "film.mp4"
    with open(path, "wb") as file:
        file.truncate(MAX_ATTACHMENT_BYTES * 1000)

    with pytest.raises(ValueError, match=r"film.mp4' has 20000.0 MiB, over the limit of 20"):
        Attachment.from_path(path)


def test_missing_file_is_an_os_error(tmp_path):
    """The caller's own language for it."""
    with pytest.raises(FileNotFoundError):
        Attachment.from_path(tmp_path / "none.png")


def test_data_url_holds_the_bytes_or_is_the_address():
    """What the wires need."""
    held, elsewhere = Attachment.from_bytes(PNG[:8]), Attachment.from_url("https://e.com/a.png")

    assert held.data_url() == "data:image/png;base64,iVBORw0KGgo="
    assert held.base64() == "iVBORw0KGgo="
    assert elsewhere.data_url() == "https://e.com/a.png"
    assert elsewhere.base64() == ""


def test_bytes_are_not_shown():
    """A log line with megabytes helps nobody."""
    assert "PNG" not in repr(Attachment.from_bytes(PNG))


def test_attachment_pickles_and_hashes():
    """It is a value."""
    attachment = Attachment.from_bytes(PNG, name="a")

    assert attachment == pickle.loads(pickle.dumps(attachment))
    assert hash(attachment) == hash(Attachment.from_bytes(PNG, name="a"))
