"""The family of errors: its tree, its fields, and that all of it survives a process."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

import cloudllm_sync
from cloudllm_sync import errors
from cloudllm_sync.errors import (
    APIError,
    CloudLLMError,
    ConfigurationError,
    RequestTimeoutError,
    SessionBusyError,
    StoreError,
    with_context,
)
from cloudllm_sync.values import Message, Role

CLASSES = [getattr(errors, name) for name in errors.__all__]
PARTIAL = Message(Role.ASSISTANT, "so f", provider_state={"a": [1]})
COMMON = {"partial": PARTIAL, "request_id": "r", "retryable": True, "attempts": 3}
API = {
    "status_code": 429,
    "code": "c",
    "type": "t",
    "retry_after_s": 1.5,
    "body": "b",
}


def fields_of(cls):
    """Every field that the class takes, set to something that is not its default."""
    own = {
        APIError: API,
        RequestTimeoutError: {"clock": "idle"},
        SessionBusyError: {"waited_s": 2.5},
        StoreError: {"reply": PARTIAL},
    }
    more = [fields for base, fields in own.items() if issubclass(cls, base)]
    return {name: value for fields in (COMMON, *more) for name, value in fields.items()}


def documented_tree():
    """Class to base, as the module's docstring draws them."""
    parents, stack = {}, []
    for line in errors.__doc__.splitlines():
        found = re.match(r"    ((?:[│├└─ ]{4})*)(\w+)", line)
        if found:
            depth = len(found[1]) // 4
            stack[depth:] = [found[2]]
            parents[found[2]] = stack[depth - 1] if depth else "Exception"
    return parents


def test_tree_is_as_documented():
    """Whoever catches a branch gets its leaves."""
    actual = {cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES}

    assert documented_tree() == actual


def test_all_errors_are_at_top_level():
    """One import serves."""
    assert {cls.__name__ for cls in CLASSES} <= set(cloudllm_sync.__all__)


def test_configuration_errors_are_value_errors():
    """To whoever checks input."""
    are = {cls for cls in CLASSES if issubclass(cls, ValueError)}

    assert are == {cls for cls in CLASSES if issubclass(cls, ConfigurationError)}


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_error_pickles_with_all_fields(cls, protocol):
    """`partial` and `reply` included."""
    error = cls("what happened", **fields_of(cls))
    again = pickle.loads(pickle.dumps(error, protocol))

    assert type(again) is cls
    assert str(again) == "what happened"
    assert fields_of(cls) == {name: getattr(again, name) for name in fields_of(cls)}
    assert vars(error) == vars(again)


@pytest.mark.parametrize("cls", CLASSES)
def test_error_copies_with_all_fields(cls):
    """As it pickles."""
    error = cls("what happened", **fields_of(cls))

    assert vars(error) == vars(copy.copy(error))


@pytest.mark.parametrize("cls", CLASSES)
def test_error_needs_no_fields(cls):
    """For tests and clients of a user's own."""
    error = cls()

    assert (str(error), error.partial, error.request_id) == ("", None, None)
    assert (error.retryable, error.attempts) == (False, 0)


def test_fields_have_plain_defaults():
    """Where nothing is known."""
    assert RequestTimeoutError().clock == "total"
    assert SessionBusyError().waited_s == 0.0
    assert StoreError().reply is None
    assert {name: getattr(APIError(), name) for name in API} == {**dict.fromkeys(API), "body": ""}


@pytest.mark.parametrize("cls", CLASSES)
def test_unknown_field_is_refused(cls):
    """A slip is not lost in **fields."""
    with pytest.raises(TypeError):
        cls("what happened", statuscode=1)


def test_context_fills_what_is_empty():
    """What is known already stays; None says nothing."""
    error = CloudLLMError("x", request_id="mine")
    same = with_context(error, request_id="other", attempts=2, partial=None)

    assert same is error
    assert (error.request_id, error.attempts, error.partial) == ("mine", 2, None)
