"""nginx's configuration: the blocks that pass requests on, with what holds in each.

Files that are included are read, too, beside the one that is given. Not seen is what nginx itself
was built or started with, nor variables.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from typing import Callable, Union

import attrs

from cloudllm_sync.web.doctor import ProxyBlock

__all__ = ["proxy_blocks", "read_nginx"]

_TOKEN = re.compile(
    r"""\#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|(?:\$\{[^}]*\}|\\.|[^\s{};"'\\])+|\S""",
    re.DOTALL,
)
_TIME = re.compile(r"(\d+)(ms|[smhdwMy]?)")
_SECONDS = {
    "ms": 0.001,
    "": 1,
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "w": 604800,
    "M": 2592000,
    "y": 31536000,
}
# Each has directives of its own, of the same names behind this: proxy_buffering, uwsgi_buffering.
_PASSING = ("proxy", "uwsgi", "fastcgi", "scgi")

Included = Callable[[str], Iterable[str]]


@attrs.define
class _Block:
    words: list[str]
    directives: list[list[str]] = attrs.field(factory=list)
    blocks: list[_Block] = attrs.field(factory=list)

    @property
    def name(self) -> str:
        if self.words[:1] != ["server"]:
            return " ".join(self.words)
        said = {words[0]: words[1:] for words in self.directives}
        return " ".join(["server", *said.get("server_name", said.get("listen", []))])


def read_nginx(path: Union[str, os.PathLike[str]]) -> tuple[ProxyBlock, ...]:
    """The blocks of a file, and of those that it includes, that pass requests on.

    Raises:
        OSError: The file, or one of those, cannot be read.
    """
    path = os.fspath(path)
    folder = os.path.dirname(os.path.abspath(path))
    seen = {os.path.abspath(path)}

    def included(pattern: str) -> Iterator[str]:
        for found in sorted(glob.glob(os.path.join(folder, pattern))):
            if found not in seen:
                seen.add(found)
                yield _text_of(found)

    return proxy_blocks(_text_of(path), included=included)


def proxy_blocks(text: str, *, included: Included = lambda pattern: ()) -> tuple[ProxyBlock, ...]:
    """The blocks of a configuration that pass requests on.

    Args:
        text: The configuration.
        included: Gives the texts that a pattern of `include` names.
    """
    root = _Block([])
    _fill(root, _tokens(text), included)
    return tuple(_passing(root, (), {}))


def _text_of(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _tokens(text: str) -> Iterator[str]:
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token[0] in "\"'":
            yield token[1:-1]
        elif token[0] != "#":
            yield token


def _fill(block: _Block, tokens: Iterator[str], included: Included) -> None:
    words: list[str] = []
    for token in tokens:
        if token == "}":
            return
        if token == "{":
            block.blocks.append(_Block(words))
            _fill(block.blocks[-1], tokens, included)
            words = []
        elif token == ";":
            if words[:1] == ["include"] and len(words) > 1:
                for text in included(words[1]):
                    _fill(block, _tokens(text), included)
            elif words:
                block.directives.append(words)
            words = []
        else:
            words.append(token)


def _passing(
    block: _Block, above: tuple[str, ...], inherited: dict[str, list[str]]
) -> Iterator[ProxyBlock]:
    own: dict[str, list[str]] = {}
    for name, *values in block.directives:
        # Several of these in a block add up; all others are there once.
        own[name] = own.get(name, []) + values if name.endswith("_ignore_headers") else values
    holds = {**inherited, **own}
    names = (*above, block.name) if block.words and block.words != ["http"] else above
    for kind in _PASSING:
        if f"{kind}_pass" in own:
            ignored = {name.lower() for name in holds.get(f"{kind}_ignore_headers", [])}
            yield ProxyBlock(
                where=f"nginx ({', '.join(names)})",
                buffers=holds.get(f"{kind}_buffering", ["on"])[:1] != ["off"],
                ignores_header="x-accel-buffering" in ignored,
                read_timeout_s=_seconds(holds.get(f"{kind}_read_timeout", [])),
            )
    for inner in block.blocks:
        yield from _passing(inner, names, holds)


def _seconds(words: list[str]) -> float:
    text = words[0] if words else ""
    parts = _TIME.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return ProxyBlock(where="").read_timeout_s  # a variable, or none
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)
