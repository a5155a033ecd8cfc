"""docs/testing.md is true: its files are an application and its tests, and they pass."""

from __future__ import annotations

import os
import pathlib
import re

import attrs
import pytest

pytest.importorskip("flask")

# Modules that a run inside of this one is the first to import are forgotten behind it.
import cloudllm_sync.testing.playing
import cloudllm_sync.testing.pytest_plugin
import cloudllm_sync.testing.taping
import cloudllm_sync.web.flask  # noqa: F401
from cloudllm_sync import OpenAIClient
from cloudllm_sync.testing import FakeServer
from cloudllm_sync.testing.cassette import loaded

pytest_plugins = ["pytester"]

ROOT = pathlib.Path(__file__).parents[2]
PLUGIN = "cloudllm_sync.testing.pytest_plugin"
PAGE = ROOT.joinpath("docs/testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def shop(pytester, monkeypatch):
    """The page's files in a folder, and their cassette; no key in the environment."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # some are slow
    for name, source in BLOCKS:
        (pytester.path / name).write_text(source, encoding="utf-8")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdef")
    with FakeServer("I sell umbrellas.") as server, monkeypatch.context() as patched:
        row = attrs.evolve(OpenAIClient.provider, base_url=server.base_url)
        patched.setattr(OpenAIClient, "provider", row)
        recorded = pytester.runpytest_inprocess(
            "-p", PLUGIN, "--cassettes=record", "-W", "error::ResourceWarning", "test_model.py"
        )
    recorded.assert_outcomes(passed=1)
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_SECRET")):
            monkeypatch.delenv(name)
    return pytester


def test_shown_tests_pass(shop):
    """Those with fake_llm, and the recorded one."""
    result = shop.runpytest_inprocess("-p", PLUGIN)

    result.assert_outcomes(passed=len(re.findall(r"^def test_", PAGE, re.MULTILINE)))


def test_shown_tests_pass_side_by_side(shop, monkeypatch):
    """pytest-xdist gives each process its own."""
    pytest.importorskip("xdist")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    result = shop.runpytest_subprocess("-p", "xdist", "-p", PLUGIN, "-n", "2")

    result.assert_outcomes(passed=len(re.findall(r"^def test_", PAGE, re.MULTILINE)))


def test_shown_cassette_is_where_the_page_says(shop):
    """And one like that of the page could be in its place."""
    (shown,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (path,) = re.findall(r"^`(cassettes/\S+\.json)` is made", PAGE, re.MULTILINE)

    (exchange,) = loaded((shop.path / path).read_bytes())

    (like,) = loaded(shown.encode())
    assert (like.provider, like.path, like.status) == (
        exchange.provider,
        exchange.path,
        exchange.status,
    )
