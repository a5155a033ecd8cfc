"""What a browser is told of an error: no key, no prompt, nothing that a provider wrote."""

from __future__ import annotations

import logging
from typing import Callable, Optional

from cloudllm_sync.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    CloudLLMError,
    ConfigurationError,
    ContextLengthError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    SessionBusyError,
    StoreError,
    StreamCancelled,
    StreamError,
    ToolRoundsError,
    TransportError,
)

__all__ = ["ErrorText", "class_name", "safe_text"]

ErrorText = Callable[[BaseException], Optional[str]]
"""A user's own words for an error; None or nothing leaves it to the general sentence."""

_SENTENCES: dict[type[BaseException], str] = {
    BaseException: "Something went wrong.",
    CloudLLMError: "The reply failed.",
    ConfigurationError: "This request cannot be answered.",
    TransportError: "The model cannot be reached, try again later.",
    RequestTimeoutError: "The model took too long to answer, try again later.",
    APIError: "The model failed to answer, try again later.",
    AuthenticationError: "The model is not available.",
    BadRequestError: "The model did not accept the request.",
    ContextLengthError: "The conversation is too long for the model.",
    RateLimitError: "The model is busy, try again later.",
    QuotaExceededError: "The model is not available.",
    StreamError: "The reply was cut off, try again.",
    StreamCancelled: "The reply was stopped.",
    ToolRoundsError: "The model came to no answer.",
    SessionBusyError: "Another message of this conversation is still being answered.",
    StoreError: "The conversation cannot be reached, try again later.",
}
_logger = logging.getLogger("cloudllm_sync.web")


def safe_text(error: BaseException, own: Optional[ErrorText] = None) -> str:
    """The user's own words, or the sentence of the error's class."""
    if own is not None:
        try:
            said = own(error)
        except Exception:  # the browser has to be told that the reply ended all the same
            _logger.warning("error_text raised; a general sentence is sent instead", exc_info=True)
            said = None
        if said and isinstance(said, str):
            return said
    return next(_SENTENCES[cls] for cls in type(error).__mro__ if cls in _SENTENCES)


def class_name(error: BaseException) -> str:
    """The name of the error's class; one word for all that are no CloudLLMError."""
    return type(error).__name__ if isinstance(error, CloudLLMError) else "InternalError"
