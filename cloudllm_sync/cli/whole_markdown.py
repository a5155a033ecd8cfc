"""A block of Markdown as Rich draws it, with nothing of its text left out."""

from __future__ import annotations

from markdown_it import MarkdownIt
from rich.markdown import Markdown

__all__ = ["WholeMarkdown"]

# Rich leaves out, or draws without their address, what these rules find.
_LEFT_AS_WRITTEN = ("reference", "autolink", "image")


class WholeMarkdown(Markdown):
    """A block for a console. What Rich has no form for is drawn as it was written.

    That is HTML, which may be `List<String>`, and definitions of links, whose uses may be in other
    blocks. A link's address is drawn, too: not all terminals show it otherwise, and whoever clicks
    should see it.
    """

    def __init__(self, block: str) -> None:
        super().__init__("", hyperlinks=False)
        # Rich has no parameter for its parser: 13.7 to 15.0.
        parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
        self.markup, self.parsed = block, parser.disable(_LEFT_AS_WRITTEN).parse(block)
