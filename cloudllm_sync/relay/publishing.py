"""Writing a reply into a log while it is read: in batches, by a thread beside the reader."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from typing import Callable, Optional

from cloudllm_sync.errors import CloudLLMError, StoreError
from cloudllm_sync.relay.entries import End, data_of_chunks, data_of_end
from cloudllm_sync.relay.log import Log
from cloudllm_sync.values import MessageChunk

__all__ = ["Writer"]

# How soon a cancel is heard; as often the lease is renewed.
_LISTEN_S = 0.1
# What may wait for a log that is slow; then the reader waits, and so the provider.
_MOST_WAITING = 5_000


class Writer:
    """Takes chunks from the reading thread and writes them from one of its own.

    The first chunk is written at once; after each write it rests for `batch_s`, and what has come
    meanwhile is one entry. It hears of a wish to cancel, and keeps the lease.
    """

    def __init__(
        self, log: Log, key: str, token: str, *, batch_s: float, cancel: Callable[[], None]
    ) -> None:
        self._log = log
        self._key = key
        self._token = token
        self._batch_s = batch_s
        self._cancel = cancel
        self._changed = threading.Condition()
        self._waiting: list[MessageChunk] = []  # guarded by _changed
        self._over = False  # guarded by _changed
        self.failure: Optional[StoreError] = None  # written by the writer, read after end()
        self._writer = threading.Thread(target=self._run, name="cloudllm-relay", daemon=True)
        self._writer.start()

    def add(self, chunk: MessageChunk) -> None:
        """Have a chunk written; waits while too many are waiting."""
        with self._changed:
            while len(self._waiting) >= _MOST_WAITING and not self._over:
                self._changed.wait()
            self._waiting.append(chunk)
            if len(self._waiting) == 1:
                self._changed.notify_all()

    def end(self, end: End) -> None:
        """Write what is left, and the end.

        Raises:
            StoreError: Not all could be written.
        """
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._writer.join()
        self._write(functools.partial(data_of_end, end), is_end=True)
        if self.failure is not None:
            raise self.failure

    def tell(self, error: CloudLLMError) -> None:
        """Write what is left, and the error; where that fails, followers are told by the lease."""
        with contextlib.suppress(StoreError):
            self.end(error)

    def _run(self) -> None:
        heard_at = time.monotonic()
        while True:
            chunks, is_over = self._next()
            if chunks:
                self._write(functools.partial(data_of_chunks, chunks))
            if is_over:
                return
            if time.monotonic() - heard_at >= _LISTEN_S:
                self._listen()
                heard_at = time.monotonic()
            if chunks:
                self._rest()

    def _next(self) -> tuple[list[MessageChunk], bool]:
        """What has come, once something has or it is time to listen; whether it is all."""
        with self._changed:
            if not self._waiting and not self._over:
                self._changed.wait(_LISTEN_S)
            chunks, self._waiting = self._waiting, []
            if len(chunks) >= _MOST_WAITING:
                self._changed.notify_all()
            return chunks, self._over

    def _rest(self) -> None:
        until = time.monotonic() + self._batch_s
        with self._changed:
            while not self._over and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

    def _listen(self) -> None:
        """Renew the lease; end the reply if that is wished for."""
        if self.failure is not None:
            return
        try:
            wished = self._log.prolong(self._key, self._token)
        except StoreError:
            return  # the next write tells
        if wished:
            self._cancel()

    def _write(self, data: Callable[[], bytes], *, is_end: bool = False) -> None:
        """Write an entry, unless an earlier one failed: nothing may be missing before another."""
        if self.failure is not None:
            return
        try:
            if not self._log.append(self._key, self._token, data(), is_end=is_end):
                self.failure = StoreError("its lease on the relay was lost before its end")
        except StoreError as error:
            self.failure = error
        except Exception as error:  # what a client of a user's own put into its chunks
            self.failure = StoreError(f"a chunk cannot be relayed: {type(error).__name__}")
