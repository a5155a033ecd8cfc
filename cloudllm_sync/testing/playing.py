"""Replaying: a local server says again what a cassette holds, byte by byte."""

from __future__ import annotations

import contextlib
import json
import pathlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from cloudllm_sync.codecs import WireRequest
from cloudllm_sync.testing.cassette import Exchange, difference, loaded, without_secrets
from cloudllm_sync.testing.detour import Twins, fake_keys, sent_by
from cloudllm_sync.testing.openai_wire import error_reply
from cloudllm_sync.testing.recorded import RecordedRequest
from cloudllm_sync.testing.server import FakeServer
from cloudllm_sync.testing.steps import Cut, Raw, Stall, Step, Wait
from cloudllm_sync.transport.connections import Claim
from cloudllm_sync.transport.http import Transport

__all__ = ["Player", "replaying"]


@contextlib.contextmanager
def replaying(path: pathlib.Path, *, timed: bool) -> Iterator[Player]:
    """Have all clients of this process be answered by a cassette.

    Args:
        path: The file.
        timed: Whether bytes come as slowly as they did; else at once.

    Raises:
        OSError: There is no such file.
        ValueError: It is no cassette.
    """
    player = Player(loaded(path.read_bytes()), timed=timed)
    try:
        with fake_keys(), sent_by(player.send):
            yield player
    finally:
        player.close()


class Player:
    """Finds the recorded exchange of a request, and has the server play it."""

    def __init__(self, exchanges: Sequence[Exchange], *, timed: bool) -> None:
        self._original = Transport.send
        self._exchanges = exchanges
        self._questions = [exchange.question for exchange in exchanges]
        self._timed = timed
        self._lock = threading.Lock()
        self._left = list(range(len(exchanges)))  # guarded by _lock
        self._changes: list[str] = []  # guarded by _lock
        self._server = FakeServer(default=self._answer)
        self._twins = Twins(self._server.url)

    def close(self) -> None:
        self._twins.close()
        self._server.close()

    def send(self, transport: Transport, wire: WireRequest, claim: Claim) -> Any:
        sent = Exchange(transport.endpoint.provider, wire.path, json.loads(wire.body))
        number = self._found(without_secrets(sent, transport.mask).question)
        path = "/none" if number is None else f"/{number}"
        return self._original(self._twins.of(transport), attrs.evolve(wire, path=path), claim)

    @property
    def changes(self) -> tuple[str, ...]:
        """What is different about the requests that were not recorded."""
        with self._lock:
            return tuple(self._changes)

    @property
    def unsent(self) -> tuple[str, ...]:
        """The requests that were recorded and have not been sent."""
        with self._lock:
            left = tuple(self._left)
        return tuple(self._questions[number].partition("\n")[0] for number in left)

    def _found(self, question: str) -> int | None:
        """The first recorded request like this one that was not sent yet; those of several
        threads come in any order.
        """
        with self._lock:
            number = next((n for n in self._left if self._questions[n] == question), None)
            if number is not None:
                self._left.remove(number)
                return number
            expected = self._questions[self._left[0]] if self._left else ""
        what = "is not the one that was" if expected else "is one more than were"
        change = f"a request {what} recorded:\n{difference(expected, question)}"
        with self._lock:
            self._changes.append(change)
        return None

    def _answer(self, request: RecordedRequest) -> Raw:
        number = request.path.rpartition("/")[2]
        if number == "none":
            headers = {"x-should-retry": "false"}
            return error_reply(500, "the cassette holds no such request", headers=headers)
        return _played(self._exchanges[int(number)], timed=self._timed)


def _played(exchange: Exchange, *, timed: bool) -> Raw:
    steps: list[Step] = []
    for seconds, data in exchange.pieces:
        if timed:
            steps.append(Wait(seconds))
        steps.append(data)
    if not exchange.is_whole:
        steps.append(Cut() if exchange.is_cut else Stall())
    return Raw(
        *steps,
        status=exchange.status,
        headers=exchange.headers,
        content_type=None,
        before_headers=(Wait(exchange.after_s),) if timed else (),
    )
