"""What a session needs of a client, ours or a user's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Optional, Protocol, Union, runtime_checkable

from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.values import ChatOptions, Message, Timeouts, ToolDefinition

__all__ = ["ClientWrapper", "Messages", "given_only"]

Messages = Union[str, Iterable[Message]]
"""A conversation, or a plain string: one user message."""


@runtime_checkable
class ClientWrapper(Protocol):
    """A client. One of your own needs these four and no base class.

    `options` and `timeouts` are passed only if they were given, so a client that knows neither may
    leave them out of its signatures.
    """

    @property
    def model_name(self) -> str:
        """The model that answers."""

    @property
    def provider_name(self) -> str:
        """Who serves it."""

    def send_message(
        self,
        messages: Sequence[Message],
        tools: Optional[Sequence[ToolDefinition]] = None,
        *,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> Message:
        """The whole reply."""

    def send_message_stream(
        self,
        messages: Sequence[Message],
        tools: Optional[Sequence[ToolDefinition]] = None,
        *,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> Union[ChatStream, None]:
        """The reply as a stream (`ChatStream.of()` makes one of chunks), or None: cannot stream."""


def given_only(**wishes: object) -> dict[str, Any]:
    """Only what was given: a client of a user's own may know no options."""
    return {name: wish for name, wish in wishes.items() if wish is not None}
