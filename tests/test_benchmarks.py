"""`make bench`: the runner of the benchmarks, its report and its chart."""

import json
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CHARTED = "CPU per chunk, one HTTP chunk per event"


def bench(*options, folder=ROOT, **environment):
    """What the runner prints, of the rows of single streams."""
    command = [sys.executable, "benchmarks/bench.py", "chunks", "--quick", *options]
    done = subprocess.run(
        [*command, "--folder", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=100,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The figures and goals of this package's own drivers, and where their report stands."""
    folder = tmp_path_factory.mktemp("bench")
    return json.loads(bench("--only", "cloudllm_sync", "--json", "--write", folder=folder)), folder


def verdict(goal, figures):
    """What the report has to say of a goal: the figure or ratio, and whether it is met."""
    values = {each["driver"]: each["value"] for each in figures if each["row"] == goal["row"]}
    value = values[goal["driver"]] / (values[goal["base"]] if goal["base"] else 1)
    return value, "yes" if value <= goal["limit"] else "**no**"


def test_goals_are_reported_as_the_figures_have_them(run):
    """Met or not, plainly, in the order of the goals."""
    found, folder = run
    report = (folder / "RESULTS.md").read_text(encoding="utf-8")
    goals = report.partition("## Goals")[2].partition("## Figures")[0]
    cells = [line.strip("| ").split(" | ") for line in goals.splitlines() if "≤" in line]

    reported = [(row, driver, met) for row, driver, _, _, met in cells]
    assert reported == [
        (goal["row"], goal["driver"], verdict(goal, found["figures"])[1]) for goal in found["goals"]
    ]
    assert [float(measured.split()[0].replace(",", "")) for *_, measured, _ in cells] == [
        pytest.approx(verdict(goal, found["figures"])[0], rel=0.01) for goal in found["goals"]
    ]


def test_chart_has_a_bar_for_each_driver(run):
    """One HTTP chunk per event, in well-formed XML."""
    found, folder = run
    chart = ET.parse(folder / "chart.svg").getroot()
    bars = [each for each in chart.iter() if each.get("class") == "bar"]
    drivers = [each["driver"] for each in found["figures"] if each["row"] == CHARTED]

    assert len(drivers) == 4
    assert len(bars) == len(drivers)
    assert len({each.get("y") for each in bars}) == len(drivers)


def test_peer_that_does_not_import_is_left_out_by_name(tmp_path):
    """And has no row, while the floor is measured all the same."""
    (tmp_path / "openai.py").write_text("raise ImportError('no wheel for this machine')\n")

    report = bench("--only", "openai-python", PYTHONPATH=str(tmp_path))

    assert "- left out: openai-python (ImportError: no wheel for this machine)\n" in report
    assert "| openai-python |" not in report
    assert "| floor: recv, split, json.loads |" in report
