"""docs/guarantees.md: every test that it names exists."""

from __future__ import annotations

import ast
import functools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@functools.lru_cache
def functions_of(path):
    """The test functions of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_promise_is_kept_by_a_test(path, name):
    """A promise without its test would be words."""
    assert name in functions_of(path)


def test_every_promise_names_its_test():
    """Each row of a table whose second column is the keeper."""
    rows = PAGE.split("| promise | kept by |")[1:]
    promises = [
        line
        for table in rows
        for line in table.split("\n\n")[0].splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]
    without = [line for line in promises if "`tests/" not in line]

    assert [] == without
    assert len(promises) > 40
