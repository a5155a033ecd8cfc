"""Markdown that is still being written, cut into the blocks that will not change any more."""

from __future__ import annotations

import re

__all__ = ["Blocks"]

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


class Blocks:
    """Takes text as it comes; hands out each block once what follows it has begun."""

    def __init__(self) -> None:
        self._open = ""
        self._looked = 0  # up to here whole lines have been looked at
        self._fence = ""  # that the open block stands in
        self._fence_line = ""  # with the language
        self._blank_at = -1  # where the open block ends, if what follows is a new one

    @property
    def open(self) -> str:
        """The block that may still change."""
        return self._open

    def end(self, most: int) -> str:
        """As much of the open block as it takes to draw its last lines.

        Code alone can be cut anywhere, and is what grows long: to colour all of it for every word
        takes longer than the words.
        """
        lines = self._open.rsplit("\n", most) if self._fence else []
        return "\n".join([self._fence_line, *lines[1:]]) if len(lines) > most else self._open

    def feed(self, text: str) -> list[str]:
        """Add text; the blocks that it ended."""
        self._open += text
        done: list[str] = []
        while True:
            if self._blank_at >= 0 and len(self._open) > self._looked:
                self._split(done)
            end = self._open.find("\n", self._looked)
            if end < 0:
                return done
            line = self._open[self._looked : end]
            self._looked = end + 1
            self._look_at(line)

    def _split(self, done: list[str]) -> None:
        """At the blank line, unless what follows goes on with the block: it is indented."""
        at, self._blank_at = self._blank_at, -1
        if self._open[self._looked] in " \t\n":
            if self._open[self._looked] == "\n":
                self._blank_at = at
            return
        if self._open[:at].strip():
            done.append(self._open[:at].strip("\n"))
        self._open = self._open[self._looked :]
        self._looked = 0

    def _look_at(self, line: str) -> None:
        found = _FENCE.match(line)
        if self._fence:
            closes = found and found[1].startswith(self._fence) and not found[2].strip()
            self._fence = "" if closes else self._fence
        elif found is not None:
            self._fence = found[1]
            self._fence_line = line
        elif not line.strip() and self._blank_at < 0:
            self._blank_at = self._looked - len(line) - 1
