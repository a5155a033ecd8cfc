"""Fixtures that feed a Chat Completions decoder and gather what comes out.

Makes the modules beside the tests importable, too, whatever pytest's import mode.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Optional

import attrs
import pytest

from cloudllm_sync.codecs import WHOLE_BODY, Decoder, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.openai_chat import OpenAIChatCodec
from cloudllm_sync.errors import CloudLLMError
from cloudllm_sync.values import Message, MessageChunk

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@attrs.frozen
class Reading:
    """What a decoder made of its events."""

    chunks: list[MessageChunk]
    message: Message
    decoder: Decoder

    @property
    def error(self) -> Optional[CloudLLMError]:
        return self.decoder.error

    @property
    def usages(self) -> list:
        return [chunk.usage for chunk in self.chunks if chunk.usage is not None]

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        return [(call.id, call.name, call.arguments) for call in self.message.tool_calls]


def _as_event(said) -> ServerSentEvent:
    """A ServerSentEvent as it is; bytes and str are the data; all else is made JSON."""
    if isinstance(said, ServerSentEvent):
        return said
    if isinstance(said, bytes):
        return ServerSentEvent(said)
    text = said if isinstance(said, str) else json.dumps(said)
    return ServerSentEvent(text.encode())


def _read(*events) -> Reading:
    decoder = OpenAIChatCodec("Acme").decoder()
    chunks: list[MessageChunk] = []
    for event in events:
        chunks += decoder.feed(_as_event(event))
        if decoder.ended:
            break
    chunks += decoder.finish()
    arrived = Accumulator()
    for chunk in chunks:
        arrived.add(chunk)
    return Reading(chunks, arrived.message(decoder.facts), decoder)


@pytest.fixture(scope="session")
def read_events():
    """Decodes events, each a document, text, bytes or a ServerSentEvent; gives a Reading."""
    return _read


@pytest.fixture(scope="session")
def read_deltas():
    """Decodes deltas of choice 0; gives a Reading."""
    return lambda *deltas: _read(*({"choices": [{"index": 0, "delta": d}]} for d in deltas))


@pytest.fixture(scope="session")
def read_whole():
    """Decodes one JSON body; gives a Reading."""

    def read(body) -> Reading:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return _read(ServerSentEvent(data, WHOLE_BODY))

    return read
