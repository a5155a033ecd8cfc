"""What the package logs: under one name, without secrets, and not for every chunk."""

from __future__ import annotations

import ast
import logging
import pathlib

import pytest

import cloudllm_sync
from cloudllm_sync import CloudLLMError, LLMSession, OpenAICompatibleClient
from cloudllm_sync.testing import Cut, FakeServer, Reply, error_reply

KEY = "sk-test-0123456789abcdef"
PACKAGE = pathlib.Path(cloudllm_sync.__file__).parent


def fail(message):
    raise ZeroDivisionError


def test_loggers_are_one_tree():
    """`logging.getLogger("cloudllm_sync")` rules them all."""
    names = [
        node.args[0].value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "getLogger"
    ]

    assert names
    assert [] == [name for name in names if not f"{name}.".startswith("cloudllm_sync.")]


def test_nothing_secret_and_nothing_for_a_chunk_is_logged(caplog):
    """At the most talkative level, over retries, failures and callbacks that raise."""
    answers = (
        error_reply(503, f"secret prompt {KEY}", headers={"retry-after": "0"}),
        Reply(["secret reply "] * 300),
        error_reply(400, f"secret prompt {KEY}"),
        Reply("secret reply", after={1: Cut()}),
        Reply("secret reply"),
    )
    with caplog.at_level(logging.DEBUG), FakeServer(*answers) as server:
        client = OpenAICompatibleClient("m", base_url=server.base_url, api_key=KEY)
        session = LLMSession(client, "secret system")
        session.stream("secret prompt").result()
        for _ in range(2):
            with pytest.raises(CloudLLMError):
                session.stream("secret prompt").result()
        session.submit("secret prompt", on_finish=fail).exception()
    ours = [record for record in caplog.records if record.name.startswith("cloudllm_sync")]
    said = "\n".join(map(logging.Formatter().format, ours))

    assert ours
    assert 20 > len(ours)
    assert "secret" not in said
    assert KEY not in said
