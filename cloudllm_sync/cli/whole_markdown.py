"""A block of Markdown as Rich draws it, with nothing of its text left out."""

from __future__ import annotations

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown, TableElement
from rich.table import Table

__all__ = ["WholeMarkdown"]

# Rich leaves out, or draws without their address, what these rules find.
_LEFT_AS_WRITTEN = ("reference", "autolink", "image")


class _WholeTable(TableElement):
    """A table whose words are folded where a column is too narrow, in place of being cut."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            if isinstance(table, Table):
                for column in table.columns:
                    column.overflow = "fold"
            yield table


class WholeMarkdown(Markdown):
    """A block for a console. What Rich has no form for is drawn as it was written.

    That is HTML, which may be `List<String>`, and definitions of links, whose uses may be in other
    blocks. A link's address is drawn, too: not all terminals show it otherwise, and whoever clicks
    should see it.
    """

    elements = {**Markdown.elements, "table_open": _WholeTable}

    def __init__(self, block: str) -> None:
        super().__init__("", hyperlinks=False)
        # Rich has no parameter for its parser: 13.7 to 15.0.
        parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
        self.markup, self.parsed = block, parser.disable(_LEFT_AS_WRITTEN).parse(block)
