"""When to try again, and after how long (pure)."""

from __future__ import annotations

import email.utils
import math
import random
from collections.abc import Mapping
from datetime import timezone
from typing import Callable, Optional

from cloudllm_sync.errors import APIError, CloudLLMError

__all__ = ["LONGEST_WAIT_S", "next_delay", "retry_after_s", "should_retry"]

LONGEST_WAIT_S = 60.0
"""A provider that asks for a longer wait than this gets no retry: the caller is told instead."""

_BASE_S = 0.5
_CAP_S = 8.0


def _finite(text: str | None) -> Optional[float]:
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def retry_after_s(headers: Mapping[str, str], now: float) -> Optional[float]:
    """Seconds that the reply's headers ask to wait; None for none, or for junk.

    Args:
        headers: Case-insensitive. `retry-after-ms` wins over `Retry-After`.
        now: Seconds since the epoch.

    Source: RFC 9110, 10.2.3 (Retry-After, both forms).
    """
    milliseconds = _finite(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _finite(text)
    if seconds is not None or text is None:
        return seconds
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, date.timestamp() - now)


def should_retry(headers: Mapping[str, str], retryable: bool) -> bool:
    """Whether a refusal may be retried: `x-should-retry` wins over what the status says."""
    said = headers.get("x-should-retry", "").strip().lower()
    return retryable if said not in ("true", "false") else said == "true"


def next_delay(
    failures: int,
    error: CloudLLMError,
    *,
    max_retries: int,
    rand: Callable[[], float] = random.random,
) -> Optional[float]:
    """Seconds to wait before the next attempt, or None to give up.

    The provider's own wish wins, up to 60 s; else full jitter, 0.5 s doubling up to 8 s.

    Args:
        failures: How many attempts have failed, from 1.
        error: What the last one raised.
        max_retries: How many retries are allowed in all.
        rand: Gives numbers from 0 to 1.
    """
    if not error.retryable or failures > max_retries:
        return None
    wish = error.retry_after_s if isinstance(error, APIError) else None
    if wish is not None:
        return wish if wish <= LONGEST_WAIT_S else None
    return rand() * min(_CAP_S, _BASE_S * 2.0 ** (failures - 1))
