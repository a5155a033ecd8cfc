"""The events and bodies of OpenAI's Responses API to chunks.

A text delta is decoded by msgspec; all else is read leniently, as servers differ. The same text
comes up to four times (deltas, `.done`, the item, the whole response): the first counts.

Source: wire/WIRE.md, section 10, after OpenAI's API reference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import attrs
import msgspec

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ReplyFacts, ServerSentEvent
from cloudllm_sync.codecs.error_bodies import error_from_json, find_error
from cloudllm_sync.codecs.finish_reasons import normalise
from cloudllm_sync.codecs.json_text import CHECKED_BYTES, read_json
from cloudllm_sync.codecs.openai_chat_parts import citations, usage_from
from cloudllm_sync.codecs.surrogates import Joiner, well_formed
from cloudllm_sync.errors import CloudLLMError, ServerError, StreamProtocolError
from cloudllm_sync.values import MessageChunk, TokenUsage, ToolCallDelta

__all__ = ["OpenAIResponsesDecoder"]


class _Text(msgspec.Struct, gc=False):
    type: str = ""
    delta: str = ""
    output_index: int = -1  # no item
    content_index: int = 0


_decode_text = msgspec.json.Decoder(_Text).decode
_TEXT_DELTA = "response.output_text.delta"
_Object = Mapping[str, Any]
_NOTHING: tuple[MessageChunk, ...] = ()

# The events that carry text: its channel, what numbers its parts, where `.done` has all of it.
_TEXTS = {
    "response.output_text": ("content", "content_index", "text"),
    "response.refusal": ("refusal", "content_index", "refusal"),
    "response.reasoning_summary_text": ("reasoning", "summary_index", "text"),
    "response.reasoning_text": ("reasoning", "content_index", "text"),
}
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_INPUTS = {f"response.{kind}_{field}": field for kind, field in _CALLS.items()}
# The parts of an item that carry text: its channel and its field.
_PARTS = {
    "output_text": ("content", "text"),
    "refusal": ("refusal", "refusal"),
    "summary_text": ("reasoning", "text"),
    "reasoning_text": ("reasoning", "text"),
}
_CHANNELS = ("content", "reasoning", "refusal")
_ENDS = ("response.completed", "response.incomplete", "response.failed")


@attrs.define(slots=True)
class _Call:
    number: int
    id: Optional[str] = None
    name: Optional[str] = None
    given: bool = False  # whether arguments were handed on


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
    _part: Optional[tuple[int, int]] = attrs.field(default=None, init=False)  # of the last text
    _calls: list[_Call] = attrs.field(factory=list, init=False)
    _calls_at: dict[int, _Call] = attrs.field(factory=dict, init=False)
    _items: dict[int, _Object] = attrs.field(factory=dict, init=False)
    _item_ids: dict[str, int] = attrs.field(factory=dict, init=False)
    _latest: int = attrs.field(default=-1, init=False)  # the item of the last event
    _custom_tools: Optional[frozenset[Optional[str]]] = attrs.field(default=None, init=False)
    _server_run: set[int] = attrs.field(factory=set, init=False)
    _joiner: Joiner = attrs.field(factory=Joiner, init=False)

    def feed(self, event: ServerSentEvent) -> Sequence[MessageChunk]:
        """The chunks of one event."""
        if event.event in (_TEXT_DELTA, "message") and len(event.data) <= CHECKED_BYTES:
            try:
                said = _decode_text(event.data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return self._feed_unusual(event)
            if (
                said.type == _TEXT_DELTA
                and said.delta
                and (said.output_index, said.content_index) == self._part
                and not self._joiner.held
            ):
                return (MessageChunk(said.delta),)
        return self._feed_unusual(event)

    def finish(self) -> Sequence[MessageChunk]:
        """U+FFFD for every text that ends in half a character."""
        rest = self._joiner.rest
        chunks = _text_chunk({channel: rest(channel) for channel in _CHANNELS})
        for call in self._calls:
            chunks += _call_chunk(call, text=rest(str(call.number)))
        return chunks

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
        try:
            body = read_json(event, self._provider)
        except StreamProtocolError:
            if name in ("message", WHOLE_BODY) or name.startswith("response."):
                raise
            if name != "error":
                return _NOTHING  # a heartbeat, or an event nobody knows
            body = {"error": text}
        chunks: list[MessageChunk] = []
        if name == WHOLE_BODY:
            chunks = self._read_whole(body)
        elif name != BARE_JSON or find_error(body) is not None:
            chunks = self._read(name, body)
        self._seen = self._seen or bool(chunks)
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
        if not isinstance(body, Mapping):
            body = {"error": body} if name == "error" else {}
        kind = _word(body.get("type")) or name
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
            return self._read_input(stem, verb, body)
        item = body.get("item")
        if stem == "response.output_item" and isinstance(item, Mapping):
            return self._read_item(verb, body, item)
        if kind.endswith("annotation.added"):
            self.facts.citations.update(dict.fromkeys(citations([body.get("annotation")])))
        return []

    def _index(self, body: _Object, item_id: object, *, new: bool = False) -> int:
        """Which item an event is about: by output_index, as some proxies change the ids."""
        index = _number(body.get("output_index"))
        if index is None and new:
            index = self._latest + 1
        elif index is None:
            index = self._item_ids.get(str(item_id), self._latest)
        self._latest = index
        return index

    def _read_text(self, stem: str, verb: str, body: _Object) -> list[MessageChunk]:
        channel, part_field, text_field = _TEXTS[stem]
        index = self._index(body, body.get("item_id"))
        part = _number(body.get(part_field)) or 0
        text = body.get("delta" if verb == "delta" else text_field)
        if not isinstance(text, str) or (verb == "done" and (stem, index, part) in self._given):
            return []
        if text:
            self._given.add((stem, index, part))
            if stem == "response.output_text" and index >= 0:
                self._part = (index, part)
        return self._text(channel, index, text)

    def _text(self, channel: str, index: int, text: str) -> list[MessageChunk]:
        if text:
            self._given.update([(channel, index), (channel,)])
        return _text_chunk({channel: self._joiner.push(channel, text)})

    def _read_input(self, stem: str, verb: str, body: _Object) -> list[MessageChunk]:
        """A piece of a call's arguments; id and name come with the item."""
        index = self._index(body, body.get("item_id"))
        if index in self._server_run:
            return []
        call = self._calls_at.get(index) or self._new_call(index)
        text = _as_text(body.get("delta" if verb == "delta" else _INPUTS[stem]))
        if verb == "done" and call.given:
            return []
        return self._arguments(call, text)

    def _arguments(self, call: _Call, text: str) -> list[MessageChunk]:
        call.given = call.given or bool(text)
        return _call_chunk(call, text=self._joiner.push(str(call.number), text))

    def _new_call(self, index: int) -> _Call:
        call = self._calls_at[index] = _Call(len(self._calls))
        self._calls.append(call)
        return call

    def _read_item(self, verb: str, body: _Object, item: _Object) -> list[MessageChunk]:
        index = self._index(body, item.get("id"), new=verb == "added")
        self._item_ids[str(item.get("id"))] = index
        if verb == "done":
            self._items[index] = item
        if str(item.get("type")) in _CALLS:
            return self._read_call(index, item, verb == "added")
        if verb != "done":
            return []
        self._note_citations(item)
        return self._item_texts(index, item, self._channels_given(index))

    def _channels_given(self, *index: int) -> set[str]:
        return {channel for channel in _CHANNELS if (channel, *index) in self._given}

    def _item_texts(self, index: int, item: _Object, given: set[str]) -> list[MessageChunk]:
        """What an item says in channels that have given nothing of it."""
        chunks: list[MessageChunk] = []
        for part in _objects(item.get("summary")) + _objects(item.get("content")):
            channel, text_field = _PARTS.get(str(part.get("type")), (None, ""))
            text = part.get(text_field)
            if channel and channel not in given and isinstance(text, str):
                chunks += self._text(channel, index, text)
        return chunks

    def _read_call(self, index: int, item: _Object, begins: bool = False) -> list[MessageChunk]:
        if self._is_server_run(item):
            self._server_run.add(index)
            return []
        call_id, name = _word(item.get("call_id")), _word(item.get("name"))
        call = self._calls_at.get(index)
        another = call is not None and begins and call_id and call.id not in (None, call_id)
        if call is None or another:
            call = self._new_call(index)
        if not begins:
            call_id = call_id or _word(item.get("id"))
        new_id, new_name = None if call.id else call_id, None if call.name else name
        call.id, call.name = call.id or new_id, call.name or new_name
        chunks = _call_chunk(call, new_id, new_name)
        arguments = _as_text(item.get(_CALLS[item["type"]]))
        # Arguments at the beginning may come again in deltas.
        if not begins and not call.given:
            chunks += self._arguments(call, arguments)
        return chunks

    def _is_server_run(self, item: _Object) -> bool:
        """A custom call of a tool that the request did not offer: xAI searches X that way."""
        return (
            item["type"] == "custom_tool_call"
            and self._custom_tools is not None
            and _word(item.get("name")) not in self._custom_tools
        )

    def _read_end(self, kind: str, response: _Object) -> list[MessageChunk]:
        """The whole response, as the last event or the body has it."""
        self._note_facts(response)
        raw = _raw_finish(kind, response)
        if response.get("error") or raw == "failed":
            self._fail({"error": response.get("error")})
        chunks = self._read_output(response.get("output"))
        if self._calls:
            items = [item for _, item in sorted(self._items.items())]
            self.facts.provider_state = {"openai_output": items}
        self.ended = self._complete = True
        usage = self.facts.usage = _usage(response.get("usage"))
        # A failure that handed nothing on may be asked again, so it hands on nothing here either.
        if self.error is None or self._seen or chunks:
            word = normalise(raw, calls_made=bool(self._calls))
            if word is not None:
                chunks.append(MessageChunk(finish_reason=word, raw_finish_reason=raw))
            if usage is not None:
                chunks.append(MessageChunk(usage=usage))
        return chunks

    def _read_output(self, output: Any) -> list[MessageChunk]:
        """What no event has said; of a streamed reply usually nothing, and some leave it empty."""
        items = _objects(output)
        given = self._channels_given()
        known = {call.id: at for at, call in self._calls_at.items()}
        chunks: list[MessageChunk] = []
        for position, item in enumerate(items):
            self._note_citations(item)
            if str(item.get("type")) not in _CALLS:
                chunks += self._item_texts(position, item, given)
            elif not known or _word(item.get("call_id")) in known:
                index = known.get(_word(item.get("call_id")), position)
                chunks += self._read_call(index, item)
        self._items = self._items or dict(enumerate(items))
        return chunks

    def _note_facts(self, response: _Object) -> None:
        facts = self.facts
        facts.response_id = facts.response_id or _word(response.get("id"))
        facts.model = facts.model or _word(response.get("model"))
        tools = _objects(response.get("tools"))
        if tools and self._custom_tools is None:
            custom = [tool for tool in tools if tool.get("type") == "custom"]
            self._custom_tools = frozenset(_word(tool.get("name")) for tool in custom)

    def _note_citations(self, item: _Object) -> None:
        for part in _objects(item.get("content")):
            self.facts.citations.update(dict.fromkeys(citations(part.get("annotations"))))

    def _fail(self, body: Any) -> None:
        """Keep the first error: what follows an error event says less."""
        unsaid = ServerError(f"{self._provider} failed without saying why", retryable=True)
        self.error = self.error or error_from_json(self._provider, body) or unsaid
        self.ended = True


def _objects(value: Any) -> list[_Object]:
    """The objects of a list; nothing of anything else."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _word(value: Any) -> str | None:
    """Text that is not empty; numbers may stand for ids."""
    known = isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""
    return well_formed(str(value)) if known else None


def _number(value: Any) -> int | None:
    """An index; numbers may come as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:9])
    return value if type(value) is int and value >= 0 else None


def _as_text(arguments: Any) -> str:
    """Arguments as the model wrote them; some servers send them parsed."""
    if isinstance(arguments, str):
        return arguments
    try:
        return "" if arguments is None else json.dumps(arguments, ensure_ascii=False)
    except RecursionError:
        raise StreamProtocolError("the arguments of a tool call are nested too deep") from None


def _text_chunk(said: Mapping[str, str]) -> list[MessageChunk]:
    content, reasoning, refusal = (said.get(channel, "") for channel in _CHANNELS)
    return [MessageChunk(content, reasoning, refusal)] if any(said.values()) else []


def _call_chunk(
    call: _Call, call_id: str | None = None, name: str | None = None, *, text: str = ""
) -> list[MessageChunk]:
    delta = ToolCallDelta(call.number, call_id, name, text)
    return [MessageChunk(tool_call_delta=delta)] if call_id or name or text else []


def _raw_finish(kind: str, response: _Object) -> str | None:
    """The provider's word for the end: the status, or why it is incomplete."""
    status = _word(response.get("status")) or ""
    if status in ("", "queued", "in_progress"):
        status = kind.rpartition(".")[2]
    details = response.get("incomplete_details")
    if status == "incomplete" and isinstance(details, Mapping):
        return _word(details.get("reason")) or status
    return status or None


def _usage(usage: Any) -> Optional[TokenUsage]:
    """`usage_from()` knows the older names of the same counts."""
    if not isinstance(usage, Mapping):
        return None
    read, made = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    return usage_from({**usage, "prompt_tokens_details": read, "completion_tokens_details": made})
