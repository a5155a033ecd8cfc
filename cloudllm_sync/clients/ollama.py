"""Ollama, on this machine or another, by its own wire."""

from __future__ import annotations

import os
import re

import attrs

from cloudllm_sync.clients.client import Client
from cloudllm_sync.clients.provider import Provider
from cloudllm_sync.codecs.ollama import OllamaCodec

__all__ = ["OllamaClient", "address_of"]

_HOST = re.compile(r"(?:(https?)://)?(\[[^\]]*\]|[^:/@]*)(?::(\d+))?(/.*)?", re.IGNORECASE)
_ANY_ADDRESS = ("", "0.0.0.0", "[::]")  # noqa: S104 - what a server listens at is no place to call


class OllamaClient(Client):
    """Ollama, by /api/chat. `base_url` is `OLLAMA_HOST`, or else `http://localhost:11434`.

    A key is only needed for `https://ollama.com`: it is `OLLAMA_API_KEY`. Any model that Ollama
    has pulled is named by a string. What is not among ChatOptions goes by
    `extra_body={"options": {"num_ctx": 16384}, "keep_alive": "10m"}`.
    """

    provider = Provider(
        name="Ollama",
        base_url="http://localhost:11434",
        key_variables=("OLLAMA_API_KEY",),
        key_needed=False,
        path_ends=("/api/chat", "/api", "/v1"),
        headers={"Accept": "application/x-ndjson, application/json"},
    )
    codec = OllamaCodec("Ollama")

    def _row(self) -> Provider:
        host = os.environ.get("OLLAMA_HOST", "").strip()
        return attrs.evolve(self.provider, base_url=address_of(host)) if host else self.provider


def address_of(host: str) -> str:
    """OLLAMA_HOST as a base URL: scheme, name or port may be missing there."""
    found = _HOST.fullmatch(host)
    if found is None:
        return host if "://" in host else f"http://{host}"
    scheme, name, port, path = found.groups(default="")
    name = "localhost" if name in _ANY_ADDRESS else name
    port = port or ("" if scheme else "11434")
    return f"{scheme or 'http'}://{name}{port and ':'}{port}{path}"
