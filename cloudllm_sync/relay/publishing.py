"""Writing replies into a log while they are read: all of a relay's by one thread, in batches."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Callable, Optional

from cloudllm_sync.errors import StoreError
from cloudllm_sync.relay.entries import End, data_of_chunks, data_of_end
from cloudllm_sync.relay.log import Addition, Log
from cloudllm_sync.transport.forks import renew_in_children
from cloudllm_sync.values import MessageChunk

__all__ = ["Post", "Writer"]

# How soon a cancel is heard while the model is silent; as often the lease is renewed.
_LISTEN_S = 0.1
# What may wait for a log that is slow; then the reader waits, and so the provider.
_MOST_WAITING = 5_000


class Writer:
    """One reply on its way into the log. The fields are guarded by its post's lock."""

    def __init__(self, post: Post, key: str, token: str, cancel: Callable[[], None]) -> None:
        self.key = key
        self.token = token
        self.cancel = cancel
        self.waiting: list[MessageChunk] = []
        self.end_of_it: Optional[End] = None
        self.is_new = True
        """Whether nothing was written yet: its first chunk does not wait for others."""
        self.heard_at = time.monotonic()
        self.written = 0
        """How many additions with data there were; of the post's thread alone."""
        self.failure: Optional[StoreError] = None
        self.done = threading.Event()
        self._post = post

    def add(self, chunk: MessageChunk) -> None:
        """Have a chunk written; waits while too many are waiting."""
        self._post.add(self, chunk)

    def end(self, end: End) -> None:
        """Have the end written, behind all chunks, and wait for that.

        Raises:
            StoreError: Not all could be written.
        """
        self._post.end(self, end)
        self.done.wait()
        if self.failure is not None:
            raise self.failure


class Post:
    """The thread that writes: one for all replies that a relay publishes, while there are any.

    After each round it rests for `batch_s`; what has come meanwhile is one entry for each reply,
    and one round trip for all of them. It hears of wishes to cancel, and keeps the leases.
    """

    def __init__(self, log: Log, batch_s: float, patience_s: float) -> None:
        self._log = log
        self._batch_s = batch_s
        self._patience_s = patience_s
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: what was published is the parent's."""
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._writers: list[Writer] = []  # guarded by _changed
        self._is_idle = False  # guarded by _changed
        self._thread: Optional[threading.Thread] = None  # guarded by _changed

    def writer(self, key: str, token: str, cancel: Callable[[], None]) -> Writer:
        """A writer under a lease that was taken."""
        made = Writer(self, key, token, cancel)
        with self._changed:
            self._writers.append(made)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="cloudllm-relay", daemon=True
                )
                self._thread.start()
        return made

    def add(self, writer: Writer, chunk: MessageChunk) -> None:
        """See Writer."""
        with self._changed:
            while len(writer.waiting) >= _MOST_WAITING and writer.failure is None:
                self._changed.wait()
            if writer.failure is not None:
                return
            writer.waiting.append(chunk)
            if self._is_idle or writer.is_new:
                self._wake.set()

    def end(self, writer: Writer, end: End) -> None:
        """See Writer."""
        with self._changed:
            writer.end_of_it = end
            self._wake.set()

    # --- the thread ---

    def _run(self) -> None:
        while True:
            self._wake.clear()
            taken = self._taken()
            if taken:
                self._write(taken)
            self._listen()
            with self._changed:
                if not self._writers:
                    self._thread = None
                    return
                self._is_idle = not taken and not any(one.waiting for one in self._writers)
            self._wake.wait(_LISTEN_S if self._is_idle else self._batch_s)
            with self._changed:
                self._is_idle = False

    def _taken(self) -> list[tuple[Writer, list[MessageChunk], Optional[End]]]:
        """What there is to write, taken out."""
        taken = []
        with self._changed:
            for writer in self._writers:
                if writer.waiting or writer.end_of_it is not None:
                    taken.append((writer, writer.waiting, writer.end_of_it))
                    if len(writer.waiting) >= _MOST_WAITING:
                        self._changed.notify_all()
                    writer.waiting, writer.is_new = [], False
        return taken

    def _write(self, taken: list[tuple[Writer, list[MessageChunk], Optional[End]]]) -> None:
        additions: list[tuple[Writer, Addition]] = []
        for writer, chunks, end in taken:
            if writer.failure is not None:
                continue
            try:
                if chunks:
                    additions.append((writer, _addition(writer, data_of_chunks(chunks))))
                if end is not None:
                    additions.append((writer, _addition(writer, data_of_end(end), is_end=True)))
            except Exception as error:  # what a client of a user's own put into its chunks
                self._fail(writer, f"a reply cannot be relayed: {type(error).__name__}")
        self._hear([writer for writer, _ in additions], [said for _, said in additions])
        ended = {writer for writer, _, end in taken if end is not None}
        with self._changed:
            self._writers = [writer for writer in self._writers if writer not in ended]
        for writer in ended:
            writer.done.set()

    def _listen(self) -> None:
        """Renew the leases of replies that are silent."""
        long_ago = time.monotonic() - _LISTEN_S
        with self._changed:
            silent = [
                one for one in self._writers if one.heard_at <= long_ago and one.failure is None
            ]
        if silent:
            self._hear(silent, [_addition(one, None) for one in silent])

    def _hear(self, writers: list[Writer], additions: list[Addition]) -> None:
        """Write; what the log says to each."""
        try:
            wishes = self._added(additions) if additions else []
        except Exception as error:  # this thread must live: publishers wait for it
            why = str(error) if isinstance(error, StoreError) else type(error).__name__
            for writer in writers:
                self._fail(writer, why)
            return
        for writer, wished in zip(writers, wishes):
            writer.heard_at = time.monotonic()
            if wished is None:
                self._fail(writer, "its lease on the relay was lost before its end")
            elif wished:
                with contextlib.suppress(Exception):  # a stream of a user's own
                    writer.cancel()

    def _added(self, additions: list[Addition]) -> list[Optional[bool]]:
        """Write, again and again while the leases last: the log may be back before."""
        until = time.monotonic() + self._patience_s
        while True:
            try:
                return self._log.add(additions)
            except StoreError:
                if time.monotonic() >= until:
                    raise
                time.sleep(_LISTEN_S)  # nobody waits for this thread but those who write

    def _fail(self, writer: Writer, why: str) -> None:
        """Nothing may be missing before another entry: no more is written of this one."""
        with self._changed:
            if writer.failure is None:
                writer.failure = StoreError(why, retryable=True)
            writer.waiting = []
            self._changed.notify_all()


def _addition(writer: Writer, data: Optional[bytes], *, is_end: bool = False) -> Addition:
    writer.written += data is not None
    return Addition(writer.key, writer.token, writer.written, data, is_end)
