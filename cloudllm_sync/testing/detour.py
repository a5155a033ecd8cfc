"""The way of every client's requests while a test runs: to a server of the test's."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any, Callable
from urllib.parse import urlsplit

import attrs

from cloudllm_sync.clients.registry import known_providers
from cloudllm_sync.codecs import WireRequest
from cloudllm_sync.transport.connections import Claim
from cloudllm_sync.transport.http import Transport

__all__ = ["Send", "Twins", "detour", "fake_keys", "sent_by"]

Send = Callable[[Transport, WireRequest, Claim], Any]

# Long enough to be masked as real keys are.
_FAKE_KEY = "fake-key-of-a-test"
_OWN_KEYS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "XAI_API_KEY",
    "AZURE_OPENAI_API_KEY",
)
# Programs that know nothing of language models read these, too.
_SHARED_KEYS = ("GITHUB_TOKEN", "HF_TOKEN")


class Twins:
    """For each client's transport one that leads to the test's server, with the same key and path.

    The header `Host` still names the provider's machine.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._made: dict[Transport, Transport] = {}  # guarded by _lock

    def of(self, transport: Transport) -> Transport:
        """The twin, made at the first request.

        Raises:
            ConfigurationError: The client is closed, and must not seem to be open.
        """
        transport.adapter()
        with self._lock:
            twin = self._made.get(transport)
            if twin is None:
                twin = self._made[transport] = self._twin(transport)
            return twin

    def close(self) -> None:
        """Close the connections of all of them."""
        with self._lock:
            made = list(self._made.values())
        for twin in made:
            twin.close()

    def _twin(self, transport: Transport) -> Transport:
        endpoint = transport.endpoint
        address = urlsplit(endpoint.base_url)
        own = attrs.evolve(
            endpoint,
            base_url=self._url + address.path,
            headers={"Host": address.netloc, **endpoint.headers},
        )
        return Transport(own, proxies={}, verify=True, cert=None)


@contextlib.contextmanager
def detour(url: str) -> Iterator[None]:
    """Have every client of this process talk to the server at `url`, also those made before."""
    original = Transport.send
    twins = Twins(url)
    try:
        with sent_by(lambda transport, wire, claim: original(twins.of(transport), wire, claim)):
            yield
    finally:
        twins.close()


@contextlib.contextmanager
def sent_by(send: Send) -> Iterator[None]:
    """Have this function send the requests of all clients: every one leaves by Transport.send()."""

    # A function, whatever `send` is: it becomes a method.
    def method(transport: Transport, wire: WireRequest, claim: Claim) -> Any:
        return send(transport, wire, claim)

    before = Transport.send
    Transport.send = method  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Transport.send = before  # type: ignore[method-assign]


@contextlib.contextmanager
def fake_keys() -> Iterator[None]:
    """Set the providers' environment variables that are not set: clients want a key.

    Not GITHUB_TOKEN and HF_TOKEN, which have other readers.
    """
    servers = (row.key_variables[0] for row in known_providers().values() if row.key_variables)
    wanted = [name for name in (*_OWN_KEYS, *servers) if name not in _SHARED_KEYS]
    missing = [name for name in wanted if not os.environ.get(name, "").strip()]
    before = {name: os.environ.get(name) for name in missing}
    os.environ.update(dict.fromkeys(missing, _FAKE_KEY))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
