"""What a benchmark found: figures, and the goals that they are held to."""

from __future__ import annotations

import math
from collections.abc import Iterable
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


def measured(goal: Goal, figures: Iterable[Figure]) -> Optional[float]:
    """What a goal limits: a figure, or a ratio. None if it was not measured."""
    values = {figure.driver: figure.value for figure in figures if figure.row == goal.row}
    if goal.driver not in values or (goal.base is not None and goal.base not in values):
        return None
    return values[goal.driver] / (1 if goal.base is None else values[goal.base])


def shown(value: float, digits: int = 3) -> str:
    """A figure as tables show it: so many digits that count; what was counted is whole."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    size = math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, digits - 1 - size)}f}"
