"""Logs in Redis Streams, for any number of processes and machines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Callable, Optional

from cloudllm_sync.errors import ConfigurationError, StoreError
from cloudllm_sync.relay.log import Addition, Entry
from cloudllm_sync.transport.credentials import hides_arguments, mask_urls

__all__ = ["RedisLog"]

_ANSWER_S = 5.0
_WORDS = 200
# Each follower waits on a connection of its own.
_MOST_CONNECTIONS = 2**16

# KEYS: the log, its lease, the wish to cancel. ARGV: token, lease and expiry in ms, ...
_BEGIN = """
if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then return 0 end
redis.call('SET', KEYS[2], ARGV[1] .. ':0', 'PX', ARGV[2])
redis.call('DEL', KEYS[3])
redis.call('XADD', KEYS[1], '*', 'begin', '')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
# For all replies of a publisher at once. KEYS: the same three of each. ARGV: lease and expiry in
# ms, then of each token, number, kind and data. A lease holds its token and the number of what was
# written last, so that what is said twice is written once.
_ADD = """
local said = {}
for at = 1, #KEYS / 3 do
    local log, lease, wish = KEYS[3 * at - 2], KEYS[3 * at - 1], KEYS[3 * at]
    local token, number = ARGV[4 * at - 1], tonumber(ARGV[4 * at])
    local kind, held = ARGV[4 * at + 1], redis.call('GET', lease)
    local is_new = kind ~= '' and held == token .. ':' .. (number - 1)
    if is_new or held == token .. ':' .. number then
        if is_new then redis.call('XADD', log, '*', kind, ARGV[4 * at + 2]) end
        redis.call('PEXPIRE', log, ARGV[2])
        redis.call('SET', lease, token .. ':' .. number, 'PX', ARGV[1])
        said[at] = redis.call('EXISTS', wish)
        if kind == 'end' then redis.call('DEL', lease, wish) end
    else
        said[at] = -1
        local last = {}
        if kind == 'end' and not held then
            last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
        end
        if last[1] and last[1][2][1] == 'end' then said[at] = 0 end
    end
end
return said
"""
_CANCEL = """
local left = redis.call('PTTL', KEYS[2])
if left <= 0 then return 0 end
redis.call('SET', KEYS[3], '', 'PX', ARGV[1])
return 1
"""


class RedisLog:
    """What `Log` says. Redis's clock times leases; nothing is kept here but connections."""

    @hides_arguments
    def __init__(self, url: str, *, prefix: str, lease_s: float, expire_s: float) -> None:
        self._redis = _module()
        self._prefix = prefix
        self._lease_ms = math.ceil(lease_s * 1000)
        self._expire_ms = math.ceil(expire_s * 1000)
        retry = self._redis.retry.Retry(self._redis.backoff.NoBackoff(), 0)
        try:
            self._client: Any = self._redis.Redis.from_url(
                url,
                socket_timeout=_ANSWER_S,
                socket_connect_timeout=_ANSWER_S,
                retry=retry,
                max_connections=_MOST_CONNECTIONS,
            )
            self._client.connection_pool.make_connection()  # refuses what it does not know
        except (ValueError, TypeError):
            raise ConfigurationError(
                "no URL of a Redis: write redis://[USER:PASSWORD@]HOST:PORT/0"
            ) from None

    def begin(self, key: str, token: str) -> bool:
        """See Log."""
        return bool(self._run(_BEGIN, key, token, self._lease_ms, self._expire_ms))

    def add(self, additions: Sequence[Addition]) -> list[Optional[bool]]:
        """See Log."""
        keys: list[str] = []
        given: list[Any] = [self._lease_ms, self._expire_ms]
        for one in additions:
            keys += self._keys(one.key)
            kind = "" if one.data is None else "end" if one.is_end else "chunks"
            given += (one.token, one.number, kind, one.data or b"")
        said = self._ask(lambda: self._client.eval(_ADD, len(keys), *keys, *given))
        return [None if wish < 0 else bool(wish) for wish in said]

    def cancel(self, key: str) -> bool:
        """See Log."""
        return bool(self._run(_CANCEL, key, self._expire_ms))

    def entry(self, key: str, entry_id: str) -> Optional[Entry]:
        """See Log."""
        log = self._keys(key)[0]
        found = self._ask(lambda: self._client.xrange(log, entry_id, entry_id))
        return _entry(*found[0]) if found else None

    def entries(self, key: str, after: str, wait_s: float) -> list[Entry]:
        """See Log."""
        log = self._keys(key)[0]
        wait_ms = max(1, math.ceil(wait_s * 1000))
        block = {"block": wait_ms} if wait_s > 0 else {}
        found = self._ask(lambda: self._client.xread({log: after or "0-0"}, count=100, **block))
        # A list of streams, or from newer servers a table of them.
        streams = found.values() if isinstance(found, dict) else [rows for _, rows in found or ()]
        rows = [row for stream in streams for row in stream]
        return [_entry(*row) for row in _flat(rows)]

    def is_known(self, key: str) -> bool:
        """See Log."""
        return bool(self._ask(lambda: self._client.exists(self._keys(key)[0])))

    def is_alive(self, key: str) -> bool:
        """See Log."""
        return bool(self._ask(lambda: self._client.exists(self._keys(key)[1])))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _keys(self, key: str) -> list[str]:
        name = f"{self._prefix}{{{key}}}"
        return [name, f"{name}:lease", f"{name}:cancel"]

    def _run(self, script: str, key: str, *given: Any) -> Any:
        return self._ask(lambda: self._client.eval(script, 3, *self._keys(key), *given))

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except self._redis.exceptions.RedisError as error:
            words = str(error).split("\n", 1)[0][:_WORDS]
            said = mask_urls(words) or type(error).__name__
        # Not from it: it may hold what was to be written.
        raise StoreError(f"the relay's Redis: {said}", retryable=True)


def _flat(rows: list[Any]) -> list[Any]:
    """The rows of a stream, which some versions of redis-py put into one more list."""
    return [row for group in rows for row in group] if rows and isinstance(rows[0], list) else rows


def _entry(entry_id: Any, fields: Any) -> Entry:
    [(kind, data)] = fields.items()
    kind = kind.decode() if isinstance(kind, bytes) else kind
    data = data if isinstance(data, bytes) else data.encode()
    return Entry(entry_id.decode(), b"[]" if kind == "begin" else data, kind == "end")


def _module() -> Any:
    try:
        import redis
        import redis.backoff
        import redis.retry
    except ImportError as error:
        raise ImportError(
            'a relay over Redis needs redis-py: pip install "cloudllm-sync[redis]"'
        ) from error
    return redis
