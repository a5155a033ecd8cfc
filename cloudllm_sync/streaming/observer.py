"""What whoever watches calls may be told."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Callable, Optional, Protocol

import attrs

from cloudllm_sync.codecs import ChatRequest
from cloudllm_sync.errors import CloudLLMError
from cloudllm_sync.values import Message

__all__ = ["CallInfo", "Observer", "notify", "notify_end"]

_log = logging.getLogger("cloudllm_sync.observers")


@attrs.frozen(slots=True)
class CallInfo:
    """Which call; the same object in every notice of one call."""

    provider_name: str
    model_name: str
    streamed: bool
    base_url: str = ""
    """Where the provider is."""
    request: Optional[ChatRequest] = attrs.field(default=None, repr=False, eq=False)
    """What is asked, prompts included: for observers that were told to keep it."""


class Observer(Protocol):
    """Told of every call of a client, on the thread that reads the reply.

    What a method raises is logged and goes no further; a slow method slows the reply. Derive from
    this class to get methods that do nothing: an explicit return keeps them from being abstract.
    """

    def on_start(self, call: CallInfo) -> None:
        """The request is about to be sent."""
        return

    def on_retry(self, call: CallInfo, error: CloudLLMError, delay_s: float) -> None:
        """An attempt failed; the next is made after `delay_s` seconds."""
        return

    def on_first_chunk(self, call: CallInfo) -> None:
        """The first content has come."""
        return

    def on_finish(self, call: CallInfo, message: Message) -> None:
        """The reply is whole."""
        return

    def on_error(self, call: CallInfo, error: CloudLLMError) -> None:
        """The call failed or was cancelled."""
        return


def notify(observers: Iterable[Observer], tell: Callable[[Observer], None]) -> None:
    """Tell every observer; what one raises is logged."""
    for observer in observers:
        try:
            tell(observer)
        except Exception:  # foreign code
            _log.exception("the observer %r raised", type(observer).__name__)


def notify_end(
    observers: Iterable[Observer],
    info: CallInfo,
    message: Message | None,
    error: CloudLLMError | None,
) -> None:
    """Tell every observer how the call ended."""
    if message is not None:
        notify(observers, lambda observer: observer.on_finish(info, message))
    elif error is not None:
        notify(observers, lambda observer: observer.on_error(info, error))
