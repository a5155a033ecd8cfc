"""All rows, beside other SDKs and a hand-written loop; prints a report, `make bench` writes it.

    python benchmarks/bench.py [chunks starts threads weights] [--only NAME] [--quick] [--write]

Modules of rows are imported when it runs: the drivers' processes, which import this file, too, are
to hold nothing but what they need themselves.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pathlib
import statistics
import sys
from collections.abc import Sequence
from types import ModuleType

import attrs
import report
from chart import CHARTED, svg
from results import Figure
from worker import LEFT_OUT

HERE = pathlib.Path(__file__).parent
MODULES = ("chunks", "starts", "threads", "weights")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(MODULES)}")
    parser.add_argument("--only", default="", help="leave out drivers without this in their names")
    parser.add_argument("--quick", action="store_true", help="less of everything, for a look")
    parser.add_argument("--runs", type=int, default=1, help="measure all so often; take medians")
    parser.add_argument("--json", action="store_true", help="print figures and goals as JSON")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md and chart.svg")
    parser.add_argument("--folder", type=pathlib.Path, default=HERE, help="where to; here")
    given = parser.parse_args()
    unknown = set(given.modules) - set(MODULES)
    if unknown:
        parser.error(
            f"no such module: {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}"
        )
    if given.runs < 1:
        parser.error("--runs: at least 1")
    if not given.folder.is_dir():
        parser.error(f"--folder: {given.folder} is no folder")
    return given


def present(names: Sequence[str]) -> list[ModuleType]:
    """The modules of rows; one that is not there is named."""
    found = []
    for name in names:
        if (HERE / f"{name}.py").exists():
            found.append(importlib.import_module(name))
        else:
            print(f"{name}: no such file here, its rows are left out", file=sys.stderr)
    return found


def measure(modules: Sequence[ModuleType], *, only: str, quick: bool, runs: int) -> list[Figure]:
    """All figures of all modules, each the median of the runs; told as they come."""
    taken: dict[tuple[str, str], list[Figure]] = {}
    for _ in range(runs):
        for module in modules:
            for figure in module.figures(only=only, quick=quick):
                taken.setdefault((figure.row, figure.driver), []).append(figure)
                told = f"{figure.row}: {figure.driver}: {figure.value:.2f} {figure.unit}"
                print(told, file=sys.stderr, flush=True)
    return [
        attrs.evolve(same[0], value=statistics.median(figure.value for figure in same))
        for same in taken.values()
    ]


def main() -> None:
    given = arguments()
    modules = present(given.modules or MODULES)
    figures = measure(modules, only=given.only, quick=given.quick, runs=given.runs)
    goals = [goal for module in modules for goal in module.GOALS]
    rows = [row for module in modules for row in module.ROWS]
    text = report.markdown(figures, goals, rows, left_out=LEFT_OUT, passes=given.runs)
    if given.json:
        found = {"figures": figures, "goals": goals}
        print(json.dumps({name: list(map(attrs.asdict, each)) for name, each in found.items()}))
    else:
        print(text)
    if given.write:
        (given.folder / "RESULTS.md").write_text(text, encoding="utf-8")
        bars = [figure for figure in figures if figure.row == CHARTED]
        if bars:
            (given.folder / "chart.svg").write_text(svg(CHARTED, bars), encoding="utf-8")


if __name__ == "__main__":
    main()
