"""How many tokens messages are: by their size at first, then as the provider reports (pure)."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Optional

import attrs

from cloudllm_sync.errors import CloudLLMError, ConfigurationError
from cloudllm_sync.session.media import media_tokens
from cloudllm_sync.values import ChatOptions, Message, ToolDefinition

__all__ = ["EstimateTokens", "Estimates", "estimate_tokens", "tool_tokens"]

EstimateTokens = Callable[[Message], int]

# What providers' formats put around every message: 3 to 5 tokens.
_AROUND = 4
# Of a shorter request it is what the provider puts around it that is reported, not its text.
_SHORTEST = 32
# Times an estimate; a report outside is of something else: what was not cached, what a search
# has found, a constant. A byte is at most one token, and some count a picture by a tenth.
_TEXT_BOUNDS = (1 / 3, 8.0)
_MEDIA_BOUNDS = (1 / 10, 8.0)
# How many tokens the scale of 1, with which a session begins, weighs; less where max_tokens is low.
_TRUST = 256
# A scale is right on the average: estimates stay above it by a little, and for a while by more
# after a request that was longer than expected.
_MARGINS = (0.01, 0.3)
_FORGET = 0.9
# A smaller change is not worth a note.
_NOTABLE = 0.03


def _json_bytes(value: object) -> int:
    with contextlib.suppress(RecursionError):  # nested as deep as could be read
        return len(json.dumps(value, default=str))
    return 0


def _text_tokens(message: Message) -> int:
    size = len(message.content.encode("utf-8", "replace")) + len(message.refusal)
    for call in message.tool_calls:
        size += len(call.name) + len(call.arguments.encode("utf-8", "replace"))
    if message.provider_state is not None and message.tool_calls:
        size += _json_bytes(message.provider_state)
    return max(1, (size + 3) // 4)


def _media_tokens(message: Message) -> int:
    return sum(map(media_tokens, message.attachments))


def estimate_tokens(message: Message) -> int:
    """About how many tokens a message is: one for four bytes of UTF-8, at least one.

    Pictures count by their pixels, documents by their pages, sounds by their length.
    """
    return _text_tokens(message) + _media_tokens(message)


def tool_tokens(tools: Optional[Iterable[ToolDefinition]], options: Optional[ChatOptions]) -> int:
    """About how many tokens the definitions of tools, and the schema of a reply, add to a request.

    What can be read only once is left to the client.
    """
    size = 0
    for tool in tools if isinstance(tools, Sequence) else ():
        if isinstance(tool, ToolDefinition):
            size += _json_bytes([tool.name, tool.description, tool.parameters])
    if options is not None and isinstance(options.response_schema, Mapping):
        size += _json_bytes(options.response_schema)
    return (size + 3) // 4


@attrs.frozen(slots=True)
class _Scale:
    """How many times their estimate the last requests together were, as reported."""

    estimated: float = 0.0
    reported: float = 0.0

    @property
    def factor(self) -> float:
        return self.reported / self.estimated if self.estimated else 1.0

    def after(self, estimated: float, reported: float, max_tokens: int) -> _Scale:
        """With one more request: a long one counts more, and pushes out what is older."""
        trust = min(_TRUST, max_tokens / 8)
        base = self if self.estimated else _Scale(trust, trust)
        keep = min(1.0, max(0.0, 2 * max_tokens - estimated) / base.estimated)
        return _Scale(base.estimated * keep + estimated, base.reported * keep + reported)


@attrs.frozen(slots=True)
class Estimates:
    """How many tokens the messages of one session are, as far as is known.

    At first as `estimate_tokens()` says. Each report of a request's tokens scales text, or
    pictures and the like, whichever is more of the request, and tells how far to stay below the
    limit. An estimate of the user's own is taken as it is, and reports change nothing.
    """

    own: Optional[EstimateTokens] = None
    text: _Scale = _Scale()
    media: _Scale = _Scale()
    margin: float = 0.0

    @property
    def _around(self) -> int:
        return _AROUND if self.text.estimated or self.media.estimated else 0

    def tokens(self, message: Message) -> int:
        """About how many tokens a message is.

        Raises:
            ConfigurationError: The user's own estimate fails.
        """
        if self.own is not None:
            return _own_tokens(self.own, message)
        return self._scaled(_text_tokens(message), _media_tokens(message)) + self._around

    def beside(self, tokens: int) -> int:
        """What `tool_tokens()` says of a request, scaled; with an estimate of one's own 0."""
        return 0 if self.own is not None else self._scaled(tokens, 0)

    def _scaled(self, text: float, media: float) -> int:
        tokens = text * self.text.factor + media * self.media.factor
        return math.ceil(tokens * (1 + self.margin))

    def after(
        self, messages: Sequence[Message], beside: int, reported: int, max_tokens: int
    ) -> Estimates:
        """With what a provider has reported of a request.

        Args:
            messages: What was sent.
            beside: What `tool_tokens()` said of the request.
            reported: The tokens of it, cached ones included.
            max_tokens: The longest request; only in those that come near it errors matter.
        """
        if self.own is not None:
            return self
        text = beside + sum(map(_text_tokens, messages))
        media = sum(map(_media_tokens, messages))
        rest = reported - _AROUND * len(messages)
        text_scale, media_scale = self.text, self.media
        if text >= media:
            rest -= round(media * media_scale.factor)
            is_believed = _is_between(_TEXT_BOUNDS, rest, text)
            text_scale = text_scale.after(text, rest, max_tokens)
        else:
            rest -= round(text * text_scale.factor)
            is_believed = _is_between(_MEDIA_BOUNDS, rest, media)
            media_scale = media_scale.after(media, rest, max_tokens)
        if not is_believed:
            return self
        expected = text * self.text.factor + media * self.media.factor + _AROUND * len(messages)
        shortfall = (reported / expected - 1) * min(1.0, 4 * reported / max_tokens)
        margin = max(self.margin * _FORGET, shortfall) if self._around else 0.0
        return Estimates(None, text_scale, media_scale, _within(_MARGINS, margin))

    def is_news_to(self, other: Estimates) -> bool:
        """Whether it is worth a note, if `other` is what was noted last."""
        return any(
            abs(mine - known) > _NOTABLE * known
            for mine, known in (
                (self.text.factor, other.text.factor),
                (self.media.factor, other.media.factor),
                (1 + self.margin, 1 + other.margin),
            )
        )

    def note(self) -> dict[str, Any]:
        """What to keep with the session: small JSON."""
        return {
            "text": [round(self.text.estimated), round(self.text.reported)],
            "media": [round(self.media.estimated), round(self.media.reported)],
            "margin": round(self.margin, 3),
        }

    def noted(self, note: Any) -> Estimates:
        """As a note says; as at first, if there is none that makes sense."""
        try:
            text, media = _Scale(*map(float, note["text"])), _Scale(*map(float, note["media"]))
            margin = float(note["margin"])
        except (KeyError, TypeError, ValueError):
            return Estimates(self.own)
        sound = _is_sound(text, _TEXT_BOUNDS) and _is_sound(media, _MEDIA_BOUNDS)
        if not sound or margin != _within((0, _MARGINS[1]), margin):
            return Estimates(self.own)
        return Estimates(self.own, text, media, margin)


def _within(bounds: tuple[float, float], value: float) -> float:
    return max(bounds[0], min(bounds[1], value))


def _is_between(bounds: tuple[float, float], reported: float, estimated: float) -> bool:
    return estimated >= _SHORTEST and bounds[0] <= reported / estimated <= bounds[1]


def _is_sound(scale: _Scale, bounds: tuple[float, float]) -> bool:
    finite = 0 <= scale.estimated < math.inf and 0 <= scale.reported < math.inf
    # Rounded, it may be a little out of bounds.
    return finite and 0.9 * bounds[0] <= scale.factor <= 1.1 * bounds[1]


def _own_tokens(own: EstimateTokens, message: Message) -> int:
    try:
        tokens = own(message)
    except CloudLLMError:
        raise
    except Exception as error:  # foreign code
        raise ConfigurationError(f"estimate_tokens raised {type(error).__name__}") from error
    is_number = isinstance(tokens, (int, float)) and not isinstance(tokens, bool)
    if not is_number or not 0 <= tokens < math.inf:
        shown = repr(tokens) if is_number else type(tokens).__name__
        raise ConfigurationError(f"estimate_tokens must return a number of tokens, not {shown}")
    return math.ceil(tokens)
