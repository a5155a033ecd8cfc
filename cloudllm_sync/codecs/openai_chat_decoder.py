"""Chat Completions' events and bodies to chunks, for every dialect of WIRE.md.

The usual event is decoded by msgspec into the few fields that are read. Their types are open
where servers differ, so that the one reading below serves all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Callable, Literal, Optional

import msgspec

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ReplyFacts, ServerSentEvent
from cloudllm_sync.codecs.error_bodies import error_from_json, find_error
from cloudllm_sync.codecs.finish_reasons import normalise
from cloudllm_sync.codecs.json_text import CHECKED_BYTES, read_json
from cloudllm_sync.codecs.openai_chat_parts import (
    ThoughtKeeper,
    ToolCallTracker,
    citations,
    reasoning_text,
    split_content,
    usage_from,
)
from cloudllm_sync.codecs.surrogates import Joiner, well_formed
from cloudllm_sync.errors import CloudLLMError, ServerError, StreamProtocolError
from cloudllm_sync.values import MessageChunk, TokenUsage

__all__ = ["OpenAIChatDecoder"]


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    annotations: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: Any = None
    delta: Optional[_Delta] = None
    message: Optional[_Delta] = None
    finish_reason: Any = None
    usage: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: Optional[list[_Choice]] = None
    error: Any = None
    usage: Any = None
    citations: Any = None
    x_groq: Any = None


class _FirstChunk(_Chunk, gc=False):
    """With what every chunk repeats; read until it is known, then skipped, at 0.15 µs a chunk."""

    id: Any = None
    model: Any = None


_NoText = Annotated[str, msgspec.Meta(max_length=0)]
_NoList = Annotated[list[Any], msgspec.Meta(max_length=0)]


class _TextDelta(msgspec.Struct, gc=False):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    reasoning_content: Optional[_NoText] = None
    reasoning: Optional[_NoText] = None
    reasoning_details: Optional[_NoList] = None
    refusal: Optional[_NoText] = None
    tool_calls: Optional[_NoList] = None
    function_call: None = None
    annotations: Optional[_NoList] = None


class _TextChoice(msgspec.Struct, gc=False):
    delta: _TextDelta
    index: Optional[Literal[0]] = None
    finish_reason: Optional[_NoText] = None
    usage: None = None


class _TextChunk(msgspec.Struct, gc=False):
    """Text and nothing else, which most chunks are: types that fit no other are checked in C, at
    a third of what it costs to look at the fields one by one.
    """

    choices: tuple[_TextChoice]
    error: None = None
    usage: None = None
    citations: None = None
    x_groq: None = None


_decode_text = msgspec.json.Decoder(_TextChunk).decode
_decode_first = msgspec.json.Decoder(_FirstChunk).decode
_decode_rest = msgspec.json.Decoder(_Chunk).decode
_NOTHING: tuple[MessageChunk, ...] = ()


class OpenAIChatDecoder:
    """One reply of a Chat Completions server, streamed or whole."""

    __slots__ = (
        "_calls",
        "_decode",
        "_finish_word",
        "_flows",
        "_joiner",
        "_plain",
        "_proved",
        "_provider",
        "_raw_finish",
        "_seen",
        "_thoughts",
        "_usage",
        "ended",
        "error",
        "facts",
    )

    def __init__(self, provider: str) -> None:
        self.facts = ReplyFacts()
        self.ended = False
        self.error: Optional[CloudLLMError] = None
        self._decode: Callable[[bytes], _Chunk] = _decode_first
        self._provider = provider
        self._raw_finish: Optional[str] = None
        self._finish_word: Optional[str] = None  # handed on
        self._usage: Optional[TokenUsage] = None  # read, not yet handed on
        self._seen = False  # whether a chunk was handed on
        self._proved = False  # whether a finish reason stands behind all that was handed on
        self._flows = False  # whether something was handed on and more is to be expected
        self._plain = False  # whether the last event was text, and nothing else
        self._thoughts = ThoughtKeeper()
        self._calls = ToolCallTracker()
        self._joiner = Joiner()

    def feed(self, event: ServerSentEvent) -> Sequence[MessageChunk]:
        """The chunks of one event."""
        data = event.data
        if len(data) > CHECKED_BYTES or event.event != "message":
            return self._feed_unusual(event)
        if self._plain:
            try:
                return (MessageChunk(_decode_text(data).choices[0].delta.content),)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                self._plain = False
        try:
            chunk = self._decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._feed_unusual(event)
        if chunk.choices is None or chunk.error:
            return self._feed_unusual(event)  # an error may stand in fields that are not read here
        chunks = self._read(chunk)
        # More of the same is to be expected, and nothing is pending that it would have to change.
        self._plain = self._flows and not self._joiner.held and _is_text(data)
        return chunks

    def _feed_unusual(self, event: ServerSentEvent) -> Sequence[MessageChunk]:
        """An event with a name, of great length, or that is not what msgspec expects."""
        whole = event.event == WHOLE_BODY
        text = event.data.decode("utf-8", "replace").strip()
        if not text:
            return _NOTHING
        if text == "[DONE]":
            self.ended = True
            return _NOTHING
        body = read_json(event, self._provider)
        if event.event == BARE_JSON and find_error(body) is None:
            return _NOTHING
        if event.event == "error" and find_error(body) is None:
            body = {"error": body}
            body = body if find_error(body) else {"error": text}
        chunk = _tidy(body)
        chunks = self._read(chunk, whole=whole)
        if chunk.error or chunk.choices is None:
            self._note_error(body)
        self.ended = self.ended or whole
        if whole and not chunks and self.error is None and not self.complete():
            raise StreamProtocolError(
                f"{self._provider} answered with JSON that is neither a reply nor an error: "
                "check base_url"
            )
        return chunks

    def _read(self, chunk: _Chunk, *, whole: bool = False) -> Sequence[MessageChunk]:
        """Any event or body, every field looked at."""
        self._note_facts(chunk)
        chunks: list[MessageChunk] = []
        for position, choice in enumerate(chunk.choices or ()):
            index = position if choice.index in (None, "") else choice.index
            if index in (0, "0"):
                chunks += self._read_choice(choice, whole=whole)
        usage = usage_from(chunk.usage) or usage_from(
            chunk.x_groq.get("usage") if isinstance(chunk.x_groq, Mapping) else None
        )
        self._note_usage(usage)
        chunks += self._usage_now()
        self._seen = self._seen or bool(chunks)
        self._flows = self._seen and not self._proved
        return chunks

    def _note_facts(self, chunk: _Chunk) -> None:
        facts = self.facts
        if isinstance(chunk, _FirstChunk):
            if not facts.response_id and isinstance(chunk.id, (str, int)) and chunk.id:
                facts.response_id = well_formed(str(chunk.id))
            if not facts.model and isinstance(chunk.model, str) and chunk.model:
                facts.model = well_formed(chunk.model)
            if facts.response_id and facts.model:
                self._decode = _decode_rest
        if isinstance(chunk.citations, list):
            facts.citations.update(dict.fromkeys(citations(chunk.citations)))

    def _note_error(self, body: Any) -> None:
        error = error_from_json(self._provider, body)
        if error is not None:
            self.error = error
            self.ended = True

    def _read_choice(self, choice: _Choice, *, whole: bool) -> Iterator[MessageChunk]:
        # Perplexity sends the text so far as `message` beside each delta: it is not for streams.
        # A whole message in place of the first delta is a reply that was not streamed.
        alone = choice.delta is None and not self._seen
        delta = choice.message if choice.message and (whole or alone) else choice.delta
        deltas: list[Any] = []
        content = reasoning = refusal = ""
        if delta is not None:
            content, thought = split_content(delta.content)
            content = self._joiner.push("content", content)
            reasoning = self._joiner.push("reasoning", thought or reasoning_text(delta))
            if isinstance(delta.refusal, str):
                refusal = self._joiner.push("refusal", delta.refusal)
            deltas = self._calls.deltas(delta.tool_calls, delta.function_call)
            self._note_delta(delta)
            if reasoning and delta.reasoning_content:
                self._thoughts.add_content(reasoning)
        self._note_usage(usage_from(choice.usage))
        raw = choice.finish_reason
        raw = well_formed(raw) if isinstance(raw, str) and raw else None
        said = bool(content or reasoning or refusal or deltas)
        self._proved = raw is not None or (self._proved and not said)
        if raw == self._raw_finish:
            raw = None
        if raw is not None:
            if self._raw_finish is None:  # many readers leave here; what comes later, finish() adds
                self._keep_thoughts()
            self._raw_finish = raw
            if raw == "error":
                self.error = ServerError(
                    f"{self._provider} ended the reply with finish_reason 'error'", retryable=True
                )
        first = deltas.pop(0) if deltas else None
        if said:
            yield MessageChunk(content, reasoning, refusal, None, None, first)
        for rest in deltas:
            yield MessageChunk(tool_call_delta=rest)
        if raw is not None:
            yield self._finish_chunk(raw)

    def _note_delta(self, delta: _Delta) -> None:
        facts = self.facts
        if delta.annotations is not None:
            facts.citations.update(dict.fromkeys(citations(delta.annotations)))
        if delta.reasoning_details:
            self._thoughts.add_details(delta.reasoning_details)

    def _finish_chunk(self, raw: str | None) -> MessageChunk:
        self._finish_word = normalise(raw, calls_made=self._calls.any())
        return MessageChunk(finish_reason=self._finish_word, raw_finish_reason=raw)

    def _keep_thoughts(self) -> None:
        """Have the reasoning sent back in a tool loop."""
        self.facts.provider_state = self._thoughts.state(calls_made=self._calls.any())

    def _note_usage(self, usage: TokenUsage | None) -> None:
        if usage is not None and usage != self.facts.usage:  # Groq says the same three times
            self._usage = self.facts.usage = usage

    def _usage_now(self) -> Sequence[MessageChunk]:
        """Usage goes out once a finish reason is known: before, some servers send running sums."""
        if self._usage is None or self._raw_finish is None:
            return _NOTHING
        usage, self._usage = self._usage, None
        return (MessageChunk(usage=usage),)

    def finish(self) -> Sequence[MessageChunk]:
        """Half characters, a finish reason that tool calls imply, and usage not yet handed on."""
        rest = self._joiner.rest
        held = MessageChunk(rest("content"), rest("reasoning"), rest("refusal"))
        chunks = [held] if held != MessageChunk() else []
        chunks += [MessageChunk(tool_call_delta=delta) for delta in self._calls.rest()]
        self._keep_thoughts()
        # No word at all, or one that calls which came after it have changed.
        word = normalise(self._raw_finish, calls_made=self._calls.any())
        if word != self._finish_word and (self.ended or self._proved):
            chunks.append(self._finish_chunk(self._raw_finish))
        if self._usage is not None:
            chunks.append(MessageChunk(usage=self._usage))
            self._usage = None
        return chunks

    def complete(self) -> bool:
        """A finish reason, or an end mark, was seen after the last content."""
        return self._proved or (self.ended and self._seen)


def _is_text(data: bytes) -> bool:
    try:
        _decode_text(data)
    except msgspec.MsgspecError:
        return False
    return True


def _tidy(body: Any) -> _Chunk:
    """Any JSON document as the struct that the usual event is decoded into."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, Mapping):
        return _FirstChunk()
    known = {name: body.get(name) for name in _FirstChunk.__struct_fields__}
    choices = known["choices"]
    if isinstance(choices, list):
        known["choices"] = [
            _tidy_choice(choice) for choice in choices if isinstance(choice, Mapping)
        ]
    else:
        known["choices"] = None
    return _FirstChunk(**known)


def _tidy_choice(choice: Mapping[str, Any]) -> _Choice:
    known = {name: choice.get(name) for name in _Choice.__struct_fields__}
    for name in ("delta", "message"):
        part = known[name]
        known[name] = (
            _Delta(**{field: part.get(field) for field in _Delta.__struct_fields__})
            if isinstance(part, Mapping)
            else None
        )
    return _Choice(**known)
