"""Messages as records, and back."""

from __future__ import annotations

import json
import types

import pytest
from hypothesis import given, strategies as st

from cloudllm_sync import Attachment, Message, Role, TokenUsage, ToolCall
from cloudllm_sync.records import (
    message_from_record,
    message_to_record,
    usage_from_record,
    usage_to_record,
)

texts = st.text()
maybe = st.none() | texts
counts = st.integers(0, 2**40)
usages = st.builds(TokenUsage, counts, counts, counts, st.none() | counts, st.none() | counts)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | texts,
    lambda inside: st.lists(inside) | st.dictionaries(texts, inside),
    max_leaves=8,
)
attachments = st.one_of(
    st.builds(Attachment, st.just("image/png"), st.binary(min_size=1), st.none(), maybe),
    st.builds(Attachment, st.just("image/png"), st.none(), texts, maybe),
)
messages = st.builds(
    Message,
    st.sampled_from(Role),
    texts,
    tool_calls=st.lists(st.builds(ToolCall, texts, texts, texts), max_size=2),
    tool_call_id=maybe,
    attachments=st.lists(attachments, max_size=2),
    reasoning=texts,
    refusal=texts,
    citations=st.lists(texts, max_size=2),
    finish_reason=maybe,
    raw_finish_reason=maybe,
    usage=st.none() | usages,
    model=maybe,
    response_id=maybe,
    provider_state=st.none() | st.dictionaries(texts, json_values, max_size=3),
)


@given(messages)
def test_everything_of_a_message_survives(message):
    """Through JSON text, too."""
    text = json.dumps(message_to_record(message))

    assert message_from_record(json.loads(text)) == message


@given(usages)
def test_usage_survives(usage):
    """What is not known stays unknown."""
    assert usage_from_record(json.loads(json.dumps(usage_to_record(usage)))) == usage


def test_record_holds_only_what_is_not_at_its_default():
    """A history of ten thousand messages is read in full."""
    message = Message(Role.USER, "hi", attachments=[Attachment.from_url("http://a.example/b.png")])

    assert message_to_record(message) == {
        "role": "user",
        "content": "hi",
        "attachments": [{"media_type": "image/png", "url": "http://a.example/b.png"}],
    }
    assert usage_to_record(TokenUsage(1, 2, 3)) == {
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
    }


def test_fields_of_a_newer_program_are_passed_over():
    """They are not an error."""
    record = {"role": "user", "content": "hi", "mood": "good"}

    assert message_from_record(record) == Message(Role.USER, "hi")


def test_lists_and_mappings_of_other_kinds_become_json_s():
    """State is sent back as JSON in any case."""
    state = types.MappingProxyType({"a": types.MappingProxyType({"b": (1, 2)})})

    record = message_to_record(Message(Role.ASSISTANT, "", provider_state=state))

    assert json.loads(json.dumps(record))["provider_state"] == {"a": {"b": [1, 2]}}


def test_state_that_no_json_can_say_is_refused():
    """Rather than kept as something else."""
    message = Message(Role.ASSISTANT, "", provider_state={"a": object()})

    with pytest.raises(ValueError, match="provider_state holds what no JSON can say"):
        message_to_record(message)


@pytest.mark.parametrize(
    ("record", "where"),
    [
        ({}, "`role`"),
        ({"role": "king", "content": ""}, "`$.role`"),
        ({"role": "user", "content": 5}, "`$.content`"),
        ({"role": "user", "content": "", "tool_calls": [{"id": 1}]}, "`$.tool_calls[0].id`"),
        (
            {"role": "user", "content": "", "attachments": [{"media_type": "a/b"}]},
            "`$.attachments[0]`",
        ),
        (
            {
                "role": "user",
                "content": "",
                "attachments": [{"media_type": "a/b", "data": "private!"}],
            },
            "`$.attachments[0].data`",
        ),
        ({"role": "user", "content": "", "usage": {"input_tokens": "1"}}, "`$.usage.input_tokens`"),
        ([], "got `array`"),
        (None, "got `null`"),
    ],
)
def test_record_that_is_no_message_is_refused_with_the_place(record, where):
    """And without the text, which is private."""
    with pytest.raises(ValueError, match="no record of a Message") as caught:
        message_from_record(record)

    assert where in str(caught.value)
    assert "private" not in str(caught.value)
