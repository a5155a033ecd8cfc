"""Wire protocols, pure: values to request bodies, events to chunks, error bodies to errors.

A codec speaks one wire protocol, for every vendor that uses it; no codec knows a socket, a clock
or a lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Protocol

import attrs
import msgspec

from cloudllm_sync.errors import APIError, CloudLLMError
from cloudllm_sync.values import ChatOptions, Message, MessageChunk, TokenUsage, ToolDefinition

__all__ = [
    "BARE_JSON",
    "FEATURES",
    "WHOLE_BODY",
    "ChatRequest",
    "Codec",
    "Decoder",
    "ReplyFacts",
    "ServerSentEvent",
    "WireRequest",
]

WHOLE_BODY = "cloudllm.whole-body"
"""The `event` of the one ServerSentEvent that stands for a reply that is a JSON document."""

FEATURES = (
    "tools",
    "tool_choice",
    "images",
    "documents",
    "audio",
    "response_schema",
    "stop",
    "seed",
    "reasoning_effort",
)
"""What not every wire can say, for the table of providers."""

BARE_JSON = "cloudllm.bare-json"
"""The `event` of a line of JSON without `data:`; some servers report errors so."""


# A msgspec struct, not an attrs class: one is made for every token, at a third of the cost.
class ServerSentEvent(msgspec.Struct, gc=False):
    """One event, a line that is a JSON document, or a whole JSON body (`event` is WHOLE_BODY).

    `terminated` is False for what the end of the body cut off before its empty line, or before the
    end of its line: it may be whole, or may not.
    """

    data: bytes
    event: str = "message"
    terminated: bool = True


@attrs.frozen(slots=True)
class ChatRequest:
    """What the caller wants, before any wire is chosen."""

    model: str
    # No repr of what was said: tools that report errors show local variables.
    messages: tuple[Message, ...] = attrs.field(repr=False)
    tools: tuple[ToolDefinition, ...] = attrs.field(repr=False)
    options: ChatOptions
    stream: bool


@attrs.frozen(slots=True)
class WireRequest:
    """What is posted: a path below the base URL, and the body as JSON text."""

    path: str
    body: bytes = attrs.field(repr=False)
    json_lines: bool = False
    """Whether the reply is asked for as JSON documents, one a line, and not as an event stream."""


@attrs.define(slots=True)
class ReplyFacts:
    """What a reply says about itself beside its chunks."""

    model: Optional[str] = None
    response_id: Optional[str] = None
    citations: dict[str, None] = attrs.field(factory=dict)  # an ordered set
    provider_state: Optional[dict[str, Any]] = None
    usage: Optional[TokenUsage] = None


class Decoder(Protocol):
    """Turns the events of one reply into chunks; keeps state, so one for each reply."""

    facts: ReplyFacts
    ended: bool
    """Nothing more is to come: an end mark, a whole body, or an error was seen."""
    error: Optional[CloudLLMError]
    """The error that the provider reported in its reply."""

    def feed(self, event: ServerSentEvent) -> Sequence[MessageChunk]:
        """The chunks of one event, often one, sometimes none.

        Raises:
            StreamProtocolError: The event is not what the provider documents.
        """

    def finish(self) -> Sequence[MessageChunk]:
        """What was held back until the end; called once, when the reply is over."""

    def complete(self) -> bool:
        """Whether the provider has proved that the reply is whole."""


class Codec(Protocol):
    """One wire protocol, with the settings of one vendor's dialect."""

    @property
    def features(self) -> frozenset[str]:
        """Which of FEATURES this wire can say; asking for others is UnsupportedOptionError."""

    def encode(self, request: ChatRequest) -> WireRequest:
        """The request in this wire's words.

        Raises:
            UnsupportedOptionError: The wire cannot say something that was asked for.
        """

    def amend(self, wire: WireRequest, error: APIError) -> Optional[tuple[WireRequest, Codec]]:
        """The request without what the server has just refused, and a codec that leaves it out.

        None if the error is about something else.
        """

    def decoder(self) -> Decoder:
        """A decoder for one reply."""
