"""Replies as responses of Flask, and the extension that makes the client of `app.config`::

    from cloudllm_sync.web.flask import CloudLLM

    app.config["CLOUDLLM_MODEL"] = "claude:claude-sonnet-5"
    llm = CloudLLM(app)

    @app.post("/chat/<conversation>")
    def chat(conversation):
        return llm.stream_response(llm.session(conversation).stream(request.json["question"]))

`stream_response()` alone serves an application that makes its client itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from flask import Flask, Response, current_app

from cloudllm_sync.clients.client import Client
from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.session.conversation import Partial
from cloudllm_sync.session.session import LLMSession
from cloudllm_sync.session.stores import SessionStore
from cloudllm_sync.session.strategies import ContextStrategy
from cloudllm_sync.values import ChatOptions
from cloudllm_sync.web.protocols.error_texts import ErrorText
from cloudllm_sync.web.response import HEARTBEAT_S, Parts, response_parts
from cloudllm_sync.web.settings import read_settings
from cloudllm_sync.web.site import Site

__all__ = ["CloudLLM", "stream_response"]

_PREFIX = "CLOUDLLM_"
_FORM = _PREFIX + "{}"
_EXTENSION = "cloudllm"


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
) -> Response:
    """A response that sends a reply as it comes.

    Until its first chunk the reply is read on a thread of its own, then by the one that sends the
    response; neither Flask's contexts nor anything of the request are kept for it. Errors after the
    headers come as the protocol's last event.

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
    return _response(parts, status, headers)


def _response(parts: Parts, status: int, headers: Optional[Mapping[str, str]]) -> Response:
    try:
        response = Response(parts.body, status)
        response.headers.update(parts.headers)
        response.headers.update(headers or {})
    except BaseException:
        parts.body.close()
        raise
    return response


class CloudLLM:
    """A Flask extension: client, store and sessions as an application's `CLOUDLLM_*` settings say.

    One may serve several applications: whose request it is decides which settings hold. What
    belongs to an application is in its `extensions["cloudllm"]`. Client and store are made at
    their first use.

    `CLOUDLLM_MODEL`: "provider:model", as `open_client()` takes it.
    `CLOUDLLM_API_KEY`: without it the provider's environment variable is read.
    `CLOUDLLM_BASE_URL`, `CLOUDLLM_ALLOW_HTTP`: another server, and whether keys and prompts may
    go to it unencrypted.
    `CLOUDLLM_TIMEOUTS`: a dict of the four clocks, or Timeouts; `CLOUDLLM_MAX_RETRIES`.
    `CLOUDLLM_STORE`: a URL for `open_store()`; without it each process has its own memory.
    `CLOUDLLM_SYSTEM_PROMPT`, `CLOUDLLM_MAX_TOKENS`: of sessions.
    `CLOUDLLM_PROTOCOL`, `CLOUDLLM_HEARTBEAT_S`, `CLOUDLLM_ON_DISCONNECT`,
    `CLOUDLLM_MIN_INTERVAL_S`: of responses.

    Args:
        app: The application; without one, `init_app()` gets it later.

    Raises:
        ConfigurationError: As `init_app()`.
    """

    def __init__(self, app: Optional[Flask] = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read and check the application's settings. Nothing is connected or opened yet.

        Raises:
            ConfigurationError: Settings that do not exist or cannot be, by name; or the application
                has been given to it before.
        """
        if _EXTENSION in app.extensions:
            raise ConfigurationError("this application has CloudLLM already: call init_app() once")
        given = app.config.get_namespace(_PREFIX, lowercase=False)
        app.extensions[_EXTENSION] = Site(read_settings(given, form=_FORM), form=_FORM)

    @property
    def client(self) -> Client:
        """The application's client. Its threads share it.

        Raises:
            ConfigurationError: No model is set, its key is missing, ...
        """
        return self._site.client

    @property
    def store(self) -> SessionStore:
        """The application's store; this process's memory where none is set.

        Raises:
            ImportError: What the store needs is not installed.
            StoreError: It cannot be opened.
        """
        return self._site.store

    def session(
        self,
        session_id: str,
        *,
        system_prompt: Optional[str] = None,
        max_tokens: Optional[int] = None,
        options: Optional[ChatOptions] = None,
        partial: Partial = "discard",
        turn_timeout: float = 0.0,
        context: Optional[ContextStrategy] = None,
    ) -> LLMSession:
        """A conversation of the application's store.

        Args:
            session_id: Its name. Make sure that it is the user's own.
            system_prompt: None is CLOUDLLM_SYSTEM_PROMPT.
            max_tokens: None is CLOUDLLM_MAX_TOKENS.
            options: As LLMSession.
            partial: As LLMSession.
            turn_timeout: 0 has a second question to a session that still answers refused at once,
                by SessionBusyError: a thread of the server does not wait for another.
            context: As LLMSession.

        Raises:
            ConfigurationError: As LLMSession, and as `client`.
        """
        return self._site.session(
            session_id,
            system_prompt=system_prompt,
            max_tokens=max_tokens,
            options=options,
            partial=partial,
            turn_timeout=turn_timeout,
            context=context,
        )

    def stream_response(
        self,
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
    ) -> Response:
        """As the function of this name; what is None here is as the settings say.

        Raises:
            ConfigurationError: An argument that cannot be, or a `stream` that is none.
        """
        parts = self._site.response_parts(
            stream,
            protocol=protocol,
            heartbeat_s=heartbeat_s,
            on_disconnect=on_disconnect,
            min_interval_s=min_interval_s,
            error_text=error_text,
            model=model,
            include_usage=include_usage,
        )
        return _response(parts, status, headers)

    @property
    def _site(self) -> Site:
        try:
            site: Site = current_app.extensions[_EXTENSION]
        except KeyError:
            raise ConfigurationError(
                f"the application {current_app.name!r} has no CloudLLM: call init_app() with it"
            ) from None
        return site
