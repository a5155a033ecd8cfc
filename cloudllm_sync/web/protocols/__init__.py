"""What a view sends, one pure encoder for each protocol: chunks, messages and errors to bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional, Protocol

from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.values import Message, MessageChunk
from cloudllm_sync.web.protocols.ai_sdk import AISDKEncoder
from cloudllm_sync.web.protocols.error_texts import ErrorText
from cloudllm_sync.web.protocols.openai_chat import OpenAIChatEncoder, completion, error_body
from cloudllm_sync.web.protocols.openai_request import request_of, wants_usage
from cloudllm_sync.web.protocols.plain_sse import PlainSSEEncoder
from cloudllm_sync.web.protocols.text import TextEncoder

__all__ = [
    "PROTOCOLS",
    "Encoder",
    "completion",
    "encoder_for",
    "error_body",
    "request_of",
    "wants_usage",
]

PROTOCOLS = ("sse", "ai-sdk", "openai", "text")


class Encoder(Protocol):
    """Writes one response; keeps state, so one for each.

    `start()` comes first, then any number of `chunk()` and `heartbeat()`, then one of `finish()`
    and `error()`. Nothing raises for what a model may have said.
    """

    name: str
    content_type: str
    headers: Mapping[str, str]
    """What the protocol itself asks for; nothing about caches and proxies."""

    def start(self) -> bytes:
        """What stands before the first chunk, so that headers go out at once."""

    def chunk(self, chunk: MessageChunk, event_id: str | None = None) -> bytes:
        """The chunk; nothing where it has nothing to say in this protocol.

        Args:
            chunk: The next one of the reply, or of a run of several rounds.
            event_id: What the browser names when it asks for the rest (Last-Event-ID). Left out
                where the protocol has no such thing.

        Raises:
            ConfigurationError: The id has line ends or other invisible characters.
        """

    def heartbeat(self) -> bytes:
        """What means nothing, to be sent while the model is silent."""

    def finish(self, message: Message) -> bytes:
        """The end of a reply that is whole."""

    def error(self, error: BaseException) -> bytes:
        """The end of a reply that failed or was cancelled, in words made for whoever reads it."""


def encoder_for(
    protocol: str,
    *,
    model: str = "",
    response_id: str = "",
    created: int = 0,
    include_usage: bool = False,
    error_text: Optional[ErrorText] = None,
) -> Encoder:
    """A new encoder, for one response.

    Args:
        protocol: One of PROTOCOLS.
        model: The name that "openai" gives the model.
        response_id: The reply's id in "openai" and "ai-sdk".
        created: Seconds since 1970, for "openai".
        include_usage: Whether "openai" sends the usage in a chunk of its own, without choices, as
            `stream_options.include_usage` asks for; else it rides with the finish reason.
        error_text: What to tell a browser of an error; where it gives None, and without it, there
            is a general sentence for each class of errors.

    Raises:
        ConfigurationError: There is no such protocol.
    """
    if protocol == "sse":
        return PlainSSEEncoder(error_text=error_text)
    if protocol == "ai-sdk":
        return AISDKEncoder(response_id=response_id, error_text=error_text)
    if protocol == "openai":
        return OpenAIChatEncoder(
            model=model,
            response_id=response_id,
            created=created,
            include_usage=include_usage,
            error_text=error_text,
        )
    if protocol == "text":
        return TextEncoder(error_text=error_text)
    raise ConfigurationError(f"protocol {protocol!r} is none of {', '.join(PROTOCOLS)}")
