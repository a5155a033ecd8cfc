"""What goes in and what comes out: messages, chunks, options, clocks; plain values, no behaviour.

Everything here is an attrs class with slots. All but `MessageChunk` are frozen; sequences are
tuples; all pickle. `MessageChunk` is made for every token and is left unfrozen for speed.
"""

from __future__ import annotations

import enum
import json
import math
import sys
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Callable, Optional, TypeVar, Union

import attrs

from cloudllm_sync.attachments import Attachment
from cloudllm_sync.objects import name_of, parsed_reply
from cloudllm_sync.prices import price_of
from cloudllm_sync.schemas import reply_schema

__all__ = [
    "Attachment",
    "ChatOptions",
    "Limits",
    "Message",
    "MessageChunk",
    "Role",
    "Timeouts",
    "TokenUsage",
    "ToolCall",
    "ToolCallDelta",
    "ToolDefinition",
]

_Object = TypeVar("_Object")


class Role(enum.Enum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


def _sum_known(left: int | None, right: int | None) -> int | None:
    if left is None:
        return right
    return left if right is None else left + right


@attrs.frozen(slots=True)
class TokenUsage:
    """Tokens of one reply, or of several added with `+`.

    `input_tokens` counts the whole prompt, cached part included. `output_tokens` counts everything
    that was generated, reasoning included, whatever the provider's own convention. The last three
    are parts of the first two, None where the provider does not report them; in a sum None counts
    as nothing.
    """

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_input_tokens: Optional[int] = None
    cache_write_tokens: Optional[int] = None
    reasoning_tokens: Optional[int] = None

    def __add__(self, other: TokenUsage) -> TokenUsage:
        if not isinstance(other, TokenUsage):
            return NotImplemented
        return TokenUsage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.total_tokens + other.total_tokens,
            _sum_known(self.cached_input_tokens, other.cached_input_tokens),
            _sum_known(self.cache_write_tokens, other.cache_write_tokens),
            _sum_known(self.reasoning_tokens, other.reasoning_tokens),
        )


@attrs.frozen(slots=True)
class ToolCall:
    """A call that the model asks for; `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str

    def parsed(self) -> dict[str, Any]:
        """The arguments as a dict; empty text means no arguments.

        Raises:
            ValueError: The model wrote no valid JSON object, as happens after a length cut.
        """
        try:
            arguments = json.loads(self.arguments) if self.arguments.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"the arguments of {self.name!r} are not valid JSON: {error}"
            ) from error
        if not isinstance(arguments, dict):
            kind = type(arguments).__name__
            raise ValueError(f"the arguments of {self.name!r} are a JSON {kind}, not an object")
        return arguments


@attrs.frozen(slots=True)
class ToolCallDelta:
    """A piece of a tool call. `id` and `name` come once, `arguments` in pieces to be joined.

    `index` tells parallel calls apart. It may start anywhere and have gaps.
    """

    index: int
    id: Optional[str]
    name: Optional[str]
    arguments: str


@attrs.frozen(slots=True)
class ToolDefinition:
    """A function that the model may call; `parameters` is a JSON Schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@attrs.define(slots=True, unsafe_hash=True)
class MessageChunk:
    """One step of a streamed reply; every field but one is usually empty.

    `content` is visible text, to be joined with nothing between. `finish_reason` comes once, and
    `usage` usually after it: read on to the end of the stream.
    """

    content: str = ""
    reasoning: str = ""
    refusal: str = ""
    finish_reason: Optional[str] = None
    raw_finish_reason: Optional[str] = None
    tool_call_delta: Optional[ToolCallDelta] = None
    usage: Optional[TokenUsage] = None


def _tuple(values: Iterable[Any]) -> tuple[Any, ...]:
    if isinstance(values, (str, bytes)):
        raise ValueError(f"expected a sequence, got the string {values[:40]!r}: put it in a tuple")
    return tuple(values)


def _made_of(kind: type) -> Callable[[Any, attrs.Attribute[Any], tuple[Any, ...]], None]:
    def check(_: Any, field: attrs.Attribute[Any], values: tuple[Any, ...]) -> None:
        for position, value in enumerate(values):
            if not isinstance(value, kind):
                raise TypeError(
                    f"{field.name}[{position}] must be of type {kind.__name__}, "
                    f"not {type(value).__name__}"
                )

    return check


def _role(value: Role | str) -> Role:
    try:
        return Role(value)
    except ValueError:
        raise ValueError(
            f"role {value!r} is not one of {', '.join(map(str, Role))}: pass a member of Role"
        ) from None


@attrs.frozen(slots=True)
class Message:
    """One message of a conversation, from either side.

    What a reply may carry beside its text: `finish_reason`, one of `stop`, `length`, `tool_calls`,
    `content_filter`, `pause`, `error`, `cancelled`, `unknown`, or None where the provider said
    nothing; `raw_finish_reason`, the provider's own word; `usage`, None where not reported;
    `provider_state`, opaque, to be sent back unchanged in tool loops.
    """

    role: Role = attrs.field(converter=_role)
    content: str = attrs.field(validator=attrs.validators.instance_of(str))
    tool_calls: tuple[ToolCall, ...] = attrs.field(
        default=(), converter=_tuple, validator=_made_of(ToolCall), kw_only=True
    )
    tool_call_id: Optional[str] = attrs.field(default=None, kw_only=True)
    attachments: tuple[Attachment, ...] = attrs.field(
        default=(), converter=_tuple, validator=_made_of(Attachment), kw_only=True
    )
    reasoning: str = attrs.field(default="", kw_only=True)
    refusal: str = attrs.field(default="", kw_only=True)
    citations: tuple[str, ...] = attrs.field(
        default=(), converter=_tuple, validator=_made_of(str), kw_only=True
    )
    finish_reason: Optional[str] = attrs.field(default=None, kw_only=True)
    raw_finish_reason: Optional[str] = attrs.field(default=None, kw_only=True)
    usage: Optional[TokenUsage] = attrs.field(default=None, kw_only=True)
    model: Optional[str] = attrs.field(default=None, kw_only=True)
    response_id: Optional[str] = attrs.field(default=None, kw_only=True)
    provider_state: Optional[Mapping[str, Any]] = attrs.field(default=None, kw_only=True)

    def parsed(self, kind: type[_Object]) -> _Object:
        """The reply as an object of a class: attrs, dataclass, TypedDict; `dict` takes any object.

        Text around the JSON, a code fence say, is passed over.

        Raises:
            ValueError: It is no whole JSON, or does not fit; it says where.
        """
        if self.refusal and not self.content:
            raise ValueError(f"no {name_of(kind)}: the model refused")
        return parsed_reply(self.content, kind, is_cut=self.finish_reason == "length")

    def cost(self, *, provider: Optional[str] = None) -> Optional[Decimal]:
        """US dollars by today's list price (extra `cost`); None if usage or price is not known.

        `provider` is who was asked, as `open_client()` names it; None is the model's maker.
        """
        return price_of(self.model, self.usage, provider, finish_reason=self.finish_reason)


def _number(name: str, value: object, low: float, high: float, *, open_low: bool = False) -> None:
    """Refuse what is no number between `low` and `high` (None passes: the provider's default)."""
    if value is None:
        return
    # NaN is the number that is not itself; math.isnan() refuses integers too long for a float.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ValueError(f"{name} must be a number, not {value!r}")
    if value < low or value > high or (open_low and value == low):
        bounds = f"above {low:g}" if open_low else f"from {low:g}"
        upper = "" if math.isinf(high) else f" to {high:g}"
        raise ValueError(f"{name} must be {bounds}{upper}, not {value!r}")


def _whole_number(name: str, value: object, low: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, not {value!r}")


def _word(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ValueError(f"{name} must be a word, not {value!r}")


class UnknownOptionError(TypeError, ValueError):
    """A keyword that is no option: a TypeError to Python, a ValueError to whoever checks input."""


def _refuse_unknown(cls: type, given: Mapping[str, object]) -> None:
    known = [field.name for field in attrs.fields(cls)]
    for name in given:
        if name not in known:
            import difflib  # for mistakes only

            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise UnknownOptionError(f"{name!r} is not an option of {cls.__name__}: {hint}")


def _stop_words(value: Union[str, Iterable[str], None]) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, Iterable):
        raise ValueError(f"stop must be a string or strings, not {value!r}")
    words = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(word, str) and word for word in words):
        raise ValueError(f"stop must be non-empty strings, not {value!r}")
    return words


def _or_empty(value: Optional[Mapping[str, Any]]) -> Mapping[str, Any]:
    return {} if value is None else value


@attrs.frozen(slots=True, kw_only=True)
class ChatOptions:
    """How the model is to answer. None, or empty, leaves it to the provider's default.

    `tool_choice` is `auto`, `none`, `required`, or the name of one tool. `reasoning_effort` is the
    provider's own word (`none`, `low`, `medium`, `high`, ...). `response_schema` is what the
    reply has to fit: a JSON Schema, or a class (attrs, dataclass, TypedDict) whose object
    `Message.parsed()` and `ChatStream.objects()` then make. `cache` marks system prompt and
    history for prompt caching where that has to be asked for (Claude); elsewhere it is automatic.
    `extra_body` is merged last into the request's JSON and wins over all.

    Raises:
        ValueError: An unknown option, or a value that no provider could take.
    """

    max_output_tokens: Optional[int] = None
    temperature: Optional[float] = None
    top_p: Optional[float] = None
    stop: tuple[str, ...] = attrs.field(default=(), converter=_stop_words)
    seed: Optional[int] = None
    reasoning_effort: Optional[str] = None
    tool_choice: Optional[str] = None
    response_schema: Union[Mapping[str, Any], type, None] = None
    cache: Optional[bool] = None
    extra_body: Mapping[str, Any] = attrs.field(factory=dict, converter=_or_empty)

    def __new__(cls, *args: object, **given: object) -> ChatOptions:
        _refuse_unknown(cls, given)
        return super().__new__(cls)

    def __attrs_post_init__(self) -> None:
        _whole_number("max_output_tokens", self.max_output_tokens, 1)
        _number("temperature", self.temperature, 0, sys.float_info.max)
        _number("top_p", self.top_p, 0, 1)
        _whole_number("seed", self.seed, -(2**63))
        _word("reasoning_effort", self.reasoning_effort)
        _word("tool_choice", self.tool_choice)
        if self.cache is not None and not isinstance(self.cache, bool):
            raise ValueError(f"cache must be True or False, not {self.cache!r}")
        if not isinstance(self.extra_body, Mapping):
            raise ValueError(f"extra_body must be a mapping, not {self.extra_body!r}")
        if self.response_schema is not None and not isinstance(self.response_schema, Mapping):
            try:
                reply_schema(self.response_schema)
            except TypeError as error:
                wanted = "response_schema must be a JSON Schema (a mapping), or a class with fields"
                raise ValueError(f"{wanted}, not {self.response_schema!r}: {error}") from error

    @property
    def json_schema(self) -> Optional[Mapping[str, Any]]:
        """`response_schema` as a JSON Schema."""
        schema = self.response_schema
        if schema is None or isinstance(schema, Mapping):
            return schema
        return reply_schema(schema)

    def over(self, base: ChatOptions | None) -> ChatOptions:
        """These options where they are set, those of `base` elsewhere; `extra_body` is merged."""
        if base is None:
            return self
        changes = {
            field.name: getattr(self, field.name)
            for field in attrs.fields(type(self))
            if getattr(self, field.name) not in (None, (), {})
        }
        changes["extra_body"] = {**base.extra_body, **self.extra_body}
        return attrs.evolve(base, **changes)


@attrs.frozen(slots=True)
class Timeouts:
    """The four clocks of a call, in seconds; None means no limit.

    `connect_s`: name resolution aside, until the connection (TLS included) stands.
    `first_chunk_s`: from sending the request to the first content of the reply.
    `idle_s`: waiting between two chunks; keep-alive comments do not count as progress, and time
    that the consumer takes between two chunks is not counted.
    `total_s`: the whole call, retries and the waits between them included.

    Raises:
        ValueError: A clock that is not a positive number.
    """

    connect_s: Optional[float] = 10.0
    first_chunk_s: Optional[float] = 120.0
    idle_s: Optional[float] = 60.0
    total_s: Optional[float] = None

    def __new__(cls, *args: object, **given: object) -> Timeouts:
        _refuse_unknown(cls, given)
        return super().__new__(cls)

    def __attrs_post_init__(self) -> None:
        for name in ("connect_s", "first_chunk_s", "idle_s", "total_s"):
            _number(name, getattr(self, name), 0, math.inf, open_low=True)


@attrs.frozen(slots=True, kw_only=True)
class Limits:
    """How much of a reply is taken in, counted after decompression.

    `event_bytes` bounds one event, `stream_bytes` a whole reply; over them a stream ends with
    `StreamTooLargeError`. Of an error body, `error_body_bytes` are read within `error_body_s`.
    1 MiB an event is enough for any delta of text; replies with image parts need it raised.
    """

    event_bytes: int = 1024 * 1024
    stream_bytes: int = 64 * 1024 * 1024
    error_body_bytes: int = 64 * 1024
    error_body_s: float = 5.0

    def __attrs_post_init__(self) -> None:
        for name in ("event_bytes", "stream_bytes", "error_body_bytes"):
            _whole_number(name, getattr(self, name), 1)
        _number("error_body_s", self.error_body_s, 0, math.inf, open_low=True)
