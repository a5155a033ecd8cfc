"""How a reply is shown: as text for pipes, as JSON for programs, as Markdown on a terminal."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Callable, Protocol

from cloudllm_sync.cli.exits import complain
from cloudllm_sync.cli.printable import printable
from cloudllm_sync.errors import CloudLLMError
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.values import Message, MessageChunk

__all__ = ["JSONLines", "Plain", "Shown", "is_terminal", "show"]

_NOTES = {
    "length": "the reply is cut: the model wrote as much as it may",
    "content_filter": "the provider's filter ended the reply",
}


class Shown(Protocol):
    """Where a reply goes."""

    def chunk(self, chunk: MessageChunk) -> None:
        """A piece of it."""

    def finish(self, message: Message) -> None:
        """It is whole."""

    def fail(self, error: BaseException) -> None:
        """It is not, and more will not come."""


def is_terminal() -> bool:
    """Whether somebody reads along, on a terminal that can draw."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def show(ask: Callable[[], ChatStream], shown: Shown) -> Message:
    """Ask, and show the reply as it comes.

    Raises:
        CloudLLMError: It failed; what had come is shown.
        KeyboardInterrupt: Ctrl-C; the same.
    """
    try:
        with ask() as stream:
            for chunk in stream:
                shown.chunk(chunk)
            message = stream.result()
    except BaseException as error:
        shown.fail(error)
        raise
    shown.finish(message)
    note = _NOTES.get(message.finish_reason or "")
    if note is not None:
        complain(note)
    return message


class Plain:
    """Text as it comes; a newline at the end, as everything in a pipe has one."""

    def __init__(self) -> None:
        self._ends_line = True

    def chunk(self, chunk: MessageChunk) -> None:
        """Its text."""
        text = chunk.content or chunk.refusal
        if text:
            text = printable(text) if sys.stdout.isatty() else text
            self._ends_line = text.endswith("\n")
            sys.stdout.write(text)
            sys.stdout.flush()

    def finish(self, message: Message) -> None:
        """The newline, if it is missing."""
        if not self._ends_line:
            sys.stdout.write("\n")
        sys.stdout.flush()

    def fail(self, error: BaseException) -> None:
        """The newline, unless nobody reads."""
        if not self._ends_line and not isinstance(error, BrokenPipeError):
            self._ends_line = True
            sys.stdout.write("\n")
            sys.stdout.flush()


class JSONLines:
    """An object a line: chunks, and then how it ended."""

    def chunk(self, chunk: MessageChunk) -> None:
        """What it holds."""
        parts = ("content", "reasoning", "refusal")
        said = {name: getattr(chunk, name) for name in parts if getattr(chunk, name)}
        if said:
            self._write(said)

    def finish(self, message: Message) -> None:
        """What is known of the whole reply."""
        import attrs

        usage = None if message.usage is None else attrs.asdict(message.usage)
        self._write(
            {
                "finish_reason": message.finish_reason,
                "model": message.model,
                "response_id": message.response_id,
                "usage": usage,
            }
        )

    def fail(self, error: BaseException) -> None:
        """What went wrong."""
        if isinstance(error, CloudLLMError):
            self._write({"error": {"type": type(error).__name__, "message": str(error)}})

    def _write(self, line: dict[str, Any]) -> None:
        is_utf_8 = sys.stdout.encoding.lower().replace("_", "-") == "utf-8"
        sys.stdout.write(json.dumps(line, ensure_ascii=not is_utf_8) + "\n")
        sys.stdout.flush()
