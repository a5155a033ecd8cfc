"""RESULTS.md: what was measured where, the goals, and a table for each row."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import pathlib
import platform
import re
import sys
from collections.abc import Iterator, Sequence

from drivers import FLOOR
from results import Figure, Goal, measured, shown

HERE = pathlib.Path(__file__).parent
NEEDED = ("attrs", "msgspec", "requests", "sseclient-py", "urllib3")
OURS = "cloudllm_sync"


def markdown(
    figures: Sequence[Figure],
    goals: Sequence[Goal],
    rows: Sequence[str],
    *,
    left_out: dict[str, str],
    passes: int,
) -> str:
    """The whole report; `rows` gives the order of the tables."""
    parts = [
        "# What was measured",
        "How to read this, and how to repeat it: [docs/performance.md](../docs/performance.md).",
        "\n".join(f"- {line}" for line in _about(left_out, passes)),
        "## Goals",
        "\n".join(_goals(figures, goals)),
        "## Figures",
    ]
    known = {row: at for at, row in enumerate(rows)}
    found = dict.fromkeys(figure.row for figure in figures)
    for row in sorted(found, key=lambda row: known.get(row, len(rows))):
        parts += [f"### {row}", "\n".join(_table([f for f in figures if f.row == row]))]
    return "\n\n".join(parts) + "\n"


def peers() -> list[str]:
    """The distributions that requirements.txt names."""
    lines = (HERE / "requirements.txt").read_text().splitlines()
    return [found[0] for found in map(re.compile(r"[\w.-]+").match, lines) if found]


def _about(left_out: dict[str, str], passes: int) -> Iterator[str]:
    sys.path.insert(0, str(HERE.parent))  # runs in a clone, too
    from cloudllm_sync import __version__

    yield f"{dt.date.today():%d %B %Y}, `python benchmarks/{' '.join(_command())}`" + (
        f", the median of {passes} passes" if passes > 1 else ""
    )
    yield f"{platform.python_implementation()} {platform.python_version()}, {OURS} {__version__}"
    yield f"{os.cpu_count()} cores, {_processor()}, {platform.system()} {platform.release()}"
    yield "with " + ", ".join(_versions((*NEEDED, *peers())))
    yield "left out: " + ("; ".join(f"{name} ({why})" for name, why in left_out.items()) or "none")


def _command() -> list[str]:
    return [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _versions(names: Sequence[str]) -> Iterator[str]:
    for name in dict.fromkeys(names):
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} (not installed)"


def _goals(figures: Sequence[Figure], goals: Sequence[Goal]) -> Iterator[str]:
    yield "| row | driver | goal | measured | met |"
    yield "|---|---|---|---|---|"
    units = {figure.row: figure.unit for figure in figures}
    for goal in goals:
        found = measured(goal, figures)
        unit = units.get(goal.row, "") if goal.base is None else f"× {_short(goal.base)}"
        value = "not measured" if found is None else f"{shown(found)} {unit}"
        met = "" if found is None else "yes" if found <= goal.limit else "**no**"
        yield f"| {goal.row} | {goal.driver} | ≤ {goal.limit:g} {unit} | {value} | {met} |"


def _short(driver: str) -> str:
    return driver.partition(":")[0]


def _is_peer(figure: Figure) -> bool:
    return figure.driver != FLOOR and not figure.driver.startswith(OURS)


def _table(figures: Sequence[Figure]) -> Iterator[str]:
    """A row, over its floor if it has one; and this package's first driver, over each peer."""
    floor = next((f.value for f in figures if f.driver == FLOOR), None)
    ours = next((f for f in figures if f.driver.startswith(OURS)), None)
    peers = ours is not None and any(map(_is_peer, figures))
    heads = ["driver", figures[0].unit]
    heads += ["× floor"] if floor else []
    heads += [f"{ours.driver}, over it"] if ours is not None and peers else []
    yield f"| {' | '.join(heads)} |"
    yield "|---" + "|---:" * (len(heads) - 1) + "|"
    for figure in figures:
        cells = [figure.driver, shown(figure.value)]
        cells += [shown(figure.value / floor)] if floor else []
        if ours is not None and peers:
            over = _is_peer(figure) and figure.value > 0
            cells.append(shown(ours.value / figure.value) if over else "")
        yield f"| {' | '.join(cells)} |"
