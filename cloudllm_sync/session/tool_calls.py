"""The calls of one reply, run side by side, each within its time."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import attrs
import msgspec

from cloudllm_sync.session.tools import Tool
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.values import Message, Role, ToolCall

__all__ = ["ToolResult", "results_of"]

_log = logging.getLogger("cloudllm_sync.tools")

_ERROR_CHARACTERS = 2000  # of an exception's text, which may hold all that the tool was working on


@attrs.frozen(slots=True)
class ToolResult:
    """What came of a call: the text that the model is told, and the error if it failed.

    `elapsed_s` is how long it took, in seconds.
    """

    content: str = attrs.field(repr=False)
    error: Optional[Exception] = None
    elapsed_s: float = 0.0

    def message(self, call: ToolCall) -> Message:
        """The message that answers the call."""
        return Message(Role.TOOL, self.content, tool_call_id=call.id)


def results_of(
    calls: Sequence[ToolCall], tools: Mapping[str, Tool], cancellation: Cancellation
) -> Iterator[tuple[ToolCall, ToolResult]]:
    """The results, each as soon as it is there.

    Raises:
        StreamCancelled: A cancel was asked for; the tools run on, and nobody waits for them.
        BaseException: A tool raised what is no Exception: SystemExit, say.
    """
    # A SimpleQueue may be put to from anywhere, the garbage collector included.
    done: queue.SimpleQueue[Optional[tuple[int, ToolResult, Optional[BaseException]]]]
    done = queue.SimpleQueue()

    def wake() -> None:
        done.put(None)

    cancellation.on_cancel(wake)
    try:
        began = time.monotonic()
        deadlines: dict[int, float] = {}
        for number, call in enumerate(calls):
            tool = tools.get(call.name)
            if tool is None:
                yield call, _unknown(call, tools)
                continue
            deadlines[number] = began + tool.timeout_s
            _start(number, call, tool, done)
        while deadlines:
            came = _next(done, min(deadlines.values()))
            cancellation.check()
            if came is None:
                for number in [at for at, due in deadlines.items() if due <= time.monotonic()]:
                    del deadlines[number]
                    yield calls[number], _late(calls[number], tools[calls[number].name])
            elif deadlines.pop(came[0], None) is not None:
                number, result, fatal = came
                if fatal is not None:
                    raise fatal
                yield calls[number], result
    finally:
        cancellation.forget(wake)


def _next(done: queue.SimpleQueue[Any], due: float) -> Any:
    """The next result, or None at `due`, or when woken up."""
    try:
        return done.get(timeout=max(0.0, due - time.monotonic()))
    except queue.Empty:
        return None


def _start(number: int, call: ToolCall, tool: Tool, done: queue.SimpleQueue[Any]) -> None:
    def work() -> None:
        began = time.monotonic()
        fatal: Optional[BaseException] = None
        try:
            result = _called(call, tool, began)
        except BaseException as error:  # foreign code: a tool that wants to end the program
            result, fatal = ToolResult(""), error
        done.put((number, result, fatal))

    context = contextvars.copy_context()
    name = f"cloudllm-tool-{tool.name}"
    threading.Thread(target=context.run, args=(work,), name=name, daemon=True).start()


def _called(call: ToolCall, tool: Tool, began: float) -> ToolResult:
    try:
        arguments = tool.arguments(call.arguments)
    except ValueError as error:
        return ToolResult(f"Error: {error}", error, time.monotonic() - began)
    try:
        content = _text(tool.name, tool.function(**arguments))
    except Exception as error:  # foreign code: the tool
        _log.info("the tool %s failed", tool.name, exc_info=True)
        words = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
        return ToolResult(f"Error: {words}", error, time.monotonic() - began)
    return ToolResult(content, None, time.monotonic() - began)


def _text(name: str, value: object) -> str:
    """What a tool returned, as the model reads it."""
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value, enc_hook=_dumped).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{name} returned what has no JSON form: {error}") from error


def _dumped(value: Any) -> Any:
    """What msgspec does not know but can tell of itself: pydantic's models."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return dump()


def _unknown(call: ToolCall, tools: Mapping[str, Tool]) -> ToolResult:
    error = LookupError(f"there is no tool {call.name!r}: there are {', '.join(tools)}")
    return ToolResult(f"Error: {error}", error)


def _late(call: ToolCall, tool: Tool) -> ToolResult:
    error = TimeoutError(f"{call.name} did not answer within {tool.timeout_s:g} s")
    return ToolResult(f"Error: {error}", error, tool.timeout_s)
