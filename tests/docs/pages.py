"""Pages of documentation as programs: their Python runs from top to bottom, and says what they say.

A block of `text` right below a block of `python` is what that block prints.
"""

from __future__ import annotations

import contextlib
import io
import logging
import pathlib
import re
import sys
import types

import attrs

from cloudllm_sync import (
    ClaudeClient,
    GeminiClient,
    GrokClient,
    OpenAIClient,
    OpenAIResponsesClient,
)
from cloudllm_sync.clients import registry
from cloudllm_sync.testing import FakeServer

ROOT = pathlib.Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_WITH_VERSION = (OpenAIClient, OpenAIResponsesClient, GrokClient)
_WITHOUT_VERSION = (ClaudeClient, GeminiClient)
# Whose objects are closed behind a page that does not do it itself.
_CLOSED = ("cloudllm_sync.", "openai")


@attrs.frozen
class Block:
    """A block of code; `line` is how many lines stand above it."""

    language: str
    text: str
    line: int
    follows: bool
    """Whether nothing stands between it and the block before."""


def text_of(page: str) -> str:
    """A page, by its path below the root."""
    return ROOT.joinpath(page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page."""
    text = text_of(page)
    blocks, end = [], -1
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start(2))
        follows = end >= 0 and not text[end : found.start()].strip()
        blocks.append(Block(found[1], found[2], line, follows))
        end = found.end()
    return blocks


def python_of(page: str) -> list[str]:
    """The Python of a page, block by block."""
    return [block.text for block in blocks_of(page) if block.language == "python"]


@contextlib.contextmanager
def played_providers(monkeypatch, folder, default):
    """Has one FakeServer stand for all providers, with keys, and in an empty folder."""
    monkeypatch.chdir(folder)
    with FakeServer(default=default) as server:
        for kind in (*_WITH_VERSION, *_WITHOUT_VERSION):
            url = server.base_url if kind in _WITH_VERSION else server.url
            row = attrs.evolve(kind.provider, base_url=url)
            monkeypatch.setattr(kind, "provider", row)
            monkeypatch.setenv(row.key_variables[0], "test")
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        # A page may add a provider, which is nothing for the tests after it.
        monkeypatch.setattr(registry, "_table", {**registry.known_providers()})
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)  # for OpenAI's own package
        yield server


class Program:
    """The blocks of a page, run as one program; what it opened is closed at the end."""

    def __init__(self, name: str = "page") -> None:
        self._level = logging.getLogger("cloudllm_sync").level
        # A module as any other: Python 3.9 looks up there what annotations of its classes mean.
        self._module = types.ModuleType(name)
        sys.modules[name] = self._module
        self.names = self._module.__dict__

    def run(self, text: str, file: str = "block", line: int = 0) -> str:
        """Run one block; gives what it printed, and prints it again."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * line + text, file, "exec"), self.names)
        sys.stdout.write(printed.getvalue())
        return printed.getvalue()

    def run_page(self, page: str) -> None:
        """Run all of a page, and compare what it prints with what it says that it prints."""
        printed = None
        for block in blocks_of(page):
            if block.language == "text" and block.follows and printed is not None:
                assert block.text.rstrip("\n") == printed.rstrip("\n"), f"{page}, line {block.line}"
            printed = None
            if block.language == "python":
                printed = self.run(block.text, str(ROOT / page), block.line)

    def close(self) -> None:
        logging.getLogger("cloudllm_sync").setLevel(self._level)
        del sys.modules[self._module.__name__]
        for value in [*self.names.values()]:
            if type(value).__module__.startswith(_CLOSED) and hasattr(value, "close"):
                value.close()
