"""Fixtures for tests of the documentation."""

from __future__ import annotations

import pytest

from tests.docs.pages import Program, played_providers
from tests.docs.replies import answer


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Stands for all providers."""
    with played_providers(monkeypatch, tmp_path, answer) as server:
        yield server


@pytest.fixture
def program(server):
    program = Program()
    yield program
    program.close()
