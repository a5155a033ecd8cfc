"""What a client is made of, checked when it is made, so that no request fails of it."""

from __future__ import annotations

import enum
import logging
import re
from collections.abc import Mapping
from typing import Optional, TypeVar
from urllib.parse import urlsplit

from cloudllm_sync.clients.provider import Provider, key_in_environment
from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.transport.credentials import ApiKey
from cloudllm_sync.transport.http import is_loopback

__all__ = ["checked", "checked_count", "checked_url", "find_key", "merged_headers", "model_name"]

_log = logging.getLogger("cloudllm_sync.clients")

_Value = TypeVar("_Value")


def checked(name: str, value: Optional[_Value], kind: type[_Value]) -> Optional[_Value]:
    """The argument; whatever is neither None nor of this kind raises ConfigurationError."""
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be {kind.__name__}(...), not {type(value).__name__}")
    return value


def checked_count(name: str, value: object) -> int:
    """The argument; whatever is no whole number from 1 raises ConfigurationError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a positive number, not {value!r}")
    return value


def model_name(model: object) -> str:
    """The name that a string or a member of a Model enum says."""
    name = model.value if isinstance(model, enum.Enum) else model
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"model must be a model's name, not {model!r}")
    return name.strip()


def checked_url(url: str, key: Optional[ApiKey], *, allow_http: bool) -> str:
    """The base URL without a trailing slash; `key` is what its complaints must not show."""
    if not isinstance(url, str):
        raise ConfigurationError(f"base_url must be a string, not {type(url).__name__}")
    url = url.strip().rstrip("/")
    shown = _shown(url) if key is None else key.mask(_shown(url))
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(char <= " " for char in url):
        raise ConfigurationError(
            f"base_url {shown!r} is no address: give one like https://api.example.com/v1"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("base_url holds a user name or password: pass api_key instead")
    if parts.query or parts.fragment:
        raise ConfigurationError(
            f"base_url {shown!r} goes on with a query or fragment: leave it out"
        )
    if parts.scheme == "http" and not (allow_http or is_loopback(url)):
        raise ConfigurationError(
            f"base_url {shown!r} would send key and prompts unencrypted: use https, or pass "
            "allow_http=True"
        )
    return parts.scheme + url[len(parts.scheme) :]  # the scheme in lower case


def _shown(url: str) -> str:
    """The URL without what may be secret: a user's name and password, a query."""
    shown = re.sub(r"^.*@", "***@", url, flags=re.DOTALL)
    return re.split(r"[?#]", shown, maxsplit=1)[0]


def find_key(provider: Provider, given: Optional[str]) -> Optional[ApiKey]:
    """The key given, else the environment's; None where none is needed."""
    if given is not None:
        return ApiKey(given, "api_key")
    found = key_in_environment(provider.name, provider.key_variables, needed=provider.key_needed)
    return None if found is None else ApiKey(found[1], found[0])


def merged_headers(provider: Provider, given: Optional[Mapping[str, str]]) -> dict[str, str]:
    """What goes with every request beside the key."""
    headers = {
        "Accept": "text/event-stream, application/json",
        # Compression would hold tokens back, and saves nothing on events this small.
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "User-Agent": "cloudllm-sync",
        **provider.headers,
    }
    if given is not None and not isinstance(given, Mapping):
        raise ConfigurationError(f"headers must be a mapping, not {type(given).__name__}")
    known = {name.lower(): name for name in headers}
    for name, value in (given or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigurationError(f"the header {name!r} and its value must be strings")
        if not name.isascii() or any(not "!" <= char <= "~" or char == ":" for char in name):
            raise ConfigurationError(f"{name!r} is no header name")
        if any(char in value for char in "\r\n\0") or not _is_latin_1(value):
            raise ConfigurationError(f"the value of the header {name!r} cannot be sent")
        if name.lower() == provider.key_header.lower():
            _log.warning("the header %r is ignored: it carries the key, pass api_key", name)
            continue
        headers[known.get(name.lower(), name)] = value.strip()
    return headers


def _is_latin_1(value: str) -> bool:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True
