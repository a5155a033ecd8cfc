"""The commands of the pages that start an example do so."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT, blocks_of
from tests.docs.test_pages import PAGES

# Far over what any of them takes; a test that meets it hangs.
PATIENCE_S = 30.0
_SECRET = ("_KEY", "_SECRET")
COMMANDS = sorted(
    {
        line
        for page in PAGES
        for block in blocks_of(page)
        if block.language == "sh"
        for line in block.text.splitlines()
        if line.startswith("python examples/")
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs(server, tmp_path, command):
    """Without keys, and with an Ollama that listens where OLLAMA_HOST says."""
    _, example, *arguments = shlex.split(command)
    known = {name: value for name, value in os.environ.items() if not name.endswith(_SECRET)}
    environment = {**known, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}

    ran = subprocess.run(
        [sys.executable, str(ROOT / example), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE_S,
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert ran.stdout


def test_there_are_commands():
    assert COMMANDS
