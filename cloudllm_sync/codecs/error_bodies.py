"""Error bodies, of every shape seen, to one error of the right class.

The shapes: `{"error": {...}}`, `{"error": "text"}`, `{"message": ...}`, `{"detail": ...}`,
`{"errors": [...]}`, any of them in an array or in an event stream, plain text, HTML, nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional

import attrs

from cloudllm_sync.codecs.error_words import (
    as_json,
    documents,
    plain,
    scalar_text,
    upstream_words,
    words,
)
from cloudllm_sync.codecs.surrogates import well_formed
from cloudllm_sync.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ContextLengthError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)

__all__ = ["error_from_body", "error_from_json", "find_error"]

_BODY_LIMIT = 64 * 1024

_CONTEXT = re.compile(
    r"maximum context length|prompt is too long|exceeds? the maximum number of tokens"
    r"|too_many_prompt_tokens|context_length_exceeded|context window|input token count"
    r"|total length of all messages is too long",
    re.IGNORECASE,
)
_WRONG_KEY = re.compile(
    r"incorrect api key|invalid[ _-]api[ _-]key|api[ _-]key[ _-](?:is )?(?:not valid|invalid)",
    re.IGNORECASE,
)
_QUOTA = re.compile(r"insufficient_quota|billing|insufficient[ _]balance|credit", re.IGNORECASE)

# What a type or code names, most telling first.
_NAMED: tuple[tuple[re.Pattern[str], type[APIError]], ...] = (
    (re.compile(r"insufficient_quota|billing_error", re.I), QuotaExceededError),
    (re.compile(r"rate_limit|RESOURCE_EXHAUSTED|too_many_requests", re.I), RateLimitError),
    (re.compile(r"authentication|invalid_api_key|permission|UNAUTHENTICATED", re.I),
     AuthenticationError),
    (re.compile(r"overloaded|server_error|api_error|timeout|UNAVAILABLE|INTERNAL", re.I),
     ServerError),
    (re.compile(r"invalid_request|invalid-argument|INVALID_ARGUMENT|FAILED_PRECONDITION"
                r"|not_found|bad_?request", re.I),
     BadRequestError),
)  # fmt: skip

_BY_STATUS: Mapping[int, type[APIError]] = {
    401: AuthenticationError,
    402: QuotaExceededError,
    403: AuthenticationError,
    408: ServerError,
    429: RateLimitError,
}
_RETRYABLE_STATUS = frozenset({408, 429, 500, 502, 503, 504, 529})
_HINTS: tuple[tuple[type[APIError], str], ...] = (
    (AuthenticationError, "check the key and what it may use"),
    (ContextLengthError, "send a shorter conversation"),
    (QuotaExceededError, "check plan and billing"),
    (RateLimitError, "send fewer requests, or wait"),
)


@attrs.frozen(slots=True)
class _Found:
    """What an error object says."""

    message: str
    code: Optional[str]
    type: Optional[str]
    status: Optional[int]
    reason: str = ""
    retry_after_s: Optional[float] = None


def _status(*values: object) -> int | None:
    for value in values:
        text = scalar_text(value)
        if text and re.fullmatch(r"[45]\d\d", text):
            return int(text)
    return None


def _google_details(details: object) -> tuple[str, Optional[float]]:
    """The reason, and the seconds to wait, that Google puts beside its errors.

    Source: google.rpc.ErrorInfo and google.rpc.RetryInfo; there is no Retry-After header.
    """
    reason, wait_s = "", None
    for detail in details if isinstance(details, list) else [details]:
        if isinstance(detail, Mapping):
            reason = reason or scalar_text(detail.get("reason")) or ""
            delay = re.fullmatch(
                r"(\d{1,9}(?:\.\d+)?)s", scalar_text(detail.get("retryDelay")) or ""
            )
            wait_s = float(delay[1]) if delay else wait_s
    return reason, wait_s


def find_error(body: object) -> _Found | None:
    """The error that a JSON document reports, or None if it reports none."""
    body = _first(body)
    if not isinstance(body, Mapping):
        return None
    error = body.get("error")
    if isinstance(error, Mapping) and error:
        # With nothing in its usual fields nor in others it is as good as null.
        empty = "message" in error and not any(error.values())
        return None if empty else _in_object(error, body)
    code, kind = scalar_text(body.get("code")), scalar_text(body.get("type"))
    status = _status(body.get("status_code"), body.get("statusCode"), body.get("code"))
    if isinstance(error, str) and error:
        return _Found(well_formed(error), code, kind, status)
    is_error = bool(error) or "error" in (body.get("object"), body.get("type"))
    message = words(body.get("message")) if is_error else None
    if error and not message:
        message = as_json(error)
    return _Found(message, code, kind, status) if message else None


def _first(body: object) -> object:
    """The document, or the first of an array of them."""
    while isinstance(body, list) and body:
        body = body[0]
    return body


def _in_object(error: Mapping[str, Any], body: Mapping[str, Any]) -> _Found:
    """What an `error` object says, or else what stands beside it."""
    message = words(error) or words(body.get("message")) or words(body.get("detail"))
    message = message or as_json(error)
    upstream = upstream_words(error, message)
    return _Found(
        f"{message} ({upstream})" if upstream else message,
        scalar_text(error.get("code")),
        scalar_text(error.get("type")) or scalar_text(error.get("status")),
        _status(error.get("status_code"), error.get("code"), error.get("status")),
        *_google_details(error.get("details")),
    )


def _find_refusal(body: object) -> _Found | None:
    """As `find_error`, and the looser shapes that only a failed request can mean as errors."""
    found = find_error(body)
    body = _first(body)
    if found is not None:
        return found
    if isinstance(body, str):
        return _Found(well_formed(body), None, None, None) if body.strip() else None
    if not isinstance(body, Mapping):
        return None
    message = (
        words(body.get("message"))
        or words(body.get("detail"))
        or words(_first(body.get("errors")))
        or scalar_text(body.get("title"))
    )
    if not message:
        return None
    status = _status(body.get("statusCode"), body.get("code"))
    return _Found(message, scalar_text(body.get("code")), scalar_text(body.get("type")), status)


def _by_names(names: str) -> type[APIError] | None:
    return next((cls for pattern, cls in _NAMED if pattern.search(names)), None)


def _classify(status: int | None, found: _Found) -> type[APIError]:
    names = f"{found.type or ''} {found.code or ''}"
    everything = f"{names} {found.message} {found.reason}"
    if status in (400, 413, 422, None) and _CONTEXT.search(everything):
        return ContextLengthError
    if status == 400 and _WRONG_KEY.search(everything):
        return AuthenticationError
    if status == 429:
        return QuotaExceededError if _QUOTA.search(names) else RateLimitError
    if status is None:
        return _by_names(names) or ServerError
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return BadRequestError if 300 <= status < 500 else ServerError


def _build(provider: str, where: str, status: int | None, found: _Found, body: str) -> APIError:
    cls = _classify(status, found)
    hint = next((f" ({hint})" for kind, hint in _HINTS if issubclass(cls, kind)), "")
    if status is not None and 300 <= status < 400:
        hint = " (redirects are not followed: check base_url)"
    # Without a status, only what names an overload is sure not to be a verdict on the prompt.
    named = _by_names(f"{found.type or ''} {found.code or ''}")
    overload = named in (ServerError, RateLimitError) or "overloaded" in found.message.lower()
    named_overload = status is None and overload and issubclass(cls, (ServerError, RateLimitError))
    return cls(
        f"{provider} {where}: {found.message.strip()}{hint}",
        status_code=status,
        code=found.code,
        type=found.type,
        retry_after_s=found.retry_after_s,
        body=body,
        retryable=(status in _RETRYABLE_STATUS or named_overload)
        and not issubclass(cls, QuotaExceededError),
    )


def error_from_json(provider: str, body: Any) -> APIError | None:
    """The error that an event or a reply with status 200 reports, or None if it reports none."""
    found = find_error(body)
    if found is None:
        return None
    text = as_json(body, _BODY_LIMIT)
    return _build(provider, "reported an error", found.status, found, text)


def error_from_body(provider: str, status: int, body: bytes) -> APIError:
    """The error that a reply with this status and body means."""
    text = body.decode("utf-8", "replace")
    said = text.lstrip("\ufeff")
    found = next(filter(None, map(_find_refusal, documents(said))), None)
    if found is None:
        found = _Found(plain(said) or "no explanation", None, None, None)
    return _build(provider, f"answered with status {status}", status, found, text)
