"""Every error of this package, one family::

    CloudLLMError                        .partial  .request_id  .retryable  .attempts
    ├── ConfigurationError               before any I/O; a ValueError too
    │   ├── UnsupportedOptionError
    │   └── StreamingNotSupportedError
    ├── TransportError                   no usable answer
    │   ├── ConnectError
    │   └── RequestTimeoutError          .clock
    ├── APIError                         .status_code .code .type .retry_after_s .body
    │   ├── AuthenticationError
    │   ├── BadRequestError
    │   │   └── ContextLengthError
    │   ├── RateLimitError
    │   │   └── QuotaExceededError
    │   └── ServerError
    ├── StreamError                      it opened, then went wrong
    │   ├── StreamInterrupted
    │   ├── StreamProtocolError
    │   └── StreamTooLargeError
    ├── StreamCancelled
    ├── ToolRoundsError
    ├── SessionBusyError                 .waited_s
    └── StoreError                       .reply
        └── CommitConflictError

No error holds a key, a prompt or a request; what a server wrote (`body`, the message) has its keys
masked, but may quote the prompt. Every error pickles with its fields and notes; cause, context and
traceback stay behind, as Python has it. `partial` and `reply` are the reply as it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Optional

if TYPE_CHECKING:
    from cloudllm_sync.values import Message

__all__ = [
    "APIError",
    "AuthenticationError",
    "BadRequestError",
    "CloudLLMError",
    "CommitConflictError",
    "ConfigurationError",
    "ConnectError",
    "ContextLengthError",
    "QuotaExceededError",
    "RateLimitError",
    "RequestTimeoutError",
    "ServerError",
    "SessionBusyError",
    "StoreError",
    "StreamCancelled",
    "StreamError",
    "StreamInterrupted",
    "StreamProtocolError",
    "StreamTooLargeError",
    "StreamingNotSupportedError",
    "ToolRoundsError",
    "TransportError",
    "UnsupportedOptionError",
]

Clock = Literal["connect", "first_chunk", "idle", "total"]


def _rebuild(
    cls: type[CloudLLMError], args: tuple[Any, ...], fields: dict[str, Any]
) -> CloudLLMError:
    """Unpickle: the fields are set as they were, whatever the constructor takes."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(fields)
    return error


class CloudLLMError(Exception):
    """Whatever can go wrong here.

    Attributes:
        partial: What of the reply had arrived, or None if nothing had.
        request_id: The provider's name for the request, for its support.
        retryable: Whether the same request may succeed later. What could be retried safely has
            been retried before this is raised.
        attempts: How many requests were sent.
    """

    def __init__(
        self,
        message: str = "",
        *,
        partial: Message | None = None,
        request_id: str | None = None,
        retryable: bool = False,
        attempts: int = 0,
    ) -> None:
        super().__init__(message)
        self.partial = partial
        self.request_id = request_id
        self.retryable = retryable
        self.attempts = attempts

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class ConfigurationError(CloudLLMError, ValueError):
    """Refused before any I/O: no key, a key that is no header value, messages out of order, ..."""


class UnsupportedOptionError(ConfigurationError):
    """An option that this provider's wire cannot say."""


class StreamingNotSupportedError(ConfigurationError):
    """The client cannot stream; use `send_message()`."""


class TransportError(CloudLLMError):
    """No usable answer came."""


class ConnectError(TransportError):
    """No connection, or one that was lost before the reply began."""


class RequestTimeoutError(TransportError):
    """A clock of `Timeouts` ran out; `clock` says which.

    `partial` holds what had arrived. A request that was sent may have been billed.
    """

    clock: Clock

    def __init__(self, message: str = "", *, clock: Clock = "total", **fields: Any) -> None:
        super().__init__(message, **fields)
        self.clock = clock


class APIError(CloudLLMError):
    """The provider refused.

    Attributes:
        status_code: The HTTP status; None where the error came inside a stream without one.
        code: The provider's code, as text.
        type: The provider's type.
        retry_after_s: Seconds the provider asks to wait, or None.
        body: The error as it came, at most 64 KiB of text, keys masked.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: Optional[int] = None,
        code: Optional[str] = None,
        type: Optional[str] = None,
        retry_after_s: Optional[float] = None,
        body: str = "",
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.status_code = status_code
        self.code = code
        self.type = type
        self.retry_after_s = retry_after_s
        self.body = body


class AuthenticationError(APIError):
    """The key is wrong, or not allowed to do this (401, 403, and wrong keys reported as 400)."""


class BadRequestError(APIError):
    """The request itself is at fault (400, 404, 405, 409, 413, 415, 422)."""


class ContextLengthError(BadRequestError):
    """The conversation is longer than the model, or the session's `max_tokens`, allows."""


class RateLimitError(APIError):
    """Too many requests or tokens (429)."""


class QuotaExceededError(RateLimitError):
    """No credit left; waiting does not help."""


class ServerError(APIError):
    """The provider failed (5xx, 529), or reported an error inside the stream."""


class StreamError(CloudLLMError):
    """The stream opened, then went wrong; `partial` holds what had arrived."""


class StreamInterrupted(StreamError):
    """The stream ended without the provider's proof of an end."""


class StreamProtocolError(StreamError):
    """What came is not what the provider documents."""


class StreamTooLargeError(StreamError):
    """An event or a stream over its limit."""


class StreamCancelled(CloudLLMError):
    """`cancel()` or `close()` was called, or a callback raised (then it is the cause)."""


class ToolRoundsError(CloudLLMError):
    """The model wanted more rounds than `max_rounds`; `partial` is the last reply."""


class SessionBusyError(CloudLLMError):
    """Another turn of the session was still running after `waited_s` seconds."""

    def __init__(self, message: str = "", *, waited_s: float = 0.0, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.waited_s = waited_s


class StoreError(CloudLLMError):
    """The turn could not be saved; `reply` holds the answer, so that it is not lost."""

    def __init__(
        self, message: str = "", *, reply: Optional[Message] = None, **fields: Any
    ) -> None:
        super().__init__(message, **fields)
        self.reply = reply


class CommitConflictError(StoreError):
    """Somebody else changed the conversation during the turn."""


def cancelled_by(cause: Optional[BaseException], what: str) -> StreamCancelled:
    """What a reader gets whose reply was ended by something that is no failure of the reply."""
    error = StreamCancelled(what)
    error.__cause__ = cause
    return error


def with_context(error: CloudLLMError, **fields: Any) -> CloudLLMError:
    """The same error, with those fields set that were still empty."""
    for name, value in fields.items():
        if not getattr(error, name, None) and value is not None:
            setattr(error, name, value)
    return error
