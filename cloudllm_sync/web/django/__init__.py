"""Replies as responses of Django; client, store and sessions as `settings.CLOUDLLM` says::

    CLOUDLLM = {"MODEL": "claude:claude-sonnet-5", "STORE": "sqlite:////var/lib/chats.db"}
    INSTALLED_APPS += ["cloudllm_sync.web.django"]  # system checks, and manage.py cloudllm_doctor

    from cloudllm_sync.web.django import session, stream_response

    def chat(request, conversation):
        return stream_response(session(conversation).stream(request.POST["question"]))

The names in `CLOUDLLM` are those of the Flask extension's settings, without their prefix: see
`cloudllm_sync.web.flask.CloudLLM`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

from django.core.signals import setting_changed
from django.db import close_old_connections
from django.http import StreamingHttpResponse

from cloudllm_sync.clients.client import Client
from cloudllm_sync.session.conversation import Partial
from cloudllm_sync.session.session import LLMSession
from cloudllm_sync.session.stores import SessionStore
from cloudllm_sync.session.strategies import ContextStrategy
from cloudllm_sync.values import ChatOptions
from cloudllm_sync.web.body import Body
from cloudllm_sync.web.django.given import FORM, given_settings
from cloudllm_sync.web.protocols.error_texts import ErrorText
from cloudllm_sync.web.settings import read_settings
from cloudllm_sync.web.site import Site

__all__ = ["client", "session", "store", "stream_response"]

_SITE = "site"
_sites: dict[str, Site] = {}  # at most one; single dict operations only


def client() -> Client:
    """The client of the model that `CLOUDLLM` names. Threads share it.

    Raises:
        ConfigurationError: No model is set, its key is missing, or the settings are wrong.
    """
    return _site().client


def store() -> SessionStore:
    """The store that `CLOUDLLM` names; this process's memory where it names none.

    Raises:
        ConfigurationError: The settings are wrong.
        ImportError: What the store needs is not installed.
        StoreError: It cannot be opened.
    """
    return _site().store


def session(
    session_id: str,
    *,
    system_prompt: Optional[str] = None,
    max_tokens: Optional[int] = None,
    options: Optional[ChatOptions] = None,
    partial: Partial = "discard",
    turn_timeout: float = 0.0,
    context: Optional[ContextStrategy] = None,
) -> LLMSession:
    """A conversation of the store.

    Args:
        session_id: Its name. Make sure that it is the user's own.
        system_prompt: None is what is set.
        max_tokens: None is what is set.
        options: As LLMSession.
        partial: As LLMSession.
        turn_timeout: 0 has a second question to a session that still answers refused at once,
            by SessionBusyError: a thread of the server does not wait for another.
        context: As LLMSession.

    Raises:
        ConfigurationError: As LLMSession, and as `client()`.
    """
    return _site().session(
        session_id,
        system_prompt=system_prompt,
        max_tokens=max_tokens,
        options=options,
        partial=partial,
        turn_timeout=turn_timeout,
        context=context,
    )


def stream_response(
    stream: Any,
    *,
    protocol: Optional[str] = None,
    heartbeat_s: Optional[float] = None,
    on_disconnect: Optional[str] = None,
    min_interval_s: Optional[float] = None,
    error_text: Optional[ErrorText] = None,
    model: str = "",
    include_usage: bool = False,
    status: int = 200,
    headers: Optional[Mapping[str, str]] = None,
) -> StreamingHttpResponse:
    """A response that sends a reply as it comes, under WSGI.

    Until its first chunk the reply is read on a thread of its own, then by the one that sends the
    response. The database connection of the view is given back as Django gives it back at the end
    of a request, but before the reply is sent: a reply may take minutes. Errors after the headers
    come as the protocol's last event. What is None here is as `CLOUDLLM` says, or else "sse", 15,
    "cancel" and 0.

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
    parts = _site().response_parts(
        stream,
        protocol=protocol,
        heartbeat_s=heartbeat_s,
        on_disconnect=on_disconnect,
        min_interval_s=min_interval_s,
        error_text=error_text,
        model=model,
        include_usage=include_usage,
    )
    try:
        response = StreamingHttpResponse(_WithoutDatabase(parts.body), status=status)
        for name, value in {**parts.headers, **(headers or {})}.items():
            response.headers[name] = value
    except BaseException:
        parts.body.close()
        raise
    return response


def _site() -> Site:
    site = _sites.get(_SITE)
    if site is None:
        made = Site(read_settings(given_settings(), form=FORM), form=FORM)
        site = _sites.setdefault(_SITE, made)
    return site


def _forget(*, setting: str, **_: object) -> None:
    """Settings change in tests alone."""
    site = _sites.pop(_SITE, None) if setting == "CLOUDLLM" else None
    if site is not None:
        site.close()


setting_changed.connect(_forget)


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
