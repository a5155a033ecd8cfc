"""A provider: the facts about a vendor that no code has to know."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["Provider"]


@attrs.frozen(slots=True, kw_only=True)
class Provider:
    """One row: where a vendor is, and how it wants its key."""

    name: str
    base_url: str = ""
    key_variables: tuple[str, ...] = ()
    """Environment variables that may hold the key, the first set one wins."""
    key_needed: bool = True
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    headers: Mapping[str, str] = attrs.field(factory=dict)
