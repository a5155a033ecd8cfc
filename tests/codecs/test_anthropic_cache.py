"""Where requests to the Messages API ask for prompt caching."""

from __future__ import annotations

import json

import pytest
from anthropic_request import (
    FIELDS,
    MARK,
    THOUGHT,
    WEATHER,
    encoded,
    result,
    said,
    system,
    turns,
    user,
)

from cloudllm_sync.values import ToolCall, ToolDefinition

CLOCK = ToolDefinition("clock", "", {})


def marks(turn):
    return [block.get("cache_control") == {"type": "ephemeral"} for block in turn["content"]]


def test_cache_marks_system_history_and_newest_turn():
    """What the next request repeats, and what this one repeats."""
    body = encoded(
        system("a"), system("b"), user("one"), said("two"), said("three"), user("4"), user("5"),
        cache=True,
    )  # fmt: skip

    assert body["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b", **MARK}]
    assert [marks(turn) for turn in body["messages"]] == [[False], [False, True], [False, True]]


def test_cache_marks_the_only_turn():
    """One system prompt becomes a block, to carry its mark."""
    body = encoded(system("a"), user("one"), cache=True)

    assert body["system"] == [{"type": "text", "text": "a", **MARK}]
    assert marks(body["messages"][0]) == [True]
    assert "cache_control" not in json.dumps(encoded(system("a"), user("one"), cache=False))


def test_cache_marks_the_last_tool():
    """Tools are cached though the system prompt may change; four marks are all that are taken."""
    messages = [system("a"), user("one"), said("two"), user("three")]
    body = encoded(*messages, tools=[CLOCK, WEATHER], cache=True)
    plain = encoded(*messages, tools=[CLOCK, WEATHER])

    assert [plain["tools"][0], {**plain["tools"][1], **MARK}] == body["tools"]
    assert 4 == json.dumps(body).count("cache_control")


@pytest.mark.parametrize("kind", ["server_tool_use", "web_search_tool_result", "compaction"])
def test_cache_marks_no_block_that_may_not_carry_it(kind):
    """What is not known to take it is passed over, as thinking is."""
    fields = {"id": "srv", "name": "n", "input": {}, "tool_use_id": "srv", "content": []}
    other = {"type": kind, **{name: fields[name] for name in FIELDS[kind]}}
    blocks = [{"type": "text", "text": "a"}, other]
    reply = said("a", finish_reason="pause", provider_state={"anthropic_blocks": blocks})

    assert [True, False] == marks(turns(user("hi"), reply, user("go on"), cache=True)[1])


def test_cache_marks_results():
    """As the newest of a tool loop; an empty one as well."""
    call = ToolCall("a", "weather", "{}")
    got = turns(user("hi"), said("", call), result("a", ""), cache=True)

    assert [[False], [True], [True]] == [marks(turn) for turn in got]


def test_cache_never_marks_thinking_nor_the_callers_blocks():
    """The API refuses marks on thinking; the reply may be sent again without them."""
    blocks = [{"type": "text", "text": "a"}, THOUGHT]
    reply = said("a", finish_reason="pause", provider_state={"anthropic_blocks": blocks})
    only = said("", finish_reason="pause", provider_state={"anthropic_blocks": [THOUGHT]})
    got = turns(user("hi"), reply, user("go on"), cache=True)

    assert [marks(turn) for turn in got] == [[False], [True, False], [True]]
    assert blocks == [{"type": "text", "text": "a"}, THOUGHT]
    assert marks(turns(user("hi"), only, user("go on"), cache=True)[1]) == [False]


def test_prefill_is_the_assistants_last_word():
    """Older models go on from it; the newest user turn is still the one that is marked."""
    got = turns(user("one"), said("{"), cache=True)

    assert [turn["role"] for turn in got] == ["user", "assistant"]
    assert [marks(turn) for turn in got] == [[True], [False]]
