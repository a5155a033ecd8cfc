"""What a fuzzer calls with bytes of its own; an exception other than those handled is a finding."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Callable

from requests.structures import CaseInsensitiveDict

from cloudllm_sync import APIError, Attachment, CloudLLMError
from cloudllm_sync.codecs.error_bodies import error_from_body, error_from_json
from cloudllm_sync.transport.retry import next_delay, retry_after_s, should_retry
from fuzz.breaking import break_bytes, break_events, split
from fuzz.checks import check, events_of, read
from fuzz.samples import BODIES, EVENTS

__all__ = ["TARGETS"]

_NOW_S = 1_700_000_000.0


class _Choices:
    """Numbers from a fuzzer's bytes; 0 once they are used up."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def __call__(self, below: int) -> int:
        size = 1 if below <= 256 else 2
        taken, self.rest = self.rest[:size], self.rest[size:]
        return int.from_bytes(taken, "big") % below if below else 0


def _reply(wire: str) -> Callable[[bytes], None]:
    strangers = [event for other in EVENTS.values() for event in other["everything"]]

    def target(data: bytes) -> None:
        choose = _Choices(data)
        way = choose(6)
        name = list(EVENTS[wire])[choose(len(EVENTS[wire]))]
        if way == 0:
            cuts = choose(4)
            check(read(wire, *split(choose.rest, choose, cuts)))
        elif way == 1:
            check(read(wire, b"data: " + choose.rest + b"\n\n", *EVENTS[wire][name][-3:]))
        elif way == 2:
            check(read(wire, break_bytes(BODIES[wire][name], choose, 1 + choose(4))))
        elif way == 3:
            body = break_bytes(b"".join(EVENTS[wire][name]), choose, 1 + choose(4))
            check(read(wire, *split(body, choose, choose(4))))
        else:
            check(read(wire, *break_events(EVENTS[wire][name], strangers, choose, 1 + choose(4))))

    return target


def _outcome(*pieces: bytes) -> list[object]:
    found: list[object] = []
    try:
        found.extend(
            # What is not UTF-8 may be replaced here, or be left for the decoder.
            (event.data.decode("utf-8", "replace"), event.event, event.terminated)
            for event in events_of(piece for piece in pieces if piece)
        )
    except CloudLLMError as error:
        found.append((type(error), str(error)))
    return found


def _lines(data: bytes) -> None:
    """The events do not depend on the pieces."""
    choose = _Choices(data)
    cuts = choose(8)
    pieces = split(choose.rest[2 * cuts :], choose, cuts)
    body = b"".join(pieces)
    one = _outcome(body)
    if not (one == _outcome(*pieces) == _outcome(*(body[at : at + 1] for at in range(len(body))))):
        raise AssertionError("the pieces of a body show in its events")


def _check_error(error: APIError) -> None:
    for text in (str(error), error.code or "", error.type or "", error.body):
        text.encode("utf-8")
    wait_s = error.retry_after_s
    if wait_s is not None and not (wait_s >= 0 and math.isfinite(wait_s)):
        raise AssertionError(f"asked to wait {wait_s!r} s")


def _errors(data: bytes) -> None:
    """Any error body is an error that can be shown."""
    choose = _Choices(data)
    status = 100 + choose(900)
    _check_error(error_from_body("Acme", status, choose.rest))
    try:
        body = json.loads(choose.rest)
    except (ValueError, RecursionError):
        return
    reported = error_from_json("Acme", body)
    if reported is not None:
        _check_error(reported)


def _headers(data: bytes) -> None:
    """Any header is a wait or none."""
    text = data.decode("latin-1")
    for name in ("retry-after", "retry-after-ms"):
        wait_s = retry_after_s(CaseInsensitiveDict({name: text}), _NOW_S)
        error = APIError("x", retry_after_s=wait_s, retryable=True)
        delay_s = next_delay(1, error, max_retries=1, rand=lambda: 1.0)
        if delay_s is not None and not 0 <= delay_s <= 60:
            raise AssertionError(f"{text!r} makes a wait of {delay_s!r} s")
    should_retry(CaseInsensitiveDict({"x-should-retry": text}), True)


def _attachments(data: bytes) -> None:
    """Any bytes, name or address are an attachment or a ValueError."""
    text = data.decode("utf-8", "surrogateescape")
    for make in (
        lambda: Attachment.from_bytes(data),
        lambda: Attachment.from_bytes(b"x", name=text),
        lambda: Attachment.from_url("https://a.example/" + text),
    ):
        try:
            make().data_url()
        except ValueError:
            continue


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    **{wire: _reply(wire) for wire in EVENTS},
    "lines": _lines,
    "errors": _errors,
    "headers": _headers,
    "attachments": _attachments,
}
