"""Conversations in Redis, for any number of machines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn, Optional, Union

from cloudllm_sync.errors import ConfigurationError, StoreError
from cloudllm_sync.session.stores import SessionInfo, StoredSession
from cloudllm_sync.session.stores.changes import Change, Head, RecordStore, hides_what_was_said
from cloudllm_sync.session.stores.names import checked_page, checked_session_id
from cloudllm_sync.session.stores.remote import LostAnswerError, asked_twice, commit
from cloudllm_sync.transport.credentials import hides_arguments, mask_urls

if TYPE_CHECKING:
    import redis

__all__ = ["RedisStore"]

_ANSWER_S = 5.0
_WORDS = 200

# Each runs alone, and whole: nothing comes between, and Redis looks before the first write
# whether there is memory.
_CHANGE = """
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[2] then return 0 end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'version', ARGV[3], 'head', ARGV[4],
    'updated_at', now[1] .. '.' .. string.format('%06d', now[2]))
if ARGV[5] == '1' then redis.call('DEL', KEYS[2]) end
for first = 7, #ARGV, 1000 do
    redis.call('RPUSH', KEYS[2], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
redis.call('ZADD', KEYS[3], 0, ARGV[1])
if ARGV[6] ~= '' then
    redis.call('PEXPIRE', KEYS[1], ARGV[6])
    redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
return 1
"""
_LOAD = """
local head = redis.call('HGET', KEYS[1], 'head')
if not head then return {} end
return {head, redis.call('LRANGE', KEYS[2], ARGV[1], ARGV[2])}
"""
_DELETE = """
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
"""
# What has expired is found missing, and taken out of the table.
_PAGE = """
local found, first, wanted = {}, ARGV[2], tonumber(ARGV[4])
while wanted > 0 do
    local names = redis.call('ZRANGEBYLEX', KEYS[1], first, ARGV[3], 'LIMIT', 0, wanted)
    if #names == 0 then break end
    for _, name in ipairs(names) do
        local row = redis.call('HMGET', ARGV[1] .. name, 'head', 'updated_at')
        if row[1] then
            table.insert(found, {name, row[1], row[2]})
            wanted = wanted - 1
        else
            redis.call('ZREM', KEYS[1], name)
        end
    end
    first = '(' .. names[#names]
end
return found
"""
_LEASE = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
    local left = redis.call('PTTL', KEYS[1])
    return left == 0 and 1 or left
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
# What to do, by the kind of error, or by what Redis says.
_ADVICE = {
    "OutOfMemory": "it is out of memory",
    "Loading": "it has just started, try again in a moment",
    "ReadOnly": "this is a replica, give the address of its primary",
    "same slot": "in a cluster pass prefix='{chats}:' or the like",
    "same key slot": "in a cluster pass prefix='{chats}:' or the like",
    "MOVED": "this is a cluster, pass a redis.RedisCluster",
    "NoPermission": "its user may not do this",
    "authenticat": "check user and password in the URL",
    "Authenticat": "check user and password in the URL",
}


class RedisStore(RecordStore):
    """Keeps conversations in Redis (5 or newer), the store for many machines.

    A change is a script, which Redis runs whole; a lease is timed by Redis's clock. Where a
    connection is lost in the middle of a change the store looks whether it was made. How much
    survives a crash of the server is the server's setting (`appendonly yes`), and its
    `maxmemory-policy` should be `noeviction`: of a conversation that was evicted in part the rest
    is an error.

    In a cluster pass a `redis.RedisCluster` and a prefix with a hash tag, `{chats}:` say; all
    conversations are then on one node.
    """

    leases_end = True

    @hides_arguments
    def __init__(
        self,
        client: Union[str, redis.Redis],
        *,
        prefix: str = "cloudllm:",
        expire_after_s: Optional[float] = None,
    ) -> None:
        """Say where; nothing is sent yet.

        Args:
            client: A URL (`redis://`, `rediss://`, `unix://`), for which connections with
                time-outs of 5 s are made, or a client of one's own, which stays open and keeps
                its own time-outs and retries.
            prefix: What the names of all keys begin with.
            expire_after_s: Forget a conversation so long after its last change; None keeps it.

        Raises:
            ConfigurationError: A URL that Redis does not have, or a time that is none.
            ImportError: redis-py is not installed.
        """
        self._redis = _module()
        self._own = isinstance(client, str)
        self._client: Any = self._connect(client) if isinstance(client, str) else client
        self._prefix = _checked_prefix(prefix)
        self._expire_ms = _expiry_ms(expire_after_s)

    @hides_what_was_said
    def load(self, session_id: str, *, newest: Optional[int] = None) -> StoredSession:
        """The conversation with its newest messages, None for all; an unknown one is empty."""
        keys = self._keys(session_id)
        first, last = (0, -1) if newest is None else (-newest, -1) if newest else (1, 0)
        found = self._ask(_LOAD, keys[:2], first, last)
        if not found:
            return StoredSession()
        head = Head.from_text(_text(found[0]), session_id)
        return head.holds(session_id, (_text(record) for record in found[1]), newest)

    def delete(self, session_id: str) -> None:
        """Forget all of a conversation."""
        self._ask(_DELETE, self._keys(session_id), session_id)

    def sessions(
        self, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> tuple[SessionInfo, ...]:
        """The conversations whose names begin so, by name, those that come after `after`."""
        checked_page(prefix, after, limit)
        first = f"({after}" if after >= prefix else f"[{prefix}"
        last = b"(" + prefix.encode() + b"\xff"  # a byte that no text has
        found = self._ask(
            _PAGE,
            [self._prefix + "names"],
            self._prefix + "session:",
            first if prefix or after else "-",
            last,
            min(limit, 2**31),
        )
        rows = (tuple(map(_text, row)) for row in found)
        return tuple(
            Head.from_text(head, name).info(name, float(updated_at))
            for name, head, updated_at in rows
        )

    def lease(self, session_id: str, owner: str, seconds: float) -> float:
        """Ask to be the only one who works on a conversation for so long."""
        milliseconds = max(1, math.ceil(seconds * 1000))
        wait = self._ask(_LEASE, self._lease_key(session_id), owner, milliseconds)
        return float(wait) / 1000 if wait >= 0 else seconds

    def release(self, session_id: str, owner: str) -> None:
        """Give a lease back."""
        self._ask(_RELEASE, self._lease_key(session_id), owner)

    def close(self) -> None:
        """Close the connections, if they are the store's own."""
        if self._own:
            self._client.close()

    def __repr__(self) -> str:
        return f"RedisStore(..., prefix={self._prefix!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("its URL may hold a password: make a RedisStore where it is used")

    def _commit(self, session_id: str, base_version: int, change: Change) -> None:
        keys = self._keys(session_id)

        def read() -> Head:
            found = self._ask(_LOAD, keys[:2], 1, 0)
            return Head.from_text(_text(found[0]), session_id) if found else Head()

        def write(head: Head) -> bool:
            return bool(
                self._eval(
                    _CHANGE,
                    keys,
                    session_id,
                    head.version - 1,
                    head.version,
                    head.to_text(),
                    int(change.wipes),
                    self._expire_ms,
                    *change.records,
                )
            )

        commit(session_id, base_version, change, read, write)

    def _ask(self, script: str, keys: list[str], *given: Any) -> Any:
        """Run a script that may well run twice."""
        return asked_twice(lambda: self._eval(script, keys, *given))

    def _eval(self, script: str, keys: list[str], *given: Any) -> Any:
        """Run a script.

        Raises:
            LostAnswerError: Perhaps it has run.
            StoreError: It has not.
        """
        errors = self._redis.exceptions
        failure: Exception
        try:
            return self._client.eval(script, len(keys), *keys, *given)
        except (errors.AuthenticationError, errors.BusyLoadingError) as error:
            failure = StoreError(_complaint(error))
        except (errors.ConnectionError, errors.TimeoutError) as error:
            failure = LostAnswerError(_complaint(error))
        except (errors.RedisError, errors.RedisClusterException) as error:
            failure = StoreError(_complaint(error))
        # Not from it: it may hold what was to be written, and who may write it.
        raise failure

    def _keys(self, session_id: str) -> list[str]:
        checked_session_id(session_id)
        named = [f"{self._prefix}{kind}:{session_id}" for kind in ("session", "messages")]
        return [*named, self._prefix + "names"]

    def _lease_key(self, session_id: str) -> list[str]:
        return [f"{self._prefix}lease:{checked_session_id(session_id)}"]

    def _connect(self, url: str) -> Any:
        retry = self._redis.retry.Retry(self._redis.backoff.NoBackoff(), 0)
        try:
            return self._redis.Redis.from_url(
                url, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S, retry=retry
            )
        except (ValueError, TypeError):
            pass
        raise ConfigurationError("no URL of a Redis: write redis://[USER:PASSWORD@]HOST:PORT/0")


def _module() -> Any:
    try:
        import redis
        import redis.backoff
        import redis.retry
    except ImportError as error:
        raise ImportError(
            'RedisStore needs redis-py: pip install "cloudllm-sync[redis]"'
        ) from error
    return redis


def _checked_prefix(prefix: object) -> str:
    if not isinstance(prefix, str):
        raise ConfigurationError(f"prefix must be a string, not {type(prefix).__name__}")
    return prefix


def _expiry_ms(expire_after_s: Optional[float]) -> str:
    """As the script takes it."""
    if expire_after_s is None:
        return ""
    number = isinstance(expire_after_s, (int, float)) and not isinstance(expire_after_s, bool)
    if not number or not 0 < expire_after_s < math.inf:
        raise ConfigurationError(f"expire_after_s must be seconds, not {expire_after_s!r}")
    return str(math.ceil(expire_after_s * 1000))


def _text(value: Union[str, bytes]) -> str:
    """What Redis gives, whatever the client's `decode_responses`."""
    return value.decode() if isinstance(value, bytes) else value


def _complaint(error: Exception) -> str:
    kind, words = type(error).__name__, str(error).split("\n", 1)[0]
    advice = next((advice for word, advice in _ADVICE.items() if word in f"{kind} {words}"), "")
    shown = mask_urls(words[:_WORDS]) or kind
    return f"Redis: {shown}" + (advice and f": {advice}")
