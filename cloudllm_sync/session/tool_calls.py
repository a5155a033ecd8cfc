"""The calls of one reply, run side by side, each within its time."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import attrs
import msgspec

from cloudllm_sync.session.tools import Tool
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.transport.credentials import mask_urls
from cloudllm_sync.values import Message, Role, ToolCall

__all__ = ["Answered", "ToolCalls", "ToolResult"]

_log = logging.getLogger("cloudllm_sync.tools")

_ERROR_CHARACTERS = 2000  # of an exception's text, which may hold all that the tool was working on
# Replies ask for a handful; one that asks for thousands does not get thousands of threads.
_MOST_AT_ONCE = 32


@attrs.frozen(slots=True)
class ToolResult:
    """What came of a call: the text that the model is told, and the error if it failed.

    `elapsed_s` is how long it took, in seconds.
    """

    content: str = attrs.field(repr=False)
    error: Optional[Exception] = attrs.field(
        default=None, repr=lambda error: "None" if error is None else type(error).__name__
    )
    elapsed_s: float = 0.0

    def message(self, call: ToolCall) -> Message:
        """The message that answers the call."""
        return Message(Role.TOOL, self.content, tool_call_id=call.id)


# Nothing here shows a call in its repr: tools that report errors show local variables.
@attrs.frozen(slots=True)
class Answered:
    """A call, by its place in the reply too, with its result."""

    number: int
    call: ToolCall = attrs.field(repr=False)
    result: ToolResult


@attrs.frozen(slots=True)
class _Done:
    number: int
    result: ToolResult
    fatal: Optional[BaseException] = None


class ToolCalls:
    """The calls of one reply. One thread reads `results()`; the tools have threads of their own."""

    def __init__(
        self, calls: Sequence[ToolCall], tools: Mapping[str, Tool], cancellation: Cancellation
    ) -> None:
        self._calls = calls
        self._tools = tools
        self._cancellation = cancellation
        # A SimpleQueue may be put to from anywhere, the garbage collector included.
        self._done: queue.SimpleQueue[Optional[_Done]] = queue.SimpleQueue()
        self._due: dict[int, float] = {}  # of those that run; the reading thread's own

    def results(self) -> Iterator[Answered]:
        """The results, each as soon as it is there.

        Whoever stops reading waits for no tool: those that are left behind run on, as no thread
        can be ended.

        Raises:
            StreamCancelled: A cancel was asked for.
            BaseException: A tool raised what is no Exception: SystemExit, say.
        """
        waiting = deque(range(len(self._calls)))
        self._cancellation.on_cancel(self._wake)
        try:
            while waiting or self._due:
                self._cancellation.check()
                while waiting and len(self._due) < _MOST_AT_ONCE:
                    self._start(waiting.popleft())
                yield from self._next()
        finally:
            self._cancellation.forget(self._wake)

    def _wake(self) -> None:
        self._done.put(None)

    def _start(self, number: int) -> None:
        tool = self._tools.get(self._calls[number].name)
        began = time.monotonic()
        if tool is None:
            self._done.put(_Done(number, self._unknown(number)))
        else:
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(self._work, number, tool, began),
                name=f"cloudllm-tool-{tool.name}",
                daemon=True,
            ).start()
        self._due[number] = began + (tool.timeout_s if tool is not None else 0.0)

    def _next(self) -> Iterator[Answered]:
        """The next result; or those that are not here in time; or nothing, after a wake-up."""
        try:
            done = self._done.get(timeout=max(0.0, min(self._due.values()) - time.monotonic()))
        except queue.Empty:
            now = time.monotonic()
            for number in [at for at, due in self._due.items() if due <= now]:
                del self._due[number]
                yield self._answered(number, self._late(number))
            return
        if done is not None and self._due.pop(done.number, None) is not None:
            if done.fatal is not None:
                raise done.fatal
            yield self._answered(done.number, done.result)

    def _answered(self, number: int, result: ToolResult) -> Answered:
        return Answered(number, self._calls[number], result)

    def _unknown(self, number: int) -> ToolResult:
        name, known = self._calls[number].name, ", ".join(self._tools) or "none"
        return _failed(LookupError(f"there is no tool {name!r}: there are {known}"), 0.0)

    def _late(self, number: int) -> ToolResult:
        tool = self._tools[self._calls[number].name]
        error = TimeoutError(f"{tool.name} did not answer within {tool.timeout_s:g} s")
        return _failed(error, tool.timeout_s)

    # --- the tool's thread ---

    def _work(self, number: int, tool: Tool, began: float) -> None:
        try:
            self._done.put(_Done(number, self._called(number, tool, began)))
        except BaseException as error:  # foreign code: a tool that wants to end the program
            self._done.put(_Done(number, ToolResult(""), error))

    def _called(self, number: int, tool: Tool, began: float) -> ToolResult:
        try:
            arguments = tool.arguments(self._calls[number].arguments)
        except Exception as error:  # foreign code: what the exceptions of its classes say
            return _failed(error, time.monotonic() - began)
        try:
            content = _text(tool.name, tool.function(**arguments))
        except Exception as error:  # foreign code: the tool
            _log.info("the tool %s failed", tool.name, exc_info=True)
            return _failed(error, time.monotonic() - began, f"{type(error).__name__}: ")
        return ToolResult(content, None, time.monotonic() - began)


def _failed(error: Exception, elapsed_s: float, kind: str = "") -> ToolResult:
    """The result that tells the model of an error, without passwords of URLs."""
    try:
        words = mask_urls(str(error))
    except Exception:  # foreign code: the exception's own
        words = "it cannot be told why"
    return ToolResult(f"Error: {kind}{words}"[:_ERROR_CHARACTERS], error, elapsed_s)


def _text(name: str, value: object) -> str:
    """What a tool returned, as the model reads it."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{name} returned {type(value).__name__}, which are no text")
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
