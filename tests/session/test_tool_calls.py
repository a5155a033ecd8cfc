"""The calls of one reply, side by side."""

from __future__ import annotations

import contextvars
import dataclasses
import logging
import threading

import pytest

from cloudllm_sync import StreamCancelled, ToolCall, tool
from cloudllm_sync.session import tool_calls
from cloudllm_sync.session.tool_calls import ToolCalls
from cloudllm_sync.transport.cancellation import Cancellation


def outcomes(calls, *tools, cancellation=None):
    """The results by the calls' ids, in the order in which they came."""
    known = {one.name: one for one in tools}
    came = ToolCalls(calls, known, cancellation or Cancellation()).results()
    return {one.call.id: one.result for one in came}


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


@pytest.mark.parametrize("value", [b"\x89PNG", bytearray(b"a"), memoryview(b"a")])
def test_bytes_are_an_error_for_the_model(value):
    """They are no text, and nobody would know what to make of base64."""
    result = outcomes([call("give")], returning(value))["c1"]

    assert (
        result.content
        == f"Error: TypeError: give returned {type(value).__name__}, which are no text"
    )


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


def test_passwords_of_addresses_are_not_told():
    """Drivers of databases put them into their exceptions."""

    @tool
    def connect() -> None:
        raise OSError("no answer from postgres://ada:secret@db.example/app")

    result = outcomes([call("connect")], connect)["c1"]

    assert "secret" not in result.content
    assert "@db.example/app" in result.content


class Wordless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@dataclasses.dataclass
class Strict:
    n: int

    def __post_init__(self):
        raise Wordless


def test_exception_that_cannot_be_told_is_told_by_its_class():
    """It ends the call, not the run."""

    @tool
    def fail() -> None:
        raise Wordless

    @tool
    def check(value: Strict) -> None: ...

    found = outcomes([call("fail"), call("check", '{"value":{"n":1}}', id="c2")], fail, check)

    assert found["c1"].content == "Error: Wordless: it cannot be told why"
    assert found["c2"].content.startswith("Error: ")


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


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


def threads_of(tool):
    return [one for one in threading.enumerate() if one.name == f"cloudllm-tool-{tool.name}"]


def test_time_that_the_reader_takes_is_not_the_tools(monkeypatch, patience_s):
    """What was there in time counts, however late it is read."""
    clock, let_go = Clock(), threading.Event()
    monkeypatch.setattr(tool_calls, "time", clock)

    @tool(timeout_s=5)
    def give() -> str:
        let_go.wait(patience_s)
        return "in time"

    results = ToolCalls([call("find"), call("give")], {"give": give}, Cancellation()).results()
    next(results)
    (thread,) = threads_of(give)
    let_go.set()
    thread.join(patience_s)
    clock.now = 60.0

    assert [one.result.content for one in results] == ["in time"]


def test_thousands_of_calls_are_no_thousands_of_threads(patience_s):
    """All of them are answered, some at a time."""
    let_go = threading.Event()

    @tool
    def hold(n: int) -> int:
        let_go.wait(patience_s)
        return n

    calls = [call("give"), *(call("hold", f'{{"n":{n}}}') for n in range(100))]
    tools = {"give": returning(1), "hold": hold}
    results = ToolCalls(calls, tools, Cancellation()).results()
    next(results)
    at_once = len(threads_of(hold))
    let_go.set()

    assert at_once == 31
    assert sorted(int(one.result.content) for one in results) == list(range(100))


def test_nothing_is_called_after_a_cancel():
    """Tools do things in the world."""
    called = []
    cancellation = Cancellation()
    cancellation.cancel()

    @tool
    def send() -> None:
        called.append(1)

    with pytest.raises(StreamCancelled):
        outcomes([call("send")], send, cancellation=cancellation)

    assert called == []


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
