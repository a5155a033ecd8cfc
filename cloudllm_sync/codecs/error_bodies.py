"""Error bodies, of every shape seen, to one error of the right class.

The shapes: `{"error": {...}}`, `{"error": "text"}`, `{"message": ...}`, `{"detail": ...}`,
`{"errors": [...]}`, any of them in an array of one, plain text, HTML, nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Optional

import attrs

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

_TEXT_LIMIT = 500
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
# Linear in the body: what is not closed goes on to the end, and no tag holds another's beginning.
_MARKUP = re.compile(r"<(script|style)\b.*?(?:</\1>|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE)
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


def _text(value: object) -> str | None:
    """A code or type as text; None for what is empty or no scalar."""
    if isinstance(value, bool) or value is None or value == "":
        return None
    return well_formed(str(value)) if isinstance(value, (str, int, float)) else None


def _status(*values: object) -> int | None:
    for value in values:
        text = _text(value)
        if text and re.fullmatch(r"[45]\d\d", text):
            return int(text)
    return None


def _list(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _complaint(item: Mapping[str, Any]) -> str:
    where = ".".join(map(str, _list(item.get("loc"))))
    return ": ".join(filter(None, (where, _text(item.get("msg")))))


def _detail(value: object) -> str | None:
    """FastAPI's `detail`: text, or a list of `{loc, msg}`."""
    if isinstance(value, list):
        said = [_complaint(item) for item in value if isinstance(item, Mapping)]
        return well_formed("; ".join(said)) or None
    if isinstance(value, Mapping):
        return _text(value.get("message")) or _text(value.get("msg"))
    return _text(value)


def _as_json(value: object) -> str:
    try:
        return well_formed(json.dumps(value, ensure_ascii=False))
    except RecursionError:
        return "something nested too deep to be shown"


def _google_details(details: object) -> tuple[str, Optional[float]]:
    """The reason, and the seconds to wait, that Google puts beside its errors.

    Source: google.rpc.ErrorInfo and google.rpc.RetryInfo; there is no Retry-After header.
    """
    reason, wait_s = "", None
    for detail in _list(details):
        if isinstance(detail, Mapping):
            reason = reason or _text(detail.get("reason")) or ""
            delay = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)s", _text(detail.get("retryDelay")) or "")
            wait_s = float(delay[1]) if delay else wait_s
    return reason, wait_s


def find_error(body: object) -> _Found | None:
    """The error that a JSON document reports, or None if it reports none."""
    body = body[0] if isinstance(body, list) and body else body
    if not isinstance(body, Mapping):
        return None
    error = body.get("error")
    if isinstance(error, Mapping) and error:
        message = _text(error.get("message")) or _detail(error.get("detail"))
        status = _status(error.get("status_code"), error.get("code"), error.get("status"))
        kind = _text(error.get("type")) or _text(error.get("status"))
        return _Found(
            message or _as_json(error)[:_TEXT_LIMIT],
            _text(error.get("code")),
            kind,
            status,
            *_google_details(error.get("details")),
        )
    code, kind = _text(body.get("code")), _text(body.get("type"))
    status = _status(body.get("status_code"), body.get("statusCode"), body.get("code"))
    if isinstance(error, str) and error:
        return _Found(well_formed(error), code, kind, status)
    is_error = bool(error) or "error" in (body.get("object"), body.get("type"))
    message = _text(body.get("message")) if is_error else None
    if error and not message:
        message = _as_json(error)[:_TEXT_LIMIT]
    return _Found(message, code, kind, status) if message else None


def _find_refusal(body: object) -> _Found | None:
    """As `find_error`, and the looser shapes that only a failed request can mean as errors."""
    found = find_error(body)
    body = body[0] if isinstance(body, list) and body else body
    if found or not isinstance(body, Mapping):
        return found
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    message = (
        _text(body.get("message"))
        or _detail(body.get("detail"))
        or (_text(first.get("message")) if isinstance(first, Mapping) else _text(first))
    )
    if not message:
        return None
    status = _status(body.get("statusCode"), body.get("code"))
    return _Found(message, _text(body.get("code")), _text(body.get("type")), status)


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
    text = _as_json(body)[:_BODY_LIMIT]
    return _build(provider, "reported an error", found.status, found, text)


def _plain(text: str) -> str:
    """The words of a text or HTML body, shortened."""
    return " ".join(_MARKUP.sub(" ", text).split())[:_TEXT_LIMIT]


def error_from_body(provider: str, status: int, body: bytes) -> APIError:
    """The error that a reply with this status and body means."""
    text = body.decode("utf-8", "replace")
    for candidate in (text, _event_data(text)):
        try:
            found = _find_refusal(json.loads(candidate))
        except (ValueError, RecursionError):
            found = None
        if found:
            break
    if found is None:
        found = _Found(_plain(text) or "no explanation", None, None, None)
    return _build(provider, f"answered with status {status}", status, found, text)


def _event_data(text: str) -> str:
    """The data of an event stream: some servers send even their refusals as one."""
    lines = re.split(r"\r\n|\r|\n", text)
    return "\n".join(line[5:].strip() for line in lines if line.startswith("data:"))
