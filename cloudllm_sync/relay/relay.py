"""Relay: publish a reply, follow it, cancel it."""

from __future__ import annotations

import contextlib
import math
import uuid
from typing import Any, Optional

from cloudllm_sync.errors import CloudLLMError, ConfigurationError, StoreError, StreamCancelled
from cloudllm_sync.relay.following import Followed
from cloudllm_sync.relay.log import Log
from cloudllm_sync.relay.publishing import Post, Writer
from cloudllm_sync.session.stores.names import checked_name
from cloudllm_sync.streaming.growth import Growth
from cloudllm_sync.streaming.handle import Reply, StreamHandle
from cloudllm_sync.transport.credentials import hides_arguments
from cloudllm_sync.values import Message

__all__ = ["Relay", "open_relay"]


@hides_arguments
def open_relay(
    url: str,
    *,
    lease_s: float = 10.0,
    expire_s: float = 3600.0,
    batch_s: float = 0.05,
    prefix: str = "cloudllm:relay:",
) -> Relay:
    """The relay that a URL names; nothing is sent yet.

    Args:
        url: `redis://[USER:PASSWORD@]HOST:PORT/0` (`rediss://` with TLS), for processes on any
            machines, or `memory:`, for the threads of this one.
        lease_s: Seconds after which followers are told of a publisher that is gone.
        expire_s: Seconds after its last word that a reply is kept.
        batch_s: Seconds between two entries: what comes meanwhile is one. The first chunk goes out
            at once.
        prefix: What the names of all keys in Redis begin with.

    Raises:
        ConfigurationError: Any other URL, or a time that is none.
        ImportError: redis-py is not installed.
    """
    for name, value in (("lease_s", lease_s), ("expire_s", expire_s)):
        if not _is_time(value) or value <= 0:
            raise ConfigurationError(f"{name} must be seconds above 0, not {value!r}")
    if not _is_time(batch_s) or batch_s < 0:
        raise ConfigurationError(f"batch_s must be seconds from 0, not {batch_s!r}")
    if not isinstance(url, str) or not isinstance(prefix, str):
        raise ConfigurationError("a relay's URL and prefix must be strings")
    # Followers look four times while a lease lasts, and are to be told before the time is over.
    held_s = 0.7 * lease_s
    log: Log
    if url.strip().lower() == "memory:":
        from cloudllm_sync.relay.memory import MemoryLog

        log = MemoryLog(lease_s=held_s, expire_s=expire_s)
    elif url.strip().lower().startswith(("redis://", "rediss://", "unix://")):
        from cloudllm_sync.relay.redis import RedisLog

        log = RedisLog(url.strip(), prefix=prefix, lease_s=held_s, expire_s=expire_s)
    else:
        raise ConfigurationError(
            "no relay has such a URL: there are memory:, redis://, rediss:// and unix://"
        )
    return Relay(log, look_s=0.2 * lease_s, batch_s=batch_s, patience_s=held_s)


class Relay:
    """Hands replies from one process to others. Any thread may call any method."""

    def __init__(self, log: Log, *, look_s: float, batch_s: float, patience_s: float) -> None:
        self._log = log
        self._look_s = look_s
        self._post = Post(log, batch_s, patience_s)

    def publish(self, stream: Any, key: str) -> Message:
        """Read a reply to its end, on this thread, for all who follow the key.

        Args:
            stream: What `send_message_stream()`, `stream()`, `run_stream()` or `submit()` returns.
            key: A name of this one reply, which nobody can guess if strangers may follow: a UUID.

        Raises:
            CloudLLMError: The reply failed or was cancelled; followers are told the same.
            StoreError: The relay failed; `reply` is the answer, which was read all the same.
            ConfigurationError: The key is in use, or is no name. The stream is closed.
        """
        reply: Reply = Growth(stream) if isinstance(stream, StreamHandle) else stream
        token = uuid.uuid4().hex
        try:
            if not self._log.begin(checked_name(key, "key"), token):
                raise ConfigurationError(f"the key {key!r:.80} is in use: give each reply its own")
        except BaseException:
            reply.close()
            raise
        writer = self._post.writer(key, token, reply.cancel)
        try:
            for chunk in reply:
                writer.add(chunk)
            message = reply.result()
        except CloudLLMError as error:
            _tell(writer, error)
            raise
        except BaseException as cause:
            cut = StreamCancelled(f"the publisher was interrupted by {type(cause).__name__}")
            cut.partial = reply.partial
            reply.close()
            _tell(writer, cut)
            raise
        try:
            writer.end(message)
        except StoreError as failure:
            failure.reply = message
            raise
        return message

    def follow(self, key: str, after: Optional[str] = None, *, wait_s: float = 0.0) -> Followed:
        """The reply that is published under a key, from its beginning, and on as it comes.

        Args:
            key: As it was published.
            after: A `last_event_id`: what comes behind that event. None, or "": all.
            wait_s: Seconds to wait for the publisher to begin: the first `next()` waits, so that
                a view can send heartbeats meanwhile, and raises RelayKeyError if nobody did.

        Raises:
            RelayKeyError: Nothing is published under the key, or not any more; at once, unless
                `wait_s` is given.
            ConfigurationError: `after` was never sent of this reply.
            StoreError: The relay cannot be reached.
        """
        key = checked_name(key, "key")
        return Followed(self._log, key, after or None, wait_s=wait_s, look_s=self._look_s)

    def cancel(self, key: str) -> bool:
        """End a reply, wherever it is read: within a tenth of a second or two.

        Followers get what had arrived, and StreamCancelled.

        Returns:
            Whether anybody was reading it.
        """
        return self._log.cancel(checked_name(key, "key"))

    def close(self) -> None:
        """Close the connections."""
        self._log.close()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _tell(writer: Writer, error: CloudLLMError) -> None:
    """Where that fails, followers are told by the lease that runs out."""
    with contextlib.suppress(StoreError):
        writer.end(error)


def _is_time(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)  # type: ignore[arg-type]
