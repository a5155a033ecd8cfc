"""A short soak; `python tests/soak/soak.py --minutes 3` is the long one."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.cost

SOAK = pathlib.Path(__file__).parent / "soak.py"
SECONDS = 5


@pytest.fixture(scope="module")
def measured():
    """What a few seconds of traffic over fifty threads gave."""
    command = [sys.executable, SOAK, "--minutes", str(SECONDS / 60), "--threads", "50", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_call_is_answered_rightly(measured):
    """With a reply, or with the error that the fault calls for."""
    assert measured["wrong"] == []
    assert measured["calls"] > 200
    assert {"Message", "StreamCancelled", "StreamInterrupted"} <= set(measured["outcomes"])


def test_memory_and_descriptors_are_flat(measured):
    """Bounds far over what an idle machine measures: the long run tells more."""
    first, _, most, _ = measured["rss_mib"]

    assert most - first < 40
    assert max(measured["descriptors"]) < 200


def test_nothing_is_left(measured):
    """No descriptor, connection or thread, and nothing that warned of being dropped."""
    left = {name: measured[name] for name in measured if name.endswith("_left")}

    assert left == {"descriptors_left": 0, "connections_left": 0, "threads_left": 0}
    assert measured["warned"] == []
