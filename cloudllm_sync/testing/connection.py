"""One connection of the fake server: requests read, answers performed step by step."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping

from cloudllm_sync.testing.openai_wire import error_reply
from cloudllm_sync.testing.peer import Gone, Peer
from cloudllm_sync.testing.recorded import RecordedRequest, parse_head
from cloudllm_sync.testing.steps import (
    Cut,
    Drip,
    HalfClose,
    Raw,
    Reset,
    Stall,
    Step,
    Wait,
    WaitFor,
    Wire,
)

__all__ = ["serve"]


def serve(
    peer: Peer,
    connection: int,
    answer: Callable[[RecordedRequest], Raw],
    max_body_bytes: int | None = None,
) -> None:
    """Answer requests until the connection is over."""
    try:
        while _exchange(peer, connection, answer, max_body_bytes):
            pass
    except Gone:
        pass


def _exchange(
    peer: Peer,
    connection: int,
    answer: Callable[[RecordedRequest], Raw],
    max_body_bytes: int | None,
) -> bool:
    """One request and its answer; whether another may follow."""
    try:
        head = parse_head(peer.read_until(b"\r\n\r\n").lstrip(b"\r\n"))
        too_long = max_body_bytes is not None and head.body_bytes > max_body_bytes
        body = b"" if too_long else peer.read_exactly(head.body_bytes)
    except ValueError as error:
        _perform(peer, error_reply(400, str(error), headers={"Connection": "close"}))
        return False
    raw = answer(RecordedRequest(head.method, head.path, head.headers, body, connection))
    _perform(peer, raw)
    if too_long:
        peer.read_exactly(head.body_bytes)  # or the close would be a reset
        return False
    return head.keeps_alive and _leaves_open(raw)


def _perform(peer: Peer, raw: Raw) -> None:
    for step in raw.before_headers:
        _do(peer, step)
    if raw.framing != "none":
        peer.send(_response_head(raw))
    chunked = raw.framing == "chunked" and _has_body(raw)
    end = raw.end
    if end is None:
        end = b"0\r\n\r\n" if chunked else b""
    for i, step in enumerate(raw.steps, 1):
        if isinstance(step, Drip):
            _drip(peer, step, chunked=chunked)
            continue
        if not isinstance(step, bytes):
            _do(peer, step)
            continue
        data = _framed(step) if chunked else step
        if i == len(raw.steps):
            # One send: a client that reads the last event may use the connection at once.
            data, end = data + end, b""
        peer.send(data)
    if end:
        peer.send(end)


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else data


def _drip(peer: Peer, step: Drip, *, chunked: bool) -> None:
    for byte in step.data:
        data = bytes([byte])
        peer.send(_framed(data) if chunked else data)
        peer.wait(step.seconds_per_byte)


def _do(peer: Peer, step: Step) -> None:
    if isinstance(step, bytes):
        peer.send(step)
    elif isinstance(step, Wire):
        peer.send(step.data, past_tls=step.past_tls)
    elif isinstance(step, Drip):
        _drip(peer, step, chunked=False)
    elif isinstance(step, Wait):
        peer.wait(step.seconds)
    elif isinstance(step, WaitFor):
        peer.wait_for(step.event)
    elif isinstance(step, Stall):
        peer.wait(None)
    elif isinstance(step, HalfClose):
        peer.half_close()
        peer.wait(None)
    elif isinstance(step, Cut):
        peer.cut()
        raise Gone
    elif isinstance(step, Reset):
        peer.reset()
        raise Gone


def _response_head(raw: Raw) -> bytes:
    version = "HTTP/1.0" if raw.framing == "http1.0" else "HTTP/1.1"
    reason = http.client.responses.get(raw.status, "") if raw.reason is None else raw.reason
    given = {name.lower() for name in raw.headers}
    computed = {name: value for name, value in _computed(raw).items() if name.lower() not in given}
    lines = [f"{version} {raw.status} {reason}"]
    lines += [f"{name}: {value}" for name, value in {**computed, **raw.headers}.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _computed(raw: Raw) -> Mapping[str, str]:
    if not _has_body(raw):
        return {}
    headers = {} if raw.content_type is None else {"Content-Type": raw.content_type}
    if raw.framing == "chunked":
        headers["Transfer-Encoding"] = "chunked"
    elif raw.framing == "length":
        headers["Content-Length"] = str(_body_bytes(raw))
    elif raw.framing == "close":
        headers["Connection"] = "close"
    return headers


def _has_body(raw: Raw) -> bool:
    return raw.status not in (204, 304)


def _body_bytes(raw: Raw) -> int:
    parts = (step.data if isinstance(step, Drip) else step for step in raw.steps)
    return sum(len(part) for part in parts if isinstance(part, bytes))


def _leaves_open(raw: Raw) -> bool:
    headers = {name.lower(): value for name, value in raw.headers.items()}
    if headers.get("connection", "").lower() == "close":
        return False
    if raw.framing == "length":
        return headers.get("content-length", str(_body_bytes(raw))) == str(_body_bytes(raw))
    return raw.framing == "chunked"
