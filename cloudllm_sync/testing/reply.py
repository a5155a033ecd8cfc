"""What a scripted model says, and how fast and in which shape it is delivered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Optional, Union

import attrs

from cloudllm_sync.testing.steps import Step, checked_steps
from cloudllm_sync.values import TokenUsage, ToolCall

__all__ = ["Framing", "Reply", "argument_fragments", "finish_word", "pieces"]

Framing = Literal["chunked", "length", "close", "http1.0"]

# Whatever was asked: an encoder sees the reply only.
PROMPT_TOKENS = 10

_WORD = re.compile(r"\s*\S+|\s+")
_JSON_TOKEN = re.compile(r"\W*\w+|\W+")


def pieces(said: str | Sequence[str]) -> tuple[str, ...]:
    """A string in token-like pieces, words with the space before them; a sequence as it is."""
    return tuple(_WORD.findall(said)) if isinstance(said, str) else tuple(said)


def argument_fragments(arguments: str) -> tuple[str, ...]:
    """A tool call's JSON in token-like pieces."""
    return tuple(_JSON_TOKEN.findall(arguments))


def _said(value: str | Sequence[str]) -> str | tuple[str, ...]:
    return value if isinstance(value, str) else _strings(value)


def _strings(values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError(f"expected a sequence, got the string {values[:40]!r}: put it in a tuple")
    strings = tuple(values)
    for string in strings:
        if not isinstance(string, str):
            raise TypeError(f"{string!r} is no string")
    return strings


def _calls(values: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(values)


def _steps_after(
    after: Mapping[int, Step | Sequence[Step]],
) -> Mapping[int, tuple[Step, ...]]:
    return {
        number: checked_steps(steps if isinstance(steps, (tuple, list)) else (steps,))
        for number, steps in after.items()
    }


def _copy(headers: Mapping[str, str]) -> Mapping[str, str]:
    return dict(headers)


def _usage_kind(_reply: Reply, _field: object, value: object) -> None:
    if value not in (None, "counted") and not isinstance(value, TokenUsage):
        raise ValueError(f"usage must be a TokenUsage, 'counted' or None, not {value!r}")


_not_negative = attrs.validators.ge(0.0)


@attrs.frozen
class Reply:
    r"""What the model says, and how it is delivered.

    `text`, `reasoning` and `refusal` are strings, streamed in token-like pieces, or sequences: the
    exact deltas. A request that asks for no stream gets one JSON body with all of it.

    One reply can be said on every wire that FakeServer speaks, and decodes to the same Message but
    for ids and the provider's words. What a wire cannot say is left out (Gemini: cache writes) or
    said in its own place: a refusal is the explanation in Claude's `stop_details`, the message of
    a SAFETY finish on Gemini, and text on Ollama, which knows neither citations nor more than
    three counts.

    What:
        usage: `"counted"`: 10 tokens for the prompt, one for each piece of the reply. None: this
            server knows no usage. Streams of Chat Completions have it only if the request asks.
        finish_reason: `stop`, `tool_calls`, `length` and `content_filter` go out as the wire's own
            words for these, any other word as it is. None: `stop`, or `tool_calls` if there are
            any, or the wire's word for a refusal: that is `stop` on OpenAI's wires and a filter on
            Claude and Gemini; say `content_filter` to have it equal on all. An empty string: the
            stream ends without one.
        tool_calls: Claude's whole bodies and all of Gemini's and Ollama's hold arguments as JSON
            objects; other arguments are answered with status 500 there. These two get no empty id.
        citations: URLs; sent as sources of the whole text.
        model: None: the one that the request names.
        error: The fields of the wire's error object, `message` and `type` say; those that it needs
            besides are made up, and Ollama's has the message alone. A stream sends it after the
            text, then ends without a finish reason. A whole body holds nothing else (the status
            stays 200).
        done: Whether a stream ends with its end mark: `data: [DONE]`, Claude's `message_stop`.
            Gemini has none; that of Responses and of Ollama is the finish reason's event.

    How:
        headers: They win over those that are computed, Content-Type included.
        delay_s: Seconds before the headers.
        first_token_delay_s: Seconds between the headers and the first event.
        token_delay_s: Seconds between two tokens; the events that close a stream do not wait.
        line_end: `\n`, `\r\n` or `\r`, in streams. None: the wire's own, `\r\n` on Gemini and
            `\n` elsewhere.
        framing: `chunked`; `length` (Content-Length); `close` (ends with the connection);
            `http1.0` (the same, in the old version's words).
        split: Bytes per write and HTTP chunk, before compression; None: one event each; 0: all at
            once. Waits and the steps of `after` end a write all the same.
        gzip: Compressed, flushed after each write.
        after: Steps to do after the n-th event: `{3: Stall()}`, `{3: (Wait(1), Reset())}`. In Chat
            Completions event 1 opens the stream (it has the role and no text); the other wires
            count their own events, see `anthropic_events()` and its like. 0 means before the
            first. A number that there is no event for is answered with status 500.

    Raises:
        TypeError: Deltas that are no strings, steps that are none.
        ValueError: A negative delay, an unknown framing, line end or word for usage.
    """

    text: Union[str, tuple[str, ...]] = attrs.field(default="", converter=_said)
    reasoning: Union[str, tuple[str, ...]] = attrs.field(default="", converter=_said, kw_only=True)
    refusal: Union[str, tuple[str, ...]] = attrs.field(default="", converter=_said, kw_only=True)
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_calls, kw_only=True)
    usage: Union[TokenUsage, Literal["counted"], None] = attrs.field(
        default="counted", validator=_usage_kind, kw_only=True
    )
    finish_reason: Optional[str] = attrs.field(default=None, kw_only=True)
    citations: tuple[str, ...] = attrs.field(default=(), converter=_strings, kw_only=True)
    model: Optional[str] = attrs.field(default=None, kw_only=True)
    error: Optional[Mapping[str, Any]] = attrs.field(default=None, kw_only=True)
    done: bool = attrs.field(default=True, kw_only=True)

    headers: Mapping[str, str] = attrs.field(factory=dict, converter=_copy, kw_only=True)
    delay_s: float = attrs.field(default=0.0, validator=_not_negative, kw_only=True)
    first_token_delay_s: float = attrs.field(default=0.0, validator=_not_negative, kw_only=True)
    token_delay_s: float = attrs.field(default=0.0, validator=_not_negative, kw_only=True)
    line_end: Optional[Literal["\n", "\r\n", "\r"]] = attrs.field(
        default=None, validator=attrs.validators.in_((None, "\n", "\r\n", "\r")), kw_only=True
    )
    framing: Framing = attrs.field(
        default="chunked",
        validator=attrs.validators.in_(("chunked", "length", "close", "http1.0")),
        kw_only=True,
    )
    split: Optional[int] = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(0)), kw_only=True
    )
    gzip: bool = attrs.field(default=False, kw_only=True)
    after: Mapping[int, tuple[Step, ...]] = attrs.field(
        factory=dict, converter=_steps_after, kw_only=True
    )

    @property
    def reported_usage(self) -> TokenUsage | None:
        """The usage that is sent: the one given, the pieces counted, or None."""
        if self.usage is None or isinstance(self.usage, TokenUsage):
            return self.usage
        reasoning = len(pieces(self.reasoning))
        output = reasoning + len(pieces(self.text)) + len(pieces(self.refusal))
        output += sum(1 + len(argument_fragments(call.arguments)) for call in self.tool_calls)
        return TokenUsage(PROMPT_TOKENS, output, PROMPT_TOKENS + output, 0, None, reasoning)

    @property
    def raw_finish_reason(self) -> str | None:
        """The finish reason as Chat Completions says it, or None."""
        if self.finish_reason is None:
            return "tool_calls" if self.tool_calls else "stop"
        return self.finish_reason or None


def finish_word(reply: Reply, words: Mapping[str, str]) -> str | None:
    """The finish reason in a wire's own words, or None; what `words` does not have is its own.

    Where `words` has one for `refusal`, that is how a refusal ends.
    """
    if reply.finish_reason is None and pieces(reply.refusal) and "refusal" in words:
        return words["refusal"]
    raw = reply.raw_finish_reason
    return None if raw is None else words.get(raw, raw)
