"""Inputs that coverage-guided fuzzing found are fed to their targets for ever."""

from __future__ import annotations

import pathlib

import pytest

import fuzz
from fuzz.targets import TARGETS

FOUND = sorted((pathlib.Path(fuzz.__file__).parent / "found").glob("*-*"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_input_that_was_found_finds_nothing_any_more(path):
    """Its file is named for its target, then for what it showed."""
    TARGETS[path.name.split("-", 1)[0]](path.read_bytes())
