"""Values: what they refuse, how they add and merge, and that they stay what they are."""

from __future__ import annotations

import copy
import json
import math
import pickle
import types

import attrs
import pytest

from cloudllm_sync.attachments import Attachment
from cloudllm_sync.values import (
    ChatOptions,
    Limits,
    Message,
    MessageChunk,
    Role,
    Timeouts,
    TokenUsage,
    ToolCall,
    ToolCallDelta,
    ToolDefinition,
    UnknownOptionError,
)

CALL = ToolCall("a", "f", '{"x": 1}')
FILE = Attachment.from_url("https://e.com/a.png")
HASHABLE = [
    CALL,
    ToolCallDelta(0, "a", None, "{"),
    TokenUsage(1, 2, 3, 1, None, 2),
    Message(Role.USER, "hi", attachments=[FILE]),
    Message(
        Role.ASSISTANT,
        "hi",
        tool_calls=[CALL],
        reasoning="r",
        citations=["u"],
        finish_reason="stop",
        usage=TokenUsage(1, 2, 3),
    ),
    MessageChunk("a", usage=TokenUsage(1, 2, 3)),
    Timeouts(idle_s=None),
    Limits(event_bytes=5),
    FILE,
]
WITH_MAPPINGS = [
    ToolDefinition("f", "d", {"type": "object"}),
    ChatOptions(stop="a", extra_body={"a": [1]}),
    Message(Role.ASSISTANT, "", provider_state={"a": 1}),
]
VALUES = [*HASHABLE, *WITH_MAPPINGS]


def kind(value):
    return type(value).__name__


@pytest.mark.parametrize("value", VALUES, ids=kind)
def test_value_pickles_and_copies(value):
    """For queues, stores and other processes."""
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert value == pickle.loads(pickle.dumps(value, protocol))
    assert value == copy.deepcopy(value)


@pytest.mark.parametrize("value", HASHABLE, ids=kind)
def test_value_hashes_by_its_parts(value):
    """Equal ones are one key."""
    assert {value: 1}[copy.deepcopy(value)] == 1


@pytest.mark.parametrize("value", WITH_MAPPINGS, ids=kind)
def test_value_with_a_mapping_does_not_hash(value):
    """A dict cannot."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(value)


@pytest.mark.parametrize(
    "value", [value for value in VALUES if not isinstance(value, MessageChunk)], ids=kind
)
def test_value_is_frozen_and_has_slots(value):
    """No field changes, none is added; MessageChunk alone is left open, for speed."""
    name = attrs.fields(type(value))[0].name

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, None)
    assert not hasattr(value, "__dict__")


def test_sequences_become_tuples():
    """A list that the caller changes later changes nothing."""
    message = Message(Role.USER, "", tool_calls=[CALL], attachments=iter([FILE]), citations=["u"])

    assert message.tool_calls == (CALL,)
    assert message.attachments == (FILE,)
    assert message.citations == ("u",)


@pytest.mark.parametrize("role", list(Role))
def test_role_may_be_given_by_its_name(role):
    """As JSON and databases have it."""
    assert Message(role.value, "").role is role


@pytest.mark.parametrize("role", ["User", "", None, 5, []])
def test_unknown_role_is_refused(role):
    """With those there are."""
    with pytest.raises(ValueError, match=r"is not one of Role.SYSTEM, .*: pass a member of Role"):
        Message(role, "")


@pytest.mark.parametrize("content", [None, 5, b"a", ["a"]])
def test_content_must_be_text(content):
    """A slip is raised where it is made, not by a provider."""
    with pytest.raises(TypeError, match="content"):
        Message(Role.USER, content)


@pytest.mark.parametrize("field", ["tool_calls", "attachments", "citations"])
def test_string_is_no_sequence(field):
    """It would become a tuple of letters."""
    with pytest.raises(ValueError, match=r"got the string 'u1': put it in a tuple"):
        Message(Role.ASSISTANT, "", **{field: "u1"})


@pytest.mark.parametrize(
    ("field", "values", "match"),
    [
        ("attachments", [FILE, 5], r"attachments\[1\] must be of type Attachment, not int"),
        ("attachments", [None], r"attachments\[0\] must be of type Attachment, not NoneType"),
        ("attachments", ["a.png"], r"attachments\[0\] must be of type Attachment, not str"),
        ("tool_calls", [{"id": "a"}], r"tool_calls\[0\] must be of type ToolCall, not dict"),
        ("citations", [b"u"], r"citations\[0\] must be of type str, not bytes"),
    ],
)
def test_items_must_be_of_their_kind(field, values, match):
    """A slip is raised where it is made, not by a codec, and never sent."""
    with pytest.raises(TypeError, match=match):
        Message(Role.USER, "", **{field: values})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [('{"x": [1, "é"]}', {"x": [1, "é"]}), ("{}", {}), ("", {}), (" \n", {})],
)
def test_arguments_are_parsed(arguments, expected):
    """Nothing means none."""
    assert expected == ToolCall("a", "f", arguments).parsed()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ('{"x": ', "the arguments of 'f' are not valid JSON: Expecting"),
        ("[" * 100_000, "not valid JSON"),
        ("7" * 10_000, "not valid JSON"),
        ("[1]", "the arguments of 'f' are a JSON list, not an object"),
        ("null", "a JSON NoneType, not an object"),
    ],
)
def test_arguments_a_model_spoiled_are_a_value_error(arguments, match):
    """Cuts, depths and other kinds, one error to catch."""
    with pytest.raises(ValueError, match=match):
        ToolCall("a", "f", arguments).parsed()


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (TokenUsage(1, 2, 3), TokenUsage(10, 20, 30), TokenUsage(11, 22, 33)),
        (TokenUsage(1, 2, 3, 1, 1, 1), TokenUsage(1, 2, 3), TokenUsage(2, 4, 6, 1, 1, 1)),
        (TokenUsage(1, 2, 3), TokenUsage(1, 2, 3, 0, 1, 2), TokenUsage(2, 4, 6, 0, 1, 2)),
        (TokenUsage(1, 2, 3, 1, 1, 1), TokenUsage(1, 2, 3, 1, 1, 1), TokenUsage(2, 4, 6, 2, 2, 2)),
    ],
)
def test_usage_adds(left, right, expected):
    """What is not reported counts as nothing, and stays None if neither reports it."""
    assert expected == left + right


def test_usages_sum_from_an_empty_one():
    """As a session does."""
    usages = [TokenUsage(1, 2, 3), TokenUsage(1, 2, 3, 1)]

    assert sum(usages, TokenUsage(0, 0, 0)) == TokenUsage(2, 4, 6, 1)


def test_usage_adds_to_nothing_else():
    """A number is no usage."""
    with pytest.raises(TypeError):
        TokenUsage(1, 2, 3) + 1


FULL = ChatOptions(
    max_output_tokens=1,
    temperature=0.5,
    top_p=0.5,
    stop=("a",),
    seed=1,
    reasoning_effort="low",
    tool_choice="auto",
    response_schema={"type": "object"},
    extra_body={"a": 1, "b": 1},
)


def test_set_options_win_over_the_base():
    """Zero is set; extra_body is merged name by name."""
    over = ChatOptions(temperature=0, seed=0, extra_body={"b": 2, "c": 2})

    assert over.over(FULL) == attrs.evolve(
        FULL, temperature=0, seed=0, extra_body={"a": 1, "b": 2, "c": 2}
    )


@pytest.mark.parametrize("base", [None, ChatOptions()])
def test_options_over_nothing_are_themselves(base):
    """A client without defaults."""
    assert FULL.over(base) == FULL


def test_unset_options_leave_the_base():
    """Neither value is changed."""
    before = copy.deepcopy(FULL)

    assert ChatOptions().over(FULL) == FULL
    assert before == FULL


@pytest.mark.parametrize(
    ("stop", "expected"),
    [("a", ("a",)), (["a", "b"], ("a", "b")), (None, ()), ((), ()), (iter("ab"), ("a", "b"))],
)
def test_stop_may_be_one_string(stop, expected):
    """Or any number of them."""
    assert expected == ChatOptions(stop=stop).stop


@pytest.mark.parametrize(
    ("cls", "name", "match"),
    [
        (
            ChatOptions,
            "temprature",
            "'temprature' is not an option of ChatOptions: did you mean 't",
        ),
        (ChatOptions, "max_tokens", "did you mean 'max_output_tokens'"),
        (
            ChatOptions,
            "zzz",
            "'zzz' is not an option of ChatOptions: known are max_output_tokens, ",
        ),
        (Timeouts, "idle", "'idle' is not an option of Timeouts: did you mean 'idle_s'"),
    ],
)
def test_unknown_option_is_refused_with_a_close_one(cls, name, match):
    """To Python a TypeError, to whoever checks input a ValueError."""
    with pytest.raises(UnknownOptionError, match=match) as info:
        cls(**{name: 1})

    assert isinstance(info.value, TypeError)
    assert isinstance(info.value, ValueError)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("max_output_tokens", 0, "must be at least 1, not 0"),
        ("max_output_tokens", 1.5, "must be a whole number, not 1.5"),
        ("max_output_tokens", "5", "must be a whole number, not '5'"),
        ("max_output_tokens", True, "must be a whole number, not True"),
        ("temperature", -0.1, "must be from 0 to .*, not -0.1"),
        ("temperature", "hot", "must be a number, not 'hot'"),
        ("temperature", True, "must be a number, not True"),
        ("temperature", math.nan, "must be a number, not nan"),
        ("temperature", math.inf, "must be from 0 to .*, not inf"),
        ("temperature", 10**400, "must be from 0 to"),
        ("top_p", 1.1, "must be from 0 to 1, not 1.1"),
        ("top_p", -1, "must be from 0 to 1, not -1"),
        ("seed", 1.0, "must be a whole number, not 1.0"),
        ("seed", -(2**63) - 1, "must be at least"),
        ("stop", 5, "must be a string or strings, not 5"),
        ("stop", [""], "must be non-empty strings"),
        ("stop", "", "must be non-empty strings"),
        ("stop", [5], "must be non-empty strings"),
        ("stop", b"ab", "must be non-empty strings"),
        ("reasoning_effort", "", "must be a word, not ''"),
        ("reasoning_effort", 5, "must be a word, not 5"),
        ("tool_choice", " ", "must be a word, not ' '"),
        ("tool_choice", {"type": "function"}, "must be a word"),
        ("response_schema", "{}", r"must be a JSON Schema \(a mapping\).*, not '{}'"),
        ("response_schema", [], "must be a JSON Schema"),
        ("extra_body", "a=b", "must be a mapping, not 'a=b'"),
        ("cache", 1, "must be True or False, not 1"),
    ],
)
def test_option_no_provider_could_take_is_refused(name, value, match):
    """The option is named, and the value shown."""
    with pytest.raises(ValueError, match=f"^{name} {match}"):
        ChatOptions(**{name: value})


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(ChatOptions)])
def test_none_is_the_providers_default(name):
    """For every option."""
    assert ChatOptions(**{name: None}) == ChatOptions()


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": 2.5},
        {"top_p": 0.0},
        {"top_p": 1},
        {"seed": -1},
        {"seed": 2**70},
        {"reasoning_effort": "xhigh"},
        {"response_schema": types.MappingProxyType({"type": "object"})},
        {"extra_body": types.MappingProxyType({"a": 1})},
    ],
)
def test_option_at_its_bounds_is_taken(options):
    """Limits are the provider's own to set; any mapping will do."""
    (name,) = options

    assert options[name] == getattr(ChatOptions(**options), name)


def test_clocks_have_defaults_and_may_be_off():
    """None is no limit."""
    assert Timeouts() == Timeouts(10.0, 120.0, 60.0, None)
    assert Timeouts(None, None, None, None).idle_s is None


@pytest.mark.parametrize("name", ["connect_s", "first_chunk_s", "idle_s", "total_s"])
@pytest.mark.parametrize("value", [0, -1, "5", True, math.nan, [1]])
def test_clock_that_is_no_positive_number_is_refused(name, value):
    """Zero would mean at once to some, never to others."""
    with pytest.raises(ValueError, match=f"^{name} must be "):
        Timeouts(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_bytes", 0),
        ("stream_bytes", 1.5),
        ("error_body_bytes", "5"),
        ("error_body_s", 0),
        ("error_body_s", math.nan),
    ],
)
def test_limit_that_is_no_positive_number_is_refused(name, value):
    """Each is named."""
    with pytest.raises(ValueError, match=f"^{name} must be "):
        Limits(**{name: value})


def test_arguments_survive_as_the_model_wrote_them():
    """The text is kept; parsing gives a new dict each time."""
    first, second = CALL.parsed(), CALL.parsed()
    first["x"] = 2

    assert second == json.loads(CALL.arguments)
