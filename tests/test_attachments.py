"""Attachments: what they are is told by their bytes, then by their names."""

from __future__ import annotations

import mimetypes
import os
import pathlib
import pickle
import tracemalloc

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
        (b"\xff\xf3\x90", "audio/mpeg"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image/heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "image/heif"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "image/avif"),
        (b"fLaC\0\0\0\x22", "audio/flac"),
        (b"OggS\0\2", "audio/ogg"),
    ],
)
def test_bytes_tell_the_type(data, media_type):
    """Whatever the name says."""
    assert media_type == Attachment.from_bytes(data).media_type
    assert media_type == Attachment.from_bytes(data, name="a.txt").media_type
    assert media_type == Attachment.from_bytes(memoryview(data)).media_type


@pytest.mark.parametrize(
    "text", [b"ID3 trees explained", b"GIF8 is no format", b"fLaCid", b"OggSo"]
)
def test_text_is_no_picture_or_sound(text):
    """Whatever it begins with."""
    assert "text/plain" == Attachment.from_bytes(text, name="a.txt").media_type


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
    ("a.md", "text/markdown"),
    ("a.csv", "text/csv"),
    ("a.js", "text/javascript"),
    ("a.svg", "image/svg+xml"),
    ("a.heic", "image/heic"),
    ("a.flac", "audio/flac"),
    ("a.ogg", "audio/ogg"),
    ("a.m4a", "audio/mp4"),
]


def test_name_tells_the_same_on_every_system(monkeypatch):
    """Not what a Windows registry or /etc/mime.types makes of it."""
    monkeypatch.setattr(mimetypes, "_db", None)
    monkeypatch.setattr(mimetypes, "inited", True)
    monkeypatch.setattr(mimetypes, "guess_type", lambda name: ("application/vnd.ms-excel", None))

    assert "text/csv" == Attachment.from_bytes(b"a;b", name="a.csv").media_type


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


def test_address_is_taken_without_the_white_space_around_it():
    """A line of a file ends in a newline."""
    assert "https://e.com/ä.png" == Attachment.from_url(" HTTPS://e.com/ä.png\n".lower()).url


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
        (lambda: Attachment.from_url("https://e.com"), "the type of 'https://e.com': pass"),
        (lambda: Attachment.from_url("https://e.zip"), "the type of 'https://e.zip': pass"),
        (lambda: Attachment.from_url("https:///a.png"), "is no http.s. address"),
        (lambda: Attachment.from_url("https://[e.com/a.png"), "is no http.s. address"),
        (lambda: Attachment.from_url("https://e.com/a\nb.png"), "is no http.s. address"),
        (lambda: Attachment.from_url(None), "None is no http.s. address"),
        (lambda: Attachment.from_url(b"https://e.com/a.png"), "is no http.s. address"),
        (lambda: Attachment.from_url("data:image/png;base64,iVBORw0KGgo="), "from_bytes"),
        (lambda: Attachment.from_url("https://me:pw@e.com/a.png"), "user name or password"),
        (lambda: Attachment.from_bytes(b"x", name="a.txt.gz"), "the type of 'a.txt.gz': pass"),
        (lambda: Attachment.from_bytes(PNG, "png"), "'png' is no media type: write image/png"),
        (lambda: Attachment.from_bytes(PNG, "image/png\r\n"), "is no media type"),
        (lambda: Attachment.from_url("https://e.com/a", "image/"), "is no media type"),
        (lambda: Attachment.from_bytes(PNG, 7), "7 is no media type"),
        (lambda: Attachment("image/png"), "either data or url"),
        (lambda: Attachment("image/png", PNG, "https://e.com/a.png"), "either data or url"),
        (
            lambda: Attachment.from_bytes(bytes(MAX_ATTACHMENT_BYTES + 1), name="a.png"),
            "'a.png' has 20.1 MiB, over the limit of 20",
        ),
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


@pytest.mark.parametrize("data", ["text", 7, None, [1, 2]])
def test_what_is_not_bytes_is_a_type_error(data):
    """With or without a type."""
    for media_type in (None, "image/png"):
        with pytest.raises(TypeError, match="bytes"):
            Attachment.from_bytes(data, media_type)


@pytest.mark.parametrize(
    "url", ["https://me:secret@e.com/a?signature=secret", "ftp://me:secret@e.com/a#secret\nsecret"]
)
def test_address_with_a_password_is_not_shown(url):
    """An error goes into a log."""
    with pytest.raises(ValueError) as caught:
        Attachment.from_url(url)

    assert "secret" not in str(caught.value)


def test_what_an_address_is_signed_with_is_not_shown():
    """Whoever holds a pre-signed address holds the file."""
    attachment = Attachment.from_url("https://e.com/a.png?X-Amz-Signature=secret#secret")

    assert "https://e.com/a.png" in repr(attachment)
    assert "secret" not in repr(attachment)
    with pytest.raises(ValueError) as caught:
        Attachment.from_url("https://e.com/a?X-Amz-Signature=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "error"),
    [("none.png", FileNotFoundError), ("folder", OSError), ("dangling.png", FileNotFoundError)],
)
def test_file_that_cannot_be_read_is_an_os_error(name, error, tmp_path):
    """The caller's own language for it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")

    with pytest.raises(error):
        Attachment.from_path(tmp_path / name)


def test_link_is_the_file_that_it_leads_to(tmp_path):
    """Under its own name, its type told by the bytes."""
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.png")

    attachment = Attachment.from_path(tmp_path / "b.jpg")

    assert ("image/png", "b.jpg") == (attachment.media_type, attachment.name)


def test_empty_file_is_refused(tmp_path):
    """By its name."""
    path = tmp_path / "a.png"
    path.touch()

    with pytest.raises(ValueError, match=r"^'a.png' is empty"):
        Attachment.from_path(path)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="this system has no /dev/zero")
def test_endless_file_is_refused():
    """Devices, pipes and growing files do not tell their size, or not the truth."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"^'zero' has more than 20 MiB: send a smaller one"):
            Attachment.from_path("/dev/zero", "image/png")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 4 * MAX_ATTACHMENT_BYTES


def test_path_may_be_bytes_and_no_text(tmp_path):
    """The name goes into a request, so it becomes text that can be sent."""
    path = os.path.join(os.fsencode(tmp_path), b"\xff.png")
    try:
        with open(path, "wb") as file:
            file.write(b"not known")
    except OSError:
        pytest.skip("this system has no such names")

    attachment = Attachment.from_path(path)

    assert ("image/png", "?.png") == (attachment.media_type, attachment.name)


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
