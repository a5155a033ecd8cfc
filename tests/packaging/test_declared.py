"""What setup.cfg, noxfile.py, requirements-oldest.txt and CHANGELOG.md say of each other is true.

The built wheel and sdist are looked at by check.py, which takes longer.
"""

from __future__ import annotations

import ast
import configparser
import pathlib
import re

import pytest

import cloudllm_sync

ROOT = pathlib.Path(__file__).parents[2]
DECLARED = configparser.ConfigParser()
DECLARED.read(ROOT / "setup.cfg", encoding="utf-8")
EXTRAS = DECLARED["options.extras_require"]
# Those that no program of a user's needs.
TOOLS = ("docs", "test")
CHANGELOG = ROOT.joinpath("CHANGELOG.md").read_text(encoding="utf-8")
# In the order of Keep a Changelog.
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def lines_of(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


def bounds_of(text):
    """Names and lowest versions of requirements."""
    return {
        re.match(r"[\w.-]+", line)[0]: re.search(r">=([\w.]+)", line)[1] for line in lines_of(text)
    }


def numbers_of(version):
    return tuple(int(number) for number in re.findall(r"\d+", version))


def pythons_of(name):
    """The value of a name that noxfile.py sets."""
    for node in ast.parse(ROOT.joinpath("noxfile.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    raise LookupError(name)


def test_every_requirement_has_a_lower_bound_and_no_upper_one():
    """An upper bound of a library keeps its users from fixes of others."""
    texts = [DECLARED["options"]["install_requires"], *EXTRAS.values()]
    lines = [line for text in texts for line in lines_of(text)]

    assert [line for line in lines if not re.match(r"[\w.\[\]-]+>=[\w.]+(;|$)", line)] == []


def test_oldest_requirements_are_the_lower_bounds():
    """Those of the tests' own tools aside."""
    needed = bounds_of(DECLARED["options"]["install_requires"])
    for name, text in EXTRAS.items():
        if name not in TOOLS:
            needed.update(bounds_of(text))
    held = ROOT.joinpath("requirements-oldest.txt").read_text(encoding="utf-8")

    expected = sorted((f"{name}=={low}" for name, low in needed.items()), key=str.lower)

    assert expected == [line for line in lines_of(held) if not line.startswith("#")]


@pytest.mark.parametrize("extra", [name for name in EXTRAS if name not in TOOLS])
def test_tests_install_every_extra(extra):
    """With the same bounds."""
    assert bounds_of(EXTRAS[extra]).items() <= bounds_of(EXTRAS["test"]).items()


def test_missing_extra_that_is_named_exists():
    """An ImportError's `pip install "cloudllm-sync[...]"` works."""
    sources = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("cloudllm_sync", "docs", "examples")
        for path in ROOT.joinpath(folder).rglob("*.*")
        if path.suffix in (".py", ".md")
    )
    named = {
        extra.strip()
        for extras in re.findall(r"cloudllm-sync\[([\w, ]+)\]", sources)
        for extra in extras.split(",")
    }

    assert "cost" in named
    assert named <= set(EXTRAS)


def test_every_python_is_tested():
    """setup.cfg, nox and the least version agree."""
    classifiers = lines_of(DECLARED["metadata"]["classifiers"])
    stated = [line.rpartition(" ")[2] for line in classifiers if re.search(r":: 3\.\d+$", line)]

    assert stated == pythons_of("PYTHONS")
    assert DECLARED["options"]["python_requires"] == f">={stated[0]}"


def test_version_is_said_in_one_place():
    """cloudllm_sync/__init__.py; setuptools reads it there."""
    assert DECLARED["metadata"]["version"] == "attr: cloudllm_sync.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", cloudllm_sync.__version__)


def test_changelog_begins_with_what_is_not_released():
    """Then come versions, the newest first, each with its day; none is newer than the package."""
    titles = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d", t) for t in titles[1:]]

    assert titles[0] == "[Unreleased]"
    assert None not in released
    numbers = [numbers_of(match[1]) for match in released]
    assert numbers == sorted(set(numbers), reverse=True)
    assert numbers[:1] <= [numbers_of(cloudllm_sync.__version__)]


def test_changelog_names_its_format_and_the_meaning_of_versions():
    """With links."""
    head = CHANGELOG.partition("\n## ")[0]

    assert head.startswith("# Changelog\n")
    assert "https://keepachangelog.com/en/1.1.0/" in head
    assert "https://semver.org/" in head


@pytest.mark.parametrize("part", re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:])
def test_changelog_has_the_sections_of_keep_a_changelog(part):
    """Each at most once, in order, none of them empty."""
    sections = re.findall(r"^### (.*)$", part, re.MULTILINE)

    assert sections == [name for name in SECTIONS if name in sections]
    assert not re.search(r"^### .*\n+(###|\Z)", part, re.MULTILINE)


def test_changelog_entries_are_a_line_apart():
    """Paragraphs that begin with a dash; their further lines are indented."""
    blocks = CHANGELOG.partition("\n## ")[2].split("\n\n")[1:]
    entries = [block.strip("\n") for block in blocks if not block.startswith("#")]

    assert entries
    assert [one for one in entries if not re.fullmatch(r"- .+(\n  \S.*)*", one)] == []
