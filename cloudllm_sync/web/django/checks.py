"""System checks: what the doctor finds in a Django site. Ids are the doctor's, as `cloudllm.W003`.

Seen are settings, middleware that says by its name that it packs responses, and, with
`check --deploy`, what gunicorn would take from its environment and its file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
from django.apps import apps
from django.conf import settings as site_settings
from django.core import checks
from django.http import HttpRequest
from django.utils.module_loading import import_string

from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.values import Message, MessageChunk, Role
from cloudllm_sync.web.django import stream_response
from cloudllm_sync.web.django.given import FORM, given_settings
from cloudllm_sync.web.doctor import Facts, Finding, findings
from cloudllm_sync.web.gunicorn_config import read_gunicorn
from cloudllm_sync.web.settings import Settings, faults_of, make_client, read_settings

__all__ = ["check_server", "check_site", "facts_of_site"]

_PACKING = ("gzip", "brotli", "zstd", "compress", "minif", "htmlmin")
_ENCODINGS = "gzip, deflate, br, zstd"


def check_site(app_configs: Any, **_: Any) -> list[Any]:
    """What is wrong with the site itself."""
    return _messages(findings(facts_of_site()))


def check_server(app_configs: Any, **_: Any) -> list[Any]:
    """What is wrong with the server that would be started here."""
    facts = facts_of_site()
    served = attrs.evolve(facts, gunicorn=read_gunicorn(os.environ, os.getcwd()))
    known = findings(facts)
    return _messages(found for found in findings(served) if found not in known)


def facts_of_site() -> Facts:
    """What is known of the site, but for its server and proxies."""
    given = given_settings()
    faults = faults_of(given, form=FORM)
    settings = Settings() if faults else read_settings(given, form=FORM)
    return Facts(
        settings=settings,
        faults=faults,
        no_client=_why_no_client(settings),
        is_asgi=_is_asgi(),
        packing=() if faults else tuple(_packing()),
    )


def _messages(found: Iterable[Finding]) -> list[Any]:
    kinds = {"error": checks.Error, "warning": checks.Warning}
    return [
        kinds[one.level](one.what, hint=f"{one.why}. To do: {one.to_do}.", id=f"cloudllm.{one.id}")
        for one in found
    ]


def _why_no_client(settings: Settings) -> str:
    if settings.model is None:
        return ""  # a site may make clients of its own
    try:
        make_client(settings, form=FORM).close()
    except ConfigurationError as error:
        return str(error)
    return ""


def _is_asgi() -> bool:
    return bool(getattr(site_settings, "ASGI_APPLICATION", None)) or apps.is_installed("daphne")


# --- middleware ---


class _NoReply:
    """Stands for a reply, and knows whether somebody has read it."""

    def __init__(self) -> None:
        self.was_read = False

    def __iter__(self) -> Iterator[MessageChunk]:
        self.was_read = True
        return iter(())

    def result(self) -> Message:
        return Message(Role.ASSISTANT, "")

    def cancel(self) -> None:
        """Nothing runs."""

    close = cancel


def _packing() -> Iterator[str]:
    """Middleware that packs a response of this package, or reads it to its end."""
    for path in site_settings.MIDDLEWARE:
        if any(name in path.lower() for name in _PACKING) and _packs(path):
            yield path


def _packs(path: str) -> bool:
    """Whether it does so with a response made here; only its name was known."""
    reply = _NoReply()
    request = HttpRequest()
    request.method = "GET"
    request.META.update(HTTP_ACCEPT_ENCODING=_ENCODINGS, SERVER_NAME="localhost", SERVER_PORT="80")
    try:
        response = import_string(path)(lambda _: stream_response(reply))(request)
        encoding = response.headers.get("Content-Encoding")
    except Exception:  # foreign code, with a request of no browser: nothing is known of it
        return False
    return reply.was_read or not response.streaming or encoding != "identity"
