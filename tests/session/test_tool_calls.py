"""The calls of one reply, side by side."""

from __future__ import annotations

import contextvars
import dataclasses
import logging
import threading

import pytest

from cloudllm_sync import StreamCancelled, ToolCall, tool
from cloudllm_sync.session.tool_calls import results_of
from cloudllm_sync.transport.cancellation import Cancellation


def outcomes(calls, *tools, cancellation=None):
    """The results by the calls' ids, in the order in which they came."""
    known = {one.name: one for one in tools}
    came = results_of(calls, known, cancellation or Cancellation())
    return {call.id: result for call, result in came}


def call(name, arguments="{}", *, id="c1"):
    return ToolCall(id, name, arguments)


def returning(value):
    return tool(name="give")(lambda: value)


@dataclasses.dataclass
class Station:
    name: str


class Model:
    """As pydantic's models are."""

    def model_dump(self):
        return {"a": 1}


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("as it is", "as it is"),
        ("", ""),
        (None, "null"),
        (5, "5"),
        (["a", 1], '["a",1]'),
        (Station("Ulm"), '{"name":"Ulm"}'),
        (Model(), '{"a":1}'),
    ],
)
def test_text_goes_as_it_is_and_all_else_as_json(value, content):
    """The model reads both."""
    result = outcomes([call("give")], returning(value))["c1"]

    assert (result.content, result.error) == (content, None)
    assert result.elapsed_s >= 0


def test_result_without_a_json_form_is_an_error_for_the_model():
    """A lock, say."""
    result = outcomes([call("give")], returning(threading.Lock()))["c1"]

    assert result.content.startswith("Error: TypeError: give returned what has no JSON form")
    assert isinstance(result.error, TypeError)


def test_calls_run_side_by_side(patience_s):
    """Each waits for the other: one after the other they would never end."""
    both = threading.Barrier(2)

    @tool
    def meet(who: str) -> str:
        both.wait(patience_s)
        return who

    found = outcomes(
        [call("meet", '{"who":"a"}', id="1"), call("meet", '{"who":"b"}', id="2")], meet
    )

    assert {"1": "a", "2": "b"} == {name: result.content for name, result in found.items()}


def test_exception_is_told_by_class_and_message(caplog):
    """No traceback, which is for the log."""
    caplog.set_level(logging.INFO)

    @tool
    def fail() -> None:
        raise KeyError("no such row")

    result = outcomes([call("fail")], fail)["c1"]

    assert result.content == "Error: KeyError: 'no such row'"
    assert isinstance(result.error, KeyError)
    assert "Traceback" in caplog.text


def test_long_exception_text_is_cut():
    """It may hold all that the tool was working on."""

    @tool
    def fail() -> None:
        raise ValueError("x" * 100_000)

    assert len(outcomes([call("fail")], fail)["c1"].content) < 3_000


def test_unknown_tool_is_told_with_those_that_exist():
    """Models invent names."""
    result = outcomes([call("find")], returning(1))["c1"]

    assert result.content == "Error: there is no tool 'find': there are give"
    assert isinstance(result.error, LookupError)


def test_arguments_that_do_not_fit_are_told_with_their_place():
    """The tool is not called."""
    called = []

    @tool
    def count(n: int) -> None:
        called.append(n)

    result = outcomes([call("count", '{"n":"many"}')], count)["c1"]

    assert "Expected `int`, got `str` - at `$.n`" in result.content
    assert called == []


def test_late_tool_is_told_of_and_left_behind(patience_s):
    """The others' results come all the same; its own is for nobody."""
    let_go = threading.Event()
    gone = threading.Event()

    @tool(timeout_s=0.05)
    def wait() -> str:
        let_go.wait(patience_s)
        gone.set()
        return "too late"

    found = outcomes([call("wait", id="1"), call("give", id="2")], wait, returning("here"))
    let_go.set()

    assert found["1"].content == "Error: wait did not answer within 0.05 s"
    assert isinstance(found["1"].error, TimeoutError)
    assert found["2"].content == "here"
    assert gone.wait(patience_s)


def test_cancel_does_not_wait_for_tools(patience_s):
    """They run on, and nobody waits."""
    let_go, running = threading.Event(), threading.Event()
    cancellation = Cancellation()

    @tool
    def wait() -> None:
        running.set()
        let_go.wait(patience_s)

    def cancel():
        running.wait(patience_s)
        cancellation.cancel()

    threading.Thread(target=cancel).start()
    with pytest.raises(StreamCancelled):
        outcomes([call("wait")], wait, cancellation=cancellation)

    let_go.set()


def test_tool_that_ends_the_program_is_heard():
    """SystemExit and Ctrl-C are not for the model."""

    @tool
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        outcomes([call("leave")], leave)


def test_tools_see_the_callers_context_variables():
    """A request's user, say."""
    user = contextvars.ContextVar("user", default="nobody")

    @tool
    def who() -> str:
        return user.get()

    token = user.set("ada")
    try:
        result = outcomes([call("who")], who)["c1"]
    finally:
        user.reset(token)

    assert result.content == "ada"


def test_result_shows_no_text():
    """Tools that report errors show local variables."""
    assert "private" not in repr(outcomes([call("give")], returning("private"))["c1"])
