"""What a response to a browser is made of, for any framework: headers, and a body."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any, Optional

import attrs

from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.streaming.growth import Growth
from cloudllm_sync.streaming.handle import StreamHandle
from cloudllm_sync.web.body import DISCONNECT_POLICIES, Body
from cloudllm_sync.web.protocols import encoder_for
from cloudllm_sync.web.protocols.error_texts import ErrorText

__all__ = [
    "HEARTBEAT_S",
    "Parts",
    "check_heartbeat",
    "check_interval",
    "check_policy",
    "response_parts",
]

HEARTBEAT_S = 15.0
_MOST_INTERVAL_S = 10.0
_MOST_HEARTBEAT_S = 86_400.0

# Who stands between must neither keep a reply, nor collect it, nor pack it: nginx, caches, and
# compressing middleware, which leaves alone what has an encoding already.
_ON_THE_WAY = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "Content-Encoding": "identity",
}


@attrs.frozen
class Parts:
    """The headers of a response, and its body."""

    headers: Mapping[str, str]
    body: Body


def response_parts(
    reply: Any,
    *,
    protocol: str = "sse",
    heartbeat_s: float = HEARTBEAT_S,
    on_disconnect: str = "cancel",
    min_interval_s: float = 0.0,
    error_text: Optional[ErrorText] = None,
    model: str = "",
    include_usage: bool = False,
) -> Parts:
    """What `stream_response()` makes a framework's response of; its arguments.

    Raises:
        ConfigurationError: An argument that cannot be, and the reply is closed; or it is none.
    """
    if isinstance(reply, StreamHandle):
        reply = Growth(reply)
    if not all(hasattr(reply, name) for name in ("__iter__", "result", "cancel", "close")):
        raise ConfigurationError(
            f"stream_response() sends a stream, not {type(reply).__name__}: give it what "
            "send_message_stream(), submit(), run_stream() or follow() returns"
        )
    try:
        check_policy(on_disconnect)
        check_heartbeat(heartbeat_s)
        check_interval(min_interval_s)
        encoder = encoder_for(
            protocol,
            model=model,
            response_id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            include_usage=include_usage,
            error_text=error_text,
        )
    except ConfigurationError:
        reply.close()
        raise
    body = Body(
        reply,
        encoder,
        heartbeat_s=heartbeat_s,
        on_disconnect=on_disconnect,
        min_interval_s=min_interval_s,
    )
    return Parts({"Content-Type": encoder.content_type, **encoder.headers, **_ON_THE_WAY}, body)


def check_policy(on_disconnect: object) -> None:
    """Refuse what is no policy by ConfigurationError."""
    if on_disconnect not in DISCONNECT_POLICIES:
        wanted = " or ".join(map(repr, DISCONNECT_POLICIES))
        raise ConfigurationError(f"on_disconnect must be {wanted}, not {on_disconnect!r}")


def check_heartbeat(heartbeat_s: object) -> None:
    """Refuse what is no time between heartbeats by ConfigurationError."""
    if not _is_number(heartbeat_s) or not 0 < heartbeat_s <= _MOST_HEARTBEAT_S:  # type: ignore[operator]
        raise ConfigurationError(
            f"heartbeat_s must be seconds above 0, not {heartbeat_s!r} (a day is the most)"
        )


def check_interval(min_interval_s: object) -> None:
    """Refuse what is no time between two pieces by ConfigurationError."""
    if not _is_number(min_interval_s) or not 0 <= min_interval_s <= _MOST_INTERVAL_S:  # type: ignore[operator]
        raise ConfigurationError(
            f"min_interval_s must be seconds from 0 to {_MOST_INTERVAL_S:g}, not {min_interval_s!r}"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
