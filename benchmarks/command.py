"""A module of rows run by itself: its figures as they come, beside their base and their goal."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator
from typing import Callable

from results import Figure, Goal


def run(doc: str, goals: tuple[Goal, ...], figures: Callable[..., Iterator[Figure]]) -> None:
    """Print the figures of one module."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few runs, and no rows that take long")
    parser.add_argument("--only", default="", help="leave out drivers without this in their name")
    args = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores")
    found: dict[str, dict[str, Figure]] = {}
    for figure in figures(only=args.only, quick=args.quick):
        if figure.row not in found:
            print(f"\n{figure.row}", flush=True)
        row = found.setdefault(figure.row, {})
        row[figure.driver] = figure
        print(_line(figure, next(iter(row.values()))), flush=True)
    print()
    for goal in goals:
        row = found.get(goal.row, {})
        if goal.driver in row and (goal.base is None or goal.base in row):
            print(_verdict(goal, row))


def _line(figure: Figure, base: Figure) -> str:
    """A figure, and how many times the first of its row it is."""
    times = f"{figure.value / base.value:10.2f} ×" if base.value > 0 else ""
    return f"  {figure.driver:34}{figure.value:12.2f} {figure.unit:14}{times}"


def _verdict(goal: Goal, row: dict[str, Figure]) -> str:
    figure = row[goal.driver]
    value = figure.value if goal.base is None else figure.value / row[goal.base].value
    than = figure.unit if goal.base is None else f"× {goal.base}"
    met = "met" if value <= goal.limit else "MISSED"
    return f"{met:8}{goal.row}, {goal.driver}: {value:.2f}, goal {goal.limit:g} {than}"
