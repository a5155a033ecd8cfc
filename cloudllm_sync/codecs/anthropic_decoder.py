"""Events and bodies of Anthropic's Messages API to chunks.

Text and thinking, which are most events, are decoded by msgspec into the fields that are read;
everything else, and what is not as documented, is read leniently.

Source: wire/WIRE.md, section 3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Callable, ClassVar, Optional, Union

import msgspec

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ReplyFacts, ServerSentEvent
from cloudllm_sync.codecs.anthropic_blocks import (
    SPOKEN,
    STATE,
    Block,
    Json,
    as_list,
    as_object,
    as_text,
    usage_from,
)
from cloudllm_sync.codecs.error_bodies import error_from_json, find_error
from cloudllm_sync.codecs.finish_reasons import REASONS_NOTED, normalise
from cloudllm_sync.codecs.json_text import CHECKED_BYTES, count, read_json
from cloudllm_sync.codecs.surrogates import Joiner, well_formed
from cloudllm_sync.errors import CloudLLMError, StreamProtocolError
from cloudllm_sync.values import MessageChunk, TokenUsage, ToolCallDelta

__all__ = ["AnthropicDecoder"]


class _Text(msgspec.Struct, tag_field="type", tag="text_delta", gc=False):
    text: Annotated[str, msgspec.Meta(min_length=1)]


class _Thought(msgspec.Struct, tag_field="type", tag="thinking_delta", gc=False):
    text: Annotated[str, msgspec.Meta(min_length=1)] = msgspec.field(name="thinking")


class _TextDelta(msgspec.Struct, tag_field="type", tag="content_block_delta", gc=False):
    index: int
    delta: _Text


class _ThinkingDelta(msgspec.Struct, tag_field="type", tag="content_block_delta", gc=False):
    index: int
    delta: _Thought


_decode_text = msgspec.json.Decoder(_TextDelta).decode
_decode_thought = msgspec.json.Decoder(_ThinkingDelta).decode
_DELTA_EVENTS = ("content_block_delta", "message")
_NOTHING: tuple[MessageChunk, ...] = ()

# The block that a delta belongs to, should its content_block_start be missing.
_IMPLIED = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
}
_PIECES = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


class AnthropicDecoder:
    """One reply of the Messages API, streamed or whole."""

    def __init__(self, provider: str) -> None:
        self.facts = ReplyFacts()
        self.ended = False
        self.error: Optional[CloudLLMError] = None
        self._provider = provider
        self._blocks: dict[int, Block] = {}  # by the index that the message gives them
        self._order: list[Block] = []  # all of them, those of a restarted message too
        self._at = 0  # the index last spoken of
        self._calls = 0
        self._joiner = Joiner()
        self._raw_finish: Optional[str] = None
        self._explained = ""  # the last explanation handed on
        self._reasons = 0  # how many stop reasons came
        self._seen = False  # whether a chunk was handed on
        self._proved = False  # whether a stop reason stands behind all that was handed on
        self._started = False
        self._usage: dict[str, Any] = {}
        self._given_usage: Optional[TokenUsage] = None
        # The block that the next delta most likely belongs to.
        self._hot_at = -1
        self._decode: Callable[[bytes], Union[_TextDelta, _ThinkingDelta]] = _decode_text
        self._keep = list[str]().append  # nowhere

    def feed(self, event: ServerSentEvent) -> Sequence[MessageChunk]:
        """The chunks of one event."""
        if event.event in _DELTA_EVENTS and len(event.data) <= CHECKED_BYTES:
            decode = self._decode
            try:
                said = decode(event.data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return self._feed_unusual(event)
            if said.index == self._hot_at:
                text = said.delta.text
                self._keep(text)
                return (MessageChunk(text) if decode is _decode_text else MessageChunk("", text),)
        return self._feed_unusual(event)

    def finish(self) -> Sequence[MessageChunk]:
        """What no event has closed, if the reply is whole all the same."""
        if self.error is not None or not self.complete():
            return _NOTHING
        chunks = self._close_all()
        word = normalise(None, calls_made=self._calls > 0)
        if self._raw_finish is None and word is not None:
            chunks.append(MessageChunk(finish_reason=word))
        chunks += self._usage_now()
        self._note_state()
        return chunks

    def complete(self) -> bool:
        """A stop reason, or the end mark, was seen after the last content."""
        return self._proved or (self.ended and self._seen)

    def _feed_unusual(self, event: ServerSentEvent) -> Sequence[MessageChunk]:
        """Any event but a plain piece of text, and any that is not as documented."""
        text = event.data.decode("utf-8", "replace").strip()
        if not text:
            return _NOTHING
        if text == "[DONE]":  # not Anthropic's, but proxies add it
            self.ended = True
            return _NOTHING
        body = read_json(event, self._provider, is_own=self._HANDLERS.__contains__)
        if event.event == BARE_JSON and find_error(body) is None:
            return _NOTHING
        if isinstance(body, list) and len(body) == 1:
            body = body[0]
        try:
            chunks = self._read(event, as_object(body), text)
        except RecursionError:
            message = f"{self._provider} sent a call whose arguments are nested too deep"
            raise StreamProtocolError(message) from None
        self._seen = self._seen or bool(chunks)
        if self._joiner.held:
            self._hot_at = -1
        return chunks

    def _read(self, event: ServerSentEvent, body: Json, text: str) -> Sequence[MessageChunk]:
        whole = event.event == WHOLE_BODY
        kind = as_text(body.get("type")) or event.event
        if "error" in (kind, event.event) or body.get("error"):
            body = body if find_error(body) else {"error": text}
            self.error = error_from_json(self._provider, body)
            self.ended = True
            return _NOTHING
        handler = self._HANDLERS.get("message" if whole else kind)
        chunks = handler(self, body) if handler is not None else _NOTHING
        if whole:
            self.ended = True
            if not chunks and not self.complete():
                raise StreamProtocolError(
                    f"{self._provider} answered with JSON that is neither a reply nor an error: "
                    "check base_url"
                )
        return chunks

    def _message(self, body: Json) -> Sequence[MessageChunk]:
        """A whole reply, read as the stream that would have said the same."""
        content = body.get("content")
        if not isinstance(content, list):
            return _NOTHING
        self._message_start({"message": body})
        chunks: list[MessageChunk] = []
        for index, block in enumerate(content):
            chunks += self._block_start({"index": index, "content_block": block})
        chunks += self._close_all()
        chunks += self._message_delta({"delta": body})
        return chunks

    def _message_start(self, body: Json) -> Sequence[MessageChunk]:
        message = as_object(body.get("message"))
        name = as_text(message.get("id"))
        if self._started and name in ("", self.facts.response_id):
            return _NOTHING  # proxies repeat it
        # Under another id the upstream has begun again, and counts from the start.
        self._started = True
        self._blocks = {}
        self._hot_at = -1
        self._raw_finish = None
        self._proved = False
        self._usage = {}
        self.facts.response_id = name or None
        self.facts.model = as_text(message.get("model")) or self.facts.model
        self._note_usage(message.get("usage"))
        return _NOTHING

    def _block_start(self, body: Json) -> Sequence[MessageChunk]:
        said = body.get("content_block")
        if not isinstance(said, Mapping):
            return _NOTHING
        block = self._open(self._index(body), dict(said))
        self._proved = False
        if block.kind == "tool_use":
            block.call, self._calls = self._calls, self._calls + 1
            name, call_id = as_text(said.get("name")) or None, as_text(said.get("id")) or None
            return (MessageChunk(tool_call_delta=ToolCallDelta(block.call, call_id, name, "")),)
        for citation in as_list(said.get("citations")):
            self._cite(citation)
        if block.kind in SPOKEN:
            return self._hand_on(block, said.get(block.kind))
        return _NOTHING

    def _block_delta(self, body: Json) -> Sequence[MessageChunk]:
        delta = as_object(body.get("delta"))
        kind, at = as_text(delta.get("type")), self._index(body)
        block, implied = self._blocks.get(at), _IMPLIED.get(kind)
        if block is None or block.kind in SPOKEN:
            if implied is None:
                return _NOTHING
            if block is None or block.kind != implied:
                block = self._open(at, {"type": implied})
        elif implied is not None:
            return _NOTHING
        if kind not in _PIECES:
            self._note_delta(block, kind, delta)
            return _NOTHING
        if block.kind in SPOKEN:
            self._expect_more(at, block)
        self._proved = False
        return self._hand_on(block, delta.get(_PIECES[kind]))

    def _note_delta(self, block: Block, kind: str, delta: Json) -> None:
        """A delta that readers do not see."""
        if kind == "citations_delta":
            block.citations.append(delta.get("citation"))
            self._cite(delta.get("citation"))
        elif kind in ("signature_delta", "compaction_delta"):
            block.said.update({name: value for name, value in delta.items() if name != "type"})

    def _block_stop(self, body: Json) -> Sequence[MessageChunk]:
        block = self._blocks.get(self._index(body))
        return _NOTHING if block is None else self._close(block)

    def _message_delta(self, body: Json) -> Sequence[MessageChunk]:
        self._note_usage(body.get("usage"))
        delta = as_object(body.get("delta"))
        raw = as_text(delta.get("stop_reason"))
        news = bool(raw) and raw != self._raw_finish
        chunks: list[MessageChunk] = []
        if raw:
            self._proved = True
            self._hot_at = -1  # text that comes behind it takes the proof back
        if news:
            self._raw_finish, self._reasons = raw, self._reasons + 1
            few = self._reasons <= REASONS_NOTED
            chunks = self._close_all() if few else []
        chunks += self._explanation(raw, as_object(delta.get("stop_details")))
        if news:
            word = normalise(raw, calls_made=self._calls > 0)
            chunks.append(MessageChunk(finish_reason=word, raw_finish_reason=raw))
            if few:
                self._note_state()
        if self._raw_finish is not None:
            chunks += self._usage_now()
        return chunks

    def _explanation(self, raw: str, details: Json) -> Iterator[MessageChunk]:
        """Why Claude refused, once."""
        said = details.get("explanation") if "refusal" in (raw, details.get("type")) else None
        if isinstance(said, str) and said and said != self._explained:
            self._explained = said
            yield MessageChunk(refusal=well_formed(said))

    def _message_stop(self, body: Json) -> Sequence[MessageChunk]:
        self.ended = True
        return _NOTHING

    def _index(self, body: Json) -> int:
        """The block's index; where it is missing, the one last spoken of."""
        at = count(body, "index")
        self._at = self._at if at is None else at
        return self._at

    def _open(self, at: int, said: dict[str, Any]) -> Block:
        if at == self._hot_at:
            self._hot_at = -1
        block = Block(as_text(said.get("type")), said, str(len(self._order)))
        self._blocks[at] = block
        self._order.append(block)
        return block

    def _expect_more(self, at: int, block: Block) -> None:
        """Have `feed()` take further text of this block by the short way."""
        self._hot_at = at
        self._decode = _decode_text if block.kind == "text" else _decode_thought
        self._keep = block.parts.append

    def _hand_on(self, block: Block, piece: Any) -> Sequence[MessageChunk]:
        """A piece of text or arguments: kept for the rebuilt block, and a chunk if for readers."""
        text = self._joiner.push(block.channel, piece) if isinstance(piece, str) else ""
        if not text:
            return _NOTHING
        block.parts.append(text)
        if block.kind in SPOKEN:
            return (MessageChunk(text) if block.kind == "text" else MessageChunk("", text),)
        if block.call is None:
            return _NOTHING
        return (MessageChunk(tool_call_delta=ToolCallDelta(block.call, None, None, text)),)

    def _close(self, block: Block) -> Sequence[MessageChunk]:
        """Half a character held back, or arguments that came without deltas."""
        if block.closed:
            return _NOTHING
        block.closed = True
        rest = self._joiner.rest(block.channel)
        if block.call is not None and not block.parts and not rest:
            given = block.said.get("input") or {}
            rest = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        return self._hand_on(block, rest)

    def _close_all(self) -> list[MessageChunk]:
        return [chunk for block in self._order for chunk in self._close(block)]

    def _cite(self, citation: Any) -> None:
        for name in ("url", "document_title", "title", "source"):
            found = as_text(as_object(citation).get(name))
            if found:
                self.facts.citations[found] = None
                return

    def _note_usage(self, usage: Any) -> None:
        """Counts are running sums; a field that comes again replaces the earlier one."""
        said = {name: value for name, value in as_object(usage).items() if value is not None}
        self._usage.update(said)
        self.facts.usage = usage_from(self._usage)

    def _usage_now(self) -> Iterator[MessageChunk]:
        usage = self.facts.usage
        if usage is not None and usage != self._given_usage:
            self._given_usage = usage
            yield MessageChunk(usage=usage)

    def _note_state(self) -> None:
        """All blocks, if there are some that only they can say: thinking, server tools."""
        if any(block.kind not in ("text", "tool_use") for block in self._order):
            blocks = [block.rebuilt() for block in self._order]
            self.facts.provider_state = {STATE: [block for block in blocks if block is not None]}

    _HANDLERS: ClassVar[
        Mapping[str, Callable[[AnthropicDecoder, Json], Sequence[MessageChunk]]]
    ] = {
        "message": _message,
        "message_start": _message_start,
        "content_block_start": _block_start,
        "content_block_delta": _block_delta,
        "content_block_stop": _block_stop,
        "message_delta": _message_delta,
        "message_stop": _message_stop,
    }
