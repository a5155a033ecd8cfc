"""Recording: real requests go their way, and what comes back is kept with its times."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

from cloudllm_sync.codecs import WireRequest
from cloudllm_sync.testing.cassette import Exchange, dumped, without_secrets
from cloudllm_sync.testing.detour import sent_by
from cloudllm_sync.transport.connections import Claim
from cloudllm_sync.transport.http import Transport

__all__ = ["Tape", "recording"]


@contextlib.contextmanager
def recording(path: pathlib.Path) -> Iterator[Tape]:
    """Keep what all clients of this process ask and get, and write it to a file at the end.

    A file that is there stays if nobody had an answer.
    """
    tape = Tape()
    try:
        with sent_by(tape.send):
            yield tape
    finally:
        exchanges = tape.exchanges()
        if exchanges:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f"{path.name}.{os.getpid()}")
            beside.write_bytes(dumped(exchanges))
            os.replace(beside, path)


class _Take:
    """One reply while it comes."""

    def __init__(self, transport: Transport, wire: WireRequest) -> None:
        self.transport = transport
        self.wire = wire
        self.status = 0
        self.headers: dict[str, str] = {}
        self.after_s = 0.0
        # Written by the thread that reads the reply; exchange() takes a copy.
        self.pieces: list[tuple[float, bytes]] = []
        self.is_whole = self.is_cut = False

    def exchange(self) -> Exchange:
        seen = Exchange(
            provider=self.transport.endpoint.provider,
            path=self.wire.path,
            asked=json.loads(self.wire.body),
            status=self.status,
            headers=self.headers,
            after_s=self.after_s,
            pieces=tuple(self.pieces),
            is_whole=self.is_whole,
            is_cut=self.is_cut,
        )
        return without_secrets(seen, self.transport.mask)


class Tape:
    """Sends requests as ever, and listens to the bytes of the replies below their decoding."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._original = Transport.send
        self._clock = clock
        self._lock = threading.Lock()
        self._takes: list[_Take] = []  # guarded by _lock

    def send(self, transport: Transport, wire: WireRequest, claim: Claim) -> Any:
        take = _Take(transport, wire)
        with self._lock:
            self._takes.append(take)
        began = self._clock()
        response = self._original(transport, wire, claim)
        answered = self._clock()
        take.after_s = answered - began
        take.headers = dict(response.headers)
        take.status = response.status_code
        self._listen(take, response.raw, claim, last=answered)
        return response

    @property
    def answers(self) -> int:
        """How many requests had an answer so far."""
        return len(self._answered())

    def exchanges(self) -> list[Exchange]:
        """What was answered, in the order of the requests."""
        return [take.exchange() for take in self._answered()]

    def _answered(self) -> list[_Take]:
        with self._lock:
            return [take for take in self._takes if take.status]

    def _listen(self, take: _Take, raw: Any, claim: Claim, *, last: float) -> None:
        """Bytes leave a body by these two methods, see `transport.lines.pieces_of()`."""

        def noted(read: Callable[..., bytes], *args: Any, **options: Any) -> bytes:
            nonlocal last
            try:
                piece = read(*args, **options)
            except Exception:
                take.is_cut = not _has_had_enough(claim)
                raise
            if piece:
                now = self._clock()
                take.pieces.append((now - last, piece))
                last = now
            return piece

        def noted_read1(*args: Any, **options: Any) -> bytes:
            piece = noted(read1, *args, **options)
            # A body without a length ends as if it were whole when a cancel shuts the connection.
            if not piece and not _has_had_enough(claim):
                take.is_whole = True
            return piece

        response: Any = claim.response
        read1, arrived = raw.read1, response.arrived
        raw.read1 = noted_read1
        response.arrived = functools.partial(noted, arrived)


def _has_had_enough(claim: Claim) -> bool:
    """Whether it is the client that ends the reply, by a cancel or a clock."""
    return claim.cancellation.requested or claim.clocks.fired is not None
