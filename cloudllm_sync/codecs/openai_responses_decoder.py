"""The events and bodies of OpenAI's Responses API to chunks.

A text delta is decoded by msgspec; all else is read leniently, as servers differ. The same text
comes up to four times (deltas, `.done`, the item, the whole response): the first counts.

Source: wire/WIRE.md, section 10, after OpenAI's API reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Optional

import attrs
import msgspec

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ReplyFacts, ServerSentEvent
from cloudllm_sync.codecs.error_bodies import error_from_json, find_error
from cloudllm_sync.codecs.finish_reasons import normalise
from cloudllm_sync.codecs.json_text import CHECKED_BYTES, read_json
from cloudllm_sync.codecs.openai_chat_parts import citations
from cloudllm_sync.codecs.openai_responses_calls import CALL_ITEMS, ResponseCalls
from cloudllm_sync.codecs.openai_responses_parts import (
    Object,
    number_of,
    objects,
    raw_finish,
    response_usage,
    word_of,
)
from cloudllm_sync.codecs.surrogates import Joiner
from cloudllm_sync.errors import CloudLLMError, ServerError, StreamProtocolError
from cloudllm_sync.values import MessageChunk

__all__ = ["OpenAIResponsesDecoder"]


class _Text(msgspec.Struct, gc=False):
    type: Literal["response.output_text.delta"]
    delta: Annotated[str, msgspec.Meta(min_length=1)]
    output_index: int
    content_index: int = 0


_decode_text = msgspec.json.Decoder(_Text).decode
_TEXT_EVENTS = ("response.output_text.delta", "message")
_NOTHING: tuple[MessageChunk, ...] = ()

# The events that carry text: its channel, what numbers its parts, where `.done` has all of it.
_TEXTS = {
    "response.output_text": ("content", "content_index", "text"),
    "response.refusal": ("refusal", "content_index", "refusal"),
    "response.reasoning_summary_text": ("reasoning", "summary_index", "text"),
    "response.reasoning_text": ("reasoning", "content_index", "text"),
}
_INPUTS = {f"response.{kind}_{field}": field for kind, field in CALL_ITEMS.items()}
# The parts of an item that carry text: its channel and its field.
_PARTS = {
    "output_text": ("content", "text"),
    "refusal": ("refusal", "refusal"),
    "summary_text": ("reasoning", "text"),
    "reasoning_text": ("reasoning", "text"),
}
_CHANNELS = ("content", "reasoning", "refusal")
_ENDS = ("response.completed", "response.incomplete", "response.failed")


def _is_own(name: str) -> bool:
    return name == "message" or name.startswith("response.")


@attrs.define(slots=True, eq=False)
class OpenAIResponsesDecoder:
    """One reply of the Responses API, streamed or whole."""

    _provider: str
    facts: ReplyFacts = attrs.field(factory=ReplyFacts, init=False)
    ended: bool = attrs.field(default=False, init=False)
    error: Optional[CloudLLMError] = attrs.field(default=None, init=False)
    _complete: bool = attrs.field(default=False, init=False)
    _seen: bool = attrs.field(default=False, init=False)  # whether a chunk was handed on
    # Texts that were handed on: (event, item, part), and of these (channel, item) and (channel,).
    _given: set[tuple[object, ...]] = attrs.field(factory=set, init=False)
    # The part that the last text was of, if nothing of it is held back.
    _hot_item: int = attrs.field(default=-1, init=False)
    _hot_part: int = attrs.field(default=0, init=False)
    _calls: ResponseCalls = attrs.field(factory=ResponseCalls, init=False)
    _items: dict[int, Object] = attrs.field(factory=dict, init=False)
    _item_ids: dict[str, int] = attrs.field(factory=dict, init=False)
    _latest: int = attrs.field(default=-1, init=False)  # the item of the last event
    _joiner: Joiner = attrs.field(factory=Joiner, init=False)

    def feed(self, event: ServerSentEvent) -> Sequence[MessageChunk]:
        """The chunks of one event."""
        if event.event in _TEXT_EVENTS and len(event.data) <= CHECKED_BYTES:
            try:
                said = _decode_text(event.data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return self._feed_unusual(event)
            if said.output_index == self._hot_item and said.content_index == self._hot_part:
                return (MessageChunk(said.delta),)
        return self._feed_unusual(event)

    def finish(self) -> Sequence[MessageChunk]:
        """U+FFFD for every text that ends in half a character."""
        rest = self._joiner.rest
        return _text_chunk({channel: rest(channel) for channel in _CHANNELS}) + self._calls.rest()

    def complete(self) -> bool:
        """The response was said to be over, or came as one body."""
        return self._complete

    def _feed_unusual(self, event: ServerSentEvent) -> Sequence[MessageChunk]:
        """Anything but one more delta of the same text."""
        name = event.event
        text = event.data.decode("utf-8", "replace").strip()
        if not text:
            return _NOTHING
        if text == "[DONE]":
            self.ended = True
            return _NOTHING
        body = read_json(event, self._provider, is_own=_is_own)
        chunks: list[MessageChunk] = []
        if name == WHOLE_BODY:
            chunks = self._read_whole(body)
        elif name != BARE_JSON or find_error(body) is not None:
            chunks = self._read(name, body)
        self._seen = self._seen or bool(chunks)
        if self._joiner.held:
            self._hot_item = -1
        return chunks

    def _read_whole(self, body: Any) -> list[MessageChunk]:
        said = body if isinstance(body, Mapping) else {}
        if said.get("object") == "response" or isinstance(said.get("output"), list):
            return self._read_end("", said)
        if find_error(body) is not None:
            self._fail(body)
            return []
        raise StreamProtocolError(
            f"{self._provider} answered with JSON that is neither a reply nor an error: "
            "check base_url"
        )

    def _read(self, name: str, body: Any) -> list[MessageChunk]:
        """Any event, every field looked at."""
        if isinstance(body, list) and len(body) == 1:
            body = body[0]  # a gateway's way to report its own errors
        if not isinstance(body, Mapping):
            body = {"error": body} if name == "error" else {}
        kind = word_of(body.get("type")) or name
        if (
            name == "error"
            or kind in ("error", "response.error")
            or (find_error(body) is not None and not kind.startswith("response."))
        ):
            self._fail(body if body.get("error") else {"error": body})
            return []
        response = body.get("response")
        response = response if isinstance(response, Mapping) else {}
        if kind in _ENDS:
            return self._read_end(kind, response)
        self._note_facts(response)
        stem, _, verb = kind.rpartition(".")
        if verb in ("delta", "done") and stem in _TEXTS:
            return self._read_text(stem, verb, body)
        if verb in ("delta", "done") and stem in _INPUTS:
            index = self._index(body, body.get("item_id"))
            said = body.get("delta" if verb == "delta" else _INPUTS[stem])
            return self._calls.read_input(index, said, done=verb == "done")
        item = body.get("item")
        if stem == "response.output_item" and isinstance(item, Mapping):
            return self._read_item(verb, body, item)
        if kind.endswith("annotation.added"):
            self.facts.citations.update(dict.fromkeys(citations([body.get("annotation")])))
        return []

    def _index(self, body: Object, item_id: object, *, new: bool = False) -> int:
        """Which item an event is about: by output_index, as some proxies change the ids."""
        index = number_of(body.get("output_index"))
        if index is None and new:
            index = self._latest + 1
        elif index is None:
            index = self._item_ids.get(str(item_id), self._latest)
        self._latest = index
        return index

    def _read_text(self, stem: str, verb: str, body: Object) -> list[MessageChunk]:
        channel, part_field, text_field = _TEXTS[stem]
        index = self._index(body, body.get("item_id"))
        part = number_of(body.get(part_field)) or 0
        text = body.get("delta" if verb == "delta" else text_field)
        if not isinstance(text, str) or (verb == "done" and (stem, index, part) in self._given):
            return []
        if text:
            self._given.add((stem, index, part))
            if stem == "response.output_text" and index >= 0:
                self._hot_item, self._hot_part = index, part
        return self._text(channel, index, text)

    def _text(self, channel: str, index: int, text: str) -> list[MessageChunk]:
        if text:
            self._given.update([(channel, index), (channel,)])
        return _text_chunk({channel: self._joiner.push(channel, text)})

    def _read_item(self, verb: str, body: Object, item: Object) -> list[MessageChunk]:
        index = self._index(body, item.get("id"), new=verb == "added")
        self._item_ids[str(item.get("id"))] = index
        if verb == "done":
            self._items[index] = item
        if str(item.get("type")) in CALL_ITEMS:
            return self._calls.read_item(index, item, begins=verb == "added")
        if verb != "done":
            return []
        self._note_citations(item)
        return self._item_texts(index, item, self._channels_given(index))

    def _channels_given(self, *index: int) -> set[str]:
        return {channel for channel in _CHANNELS if (channel, *index) in self._given}

    def _item_texts(self, index: int, item: Object, given: set[str]) -> list[MessageChunk]:
        """What an item says in channels that have given nothing of it."""
        chunks: list[MessageChunk] = []
        for part in objects(item.get("summary")) + objects(item.get("content")):
            channel, text_field = _PARTS.get(str(part.get("type")), (None, ""))
            text = part.get(text_field)
            if channel and channel not in given and isinstance(text, str):
                chunks += self._text(channel, index, text)
        return chunks

    def _read_end(self, kind: str, response: Object) -> list[MessageChunk]:
        """The whole response, as the last event or the body has it."""
        self._note_facts(response)
        raw = raw_finish(kind, response)
        if response.get("error") or raw == "failed":
            self._fail({"error": response.get("error")})
        chunks = self._read_output(response.get("output"))
        if self._calls.any():
            items = [item for _, item in sorted(self._items.items())]
            self.facts.provider_state = {"openai_output": items}
        self.ended = self._complete = True
        usage = self.facts.usage = response_usage(response.get("usage"))
        # A failure that handed nothing on may be asked again, so it hands on nothing here either.
        if self.error is None or self._seen or chunks:
            word = normalise(raw, calls_made=self._calls.any())
            if word is not None:
                chunks.append(MessageChunk(finish_reason=word, raw_finish_reason=raw))
            if usage is not None:
                chunks.append(MessageChunk(usage=usage))
        return chunks

    def _read_output(self, output: Any) -> list[MessageChunk]:
        """What no event has said; of a streamed reply usually nothing, and some leave it empty."""
        items = objects(output)
        given = self._channels_given()
        known = self._calls.by_id()
        chunks: list[MessageChunk] = []
        for position, item in enumerate(items):
            self._note_citations(item)
            if str(item.get("type")) not in CALL_ITEMS:
                chunks += self._item_texts(position, item, given)
            elif not known or word_of(item.get("call_id")) in known:
                index = known.get(word_of(item.get("call_id")), position)
                chunks += self._calls.read_item(index, item)
        self._items = self._items or dict(enumerate(items))
        return chunks

    def _note_facts(self, response: Object) -> None:
        facts = self.facts
        facts.response_id = facts.response_id or word_of(response.get("id"))
        facts.model = facts.model or word_of(response.get("model"))
        self._calls.note_tools(response.get("tools"))

    def _note_citations(self, item: Object) -> None:
        for part in objects(item.get("content")):
            self.facts.citations.update(dict.fromkeys(citations(part.get("annotations"))))

    def _fail(self, body: Any) -> None:
        """Keep the first error: what follows an error event says less."""
        unsaid = ServerError(f"{self._provider} failed without saying why", retryable=True)
        self.error = self.error or error_from_json(self._provider, body) or unsaid
        self.ended = True


def _text_chunk(said: Mapping[str, str]) -> list[MessageChunk]:
    content, reasoning, refusal = (said.get(channel, "") for channel in _CHANNELS)
    return [MessageChunk(content, reasoning, refusal)] if any(said.values()) else []
