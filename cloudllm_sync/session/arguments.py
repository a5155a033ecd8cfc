"""What a caller passes to a session, checked before a turn begins."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Optional, Union

import attrs

from cloudllm_sync.clients.arguments import checked_count
from cloudllm_sync.clients.wrapper import given_only
from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.session.strategies import ContextStrategy
from cloudllm_sync.values import (
    Attachment,
    ChatOptions,
    Message,
    Role,
    Timeouts,
    ToolDefinition,
)

__all__ = [
    "Said",
    "Wish",
    "checked_lease",
    "checked_options",
    "checked_text",
    "message_of",
    "said",
    "system",
]


# A deadline that is over is still a deadline.
_LEAST_S = 0.001


@attrs.frozen(slots=True)
class Said:
    """Messages, without a repr of them: tools that report errors show local variables."""

    messages: tuple[Message, ...] = attrs.field(default=(), repr=False)


@attrs.frozen(slots=True, kw_only=True)
class Wish:
    """What a caller wants of one turn."""

    new: Said
    tools: Optional[Sequence[ToolDefinition]] = attrs.field(default=None, repr=False)
    options: Optional[ChatOptions] = attrs.field(default=None, repr=False)
    timeouts: Optional[Timeouts] = None
    turn_timeout_s: float = 0.0

    def given(self) -> dict[str, Any]:
        """What the client is passed beside messages and tools."""
        return given_only(options=self.options, timeouts=self.timeouts)

    def later(self, began: float) -> Wish:
        """The same for another request, in what is left of its time since `began`."""
        timeouts = self.timeouts
        if timeouts is None or timeouts.total_s is None:
            return self
        left_s = max(_LEAST_S, timeouts.total_s - (time.monotonic() - began))
        return attrs.evolve(self, timeouts=attrs.evolve(timeouts, total_s=left_s))


def checked_options(options: Optional[ChatOptions]) -> Optional[ChatOptions]:
    """The options; whatever else was passed raises ConfigurationError."""
    if options is not None and not isinstance(options, ChatOptions):
        raise ConfigurationError(f"options must be ChatOptions(...), not {type(options).__name__}")
    return options


def check_session(
    client: object, max_tokens: object, partial: object, estimate_tokens: object
) -> None:
    """Refuse what no session can work with by ConfigurationError."""
    checked_count("max_tokens", max_tokens)
    if partial not in ("discard", "keep"):
        raise ConfigurationError(f"partial must be 'discard' or 'keep', not {partial!r}")
    if not hasattr(client, "send_message"):
        raise ConfigurationError(
            f"client must be a client, not {type(client).__name__}: make an OpenAIClient, say"
        )
    if not callable(estimate_tokens):
        raise ConfigurationError(f"estimate_tokens must be callable, not {estimate_tokens!r}")


def checked_context(
    context: Optional[ContextStrategy], max_tokens: int
) -> Optional[ContextStrategy]:
    """The strategy; whatever cannot be one for so many tokens raises ConfigurationError."""
    if context is None:
        return None
    if isinstance(context, type) or not callable(getattr(context, "summarize", None)):
        raise ConfigurationError(
            f"context must be SummarizeOldest(client), not {type(context).__name__}"
        )
    keep_tokens = context.keep_tokens
    if keep_tokens is not None and keep_tokens >= max_tokens:
        raise ConfigurationError(
            f"keep_tokens must be below max_tokens of {max_tokens}, not {keep_tokens!r}: the "
            "summary and the next question need room, too"
        )
    return context


def checked_lease(seconds: float) -> float:
    """The length of a lease; whatever is no positive number raises ConfigurationError."""
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds <= threading.TIMEOUT_MAX:
        raise ConfigurationError(f"lease_s must be seconds above 0, not {seconds!r}")
    return float(seconds)


def checked_text(what: str, text: object) -> str:
    """The text; whatever is none raises ConfigurationError."""
    if not isinstance(text, str):
        raise ConfigurationError(f"{what} must be a string, not {type(text).__name__}")
    return text


def message_of(
    role: Union[Role, str],
    content: str,
    *,
    attachments: Iterable[Attachment] = (),
    tool_call_id: Optional[str] = None,
) -> Message:
    """The message that these make, or ConfigurationError."""
    try:
        return Message(role, content, attachments=attachments, tool_call_id=tool_call_id)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the message cannot be sent: {error}") from error


def said(role: Union[Role, str], content: str, attachments: Iterable[Attachment]) -> Said:
    """The message that begins a turn: no tool result, which would not say what it answers."""
    message = message_of(role, content, attachments=attachments)
    if message.role is Role.TOOL:
        raise ConfigurationError(
            "a tool result says which call it answers: put it in by inject_message(Role.TOOL, "
            "result, tool_call_id=...), then send_current_history()"
        )
    return Said((message,))


def system(what: str, prompt: str) -> Said:
    """The system prompt's message; nothing where it is empty."""
    text = checked_text(what, prompt)
    return Said((Message(Role.SYSTEM, text),) if text else ())
