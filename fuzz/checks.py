"""A reply read from bytes as a call reads it, and what must hold of it, however broken it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

import attrs
import requests

from cloudllm_sync import CloudLLMError, Message, MessageChunk, Role
from cloudllm_sync.codecs import WHOLE_BODY, ChatRequest, Codec, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.anthropic_messages import AnthropicMessagesCodec
from cloudllm_sync.codecs.gemini import GeminiCodec
from cloudllm_sync.codecs.openai_chat import OpenAIChatCodec
from cloudllm_sync.codecs.openai_responses import OpenAIResponsesCodec
from cloudllm_sync.streaming.sources import _decoded
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.transport.clocks import Clocks
from cloudllm_sync.transport.events import reply_events
from cloudllm_sync.transport.lines import LineBlocks
from cloudllm_sync.values import ChatOptions, Limits, Timeouts

__all__ = ["CODECS", "Reading", "check", "decode", "events_of", "read"]

CODECS: Mapping[str, Codec] = {
    "openai": OpenAIChatCodec("Acme"),
    "responses": OpenAIResponsesCodec("Acme"),
    "anthropic": AnthropicMessagesCodec("Acme"),
    "gemini": GeminiCodec("Acme"),
}
_FINISH_WORDS = {
    None, "stop", "length", "tool_calls", "content_filter", "pause", "error", "unknown",
}  # fmt: skip
# What a provider ends a reply with: the fields that say why, and the events that say that.
_REASONS = {"finish_reason", "stop_reason", "finishReason", "blockReason"}
_ENDS = {"message_stop", "response.completed", "response.incomplete", "response.failed"}


@attrs.frozen
class Reading:
    """What was made of a reply."""

    wire: str
    events: tuple[ServerSentEvent, ...]
    chunks: tuple[MessageChunk, ...]
    message: Message
    error: Optional[CloudLLMError]
    complete: bool
    """Whether the reply would be handed over as whole."""

    @property
    def said(self) -> tuple[str, str, str]:
        """All text that a reader sees."""
        return self.message.content, self.message.reasoning, self.message.refusal


def events_of(pieces: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """The events of a body that arrives in these pieces."""
    response = requests.Response()
    response.raw = LineBlocks(iter(pieces), Limits(), "the server")
    return reply_events(
        response.iter_lines(chunk_size=None),
        event_limit=Limits().event_bytes,
        source="the server",
        content_type="text/event-stream",
    )


@attrs.frozen
class _Read:
    """What decoding knows of a call, without a connection."""

    events: Callable[[], Iterator[ServerSentEvent]]
    cancellation: Cancellation = attrs.field(factory=Cancellation)
    clocks: Clocks = attrs.field(factory=lambda: Clocks(Timeouts()))


def decode(wire: str, events: Iterable[ServerSentEvent]) -> Reading:
    """These events through a wire's decoder and the accumulator."""
    decoder = CODECS[wire].decoder()
    arrived = Accumulator()
    chunks: list[MessageChunk] = []
    seen: list[ServerSentEvent] = []

    def noted() -> Iterator[ServerSentEvent]:
        for event in events:
            seen.append(event)
            yield event

    error: Optional[CloudLLMError] = None
    try:
        for chunk in _decoded(_Read(noted), decoder):  # type: ignore[arg-type]
            chunks.append(chunk)
            arrived.add(chunk)
    except CloudLLMError as failure:
        error = failure
    error = error or decoder.error
    message = arrived.message(decoder.facts)
    complete = error is None and decoder.complete()
    return Reading(wire, tuple(seen), tuple(chunks), message, error, complete)


def read(wire: str, *pieces: bytes) -> Reading:
    """A body through lines, events, a wire's decoder and the accumulator."""

    def events() -> Iterator[ServerSentEvent]:
        yield from events_of(piece for piece in pieces if piece)

    return decode(wire, events())


def check(reading: Reading) -> Reading:
    """Raise AssertionError if something does not hold that must hold of every reply."""
    _check_text(reading)
    _check_sums(reading)
    if reading.complete and not any(map(_may_be_the_end, reading.events)):
        raise AssertionError(f"complete without a proof: {reading.events!r}")
    if reading.message.finish_reason not in _FINISH_WORDS:
        raise AssertionError(f"the finish reason {reading.message.finish_reason!r} is unknown")
    _check_sent_back(reading)
    return reading


def _texts(value: Any) -> Iterator[str]:
    """Every string in a value that may be shown; provider_state is opaque."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            if field.name != "provider_state":
                yield from _texts(getattr(value, field.name))
    elif isinstance(value, CloudLLMError):
        yield str(value)
        for field in vars(value).values():
            yield from _texts(field)


def _check_text(reading: Reading) -> None:
    for text in _texts([reading.chunks, reading.message, reading.error]):
        text.encode("utf-8")  # a UnicodeEncodeError is a finding


def _check_sums(reading: Reading) -> None:
    message = reading.message
    for field, whole in zip(("content", "reasoning", "refusal"), reading.said):
        if whole != "".join(getattr(chunk, field) for chunk in reading.chunks):
            raise AssertionError(f"{field} is not what the chunks make up")
    deltas = [chunk.tool_call_delta for chunk in reading.chunks if chunk.tool_call_delta]
    arguments: dict[int, str] = {}
    for delta in deltas:
        arguments[delta.index] = arguments.get(delta.index, "") + delta.arguments
    if [arguments[index] for index in sorted(arguments)] != [
        call.arguments for call in message.tool_calls
    ]:
        raise AssertionError("the tool calls are not what the chunks make up")
    if message.usage is not None:
        counts = [count for count in attrs.astuple(message.usage) if count is not None]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise AssertionError(f"{message.usage!r} does not count")


def _may_be_the_end(event: ServerSentEvent) -> bool:
    """Whether an event says in any way that the reply is over; looser than any decoder."""
    if event.event == WHOLE_BODY or event.event in _ENDS:
        return True
    text = event.data.decode("utf-8", "replace").strip()
    if text == "[DONE]":
        return True
    try:
        return _names_an_end(json.loads(text))
    except (ValueError, RecursionError):
        return False


def _names_an_end(value: Any) -> bool:
    # No recursion: a reply may be nested as deep as JSON can be read.
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            if any(value.get(name) for name in _REASONS) or str(value.get("type")) in _ENDS:
                return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


def _check_sent_back(reading: Reading) -> None:
    """A reply can be part of the next request; if not, an error of ours says so."""
    reply = reading.message
    ids = dict.fromkeys(call.id for call in reply.tool_calls)
    results = [Message(Role.TOOL, "done", tool_call_id=call_id) for call_id in ids]
    history: Sequence[Message] = [Message(Role.USER, "hi"), reply, *results]
    history = [*history, Message(Role.USER, "and then?")]
    request = ChatRequest("m", tuple(history), (), ChatOptions(), stream=True)
    try:
        body = CODECS[reading.wire].encode(request).body
    except CloudLLMError as error:
        str(error).encode("utf-8")
        return
    json.loads(body, parse_constant=_refuse)


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")
