"""Options and tools as the Messages API gets them."""

from __future__ import annotations

import pytest
from anthropic_request import (
    CODEC,
    NEW,
    OLD,
    WEATHER,
    encoded,
    wire,
)

from cloudllm_sync.codecs import FEATURES, WireRequest
from cloudllm_sync.errors import (
    BadRequestError,
    UnsupportedOptionError,
)
from cloudllm_sync.values import ToolDefinition


def test_plain_request_says_no_more_than_it_has_to():
    """What is not set is left to the provider, but for the limit that it wants."""
    assert encoded() == {
        "model": NEW,
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stream": False,
    }


@pytest.mark.parametrize("stream", [True, False])
def test_stream_is_said_in_the_body(stream):
    """The path is the same for both."""
    assert wire(stream=stream).path == "/v1/messages"
    assert encoded(stream=stream)["stream"] is stream


def test_options_have_the_names_of_this_wire():
    """Limits, sampling and stop words."""
    body = encoded(max_output_tokens=7, temperature=0.5, top_p=0.9, stop=("a", "b"))

    assert body["max_tokens"] == 7
    assert (body["temperature"], body["top_p"]) == (0.5, 0.9)
    assert body["stop_sequences"] == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 1}, "seed"),
        ({"temperature": 1.5}, "temperature"),
        ({"tool_choice": "auto"}, "without tools"),
        ({"tool_choice": "rain", "tools": [WEATHER]}, "'rain'.*weather"),
        ({"reasoning_effort": "minimal"}, "'minimal'.*xhigh"),
        ({"reasoning_effort": "xhigh", "model": OLD}, "'xhigh'.*high"),
        ({"reasoning_effort": "low", "temperature": 0.5}, "temperature"),
        ({"reasoning_effort": "low", "model": OLD, "temperature": 0}, "temperature"),
        ({"reasoning_effort": "low", "tool_choice": "required", "tools": [WEATHER]}, "required"),
        ({"reasoning_effort": "low", "tool_choice": "weather", "tools": [WEATHER]}, "weather"),
        ({"reasoning_effort": "high", "model": OLD, "max_output_tokens": 16384}, "16384"),
    ],
)
def test_what_the_wire_cannot_say_is_refused(options, words):
    """Before any I/O, naming option and provider or tool."""
    with pytest.raises(UnsupportedOptionError, match=words):
        wire(**options)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ("weather", {"type": "tool", "name": "weather"}),
    ],
)
def test_tool_choice_is_an_object(choice, expected):
    """`required` is `any` here."""
    assert encoded(tools=[WEATHER], tool_choice=choice)["tool_choice"] == expected


def test_tools_have_an_input_schema():
    """It is an object's, even if nobody says so."""
    bare = ToolDefinition("now", "", {})

    assert encoded(tools=[WEATHER, bare])["tools"] == [
        {
            "name": "weather",
            "description": "Tells the weather",
            "input_schema": {"type": "object", "properties": {}},
        },
        {"name": "now", "input_schema": {"type": "object"}},
    ]


def test_schema_and_effort_share_output_config():
    """Neither may push the other out."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body = encoded(response_schema=schema, reasoning_effort="low")

    assert body["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": schema},
    }
    assert encoded(response_schema=schema)["output_config"] == {
        "format": {"type": "json_schema", "schema": schema}
    }


def test_extra_body_is_merged_last():
    """It wins over all."""
    body = encoded(max_output_tokens=5, extra_body={"max_tokens": 6, "top_k": 3})

    assert (body["max_tokens"], body["top_k"]) == (6, 3)


def test_features_are_all_but_audio_and_seed():
    """Declared for the table of providers."""
    assert CODEC.features == frozenset(FEATURES) - {"audio", "seed"}


def test_refused_requests_are_not_amended():
    """There is nothing that this wire says in two ways."""
    assert CODEC.amend(WireRequest("/v1/messages", b"{}"), BadRequestError("x")) is None
