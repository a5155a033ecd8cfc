"""docs/cli.md: what it shows works as it is written there."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

from cloudllm_sync.cli.exits import EXIT_CODES

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT.joinpath("docs", "cli.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PATIENCE_S = 60


@pytest.fixture
def shell(tmp_path, model, monkeypatch):
    """A folder in which `cloudllm` and `git` are commands, and CLOUDLLM_MODEL answers."""
    programs = {
        "cloudllm": f'exec "{sys.executable}" -m cloudllm_sync.cli "$@"',
        "git": "echo '-a'; echo '+b'",
    }
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CLOUDLLM_MODEL", model)

    def run(lines):
        return subprocess.run(
            ["sh", "-e", "-c", lines],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE_S,
        )

    return run


def test_commands_of_the_page_run(shell):
    """One block after the other, as the page is read."""
    assert len(COMMANDS) == 3
    for lines in COMMANDS:
        ran = shell(lines)

        assert (0, "") == (ran.returncode, ran.stderr), lines


@pytest.mark.parametrize("name", ["README.md", "docs/start.md"])
def test_first_lines_of_a_newcomer_run(shell, name):
    """What is typed once it is installed."""
    page = ROOT.joinpath(name).read_text(encoding="utf-8")
    lines = re.findall(r"^cloudllm .*", page, re.MULTILINE)

    assert lines
    for line in lines:
        ran = shell(line)

        assert (0, "") == (ran.returncode, ran.stderr), line


def test_page_lists_the_exit_codes():
    """All of them."""
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}

    assert {0, 7, 129, 130, 141, 143, *(code for _, code in EXIT_CODES)} == listed
