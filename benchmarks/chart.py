"""One row as bars in a hand-written SVG. It brings its own ground, so that any page can show it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Optional
from xml.sax.saxutils import escape

from drivers import FLOOR
from results import Figure, shown

CHARTED = "CPU per chunk, one HTTP chunk per event"
"""The row that README shows."""

WIDTH = 780
LEFT, RIGHT = 230, 190
VALUES, RATIOS = WIDTH - 100, WIDTH - 20
"""Where the columns beside the bars end."""
TOP, BOTTOM, BAR, STEP = 74, 50, 18, 28
FONT = "system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"
INK, FAINT, LINE, GROUND = "#1f2328", "#59636e", "#d1d9e0", "#f6f8fa"
OURS, LOOP, PEERS = "#0969da", "#59636e", "#afb8c1"
BOLD, SMALL, TO_LEFT = "font-weight='600'", "font-size='11'", "text-anchor='end'"


def svg(title: str, figures: Sequence[Figure]) -> str:
    """The figures of one row, the least first, on a logarithmic scale that says so."""
    bars = sorted(figures, key=lambda figure: figure.value)
    floor = next((figure.value for figure in bars if figure.driver == FLOOR), None)
    unit = bars[0].unit
    height = TOP + STEP * len(bars) + BOTTOM
    first = math.floor(math.log10(0.99 * bars[0].value))
    last = math.ceil(math.log10(1.01 * bars[-1].value))

    def length(value: float) -> float:
        return (WIDTH - LEFT - RIGHT) * (math.log10(value) - first) / (last - first)

    size = f"viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}'"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img'>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{WIDTH}' height='{height}' rx='8' fill='{GROUND}' stroke='{LINE}'/>",
        f"<g font-family='{FONT}' font-size='13'>",
        _text(20, 30, title, f"font-size='15' {BOLD}"),
        _text(VALUES, TOP - 12, unit, f"{SMALL} {TO_LEFT}", FAINT),
        _text(RATIOS, TOP - 12, "× the loop" if floor else "", f"{SMALL} {TO_LEFT}", FAINT),
    ]
    for power in range(first, last + 1):
        parts += _mark(LEFT + length(10.0**power), height, f"{10.0**power:,g}")
    for at, figure in enumerate(bars):
        parts += _bar(figure, TOP + STEP * at, length(figure.value), floor=floor)
    axis = f"{unit}, logarithmic scale: every line is ten times the line before it"
    parts += [_text(LEFT, height - 12, axis, SMALL, FAINT), "</g></svg>"]
    return "\n".join(parts) + "\n"


def _text(x: float, y: float, content: str, more: str = "", fill: str = INK) -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' fill='{fill}' {more}>{escape(content)}</text>"


def _mark(x: float, height: int, label: str) -> Iterator[str]:
    yield f"<path d='M{x:.1f} {TOP - 8}V{height - 46}' stroke='{LINE}'/>"
    yield _text(x, height - 32, label, f"{SMALL} text-anchor='middle'", FAINT)


def _bar(figure: Figure, y: float, length: float, *, floor: Optional[float]) -> Iterator[str]:
    is_floor = figure.driver == FLOOR
    is_ours = figure.driver.startswith("cloudllm_sync")
    weight = BOLD if is_ours else ""
    colour = OURS if is_ours else LOOP if is_floor else PEERS
    base = y + BAR - 5
    label = "hand-written loop" if is_floor else figure.driver
    yield _text(LEFT - 10, base, label, f"{TO_LEFT} {weight}")
    yield (
        f"<rect class='bar' x='{LEFT}' y='{y}' width='{max(1, length):.1f}' height='{BAR}' "
        f"rx='2' fill='{colour}'/>"
    )
    yield _text(VALUES, base, shown(figure.value), f"{TO_LEFT} {weight}")
    if floor:
        yield _text(RATIOS, base, shown(figure.value / floor, 2), f"{TO_LEFT} {weight}")
