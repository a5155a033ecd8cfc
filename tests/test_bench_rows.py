"""The benchmarks' rows of many streams, starts and weights: each is measured, and has its goals."""

from __future__ import annotations

import importlib
import math
import pathlib
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
NAMES = ["threads", "starts", "weights"]
OURS = "cloudllm_sync"
FLOOR = "floor: recv, split, json.loads"


@pytest.fixture
def module(request, monkeypatch):
    """One of the benchmarks, as its own command finds it."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return importlib.import_module(request.param)


@pytest.mark.parametrize("module", NAMES, indirect=True)
def test_quick_run_measures_this_package_in_every_quick_row(module):
    """Only the floor, and what a goal is held against, are measured beside it."""
    found = list(module.figures(only=OURS, quick=True))

    assert set(module.QUICK_ROWS) == {figure.row for figure in found}
    assert [] == [figure for figure in found if not 0 < figure.value < math.inf]
    measured = {(figure.row, figure.driver) for figure in found}
    assert (
        set()
        == {(goal.row, goal.driver) for goal in module.GOALS if goal.row in module.QUICK_ROWS}
        - measured
    )
    others = {driver for _, driver in measured if OURS not in driver}
    assert set() == others - {goal.base for goal in module.GOALS} - {FLOOR}


@pytest.mark.parametrize("module", NAMES, indirect=True)
def test_goals_name_rows_and_drivers_that_exist(module):
    """A goal that is held to nothing would always be met."""
    named = {name for goal in module.GOALS for name in (goal.driver, goal.base) if name}

    assert set() == {goal.row for goal in module.GOALS} - set(module.ROWS)
    assert set() == set(module.QUICK_ROWS) - set(module.ROWS)
    assert set() == named - set(module.DRIVERS)
