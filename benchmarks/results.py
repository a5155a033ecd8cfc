"""What a benchmark found: figures, and the goals that they are held to."""

from __future__ import annotations

from typing import Optional

import attrs


@attrs.frozen
class Figure:
    """One driver's figure in one row."""

    row: str
    """What was measured, without the unit: "CPU per chunk, many events a segment"."""
    driver: str
    """Who was measured: "cloudllm_sync, generator"."""
    value: float
    unit: str
    """"µs", "ms", "s", "KB", "MB", or a noun for a count: "connections"."""


@attrs.frozen
class Goal:
    """A driver's figure is to be at most `limit`: itself, or over `base`'s in the same row."""

    row: str
    driver: str
    limit: float
    base: Optional[str] = None
