"""A picture and a question about it: a file of yours, or one that is painted here."""

from __future__ import annotations

import base64
import os
import struct
import sys
import zlib

from client_from_args import NO_KEY, argument_parser, chosen_client

from cloudllm_sync import Attachment, LLMSession
from cloudllm_sync.testing import FakeServer, RecordedRequest

SIDE = 64


def painted_png() -> bytes:
    """A PNG: a red square on white.

    Source: PNG specification (W3C), 5.3 (chunks) and 11.2 (IHDR).
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    inside = range(SIDE // 4, SIDE * 3 // 4)
    rows = [
        b"\0"
        + b"".join(
            b"\xe0\0\0" if x in inside and y in inside else b"\xff\xff\xff" for x in range(SIDE)
        )
        for y in range(SIDE)
    ]
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def picture_at(path: str) -> Attachment:
    """The file; one that is no picture ends the program with one line."""
    try:
        picture = Attachment.from_path(path)
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}")
    except ValueError as error:
        sys.exit(f"{path}: {error}")
    if not picture.media_type.startswith("image/"):
        sys.exit(f"{path}: {picture.media_type} is no image")
    return picture


def describe(request: RecordedRequest) -> str:
    """The embedded server's answer: it cannot see, but it got the bytes."""
    parts = request.json["messages"][-1]["content"]
    (url,) = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    kind, _, data = url.partition(";base64,")
    return f"I got {kind[5:]} of {len(base64.b64decode(data))} bytes. What a nice picture!"


def main() -> None:
    """Ask OpenAI or the server at --base-url; without a key, the embedded one."""
    parser = argument_parser(__doc__)
    parser.add_argument("path", nargs="?", help="an image; default: a red square")
    parser.add_argument("--question", default="What is in this picture?")
    arguments = parser.parse_args()
    picture = picture_at(arguments.path) if arguments.path else Attachment.from_bytes(painted_png())
    keys = os.environ.get("OPENAI_API_KEY") or os.environ.get("OPEN_AI_SECRET")
    with FakeServer(describe) as server:
        if not arguments.base_url and not keys:
            print(NO_KEY)
            arguments.base_url, arguments.model = server.base_url, "demo-model"
        with chosen_client(arguments) as client:
            session = LLMSession(client)
            with session.stream(arguments.question, attachments=[picture]) as stream:
                for text in stream.text():
                    print(text, end="", flush=True)
            print(f"\n[finished: {stream.finish_reason}]")


if __name__ == "__main__":
    main()
