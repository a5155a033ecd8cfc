"""Markdown that is still being written, cut where nothing before will change."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from cloudllm_sync.cli.blocks import Blocks

REPLY = """\
# A heading

A paragraph
of two lines.


1. a list

   whose item goes on
2. more

```python
a = 1

b = 2
```
~~~~
~~~

not the end
~~~~

The last one"""
BLOCKS = [
    "# A heading",
    "A paragraph\nof two lines.",
    "1. a list\n\n   whose item goes on\n2. more",
    "```python\na = 1\n\nb = 2\n```\n~~~~\n~~~\n\nnot the end\n~~~~",
]


def cut(pieces):
    blocks = Blocks()
    done = [block for piece in pieces for block in blocks.feed(piece)]
    return done, blocks.open


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_blocks_end_at_blank_lines_outside_of_code(size):
    """However the text comes; what is indented goes on with its list."""
    pieces = [REPLY[at : at + size] for at in range(0, len(REPLY), size)]

    assert (BLOCKS, "The last one") == cut(pieces)


def test_block_is_open_until_the_next_one_begins():
    """A blank line may stand in the middle of a list."""
    assert ([], "one\n\n") == cut(["one\n\n"])
    assert (["one"], "t") == cut(["one\n\n", "t"])


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("Thus:\n```py\na\nb\nc\nd", "```py\nc\nd"),
        ("```py\na", "```py\na"),
        ("```py\na\nb\nc\n```\nd", "```py\na\nb\nc\n```\nd"),
        ("1. a\n2. b\n3. c", "1. a\n2. b\n3. c"),
    ],
    ids=["code", "short", "closed", "list"],
)
def test_end_of_code_is_enough_to_draw_it(text, end):
    """Of a list it is not: its numbers count from the first."""
    blocks = Blocks()
    blocks.feed(text)

    assert end == blocks.end(2)
    assert text == blocks.open


@given(strategies.text(alphabet="ab `~\n-", max_size=60), strategies.data())
def test_nothing_is_lost_or_doubled(text, data):
    """Whatever it is, and however it is cut: only blank lines go."""
    at = data.draw(strategies.integers(0, len(text)))
    done, rest = cut([text[:at], text[at:]])

    assert "".join(text.split()) == "".join("".join([*done, rest]).split())
    assert cut(text) == (done, rest)
