"""The package's names: all are there, and none is loaded before it is used."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import cloudllm_sync.testing


def test_every_exported_name_is_there():
    """A name that moves to another module takes its row with it."""
    missing = [
        name for name in cloudllm_sync.testing.__all__ if not hasattr(cloudllm_sync.testing, name)
    ]

    assert [] == missing
    assert set(cloudllm_sync.testing.__all__) <= set(dir(cloudllm_sync.testing))


def test_import_alone_loads_no_server():
    """pytest loads the plugin, and so this package, at every start."""
    code = "import sys, cloudllm_sync.testing; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=pathlib.Path(cloudllm_sync.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = {name for name in ran.stdout.split() if name.startswith("cloudllm_sync")}
    assert {"cloudllm_sync", "cloudllm_sync.testing"} == loaded
