"""How an answer goes over the wire, step by step: bytes, waits and the faults of real networks."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Literal, Optional, Union

import attrs

__all__ = [
    "Cut",
    "Drip",
    "HalfClose",
    "Raw",
    "RawFraming",
    "Reset",
    "Stall",
    "Step",
    "Wait",
    "WaitFor",
    "Wire",
]

RawFraming = Literal["chunked", "length", "close", "http1.0", "none"]


@attrs.frozen
class Wait:
    """Do nothing for a while; ends early when the client leaves or the server closes."""

    seconds: float = attrs.field(validator=attrs.validators.ge(0))


@attrs.frozen
class WaitFor:
    """Do nothing until the test sets the event; that is noticed at once.

    The client's leaving is noticed within 5 ms; where more than ten threads run, within half a
    millisecond for each.
    """

    event: threading.Event


@attrs.frozen
class Stall:
    """Do nothing until the client leaves or the server closes."""


@attrs.frozen
class Cut:
    """Close the connection at once (FIN), without the end of the body."""


@attrs.frozen
class Reset:
    """Reset the connection at once (RST)."""


@attrs.frozen
class HalfClose:
    """Close the sending side only (FIN, nothing of TLS before it), then stall.

    The rest of the reply is not sent; what the client still sends is read.
    """


@attrs.frozen
class Wire:
    """Bytes straight to the socket, past the framing: garbage, a bad chunk size, a fake end.

    The end that belongs to the framing still follows, unless a `Cut`, `Reset` or `Stall` does.
    With `past_tls` they go past the encryption, too: an alert, a record that nobody can read.
    """

    data: bytes = attrs.field(validator=attrs.validators.instance_of(bytes))
    past_tls: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Drip:
    """One byte after the other, each a write of its own, as a `bytes` step of one byte is.

    The wait comes after each byte, as long as `Wait` would last.
    """

    data: bytes = attrs.field(validator=attrs.validators.instance_of(bytes))
    seconds_per_byte: float = attrs.field(validator=attrs.validators.ge(0))


Step = Union[bytes, Wait, WaitFor, Stall, Cut, Reset, HalfClose, Wire, Drip]

_KINDS = (bytes, Wait, WaitFor, Stall, Cut, Reset, HalfClose, Wire, Drip)


def checked_steps(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps as a tuple.

    Raises:
        TypeError: One of them is no step.
    """
    checked = tuple(steps)
    for step in checked:
        if not isinstance(step, _KINDS):
            raise TypeError(f"{step!r} is no step: pass bytes, or Wait, WaitFor, Stall, Cut, ...")
    return checked


def _checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if not isinstance(value, str):
            raise TypeError(f"header {name!r} must be a string, not {value!r}")
        try:
            (name + value).encode("latin-1")
        except UnicodeEncodeError as error:
            raise ValueError(f"header {name!r} must be Latin-1: {value!r}") from error
    return dict(headers)


@attrs.frozen(init=False)
class Raw:
    """An answer under exact control: a status, headers, and what happens in which order.

    Each `bytes` step is one write, and one HTTP chunk if the body is chunked. The last one goes
    out together with the end of the body. `before_headers` are done before the status line, past
    the framing.

    `framing` is `chunked`; `length` (Content-Length); `close` (the body ends with the connection);
    `http1.0` (the same, in the old version's words); or `none`: no status line and no headers, the
    steps are all there is, then the connection closes. `headers` win over those that are computed,
    so a wrong Content-Length can be given; the connection closes after a body of another length.
    No body headers go with the statuses 204 and 304.

    `end` replaces the end of the body, and is sent as it is: a last chunk with trailers, or nothing
    where the client shall go on waiting on a connection that stays open.

    Args:
        steps: What happens after the headers; the rest of the reply is the end of the body.
        reason: The words after the status; None for the usual ones.
        content_type: None for no such header.

    Raises:
        TypeError: A step that is none, a header that is no string.
        ValueError: An unknown framing, a header that is not Latin-1.
    """

    steps: tuple[Step, ...]
    status: int
    reason: Optional[str]
    headers: Mapping[str, str]
    framing: RawFraming = attrs.field(
        validator=attrs.validators.in_(("chunked", "length", "close", "http1.0", "none"))
    )
    content_type: Optional[str]
    before_headers: tuple[Step, ...]
    end: Optional[bytes] = attrs.field(
        validator=attrs.validators.optional(attrs.validators.instance_of(bytes))
    )

    def __init__(
        self,
        *steps: Step,
        status: int = 200,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
        framing: RawFraming = "chunked",
        content_type: str | None = "text/event-stream",
        before_headers: Iterable[Step] = (),
        end: bytes | None = None,
    ) -> None:
        self.__attrs_init__(
            steps=checked_steps(steps),
            status=status,
            reason=reason,
            headers=_checked_headers(headers or {}),
            framing=framing,
            content_type=content_type,
            before_headers=checked_steps(before_headers),
            end=end,
        )
