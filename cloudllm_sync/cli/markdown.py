"""Markdown on a terminal, drawn while it is written."""

from __future__ import annotations

import threading
from typing import Optional

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from cloudllm_sync.cli.blocks import Blocks
from cloudllm_sync.cli.printable import printable
from cloudllm_sync.cli.whole_markdown import WholeMarkdown
from cloudllm_sync.values import Message, MessageChunk

__all__ = ["OnTerminal"]

# Drawing costs milliseconds: no oftener than eyes follow.
_DRAWING_S = 0.08
_WAITING = Text("…", style="dim")


class OnTerminal:
    """Finished blocks are printed for good; the last one is drawn again as it grows.

    So a long reply scrolls as any output does, and stays to be scrolled back to. A thread draws,
    so that what came last is drawn although nothing more comes. Rich's own would do so between the
    two halves of a print, and take back what is not its.
    """

    def __init__(self, console: Optional[Console] = None) -> None:
        self._console = console or Console(highlight=False)
        self._lock = threading.Lock()  # the terminal, and all of these
        self._blocks = Blocks()
        self._is_reasoning = False
        self._live: Optional[Live] = None
        self._printed = False
        self._ended = threading.Event()
        with self._lock:
            self._draw(_WAITING)
        threading.Thread(target=self._draw_what_grows, daemon=True).start()

    def chunk(self, chunk: MessageChunk) -> None:
        """Show what it adds; reasoning is dim, and as it was written."""
        with self._lock:
            if chunk.reasoning:
                self._add(chunk.reasoning, is_reasoning=True)
            if chunk.content or chunk.refusal:
                self._add(chunk.content or chunk.refusal, is_reasoning=False)

    def finish(self, message: Message) -> None:
        """Print the last block."""
        self._end()

    def fail(self, error: BaseException) -> None:
        """Print what had come."""
        self._end()

    def _end(self) -> None:
        self._ended.set()
        with self._lock:
            self._flush()

    def _draw_what_grows(self) -> None:
        drawn = ""
        while not self._ended.wait(_DRAWING_S):
            with self._lock:
                text = self._blocks.end(self._console.height)
                if text != drawn and not self._ended.is_set():
                    self._draw(self._rendered(text))
                    drawn = text

    # --- with the lock ---

    def _add(self, text: str, *, is_reasoning: bool) -> None:
        if is_reasoning != self._is_reasoning:
            self._flush()
            self._is_reasoning = is_reasoning
        for block in self._blocks.feed(printable(text)):
            self._print(block)

    def _flush(self) -> None:
        """Nothing is drawn any more: what is open is printed."""
        self._take_back()
        if self._blocks.open.strip():
            self._print(self._blocks.open.strip("\n"))
        self._blocks = Blocks()

    def _rendered(self, block: str) -> RenderableType:
        return Text(block, style="dim") if self._is_reasoning else WholeMarkdown(block)

    def _print(self, block: str) -> None:
        self._take_back()
        if self._printed:
            self._console.print()
        self._console.print(_Lines(self._rendered(block)))
        self._printed = True

    def _draw(self, what: RenderableType) -> None:
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        lines = _Lines(what, max(self._console.height - 2, 1))
        self._live.update(Group(Text(), lines) if self._printed else lines, refresh=True)

    def _take_back(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()


class _Lines:
    """Lines without blank ones around them; the last ones, where the terminal has room for few:
    what was drawn above its top cannot be taken back.
    """

    def __init__(self, what: RenderableType, most: Optional[int] = None) -> None:
        self._what = what
        self._most = most

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._what, options.update(height=None), pad=False)
        while lines and _is_blank(lines[0]):
            del lines[0]
        while lines and _is_blank(lines[-1]):
            lines.pop()
        for line in lines[-self._most :] if self._most else lines:
            yield from _without_padding(line)
            yield Segment.line()


def _without_padding(line: list[Segment]) -> list[Segment]:
    """A line that does not fill the terminal: the `^C` that it echoes would begin another one,
    and what is drawn would be taken back a line too late.
    """
    kept = list(line)
    while kept and not kept[-1].text.strip() and not (kept[-1].style and kept[-1].style.bgcolor):
        kept.pop()
    if kept and not (kept[-1].style and kept[-1].style.bgcolor):
        kept[-1] = Segment(kept[-1].text.rstrip(), kept[-1].style, kept[-1].control)
    return kept


def _is_blank(line: list[Segment]) -> bool:
    return not any(segment.text.strip() for segment in line)
