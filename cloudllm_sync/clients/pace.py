"""How fast many requests may go out, shared by threads, and by processes through Redis."""

from __future__ import annotations

import functools
import math
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

import attrs

from cloudllm_sync.clients.arguments import checked_count
from cloudllm_sync.errors import CloudLLMError, ConfigurationError, RateLimitError
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.values import ChatOptions, Message

if TYPE_CHECKING:
    from limits import RateLimitItem

__all__ = ["Pace", "RateLimit"]

_POLL_S = 0.25
_LONGEST_REST_S = 60.0
# How far one reply moves the estimate of what the next ones take.
_SMOOTHING = 0.2


@attrs.frozen(slots=True, kw_only=True)
class RateLimit:
    """How many requests and tokens a minute may take; None is no limit.

    Tokens are estimated before a request goes out, one for four bytes of the prompt and
    `max_output_tokens` for the reply, and the estimate follows what the provider reports.

    Args:
        requests_per_minute: The most requests in a minute.
        tokens_per_minute: The most tokens in a minute, of prompts and replies together.
        redis_url: Where several processes count together, as `redis://localhost:6379/0`; None
            counts in this process.
        name: What is counted: those of one name share their limits.
        window_s: Seconds that take the place of the minute.

    Raises:
        ConfigurationError: A limit that is no positive number.
        ImportError: The library that counts is missing.
    """

    requests_per_minute: Optional[int] = None
    tokens_per_minute: Optional[int] = None
    redis_url: Optional[str] = attrs.field(default=None, repr=False)
    name: str = "cloudllm"
    window_s: int = 60

    def __attrs_post_init__(self) -> None:
        for field in ("requests_per_minute", "tokens_per_minute", "window_s"):
            value = getattr(self, field)
            if value is None and field != "window_s":
                continue
            checked_count(field, value)


@functools.lru_cache(maxsize=8)
def _storage(url: str, pid: int) -> Any:
    """Where counts are kept, one for all jobs of this process; a forked child has its own."""
    from limits.storage import storage_from_string

    return storage_from_string(url)


class Pace:
    """Lets requests go out, one after the other, as fast as they may."""

    def __init__(self, limit: Optional[RateLimit]) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._rest_until = 0.0  # by the monotonic clock; guarded by _lock
        self._tokens_per_estimate = 1.0  # guarded by _lock
        self._counter: Any = None
        self._requests: Optional[RateLimitItem] = None
        self._tokens: Optional[RateLimitItem] = None
        if limit is not None:
            self._count_by_library(limit)

    def _count_by_library(self, limit: RateLimit) -> None:
        try:
            from limits import RateLimitItemPerSecond
            from limits.strategies import SlidingWindowCounterRateLimiter
        except ImportError as error:
            raise ImportError(
                'a RateLimit needs limits: pip install "cloudllm-sync[batch]"'
            ) from error
        try:
            storage = _storage(limit.redis_url or "memory://", os.getpid())
        except Exception as error:  # foreign code: the URL is the user's, and may hold a password
            raise ConfigurationError(
                f"redis_url cannot be used ({type(error).__name__}): give one like "
                "redis://localhost:6379/0, and install redis"
            ) from None
        self._counter = SlidingWindowCounterRateLimiter(storage)
        if limit.requests_per_minute is not None:
            self._requests = RateLimitItemPerSecond(limit.requests_per_minute, limit.window_s)
        if limit.tokens_per_minute is not None:
            self._tokens = RateLimitItemPerSecond(limit.tokens_per_minute, limit.window_s)

    def wait(self, estimate: int, cancellation: Cancellation) -> None:
        """Wait until a request of about so many tokens may go out.

        Raises:
            StreamCancelled: The wait was cancelled.
            CloudLLMError: What counts cannot be reached.
        """
        while True:
            cancellation.check()
            left_s = self._rest_s()
            if left_s <= 0:
                if self._may_go(estimate):
                    return
                left_s = _POLL_S
            if cancellation.wait(min(left_s, _POLL_S)):
                raise cancellation.error()

    def learn(self, estimate: int, message: Message) -> None:
        """How many tokens it was."""
        if message.usage is None or not estimate:
            return
        ratio = message.usage.total_tokens / estimate
        with self._lock:
            self._tokens_per_estimate += _SMOOTHING * (ratio - self._tokens_per_estimate)

    def slow_down(self, error: CloudLLMError) -> None:
        """After a 429 that says when to come back, everybody rests until then."""
        if isinstance(error, RateLimitError) and error.retry_after_s:
            rest_s = min(error.retry_after_s, _LONGEST_REST_S)
            with self._lock:
                self._rest_until = max(self._rest_until, time.monotonic() + rest_s)

    def _rest_s(self) -> float:
        with self._lock:
            return self._rest_until - time.monotonic()

    def _may_go(self, estimate: int) -> bool:
        """Whether the request is within the limits; it is counted then."""
        limit = self._limit
        if limit is None:
            return True
        with self._lock:
            tokens = math.ceil(max(1.0, estimate * self._tokens_per_estimate))
        try:
            if self._tokens is not None:
                # One larger than the limit goes out in a minute of its own.
                cost = min(tokens, self._tokens.amount)
                name = f"{limit.name}/tokens"
                if not self._counter.test(self._tokens, name, cost=cost):
                    return False
                if self._requests is not None and not self._hit(self._requests, "requests", 1):
                    return False
                return self._hit(self._tokens, "tokens", cost)
            return self._requests is None or self._hit(self._requests, "requests", 1)
        except Exception as error:  # foreign code: the library, and what it counts in
            raise CloudLLMError(
                f"the rate limit cannot be counted ({type(error).__name__}): is its Redis there?"
            ) from error

    def _hit(self, item: RateLimitItem, what: str, cost: int) -> bool:
        assert self._limit is not None
        return bool(self._counter.hit(item, f"{self._limit.name}/{what}", cost=cost))


def estimated_tokens(messages: Sequence[Message], options: Optional[ChatOptions]) -> int:
    """About how many tokens a request and its reply are."""
    size = sum(len(message.content.encode("utf-8", "replace")) for message in messages)
    return (size + 3) // 4 + ((options and options.max_output_tokens) or 0)
