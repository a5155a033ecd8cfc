"""What a scripted model says, and how fast and in which shape it is delivered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Optional, Union

import attrs

from cloudllm_sync.testing.steps import Step, checked_steps
from cloudllm_sync.values import TokenUsage, ToolCall

__all__ = ["Framing", "Reply", "argument_fragments", "pieces"]

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
    exact deltas. A request without `stream: true` gets one JSON body with all of it.

    What:
        usage: `"counted"`: 10 tokens for the prompt, one for each piece of the reply. None: this
            server knows no usage. In a stream it is sent only if the request asks for it.
        finish_reason: The wire's own word. None: `stop`, or `tool_calls` if there are any. An
            empty string: the stream ends without one.
        citations: URLs; sent as `url_citation` annotations of the whole text.
        model: None: the one that the request names.
        error: An error object; a stream sends it after the text, then ends without a finish reason
            and without `[DONE]`. A whole body holds nothing else (the status stays 200).
        done: Whether a stream ends with `data: [DONE]`.

    How:
        headers: They win over those that are computed, Content-Type included.
        delay_s: Seconds before the headers.
        first_token_delay_s: Seconds between the headers and the first event.
        token_delay_s: Seconds between two tokens; the events that close a stream do not wait.
        line_end: `\n`, `\r\n` or `\r`, in streams.
        framing: `chunked`; `length` (Content-Length); `close` (ends with the connection);
            `http1.0` (the same, in the old version's words).
        split: Bytes per write and HTTP chunk, before compression; None: one event each; 0: all at
            once. Waits and the steps of `after` end a write all the same.
        gzip: Compressed, flushed after each write.
        after: Steps to do after the n-th event: `{3: Stall()}`, `{3: (Wait(1), Reset())}`. Event 1
            opens the stream (it has the role and no text), 0 means before the first. A number that
            there is no event for is answered with status 500.

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
    line_end: Literal["\n", "\r\n", "\r"] = attrs.field(
        default="\n", validator=attrs.validators.in_(("\n", "\r\n", "\r")), kw_only=True
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
        """The finish reason that is sent, or None."""
        if self.finish_reason is None:
            return "tool_calls" if self.tool_calls else "stop"
        return self.finish_reason or None
