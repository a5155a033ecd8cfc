"""Ollama's lines and bodies to chunks, of /api/chat and of /api/generate.

The usual line, text or thought and nothing else, is decoded by msgspec into the few fields that
are read; every other one is read field by field.

Source: wire/WIRE.md, section 9.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import msgspec

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ReplyFacts, ServerSentEvent
from cloudllm_sync.codecs.error_bodies import error_from_json, find_error
from cloudllm_sync.codecs.finish_reasons import normalise
from cloudllm_sync.codecs.json_text import CHECKED_BYTES, count, read_json
from cloudllm_sync.codecs.surrogates import Joiner, well_formed
from cloudllm_sync.errors import CloudLLMError, StreamProtocolError
from cloudllm_sync.values import MessageChunk, TokenUsage, ToolCallDelta

__all__ = ["MADE_ID_PREFIX", "OllamaDecoder"]

MADE_ID_PREFIX = "ollama_call_"
"""Begins the ids made here, for calls that came without one; they are not sent back."""

_NOTHING: tuple[MessageChunk, ...] = ()
_REPLY_FIELDS = frozenset({"message", "response", "done"})


class _Said(msgspec.Struct, gc=False):
    content: str = ""
    thinking: Optional[str] = None
    tool_calls: Any = None


class _Line(msgspec.Struct, gc=False):
    """A line of text; what repeats in each and is read once is left out."""

    message: _Said
    done: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Line).decode


class OllamaDecoder:
    """One reply of Ollama, streamed or whole."""

    __slots__ = (
        "_call_count",
        "_finished",
        "_joiner",
        "_provider",
        "_text_before",
        "ended",
        "error",
        "facts",
    )

    def __init__(self, provider: str) -> None:
        self.facts = ReplyFacts()
        self.ended = False
        self.error: Optional[CloudLLMError] = None
        self._provider = provider
        self._call_count = 0
        self._finished = False
        self._text_before = False  # whether text came, and with it what each line repeats
        self._joiner = Joiner()

    def feed(self, event: ServerSentEvent) -> Sequence[MessageChunk]:
        """The chunks of one line, or of one event where a gateway makes events of them."""
        data = event.data
        if self._text_before and len(data) <= CHECKED_BYTES and event.event == "message":
            try:
                line = _decode(data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return self._feed_unusual(event)
            said = line.message
            if (
                line.done is not True
                and line.error is None
                and said.tool_calls is None
                and not self._joiner.held
            ):
                if not said.thinking:
                    return (MessageChunk(said.content),) if said.content else _NOTHING
                if not said.content:
                    return (MessageChunk("", said.thinking),)
        return self._feed_unusual(event)

    def _feed_unusual(self, event: ServerSentEvent) -> Sequence[MessageChunk]:
        """Anything but text or thought in a line of its own."""
        text = event.data.decode("utf-8", "replace").strip()
        if not text:
            return _NOTHING
        if text == "[DONE]":  # not Ollama's, but gateways'
            self.ended = True
            return _NOTHING
        body = read_json(event, self._provider)
        if event.event == BARE_JSON and find_error(body) is None:
            return _NOTHING
        if event.event == "error" and find_error(body) is None:
            body = {"error": body if body and isinstance(body, (Mapping, str)) else text}
        self.error = error_from_json(self._provider, body)
        whole = event.event == WHOLE_BODY
        self.ended = whole or self.error is not None
        if isinstance(body, Mapping) and (not whole or self.error or body.keys() & _REPLY_FIELDS):
            return list(self._read(body, whole=whole))
        if whole and self.error is None:
            raise StreamProtocolError(
                f"{self._provider} answered with JSON that is neither a reply nor an error: "
                "check base_url"
            )
        return _NOTHING

    def _read(self, body: Mapping[str, Any], *, whole: bool) -> Iterator[MessageChunk]:
        """Any line or body, every field looked at."""
        model = body.get("model")
        if isinstance(model, str) and model and not self.facts.model:
            self.facts.model = well_formed(model)
        message = body.get("message")
        if isinstance(message, Mapping):
            said, content = message, message.get("content")
        else:
            said, content = body, body.get("response")  # /api/generate has all in one object
        yield from self._read_text("reasoning", said.get("thinking"))
        yield from self._read_text("content", content)
        yield from self._read_calls(said.get("tool_calls"), body.get("created_at"))
        if self.error is None and (whole or body.get("done") is True):
            yield from self._read_end(body)

    def _read_text(self, channel: str, text: object) -> Iterator[MessageChunk]:
        if not isinstance(text, str) or not text:
            return
        self._text_before = True
        shown = self._joiner.push(channel, text)
        if shown:
            yield MessageChunk(shown) if channel == "content" else MessageChunk("", shown)

    def _read_calls(self, calls: object, created_at: object) -> Iterator[MessageChunk]:
        """Calls always come whole; their own numbers do not go over from line to line."""
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, Mapping) else None
            if not isinstance(function, Mapping) or not function.get("name"):
                continue
            index = self._call_count
            self._call_count += 1
            call_id, arguments = call.get("id"), _as_json(function.get("arguments"))
            if isinstance(call_id, bool) or not isinstance(call_id, (str, int)) or call_id == "":
                # The time makes it unlike those of other turns, which other providers insist on.
                stamp = re.sub(r"[^0-9]", "", created_at) if isinstance(created_at, str) else ""
                call_id = f"{MADE_ID_PREFIX}{stamp}_{index}"
            delta = ToolCallDelta(
                index, well_formed(str(call_id)), well_formed(str(function["name"])), arguments
            )
            yield MessageChunk(tool_call_delta=delta)

    def _read_end(self, body: Mapping[str, Any]) -> Iterator[MessageChunk]:
        """The last line: why, which old servers do not say, and how many tokens."""
        self.ended = self._finished = True
        raw = body.get("done_reason")
        raw = well_formed(raw) if isinstance(raw, str) and raw else None
        word = normalise(raw, calls_made=self._call_count > 0)
        if word is not None:
            yield MessageChunk(finish_reason=word, raw_finish_reason=raw)
        self.facts.usage = _usage(body)
        if self.facts.usage is not None:
            yield MessageChunk(usage=self.facts.usage)

    def finish(self) -> Sequence[MessageChunk]:
        """Half characters."""
        rest = self._joiner.rest
        held = MessageChunk(rest("content"), rest("reasoning"))
        return (held,) if held != MessageChunk() else _NOTHING

    def complete(self) -> bool:
        """A line said `done`, or a whole body had a reply in it: it is all there is."""
        return self._finished


def _as_json(arguments: Any) -> str:
    """The arguments as JSON text; a server that sends text is believed."""
    if arguments is None or isinstance(arguments, str):
        return well_formed(arguments or "")
    try:
        text = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise StreamProtocolError("the arguments of a tool call are nested too deep") from None
    return well_formed(text)


def _usage(body: Mapping[str, Any]) -> Optional[TokenUsage]:
    """The counts of the last line; a prompt that was cached as a whole is not counted there."""
    prompt, given = count(body, "prompt_eval_count"), count(body, "eval_count")
    if prompt is None and given is None:
        return None
    return TokenUsage(prompt or 0, given or 0, (prompt or 0) + (given or 0))
