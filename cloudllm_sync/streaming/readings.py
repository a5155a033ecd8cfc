"""Other ways to read a stream than chunk by chunk: its text, its object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable, TypeVar

from cloudllm_sync.objects import ObjectReader
from cloudllm_sync.values import Message, MessageChunk

__all__ = ["TextOf", "objects_of"]

_Object = TypeVar("_Object")


class TextOf(Iterator[str]):
    """The text of a stream. No generator: dropping one half-read would close the stream, too."""

    __slots__ = ("_chunks", "close")

    def __init__(self, chunks: Iterator[MessageChunk], close: Callable[[], None]) -> None:
        self._chunks = chunks
        self.close = close

    def __next__(self) -> str:
        for chunk in self._chunks:
            if chunk.content:
                return chunk.content
        raise StopIteration


def objects_of(
    texts: Iterator[str], result: Callable[[], Message], kind: type[_Object]
) -> Iterator[_Object]:
    """The object that a stream says, as far as it has arrived, and then whole."""
    reader = ObjectReader(kind)
    for text in texts:
        found = reader.add(text)
        if found is not None:
            yield found
    yield result().parsed(kind)
