"""What requests, urllib3 and the socket raise, as one error of this package's."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Callable, Optional

import requests
import urllib3

from cloudllm_sync.errors import (
    CloudLLMError,
    ConfigurationError,
    ConnectError,
    RequestTimeoutError,
    StreamInterrupted,
    StreamProtocolError,
)
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.transport.connections import Claim
from cloudllm_sync.transport.credentials import mask_urls

__all__ = ["WIRE_ERRORS", "explain"]

# AttributeError and ValueError are what readers see of http.client when a connection is shut
# under them.
WIRE_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    AttributeError,
    ValueError,
)

_CLOCK_HINTS = {
    "connect": "could not connect",
    "first_chunk": "no content came",
    "idle": "nothing more came",
    "total": "the call took longer than allowed",
}


def explain(
    error: BaseException,
    *,
    where: str,
    claim: Claim,
    cancellation: Cancellation,
    opened: bool,
    mask: Callable[[str], str] = str,
) -> CloudLLMError:
    """The error to raise for `error`; its cause is the innermost one, stripped of the request.

    requests hangs the request, key and prompt included, on every exception; tracebacks hold the
    frames that sent it. `mask` takes the key out of what a server wrote where HTTP should be.
    """
    if isinstance(error, CloudLLMError):
        return error
    root = _without_secrets(_innermost(error), mask)
    if cancellation.requested:
        return cancellation.error()
    explained = _timed_out(where, claim) or _broken(
        error, root, where=where, answered=claim.received, opened=opened
    )
    explained.__cause__ = root
    return explained


def _timed_out(where: str, claim: Claim) -> Optional[CloudLLMError]:
    clocks = claim.clocks
    if clocks.fired is None:
        return None
    limit_s = clocks.limit_s()
    within = "" if limit_s is None else f" within {limit_s:g} s"
    return RequestTimeoutError(
        f"{where}: {_CLOCK_HINTS[clocks.fired]}{within} ({clocks.fired}_s of Timeouts)",
        clock=clocks.fired,
        # A request that was sent may have been billed: it is not sent again by itself.
        retryable=clocks.fired == "connect",
    )


def _broken(
    error: BaseException, root: BaseException, *, where: str, answered: bool, opened: bool
) -> CloudLLMError:
    said = " ".join(_said(root).split())[:300]
    if isinstance(error, urllib3.exceptions.DecodeError):
        return StreamProtocolError(f"{where} sent a body that does not decompress: {said}")
    if opened:
        return StreamInterrupted(f"{where} broke the stream off ({said})", retryable=True)
    was_cut = isinstance(root, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
    if isinstance(error, requests.exceptions.SSLError) and not was_cut:
        return ConnectError(f"no secure connection to {where} ({said}): check its certificate")
    # Where an answer has come, it is the answer's headers that are invalid.
    invalid = (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader)
    if isinstance(error, invalid) and not answered:
        return ConfigurationError(f"the request to {where} cannot be sent ({said})")
    if isinstance(error, requests.exceptions.ProxyError):
        return ConnectError(
            f"no way to {where} through the proxy ({said}): check proxies, or the environment's",
            retryable=True,
        )
    return ConnectError(f"no answer from {where} ({said})", retryable=True)


def _innermost(error: BaseException) -> BaseException:
    """The error that all the others were raised for, without what it was raised from."""
    seen = [error]
    while True:
        last = seen[-1]
        inner = getattr(last, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in last.args if isinstance(arg, BaseException)), None)
        inner = inner or last.__cause__
        if inner is None or inner in seen:
            break
        seen.append(inner)
    root = seen[-1]
    if isinstance(root, (requests.RequestException, urllib3.exceptions.HTTPError)):
        # They hold requests and pools; their words are enough.
        root = OSError(_words(root))
    elif not isinstance(root, (OSError, socket.timeout, http.client.HTTPException)):
        root = type(root)(*root.args) if isinstance(root, (ValueError, AttributeError)) else root
    root.__cause__ = root.__context__ = root.__traceback__ = None
    return root


def _without_secrets(root: BaseException, mask: Callable[[str], str]) -> BaseException:
    """The cause, or its words where they must be masked: a proxy's password, a key sent back."""
    words = str(root)
    masked = mask(mask_urls(words))
    return root if masked == words else OSError(_said(root).replace(words, masked))


def _said(root: BaseException) -> str:
    """The cause in words, with its kind if that says more than OSError does."""
    return str(root) if type(root) is OSError else f"{type(root).__name__}: {root}"


def _words(error: BaseException) -> str:
    text = str(error)
    return text.split(": ", 1)[1] if text.startswith("<") and ": " in text else text
