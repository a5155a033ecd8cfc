"""A run: one turn of as many rounds as the model's tools take."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Callable, NoReturn, Optional, cast

from cloudllm_sync.codecs.conversation import as_tools
from cloudllm_sync.errors import (
    CloudLLMError,
    ConfigurationError,
    StreamCancelled,
    ToolRoundsError,
)
from cloudllm_sync.session.conversation import Conversation, Wish
from cloudllm_sync.session.tool_calls import ToolResult, results_of
from cloudllm_sync.session.tools import Tool
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.transport.cancellation import current_cancellation, using
from cloudllm_sync.values import Message, MessageChunk, Role, ToolCall, ToolDefinition

__all__ = ["MAX_ROUNDS", "OnTool", "RunStream", "tool_set"]

MAX_ROUNDS = 8

OnTool = Callable[[ToolCall, ToolResult], object]
"""Told of every call whose result is there, on the thread that reads the run."""


class RunStream(Iterator[MessageChunk]):
    """A run on its way: the chunks of all its rounds, and a context manager.

    Whoever calls `next()` reads, and waits for the tools, which run on threads of their own.
    `cancel()` is for any thread. The whole run is one turn: it enters the history at its end, all
    messages together; a run that fails, is cancelled or closed before leaves nothing behind, or
    with `partial="keep"` its whole rounds.
    """

    def __init__(
        self,
        conversation: Conversation,
        wish: Wish,
        *,
        max_rounds: int,
        on_tool: Optional[OnTool],
    ) -> None:
        self._conversation = conversation
        self._wish = wish
        self._tools = {tool.name: tool for tool in wish.tools or () if isinstance(tool, Tool)}
        self._max_rounds = _checked_rounds(max_rounds)
        self._on_tool = on_tool
        self._cancellation = current_cancellation()
        self._rounds_left = max_rounds
        self._stream: Optional[ChatStream] = None
        self._round: Iterator[MessageChunk] = iter(())
        self._reply: Optional[Message] = None
        self._messages: tuple[Message, ...] = ()
        self._message: Optional[Message] = None
        self._error: Optional[CloudLLMError] = None
        self._pid = os.getpid()
        with using(self._cancellation):
            self._turn = conversation.begin(wish, conversation.enter(wish))
        try:
            self._open()
        except BaseException as error:
            self._fail(error)
            raise

    def __iter__(self) -> RunStream:
        return self

    def __next__(self) -> MessageChunk:
        if self._error is not None:
            raise self._error
        try:
            while self._message is None:
                for chunk in self._round:
                    return chunk
                self._go_on()
        except BaseException as error:
            self._fail(error)
            raise
        raise StopIteration

    def result(self) -> Message:
        """Run to the end; the last reply.

        Raises:
            CloudLLMError: A round failed; ToolRoundsError if the model wanted more of them.
        """
        for _ in self:
            pass
        assert self._message is not None
        return self._message

    @property
    def messages(self) -> tuple[Message, ...]:
        """The replies and tool results of the run so far."""
        return self._messages

    @property
    def partial(self) -> Message:
        """The reply of this round, as far as it has come; may be asked from any thread."""
        stream = self._stream
        return self._message or (Message(Role.ASSISTANT, "") if stream is None else stream.partial)

    def cancel(self) -> None:
        """End the run from any thread; returns at once. Tools that have begun run on."""
        self._cancellation.cancel()

    def close(self) -> None:
        """End the run from the reading thread. Idempotent.

        A last reply whose finish reason has been seen counts as whole.
        """
        if self._message is not None or self._error is not None:
            return
        stream = self._stream
        if stream is not None:
            stream.close()
            if stream.ended_well and self._is_last(stream.result()):
                self._end(stream.result())
                return
        partial = None if stream is None else stream.partial
        self._fail(StreamCancelled("the run was closed before its end", partial=partial))

    def __del__(self) -> None:
        if getattr(self, "_turn", None) is None or self._message or self._error:
            return
        if os.getpid() == self._pid:  # a forked child has the parent's runs
            self.close()
            warnings.warn(
                "a RunStream was dropped before its end, which cancels it: read it to the end, "
                "or use it in a with block",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    def __enter__(self) -> RunStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("RunStream holds a connection, and does not pickle: pickle its result()")

    def _go_on(self) -> None:
        """A reply is whole: it is the last one, or there is something to be done for it."""
        reply = self._reply if self._stream is None else self._stream.result()
        assert reply is not None
        if self._is_last(reply):
            self._end(reply)
            return
        if not self._rounds_left:
            raise ToolRoundsError(
                f"the model wanted more after {self._max_rounds} rounds: "
                "raise max_rounds, or look at what the tools tell it",
                partial=reply,
            )
        results = self._results(reply)
        self._messages = (*self._messages, reply, *results)
        self._turn.add_round([reply, *results])
        self._open()

    @staticmethod
    def _is_last(reply: Message) -> bool:
        """Whether nothing is to be done for it. Calls that a length cut are not run: they may be
        half written.
        """
        wants_tools = bool(reply.tool_calls) and reply.finish_reason != "length"
        return not wants_tools and reply.finish_reason != "pause"

    def _end(self, reply: Message) -> None:
        """The one good end."""
        self._turn.settle(reply, None)
        self._messages = (*self._messages, reply)
        self._message = reply

    def _results(self, reply: Message) -> list[Message]:
        """The results of a reply's calls, in their order."""
        found: dict[str, Message] = {}
        for call, result in results_of(reply.tool_calls, self._tools, self._cancellation):
            found[call.id] = result.message(call)
            if self._on_tool is not None:
                self._on_tool(call, result)
        return [found[call.id] for call in reply.tool_calls]

    def _open(self) -> None:
        """Ask for the reply to what has been said so far."""
        self._rounds_left -= 1
        self._stream = None
        with using(self._cancellation):
            self._stream = self._conversation.open(self._turn, self._wish)
            if self._stream is None:  # the client cannot
                self._reply = self._conversation.send(self._turn, self._wish)
        self._round = iter([_chunk_of(self._reply)]) if self._reply else iter(self._stream or ())

    def _fail(self, error: BaseException) -> None:
        """The one bad end."""
        if not isinstance(error, CloudLLMError):
            cause, error = (
                error,
                StreamCancelled(f"the run was interrupted by {type(error).__name__}"),
            )
            error.__cause__ = cause
        self._error = error
        if self._stream is not None:
            self._stream.close()
        self._turn.settle(None, error)


def _chunk_of(reply: Message) -> MessageChunk:
    """A reply that came whole, as far as a chunk can say it."""
    return MessageChunk(
        reply.content,
        reply.reasoning,
        reply.refusal,
        reply.finish_reason,
        reply.raw_finish_reason,
        usage=reply.usage,
    )


def tool_set(tools: Iterable[ToolDefinition]) -> tuple[Tool, ...]:
    """The tools of a run.

    Raises:
        ConfigurationError: One of them is no Tool: there is nothing to call.
    """
    if isinstance(tools, (str, ToolDefinition)) or not isinstance(tools, Iterable):
        raise ConfigurationError(f"tools must be a sequence of Tool, not {type(tools).__name__}")
    found = as_tools(tools)
    for tool in found:
        if not isinstance(tool, Tool):
            raise ConfigurationError(
                f"run() calls the tools itself: make {tool.name!r} a function with @tool"
            )
    return cast("tuple[Tool, ...]", found)


def _checked_rounds(rounds: int) -> int:
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise ConfigurationError(f"max_rounds must be a positive number, not {rounds!r}")
    return rounds
