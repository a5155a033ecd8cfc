"""Every public name is in the reference, and its docstring is shown as it is meant."""

from __future__ import annotations

import ast
import importlib
import pathlib
import re

import pytest

import cloudllm_sync
from tests.docs.pages import ROOT

PACKAGE = pathlib.Path(cloudllm_sync.__file__).parent
# Whose names somebody who uses the package imports.
PUBLIC = (
    "cloudllm_sync",
    "cloudllm_sync.relay",
    "cloudllm_sync.telemetry",
    "cloudllm_sync.testing",
    "cloudllm_sync.web.django",
    "cloudllm_sync.web.doctor",
    "cloudllm_sync.web.flask",
)


def described_names():
    """What docs/api describes, by full names."""
    found, module = set(), ""
    for page in sorted((ROOT / "docs" / "api").glob("*.md")):
        for kind, name in re.findall(
            r"^\.\. (\w+):: ([\w.]+)", page.read_text(encoding="utf-8"), re.MULTILINE
        ):
            if kind in ("currentmodule", "automodule"):
                module = name
            elif kind.startswith("auto"):
                found.add(name if name.startswith("cloudllm_sync.") else f"{module}.{name}")
    return found


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_in_the_reference(name):
    """A name that is added gets its line in docs/api in the same commit."""
    public = importlib.import_module(name).__all__
    names = {f"{name}.{one}" for one in public if one != "__version__"}

    assert set() == names - described_names()


def docstrings():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                yield path.name, ast.get_docstring(node) or ""


def test_code_in_docstrings_is_shown_as_code():
    """What is indented stands below two colons, or the reference shows it as a paragraph."""
    bare = re.compile(r"^(\S.*(?:[^:]|[^:]:))\n\n +\S", re.MULTILINE)

    assert [] == [(name, bare.search(text)[1]) for name, text in docstrings() if bare.search(text)]
