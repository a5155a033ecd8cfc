"""A reply and the request it answers become steps on the wire: pace, splits, compression; pure."""

from __future__ import annotations

import functools
import itertools
import re
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from cloudllm_sync.testing import (
    anthropic_wire,
    gemini_wire,
    ollama_wire,
    openai_wire,
    responses_wire,
)
from cloudllm_sync.testing.event_text import PacedEvents
from cloudllm_sync.testing.recorded import RecordedRequest
from cloudllm_sync.testing.reply import Reply
from cloudllm_sync.testing.steps import Raw, Step, Wait

__all__ = ["deliver"]

_GEMINI = re.compile(r"/models/(?P<model>[^/:]+):(?P<verb>generate|streamGenerate)Content")


def deliver(reply: Reply, request: RecordedRequest) -> Raw:
    """The reply as the request wants it: in the wire format of its path, streamed or whole.

    Raises:
        ValueError: `after` names an event that this reply does not have; the arguments of a tool
            call are nothing that this wire can say.
    """
    events, content_type = _said(reply, request)
    steps: Iterable[Step] = _paced(reply, events)
    if reply.split is not None:
        steps = _split(steps, reply.split)
    headers = dict(reply.headers)
    if reply.gzip:
        steps = _compressed(tuple(steps))
        if "content-encoding" not in map(str.lower, headers):
            headers["Content-Encoding"] = "gzip"
    return Raw(
        *steps,
        headers=headers,
        framing=reply.framing,
        content_type=content_type,
        before_headers=(Wait(reply.delay_s),) if reply.delay_s else (),
    )


def _said(reply: Reply, request: RecordedRequest) -> tuple[PacedEvents, str]:
    """The events, or the one body, and the content type."""
    path, _, query = request.path.partition("?")
    gemini = _GEMINI.search(path)
    if gemini is not None:
        reply = _from(reply, urllib.parse.unquote(gemini["model"]))
        is_stream = gemini["verb"] == "streamGenerate"
        if is_stream and "sse" not in urllib.parse.parse_qs(query).get("alt", ()):
            return gemini_wire.paced_array(reply), "application/json; charset=UTF-8"
        if is_stream:
            return gemini_wire.paced_events(reply), "text/event-stream"
        return _whole(gemini_wire.gemini_body(reply))
    asked = _asked(request)
    reply = _from(reply, asked.get("model"))
    if path.endswith("/api/chat"):
        if asked.get("stream") is False:  # Ollama streams unless told not to
            return _whole(ollama_wire.ollama_body(reply))
        return ollama_wire.paced_events(reply), "application/x-ndjson"
    is_stream = asked.get("stream") is True
    if path.endswith("/v1/messages"):
        body, events = anthropic_wire.anthropic_body, anthropic_wire.paced_events
    elif path.endswith("/responses"):
        body, events = responses_wire.responses_body, responses_wire.paced_events
    else:
        body = openai_wire.openai_body
        events = functools.partial(openai_wire.paced_events, include_usage=_wants_usage(asked))
    if not is_stream:
        return _whole(body(reply))
    return events(reply), "text/event-stream; charset=utf-8"


def _from(reply: Reply, model: object) -> Reply:
    """The reply, from the model that was asked for if it names none."""
    if reply.model is None and isinstance(model, str):
        return attrs.evolve(reply, model=model)
    return reply


def _whole(body: bytes) -> tuple[PacedEvents, str]:
    return [(body, False)], "application/json"


def _asked(request: RecordedRequest) -> Mapping[str, Any]:
    try:
        asked = request.json
    except (ValueError, RecursionError):
        return {}
    return asked if isinstance(asked, dict) else {}


def _wants_usage(asked: Mapping[str, Any]) -> bool:
    options = asked.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _paced(reply: Reply, events: PacedEvents) -> Iterator[Step]:
    for number in reply.after:
        if not 0 <= number <= len(events):
            raise ValueError(f"after names event {number}: this reply has {len(events)}")
    yield from reply.after.get(0, ())
    if reply.first_token_delay_s:
        yield Wait(reply.first_token_delay_s)
    tokens = 0
    for number, (data, is_token) in enumerate(events, 1):
        tokens += is_token
        if is_token and tokens > 1 and reply.token_delay_s:
            yield Wait(reply.token_delay_s)
        yield data
        yield from reply.after.get(number, ())


def _split(steps: Iterable[Step], size: int) -> Iterator[Step]:
    """Neighbouring writes joined, then cut anew every `size` bytes (0: not at all)."""
    for is_data, group in itertools.groupby(steps, lambda step: isinstance(step, bytes)):
        if not is_data:
            yield from group
            continue
        data = b"".join(step for step in group if isinstance(step, bytes))
        width = size or len(data) or 1
        for start in range(0, len(data), width):
            yield data[start : start + width]


def _compressed(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Every write compressed and flushed, so that a client can read it at once."""
    last = max((i for i, step in enumerate(steps) if isinstance(step, bytes)), default=-1)
    compressor = zlib.compressobj(wbits=31)  # 16 + 15: a gzip header and the largest window
    for i, step in enumerate(steps):
        if isinstance(step, bytes):
            mode = zlib.Z_FINISH if i == last else zlib.Z_SYNC_FLUSH
            yield compressor.compress(step) + compressor.flush(mode)
        else:
            yield step
