"""One call to several clients: what each is asked, and what the caller gets if none answers."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, Callable, Optional

import attrs

from cloudllm_sync.clients.wrapper import ClientWrapper, Messages, given_only
from cloudllm_sync.codecs.conversation import as_messages, as_tools
from cloudllm_sync.errors import (
    APIError,
    CloudLLMError,
    ConfigurationError,
    ConnectError,
    RequestTimeoutError,
    StreamCancelled,
    StreamError,
    StreamingNotSupportedError,
    TransportError,
    UnsupportedOptionError,
)
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.transport.cancellation import Cancellation, current_cancellation, using
from cloudllm_sync.transport.credentials import mask_urls
from cloudllm_sync.values import ChatOptions, Message, Timeouts, ToolDefinition

__all__ = ["Asking", "Question", "signed"]

_log = logging.getLogger("cloudllm_sync.fallback")

# What another client may do better. A cancel is not among them, nor a mistake of the program's.
_MOVE_ON = (
    APIError,
    TransportError,
    StreamError,
    UnsupportedOptionError,
    StreamingNotSupportedError,
)

# With less time left than this, nobody else is asked: deadlines are passed on in milliseconds.
_LEAST_S = 0.001


@attrs.frozen(slots=True)
class Question:
    """What every client is asked, in the time that the ones before it have left."""

    # No repr of what was said: tools that report errors show local variables.
    _messages: tuple[Message, ...] = attrs.field(repr=False)
    _tools: Optional[tuple[ToolDefinition, ...]] = attrs.field(repr=False)
    _options: Optional[ChatOptions] = attrs.field(repr=False)
    _timeouts: Optional[Timeouts]
    _ends_at: float

    @classmethod
    def of(
        cls,
        messages: Messages,
        tools: Optional[Iterable[ToolDefinition]],
        options: Optional[ChatOptions],
        timeouts: Optional[Timeouts],
    ) -> Question:
        """Checked, and held in tuples: what can be read only once is read for all clients.

        Raises:
            ConfigurationError: No client could be asked this.
        """
        if timeouts is not None and not isinstance(timeouts, Timeouts):
            raise ConfigurationError(
                f"timeouts must be Timeouts(...), not {type(timeouts).__name__}"
            )
        total_s = timeouts.total_s if timeouts is not None else None
        return cls(
            as_messages(messages),
            None if tools is None else as_tools(tools),
            options,
            timeouts,
            math.inf if total_s is None else time.monotonic() + total_s,
        )

    @property
    def total_s(self) -> Optional[float]:
        """How long the call may take."""
        return self._timeouts.total_s if self._timeouts is not None else None

    def left_s(self) -> float:
        """Seconds until the total deadline; infinite without one."""
        return self._ends_at - time.monotonic()

    def put_to(self, send: Callable[..., Any]) -> Any:
        """What a client's method answers, within the time that is left."""
        timeouts = self._timeouts
        if timeouts is not None and timeouts.total_s is not None:
            left_s = max(round(self.left_s(), 3), _LEAST_S)
            timeouts = attrs.evolve(timeouts, total_s=left_s)
        given = given_only(options=self._options, timeouts=timeouts)
        return send(self._messages, self._tools, **given)


class Asking:
    """One call: the clients still to be asked, and why the others have not answered."""

    def __init__(self, clients: Iterable[ClientWrapper], question: Question) -> None:
        self._question = question
        self.cancellation: Cancellation = current_cancellation()
        self._waiting = list(clients)
        self._failures: list[tuple[ClientWrapper, CloudLLMError]] = []

    def next_client(self) -> ClientWrapper:
        """The one to ask now; there is one, since move_on() raises after the last."""
        return self._waiting.pop(0)

    def reply_of(self, client: ClientWrapper) -> Message:
        """The whole reply of this client."""
        with self.watched(client):
            reply: Message = self._question.put_to(client.send_message)
            return signed(reply, client)

    def stream_of(self, client: ClientWrapper) -> ChatStream:
        """A stream that this client begins."""
        with self.watched(client):
            send = getattr(client, "send_message_stream", None)
            stream = None if send is None else self._question.put_to(send)
            if stream is None:
                raise StreamingNotSupportedError(
                    f"{client.provider_name} cannot stream: use send_message()"
                )
            return stream if isinstance(stream, ChatStream) else ChatStream.of(stream)

    @contextlib.contextmanager
    def watched(self, client: ClientWrapper) -> Iterator[None]:
        """Have what the client opens obey a cancel, and an OSError be one of our errors."""
        try:
            with using(self.cancellation):
                yield
        except OSError as error:  # a client of a user's own
            said = mask_urls(f"{type(error).__name__}: {error}")[:300]
            raise ConnectError(
                f"no answer from {client.provider_name} ({said})", retryable=True
            ) from error

    def move_on(self, client: ClientWrapper, error: CloudLLMError) -> None:
        """Return if the next client is to be asked; else raise what the caller gets."""
        self._failures.append((client, error))
        if isinstance(error, StreamCancelled):
            raise error
        self.cancellation.check()
        if not isinstance(error, _MOVE_ON):
            raise self._told(error)
        if self._is_late(error):
            raise self._told(self._late(error))
        if not self._waiting:
            raise self._told(self._best())
        _log.warning("%s failed, asking the next: %s", client.provider_name, error)

    def _is_late(self, error: CloudLLMError) -> bool:
        """Whether it is the total deadline that ends the call."""
        waited = bool(self._waiting) or isinstance(error, RequestTimeoutError)
        return waited and self._question.left_s() < _LEAST_S

    def _late(self, error: CloudLLMError) -> CloudLLMError:
        if len(self._failures) == 1 and isinstance(error, RequestTimeoutError):
            return error
        return RequestTimeoutError(
            f"no client answered within {self._question.total_s:g} s (total_s of Timeouts)",
            request_id=error.request_id,
        )

    def _best(self) -> CloudLLMError:
        """The last error; one that came after a request was sent says more than one before."""
        errors = [error for _, error in reversed(self._failures)]
        sent = (error for error in errors if not isinstance(error, ConfigurationError))
        return next(sent, errors[0])

    def _told(self, error: CloudLLMError) -> CloudLLMError:
        """The error to raise: it names the other failures, and is chained to them."""
        others = [(client, other) for client, other in self._failures if other is not error]
        if not others:
            return error
        told = _copy(error)
        told.args = (f"{error}; other clients: {'; '.join(_line(*other) for other in others)}",)
        told.attempts = sum(failure.attempts for _, failure in self._failures)
        told.retryable = any(failure.retryable for _, failure in self._failures)
        for _, other in others:
            link = _copy(other)
            link.__cause__ = told.__cause__ or other.__cause__
            told.__cause__ = link
        return told


def signed(message: Message, client: ClientWrapper) -> Message:
    """The message with a model: the client's, where the reply did not say."""
    return message if message.model else attrs.evolve(message, model=client.model_name)


def _copy(error: CloudLLMError) -> CloudLLMError:
    """Its own object: a client may raise the same error again, and observers have seen it."""
    return copy.copy(error).with_traceback(error.__traceback__)


def _line(client: ClientWrapper, error: CloudLLMError) -> str:
    words = " ".join(str(error).split())
    return f"{client.provider_name} {client.model_name} ({type(error).__name__}: {words[:300]})"
