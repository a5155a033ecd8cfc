"""A published reply, followed from its beginning or from where somebody left."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Optional

from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.errors import CloudLLMError, ConfigurationError, StoreError, StreamInterrupted
from cloudllm_sync.relay.entries import chunks_of, end_of
from cloudllm_sync.relay.log import Entry, Log, RelayKeyError
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.values import Message, MessageChunk

__all__ = ["Followed"]

# How soon a follower hears its own cancel().
_SLICE_S = 0.25
# In so many looks a lease is over.
_LOOKS = 5
_EVENT_ID = re.compile(r"([0-9]{1,19}-[0-9]{1,19}):([0-9]{1,9})")


class Followed(Iterator[MessageChunk]):
    """A reply that another thread, process or machine reads: an iterator, and a context manager.

    It ends as the reply does: normally, or with the publisher's error, and with StreamInterrupted
    if the publisher is gone. One thread at a time may iterate.

    `last_event_id` names the chunk that was handed on last: whoever follows after it misses
    nothing and gets nothing twice. A browser keeps it (the `id` of a server-sent event), and sends
    it as Last-Event-ID.
    """

    def __init__(
        self, log: Log, key: str, after: Optional[str], *, wait_s: float, look_s: float
    ) -> None:
        self._log = log
        self._key = key
        self._look_s = look_s
        self._arrived = Accumulator()
        self._cancellation = Cancellation()
        self._message: Optional[Message] = None
        self._error: Optional[CloudLLMError] = None
        self.last_event_id = after
        """The id of the last chunk, as a browser gives it back; None before the first."""
        entry_id, taken = self._after = _parts_of(after) if after else ("", 0)
        if after or not wait_s:
            _wait_for_begin(log, key, 0, self._cancellation)
        left = self._left_of(entry_id, taken)
        self._chunks = self._read(entry_id, taken, left, wait_s)

    def __iter__(self) -> Followed:
        return self

    def __next__(self) -> MessageChunk:
        if self._error is not None:
            raise self._error
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise
        except CloudLLMError as error:
            if error.partial is None and not self._arrived.is_empty():
                error.partial = self._arrived.message()
            self._error = error
            raise
        self._arrived.add(chunk)
        return chunk

    def skipped(self) -> list[MessageChunk]:
        """What came up to `after`, for whoever goes on with something that was begun before.

        Raises:
            StoreError: The relay cannot be reached.
        """
        until, taken = self._after
        found: list[MessageChunk] = []
        at = ""
        while until and at != until:
            entries = self._log.entries(self._key, at, 0)
            for entry in entries:
                at = entry.id
                chunks = chunks_of(entry.data)
                if at == until:
                    return found + chunks[:taken]
                found += chunks
            if not entries:
                break
        return found

    def result(self) -> Message:
        """Follow to the end; the whole reply, as the publisher had it.

        Raises:
            CloudLLMError: The reply did not become whole.
        """
        for _ in self:
            pass
        assert self._message is not None
        return self._message

    @property
    def partial(self) -> Message:
        """What has been followed so far; may be asked from any thread."""
        return self._message or self._arrived.message()

    def cancel(self) -> None:
        """Follow no more, from any thread; the reply goes on. `Relay.cancel()` ends it."""
        self._cancellation.cancel()

    def close(self) -> None:
        """Follow no more."""
        self._cancellation.cancel()

    def __enter__(self) -> Followed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _left_of(self, entry_id: str, taken: int) -> list[MessageChunk]:
        """What an entry holds behind the chunks that were taken of it."""
        if not entry_id:
            return []
        entry = self._log.entry(self._key, entry_id)
        chunks = chunks_of(entry.data) if entry is not None and not entry.is_end else []
        if not 0 < taken <= len(chunks):
            raise ConfigurationError(f"no event {self.last_event_id!r} was sent of this reply")
        return chunks[taken:]

    def _read(
        self, entry_id: str, taken: int, left: list[MessageChunk], wait_s: float
    ) -> Iterator[MessageChunk]:
        # Here, where a view sends heartbeats meanwhile, and hears of a browser that leaves.
        _wait_for_begin(self._log, self._key, wait_s, self._cancellation)
        for number, chunk in enumerate(left, taken + 1):
            self.last_event_id = f"{entry_id}:{number}"
            yield chunk
        for entry in self._entries(entry_id):
            if entry.is_end:
                end = end_of(entry.data)
                if isinstance(end, Message):
                    self._message = end
                    return
                raise end
            for number, chunk in enumerate(chunks_of(entry.data), 1):
                self._cancellation.check()
                self.last_event_id = f"{entry.id}:{number}"
                yield chunk

    def _entries(self, after: str) -> Iterator[Entry]:
        """All to come; waits for each, and looks whether anybody still writes."""
        log, key = self._log, self._key
        looked_at = answered_at = time.monotonic()
        while True:
            self._cancellation.check()
            try:
                found = log.entries(key, after, min(_SLICE_S, self._look_s))
            except StoreError:  # of a log that may be back before the lease is over
                if time.monotonic() - answered_at >= _LOOKS * self._look_s:
                    raise
                self._cancellation.wait(min(_SLICE_S, self._look_s))
                continue
            answered_at = time.monotonic()
            if not found and time.monotonic() - looked_at >= self._look_s:
                looked_at = time.monotonic()
                if not log.is_alive(key):
                    # Its end may have come in between.
                    found = log.entries(key, after, 0)
                    if not found:
                        raise _gone(log, key)
            for entry in found:
                yield entry
                after = entry.id


def _gone(log: Log, key: str) -> CloudLLMError:
    if log.is_known(key):
        return StreamInterrupted("whoever read this reply is gone: it has no end", retryable=True)
    return RelayKeyError("this reply has expired, and is not kept any more")


def _wait_for_begin(log: Log, key: str, wait_s: float, cancellation: Cancellation) -> None:
    """Raise RelayKeyError if nothing is published under the key within `wait_s`."""
    until = time.monotonic() + wait_s
    while not log.is_known(key):
        left = until - time.monotonic()
        if left <= 0:
            raise RelayKeyError("nothing is published under this key, or not any more")
        cancellation.check()
        log.entries(key, "", min(left, _SLICE_S))


def _parts_of(event_id: str) -> tuple[str, int]:
    found = _EVENT_ID.fullmatch(event_id) if isinstance(event_id, str) else None
    if found is None:
        raise ConfigurationError(f"{event_id!r:.80} is no id of a relayed event")
    return found[1], int(found[2])
