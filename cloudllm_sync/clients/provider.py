"""A provider: the facts about a vendor that no code has to know."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Optional
from urllib.parse import urlsplit

import attrs

from cloudllm_sync.errors import ConfigurationError

__all__ = ["Provider", "key_in_environment"]


@attrs.frozen(slots=True, kw_only=True)
class Provider:
    """One row: where a vendor is, and how it wants its key."""

    name: str
    base_url: str = ""
    path_ends: tuple[str, ...] = ()
    """What the codec adds to the base URL, and users paste with it, longest first."""
    key_variables: tuple[str, ...] = ()
    """Environment variables that may hold the key, the first set one wins."""
    key_needed: bool = True
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def without_path_end(self, url: str) -> str:
        """The base URL, where an address with more than that was given."""
        path = urlsplit(url).path  # a host may be named v1
        for end in self.path_ends:
            if path.endswith(end):
                return url[: -len(end)]
        return url


def key_in_environment(
    provider: str, variables: Sequence[str], *, needed: bool
) -> Optional[tuple[str, str]]:
    """The first of these variables that is set, and the key in it; None if none has to be.

    Raises:
        ConfigurationError: A key is needed and none is set.
    """
    for variable in variables:
        if os.environ.get(variable, "").strip():
            return variable, os.environ[variable]
    if needed:
        names = " or ".join(variables)
        raise ConfigurationError(f"no API key for {provider}: pass api_key or set {names}")
    return None
