"""The checks on every Python, each in an environment of its own: pip install nox, then nox."""

from __future__ import annotations

import nox

PYTHONS = ["3.9", "3.10", "3.11", "3.12", "3.13"]
OLDEST, STYLED = PYTHONS[0], "3.11"

nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole suite; `nox -s tests-3.12 -- -k cancel` passes arguments to pytest."""
    session.install("--prefer-binary", "--editable", ".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=OLDEST)
def oldest(session: nox.Session) -> None:
    """The suite with the oldest dependencies that setup.cfg allows."""
    constraints = ("--constraint", "requirements-oldest.txt")
    session.install("--prefer-binary", *constraints, "--editable", ".[test]")
    session.run("python", "-m", "pytest", "-m", "not cost", *session.posargs)


@nox.session(python=STYLED)
def lint(session: nox.Session) -> None:
    """Style and types."""
    session.install("--prefer-binary", "--editable", ".[test]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")


@nox.session(python=STYLED)
def packaging(session: nox.Session) -> None:
    """Wheel and sdist, as somebody sees them who installs them."""
    session.run("python", "tests/packaging/check.py")
