"""Gemini's events and bodies to chunks.

The usual event, one part of text, is decoded by msgspec into types that fit nothing else; every
other one is read field by field.

Source: wire/WIRE.md, section 4.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import msgspec

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ReplyFacts, ServerSentEvent
from cloudllm_sync.codecs.error_bodies import error_from_json, find_error
from cloudllm_sync.codecs.finish_reasons import REASONS_NOTED, normalise
from cloudllm_sync.codecs.gemini_calls import FunctionCalls
from cloudllm_sync.codecs.gemini_parts import RawParts, citations, usage_from
from cloudllm_sync.codecs.json_text import CHECKED_BYTES, read_json
from cloudllm_sync.codecs.surrogates import Joiner, well_formed
from cloudllm_sync.errors import CloudLLMError, StreamProtocolError
from cloudllm_sync.values import MessageChunk

__all__ = ["GeminiDecoder"]

_ABSENT = msgspec.Raw(b"null")
_NOTHING: tuple[MessageChunk, ...] = ()
_REPLY_FIELDS = frozenset({"candidates", "promptFeedback", "usageMetadata", "modelVersion"})


class _Part(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    text: str
    thought: bool = False


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part]


class _Candidate(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    content: _Content
    index: int = 0
    safetyRatings: msgspec.Raw = _ABSENT  # noqa: N815 - the wire's name; Gemini 1.5 always sent it


class _Event(msgspec.Struct, gc=False):
    """An event of text; what repeats in each and is read once is left out."""

    candidates: list[_Candidate]
    usageMetadata: msgspec.Raw = _ABSENT  # noqa: N815 - decoded at the end: the last one counts
    promptFeedback: Any = None  # noqa: N815
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode


class GeminiDecoder:
    """One reply of Gemini or Vertex AI, streamed or whole."""

    __slots__ = (
        "_calls",
        "_explained",
        "_finish",
        "_joiner",
        "_proved",
        "_provider",
        "_raw_parts",
        "_raw_usage",
        "_reasons",
        "_text_before",
        "_whole",
        "ended",
        "error",
        "facts",
    )

    def __init__(self, provider: str) -> None:
        self.facts = ReplyFacts()
        self.ended = False
        self.error: Optional[CloudLLMError] = None
        self._provider = provider
        self._finish: Optional[tuple[str, Optional[str]]] = None  # the raw reason, and our word
        self._explained = ""  # the last message about a filter that was handed on
        self._raw_usage = _ABSENT
        self._proved = False  # whether a reason stands behind all that was handed on
        self._reasons = 0  # how many events gave a reason
        # Whether text came, and with it what each event repeats, and no reason to finish since.
        self._text_before = False
        self._whole = False
        self._calls = FunctionCalls()
        self._raw_parts = RawParts()
        self._joiner = Joiner()

    def feed(self, event: ServerSentEvent) -> Sequence[MessageChunk]:
        """The chunks of one event."""
        data = event.data
        if self._text_before and len(data) <= CHECKED_BYTES and event.event == "message":
            try:
                usual = _decode(data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return self._feed_unusual(event)
            candidates = usual.candidates
            if len(candidates) == 1 and usual.error is None and usual.promptFeedback is None:
                parts = candidates[0].content.parts
                if len(parts) == 1 and candidates[0].index == 0 and not self._joiner.held:
                    part = parts[0]
                    text = part.text
                    if text:
                        if usual.usageMetadata is not _ABSENT:
                            self._raw_usage = usual.usageMetadata
                        self._raw_parts.add_text(text, part.thought)
                        return (MessageChunk("", text) if part.thought else MessageChunk(text),)
        return self._feed_unusual(event)

    def _feed_unusual(self, event: ServerSentEvent) -> Sequence[MessageChunk]:
        """Anything but one part of text in a plain event."""
        whole = event.event == WHOLE_BODY
        text = event.data.decode("utf-8", "replace").strip()
        if not text:
            return _NOTHING
        if text == "[DONE]":  # not Google's, but gateways'
            self.ended = True
            return _NOTHING
        body = read_json(event, self._provider)
        if event.event == BARE_JSON and find_error(body) is None:
            return _NOTHING
        if event.event == "error" and find_error(body) is None:
            body = {"error": body if body and isinstance(body, (Mapping, str)) else text}
        # Errors come in an array of one, and a stream that was not asked for SSE is an array.
        documents = body if isinstance(body, list) else [body]
        chunks: list[MessageChunk] = []
        for document in documents:
            if isinstance(document, Mapping) and self.error is None:
                chunks += self._read(document)
        if whole:
            self._end_of_body(documents, is_reply=not isinstance(body, list) and bool(chunks))
        return chunks

    def _end_of_body(self, documents: list[Any], *, is_reply: bool) -> None:
        self.ended = True
        self._whole = is_reply
        known = any(
            isinstance(found, Mapping) and _REPLY_FIELDS & set(found) for found in documents
        )
        if not known and self.error is None:
            raise StreamProtocolError(
                f"{self._provider} answered with JSON that is neither a reply nor an error: "
                "check base_url"
            )

    def _read(self, body: Mapping[str, Any]) -> Iterator[MessageChunk]:
        """Any event or body, every field looked at."""
        self._note_facts(body)
        candidate = _first_candidate(body.get("candidates"))
        if candidate is not None:
            self.facts.citations.update(dict.fromkeys(citations(candidate)))
            for part in _parts(candidate.get("content")):
                yield from self._read_part(part)
        usage = usage_from(body.get("usageMetadata"))
        if usage is not None:
            self.facts.usage = usage
            self._raw_usage = _ABSENT
        if candidate is not None:
            reason, message = candidate.get("finishReason"), candidate.get("finishMessage")
            yield from self._finished(reason, None, message)
        feedback = body.get("promptFeedback")
        if isinstance(feedback, Mapping):
            reason, message = feedback.get("blockReason"), feedback.get("blockReasonMessage")
            yield from self._finished(reason, "content_filter", message)
        if body.get("error") or candidate is None:
            self.error = error_from_json(self._provider, body)
            self.ended = self.ended or self.error is not None

    def _note_facts(self, body: Mapping[str, Any]) -> None:
        facts = self.facts
        for name, field in (("response_id", "responseId"), ("model", "modelVersion")):
            value = body.get(field)
            if isinstance(value, str) and value and not getattr(facts, name):
                setattr(facts, name, well_formed(value))

    def _read_part(self, part: Mapping[str, Any]) -> Iterator[MessageChunk]:
        text = part.get("text")
        thought = part.get("thought") is True
        if isinstance(text, str) and text:
            shown = self._joiner.push("reasoning" if thought else "content", text)
            self._text_before = True
            self._proved = False
            if shown:
                yield MessageChunk("", shown) if thought else MessageChunk(shown)
        if isinstance(part.get("functionCall"), Mapping):
            self._proved = False
            raw_parts = self._raw_parts.end_run()
            for delta in self._calls.read(part, raw_parts, self.facts.response_id):
                yield MessageChunk(tool_call_delta=delta)
        elif not isinstance(text, str) or not part.keys() <= {"text", "thought"}:
            self._raw_parts.end_run().append(dict(part))
        elif text:
            self._raw_parts.add_text(text, thought)

    def _finished(
        self, raw: object, word: Optional[str] = None, message: object = None
    ) -> Iterator[MessageChunk]:
        """The reason, once; again only if a later one differs."""
        if not isinstance(raw, str) or not raw:
            return
        self._proved = True
        self._text_before = False
        for delta in self._calls.close():
            yield MessageChunk(tool_call_delta=delta)
        self._reasons += 1
        if self._reasons <= REASONS_NOTED:
            self._settle()
        raw = well_formed(raw)
        finish = raw, word or normalise(raw, calls_made=self._calls.any())
        if finish[1] == "content_filter":  # good ends have messages, too, which refuse nothing
            yield from self._explanation(message)
        if finish != self._finish:
            self._finish = finish
            yield MessageChunk(finish_reason=finish[1], raw_finish_reason=raw)

    def _explanation(self, message: object) -> Iterator[MessageChunk]:
        """Why Gemini does not say the rest, once."""
        if isinstance(message, str) and message and message != self._explained:
            self._explained = message
            yield MessageChunk(refusal=well_formed(message))

    def _settle(self) -> None:
        """Make facts of what is kept as it came while text flows."""
        raw, self._raw_usage = self._raw_usage, _ABSENT
        try:
            usage = usage_from(json.loads(bytes(raw)))
        except (ValueError, RecursionError):
            usage = None
        self.facts.usage = usage or self.facts.usage
        if self._calls.any():
            self.facts.provider_state = {"gemini_parts": list(self._raw_parts.end_run())}

    def finish(self) -> Sequence[MessageChunk]:
        """Half characters, a call left open, a reason that later calls change, and the usage."""
        rest = self._joiner.rest
        held = MessageChunk(rest("content"), rest("reasoning"))
        chunks = [held] if held != MessageChunk() else []
        chunks += [MessageChunk(tool_call_delta=delta) for delta in self._calls.close()]
        self._settle()
        if self._finish is not None and self._finish[1] == "stop" and self.complete():
            chunks += self._finished(self._finish[0])
        # Not for a reply that may be asked for again: its first chunk would forbid that.
        if self.facts.usage is not None and self.complete():
            chunks.append(MessageChunk(usage=self.facts.usage))
        return chunks

    def complete(self) -> bool:
        """A finish or block reason stands behind all that came, or a whole body around it; or the
        end mark of a gateway, where there was a reason before.
        """
        return self._proved or self._whole or (self.ended and self._finish is not None)


def _first_candidate(candidates: Any) -> Optional[Mapping[str, Any]]:
    for candidate in candidates if isinstance(candidates, list) else ():
        if isinstance(candidate, Mapping) and candidate.get("index") in (0, None, "0", ""):
            return candidate
    return None


def _parts(content: Any) -> Iterator[Mapping[str, Any]]:
    parts = content.get("parts") if isinstance(content, Mapping) else None
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, Mapping):
            yield part
