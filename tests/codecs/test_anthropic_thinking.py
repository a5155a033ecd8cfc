"""What reasoning_effort becomes on the Messages API, and what it excludes."""

from __future__ import annotations

import pytest
from anthropic_request import NEW, OLD, THOUGHT, WEATHER, encoded, said, system, turns, user, wire

from cloudllm_sync.errors import UnsupportedOptionError


@pytest.mark.parametrize(
    "model",
    [
        "claude-3-7-sonnet-latest",
        "claude-3-5-haiku-20241022",
        "claude-sonnet-4",
        "claude-opus-4-0",
        "claude-sonnet-4-20250514",
        "claude-sonnet-4@20250514",
        "claude-opus-4-1",
        "claude-opus-4-1-20250805",
        "claude-haiku-4-5",
        "claude-sonnet-4-5-20250929",
        "anthropic/claude-sonnet-4.5",
        "us.anthropic.claude-opus-4-5-20251101-v1:0",
    ],
)
def test_older_models_think_by_budget(model):
    """Dated names are of the same generation."""
    assert encoded(model=model, reasoning_effort="medium")["thinking"] == {
        "type": "enabled",
        "budget_tokens": 4096,
    }


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-6",
        "claude-sonnet-4-6",
        "claude-opus-4-8",
        "claude-opus-4-10",
        "claude-sonnet-4.6",
        "claude-opus-4-6-20260101",
        "claude-sonnet-5",
        "claude-fable-5",
        "something-else",
    ],
)
@pytest.mark.parametrize("effort", ["low", "medium", "high", "xhigh", "max"])
def test_newer_models_think_as_they_see_fit(model, effort):
    """The effort is a word, not a budget."""
    body = encoded(model=model, reasoning_effort=effort)

    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": effort}
    assert body["max_tokens"] == 8192


def test_effort_is_taken_in_any_case():
    """As on the other wires."""
    assert encoded(reasoning_effort="low") == encoded(reasoning_effort=" Low ")


@pytest.mark.parametrize("model", ["claude-fable-5", "claude-mythos-5", "anthropic/claude-fable-5"])
def test_models_that_always_think_refuse_not_to(model):
    """The API would, with status 400."""
    with pytest.raises(UnsupportedOptionError, match=f"'none' is none of low, .*'{model}'"):
        wire(reasoning_effort="none", model=model)


@pytest.mark.parametrize("model", [NEW, OLD])
def test_thinking_cannot_begin_within_a_reply(model):
    """The message that was begun for the model, and the effort, exclude each other."""
    begun = [user("hi"), said("{"), system("Be brief")]

    with pytest.raises(UnsupportedOptionError, match=f"reasoning_effort.*'{model}'"):
        wire(*begun, model=model, reasoning_effort="low")
    assert "assistant" == encoded(*begun, model=model)["messages"][-1]["role"]
    assert encoded(*begun, model=model, reasoning_effort="none")


@pytest.mark.parametrize("model", [NEW, OLD])
def test_thinking_goes_on_after_a_pause(model):
    """The assistant's is the last message here, too."""
    paused = said("", finish_reason="pause", provider_state={"anthropic_blocks": [THOUGHT]})

    for messages in ([user("hi"), paused], [user("hi"), paused, system("Be brief")]):
        sent = turns(*messages, model=model, reasoning_effort="low")

        assert [THOUGHT] == sent[1]["content"]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.5},
        {"tool_choice": "required", "tools": [WEATHER]},
        {"tool_choice": "weather", "tools": [WEATHER]},
    ],
)
@pytest.mark.parametrize("model", [NEW, OLD])
def test_what_thinking_excludes_is_named(model, options):
    """Both options, and the model."""
    (option,) = set(options) - {"tools"}

    with pytest.raises(UnsupportedOptionError, match=f"{option}.*reasoning_effort.*'{model}'"):
        wire(model=model, reasoning_effort="low", **options)


@pytest.mark.parametrize("model", [NEW, OLD])
def test_no_reasoning_is_thinking_disabled(model):
    """Then temperature and forced tools are free."""
    body = encoded(
        model=model, reasoning_effort="none", temperature=0, tools=[WEATHER], tool_choice="required"
    )

    assert body["thinking"] == {"type": "disabled"}
    assert "output_config" not in body


@pytest.mark.parametrize(
    ("effort", "given", "budget", "limit"),
    [
        ("low", None, 1024, 8192),
        ("medium", None, 4096, 8192),
        ("high", None, 16384, 24576),
        ("high", 16385, 16384, 16385),
    ],
)
def test_limit_leaves_room_beside_the_budget(effort, given, budget, limit):
    """Thinking counts into max_tokens."""
    body = encoded(model=OLD, reasoning_effort=effort, max_output_tokens=given, temperature=1)

    assert body["thinking"]["budget_tokens"] == budget
    assert body["max_tokens"] == limit
