"""Errors and values cross a process's border whole: task queues, pools of processes, copies."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import pickle
import sys

import pytest

from cloudllm_sync import (
    Attachment,
    ChatOptions,
    CloudLLMError,
    Limits,
    Message,
    MessageChunk,
    RateLimitError,
    RequestTimeoutError,
    Role,
    ServerError,
    StoreError,
    Timeouts,
    TokenUsage,
    ToolCall,
    ToolDefinition,
    errors,
)
from cloudllm_sync.values import ToolCallDelta

CLASSES = [getattr(errors, name) for name in errors.__all__]
IMAGE = Attachment.from_bytes(b"\x89PNG\r\n\x1a\n", media_type="image/png")
USAGE = TokenUsage(1, 2, 3, 4, 5, 6)
FULL = Message(
    Role.ASSISTANT,
    "so f\u00e4r \U0001f600",
    tool_calls=(ToolCall("c1", "look", '{"at": "th'),),
    reasoning="because",
    refusal="no",
    citations=("https://example.com",),
    finish_reason="error",
    raw_finish_reason="boom",
    usage=USAGE,
    model="m",
    response_id="r",
    provider_state={"anthropic": [{"signature": "abc=", "deep": {"list": [1, None, 2.5]}}]},
)
VALUES = [
    FULL,
    Message(Role.USER, "look", attachments=(IMAGE,)),
    Message(Role.TOOL, "42", tool_call_id="c1"),
    MessageChunk("a", "b", "c", "stop", "end_turn", ToolCallDelta(0, "c1", "look", "{"), USAGE),
    ToolCall("c1", "look", "{}"),
    ToolCallDelta(1, None, None, "}"),
    ToolDefinition("look", "Looks.", {"type": "object", "properties": {"at": {}}}),
    USAGE,
    ChatOptions(stop=("x",), response_schema={"type": "object"}, extra_body={"a": {"b": [1]}}),
    Timeouts(1, 2, 3, None),
    Limits(),
    IMAGE,
    Role.USER,
]


class OwnError(ServerError):
    """As a user may derive it: other arguments, another text, fields of its own."""

    def __init__(self, tenant, *, tries):
        super().__init__(f"{tenant} failed", status_code=503, retryable=True)
        self.tenant = tenant
        self.tries = tries

    def __str__(self):
        return f"[{self.tenant}] {super().__str__()}"


def full_error():
    error = RateLimitError(
        "too many",
        status_code=429,
        code="c",
        type="t",
        retry_after_s=1.5,
        body='{"error": "too many"}',
        partial=FULL,
        request_id="r",
        retryable=True,
        attempts=3,
    )
    error.__cause__ = ConnectionResetError(104, "reset")
    return error


def fail_in_this_process(what):
    """Runs in a worker process."""
    raise {
        "own": OwnError("acme", tries=2),
        "full": full_error(),
        "clock": RequestTimeoutError("late", clock="idle", partial=FULL),
        "store": StoreError("disk full", reply=FULL),
    }[what]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_value_pickles_in_every_protocol(value, protocol):
    """Messages with all they can have."""
    again = pickle.loads(pickle.dumps(value, protocol))

    assert type(again) is type(value)
    assert again == value
    assert repr(again) == repr(value)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_value_copies(value):
    """Deep or not."""
    assert copy.copy(value) == value
    assert copy.deepcopy(value) == value


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    "take", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
@pytest.mark.parametrize("args", [(), ("text",), (5,), ("two", ("parts", None))], ids=repr)
def test_arguments_stay_what_they_were(cls, take, args):
    """Also those that an error of a user's own has set."""
    error = cls("text", partial=FULL)
    error.args = args

    again = take(error)

    assert type(again) is cls
    assert again.args == args
    assert again.partial == FULL


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_derived_error_pickles_whatever_its_constructor_takes(protocol):
    """Python's own way would call it with the message alone."""
    error = OwnError("acme", tries=2)

    again = pickle.loads(pickle.dumps(error, protocol))

    assert type(again) is OwnError
    assert str(again) == "[acme] acme failed"
    assert vars(again) == vars(error)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs Python 3.11, for add_note()")
def test_notes_pickle():
    """What a worker noted is what the caller wants to know."""
    error = CloudLLMError("x")
    error.add_note("while summing up document 7")

    again = pickle.loads(pickle.dumps(error))

    assert again.__notes__ == ["while summing up document 7"]


def test_cause_and_traceback_stay_behind():
    """As with all exceptions; the message has the cause's words."""
    with pytest.raises(RateLimitError) as caught:
        fail_in_this_process("full")

    again = pickle.loads(pickle.dumps(caught.value))

    assert (again.__cause__, again.__context__, again.__traceback__) == (None, None, None)


def test_error_with_a_cause_that_does_not_pickle_pickles():
    """A callback may raise anything."""
    error = CloudLLMError("x")
    error.__cause__ = ValueError(lambda: None)

    assert str(pickle.loads(pickle.dumps(error))) == "x"


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_errors_come_whole_from_a_pool_of_processes(method):
    """Each with its fields; what the worker's frames were is Python's text in the cause."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        names = ("own", "full", "clock", "store")
        failures = [pool.submit(fail_in_this_process, name).exception(60) for name in names]

    own, full, clock, store = failures
    assert (type(own), own.tenant, own.tries) == (OwnError, "acme", 2)
    assert vars(full) == vars(full_error())
    assert (clock.clock, clock.partial) == ("idle", FULL)
    assert store.reply == FULL


def test_errors_come_whole_from_a_multiprocessing_pool():
    """It pickles them in another way."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool, pytest.raises(OwnError) as caught:
        pool.apply(fail_in_this_process, ("own",))

    assert str(caught.value) == "[acme] acme failed"
    assert caught.value.tries == 2
