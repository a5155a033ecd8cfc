"""Replies as responses of Django.

from cloudllm_sync.web.django import stream_response

def chat(request):
return stream_response(client.send_message_stream(request.POST["question"]))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

from django.db import close_old_connections
from django.http import StreamingHttpResponse

from cloudllm_sync.web.body import Body
from cloudllm_sync.web.protocols.error_texts import ErrorText
from cloudllm_sync.web.response import HEARTBEAT_S, response_parts

__all__ = ["stream_response"]


def stream_response(
    stream: Any,
    *,
    protocol: str = "sse",
    heartbeat_s: float = HEARTBEAT_S,
    on_disconnect: str = "cancel",
    min_interval_s: float = 0.0,
    error_text: Optional[ErrorText] = None,
    model: str = "",
    include_usage: bool = False,
    status: int = 200,
    headers: Optional[Mapping[str, str]] = None,
) -> StreamingHttpResponse:
    """A response that sends a reply as it comes, under WSGI.

    The reply is read on a thread of its own. The database connection of the view is given back as
    Django gives it back at the end of a request, but before the reply is sent: a reply may take
    minutes. Errors after the headers come as the protocol's last event.

    Args:
        stream: A stream, a handle or a run, or what a relay lets follow.
        protocol: "sse" for a browser's EventSource or fetch, "ai-sdk" for the AI SDK's `useChat`,
            "openai" for clients of OpenAI's API, or "text".
        heartbeat_s: Seconds of the model's silence after which something is sent that means
            nothing. Only so is a browser noticed that has left meanwhile, and only with protocols
            that have such a thing: "text" has none.
        on_disconnect: What becomes of the reply when the browser leaves: "cancel" ends it, "finish"
            reads it to its end, so that a session's turn is kept.
        min_interval_s: Seconds between two pieces, in which what comes is gathered; nothing is left
            out. With many streams it means fewer writes, and fewer wakes of threads.
        error_text: What to tell a browser of an error, in place of a general sentence.
        model: The name that "openai" gives the model.
        include_usage: Whether "openai" sends the usage in a chunk of its own.
        status: The status of the response.
        headers: More headers; they win over those made here.

    Raises:
        ConfigurationError: An argument that cannot be, or a `stream` that is none.
    """
    parts = response_parts(
        stream,
        protocol=protocol,
        heartbeat_s=heartbeat_s,
        on_disconnect=on_disconnect,
        min_interval_s=min_interval_s,
        error_text=error_text,
        model=model,
        include_usage=include_usage,
    )
    response = StreamingHttpResponse(_WithoutDatabase(parts.body), status=status)
    for name, value in {**parts.headers, **(headers or {})}.items():
        response.headers[name] = value
    return response


class _WithoutDatabase(Iterator[bytes]):
    """A body that gives the database back before it begins."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._begun = False

    def __next__(self) -> bytes:
        if not self._begun:
            self._begun = True
            close_old_connections()
        return next(self._body)

    def close(self) -> None:
        """As the body's."""
        self._body.close()
