"""Other ways to read a stream than chunk by chunk: its text, its object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

from cloudllm_sync.objects import ObjectReader

if TYPE_CHECKING:
    from cloudllm_sync.streaming.stream import ChatStream

__all__ = ["TextOf", "objects_of"]

_Object = TypeVar("_Object")


class TextOf(Iterator[str]):
    """The text of a stream. No generator: dropping one half-read would close the stream, too."""

    __slots__ = ("_stream", "close")

    def __init__(self, stream: ChatStream) -> None:
        self._stream = stream
        self.close = stream.close

    def __next__(self) -> str:
        for chunk in self._stream:
            if chunk.content:
                return chunk.content
        raise StopIteration


def objects_of(stream: ChatStream, kind: type[_Object]) -> Iterator[_Object]:
    """The object that a stream says, as far as it has arrived, and then whole."""
    reader = ObjectReader(kind)
    for text in stream.text():
        found = reader.add(text)
        if found is not None:
            yield found
    yield stream.result().parsed(kind)
