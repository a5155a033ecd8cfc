"""One way out: where a client's requests are sent, with its key, proxies and trust.

`Transport` belongs to a client and keeps its connections; every request leaves by `send()`.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Mapping
from typing import Optional
from urllib.parse import urlsplit

import attrs
import requests
from requests.utils import get_environ_proxies, select_proxy

from cloudllm_sync.codecs import WireRequest
from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.transport.budget import RetryBudget
from cloudllm_sync.transport.connections import CallAdapter, Claim, Claiming
from cloudllm_sync.transport.credentials import ApiKey, Secrets
from cloudllm_sync.transport.forks import renew_in_children
from cloudllm_sync.transport.tls import Cert, Verify, tls_context
from cloudllm_sync.values import Limits

__all__ = ["Endpoint", "Transport", "is_loopback"]


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine."""
    host = (urlsplit(url).hostname or "").lower()
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, 6.3
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # another name, though it may begin with 127.


@attrs.frozen(slots=True)
class Endpoint:
    """Where requests go, and what goes with each of them."""

    provider: str
    base_url: str
    key: Optional[ApiKey]
    key_header: str
    """The header that carries the key."""
    key_prefix: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    limits: Limits

    def __str__(self) -> str:
        parts = urlsplit(self.base_url)
        port = f":{parts.port}" if parts.port else ""
        return f"{self.provider} at {parts.hostname}{port}"


class Transport:
    """A client's connections. Threads may share it; a forked child gets connections of its own."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        proxies: Mapping[str, str] | None,
        verify: Verify,
        cert: Cert,
    ) -> None:
        self.endpoint = endpoint
        self._proxies = _proxies_for(endpoint.base_url, proxies)
        self._context = (
            tls_context(verify, cert) if endpoint.base_url.startswith("https:") else None
        )
        self.budget = RetryBudget()
        self._lock = threading.Lock()
        # The process and its connections. Written under _lock; readers take one reference.
        self._mine: Optional[tuple[int, CallAdapter]] = None
        self._closed = False  # guarded by _lock
        self._secrets = Secrets(endpoint.headers, self._proxies)
        self._templates: dict[str, requests.PreparedRequest] = {}  # single dict operations only
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a lock of its own, and connections of its own when it needs them."""
        self._lock = threading.Lock()
        mine, self._mine = self._mine, None
        if mine is not None:
            mine[1].leave()

    def mask(self, text: str) -> str:
        """The text without this client's secrets, for what a server wrote."""
        key = self.endpoint.key
        return self._secrets.mask(text if key is None else key.mask(text))

    def adapter(self) -> CallAdapter:
        """The connections of this process.

        Raises:
            ConfigurationError: The client is closed.
        """
        pid = os.getpid()
        mine = self._mine
        if mine is not None and mine[0] == pid:
            return mine[1]
        with self._lock:
            if self._closed:
                raise ConfigurationError("the client is closed: make a new one")
            if self._mine is None or self._mine[0] != pid:
                self._mine = pid, CallAdapter(self._context)
            return self._mine[1]

    def close(self) -> None:
        """Close idle connections and take no more requests; running streams go on."""
        with self._lock:
            mine, self._mine = self._mine, None
            self._closed = True
        if mine is not None and mine[0] == os.getpid():
            mine[1].close()

    def send(self, wire: WireRequest, claim: Claim) -> requests.Response:
        """Post once; the headers of the reply have come."""
        adapter = self.adapter()
        with Claiming(claim):
            return adapter.send(self._prepared(wire), stream=True, proxies=self._proxies)

    def _prepared(self, wire: WireRequest) -> requests.PreparedRequest:
        """The request, from a template: preparing one anew costs more than sending it."""
        endpoint = self.endpoint
        template = self._templates.get(wire.path)
        if template is None:
            url = endpoint.base_url + wire.path
            template = requests.Request("POST", url, headers=dict(endpoint.headers)).prepare()
            self._templates[wire.path] = template
        prepared = template.copy()
        prepared.body = wire.body
        prepared.headers["Content-Length"] = str(len(wire.body))
        if endpoint.key is not None:
            prepared.headers[endpoint.key_header] = endpoint.key_prefix + endpoint.key.reveal()
        return prepared


def _proxies_for(url: str, given: Mapping[str, str] | None) -> dict[str, str]:
    """The proxies for this address: those given, else the environment's; none for loopback."""
    if is_loopback(url):
        return {}
    proxies = dict(get_environ_proxies(url) if given is None else given)
    for scheme, proxy in proxies.items():
        if not isinstance(proxy, str):
            raise ConfigurationError(
                f"the proxy for {scheme!r} must be a string, not {type(proxy).__name__}"
            )
        if proxy.lower().startswith("socks"):
            raise ConfigurationError(
                f"the proxy for {scheme!r} speaks SOCKS, which is not supported: use an HTTP proxy"
            )
        if scheme != "no" and "://" not in proxy:
            proxies[scheme] = f"http://{proxy}"  # as requests does, unless it holds a password
    chosen = select_proxy(url, proxies)
    if chosen and not _is_address(chosen):
        raise ConfigurationError(
            "the proxy's address cannot be read: give one like http://user:password@proxy:3128, "
            "with / ? # @ in the password percent-encoded"
        )
    return proxies


def _is_address(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        port = parts.port
    except ValueError:
        return False
    usable = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    return usable and not any(char <= " " for char in proxy)
