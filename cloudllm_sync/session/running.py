"""A run: one turn of as many rounds as the model's tools take."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import Callable, NoReturn, Optional, cast

import attrs

from cloudllm_sync.clients.arguments import checked_count
from cloudllm_sync.codecs.conversation import as_tools
from cloudllm_sync.errors import (
    CloudLLMError,
    ConfigurationError,
    StreamCancelled,
    ToolRoundsError,
    cancelled_by,
)
from cloudllm_sync.session.arguments import Said
from cloudllm_sync.session.conversation import Conversation, Wish
from cloudllm_sync.session.tool_calls import ToolCalls, ToolResult
from cloudllm_sync.session.tools import Tool
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.transport.cancellation import current_cancellation, using
from cloudllm_sync.transport.credentials import hides_arguments
from cloudllm_sync.values import Message, MessageChunk, Role, ToolCall, ToolDefinition

__all__ = ["MAX_ROUNDS", "OnTool", "RunStream", "tool_set"]

MAX_ROUNDS = 8

_CUT = ("length", "content_filter", "error")

OnTool = Callable[[ToolCall, ToolResult], object]
"""Told of every call whose result is there, on the thread that reads the run."""


class RunStream(Iterator[MessageChunk]):
    """A run on its way: the chunks of all its rounds, and a context manager.

    Whoever calls `next()` reads, and waits for the tools, which run on threads of their own. One
    thread at a time may iterate; `cancel()`, `messages` and `partial` are for any thread. The whole
    run is one turn: it enters the history at its end, all messages together; a run that fails, is
    cancelled or closed before leaves nothing behind, or with `partial="keep"` its whole rounds.

    Use it in a `with` block, or read it to its end, or `close()` it.
    """

    def __init__(
        self,
        conversation: Conversation,
        wish: Wish,
        *,
        max_rounds: int,
        on_tool: Optional[OnTool],
    ) -> None:
        self._rounds = _Rounds(conversation, wish, checked_count("max_rounds", max_rounds), on_tool)
        # It refuses a second thread, and a callback, while it runs.
        self._chunks = self._rounds.chunks()

    def __iter__(self) -> RunStream:
        return self

    def __next__(self) -> MessageChunk:
        try:
            return next(self._chunks)
        except StopIteration:
            if self._rounds.error is not None:
                raise self._rounds.error from self._rounds.error.__cause__
            raise

    def result(self) -> Message:
        """Run to the end; the last reply, the same object on every call.

        Raises:
            CloudLLMError: A round failed; ToolRoundsError if the model wanted more of them.
        """
        for _ in self:
            pass
        assert self._rounds.message is not None
        return self._rounds.message

    @property
    def messages(self) -> tuple[Message, ...]:
        """The replies and tool results of the run so far."""
        return self._rounds.messages

    @property
    def partial(self) -> Message:
        """The reply of this round, as far as it has come."""
        return self._rounds.partial

    def cancel(self) -> None:
        """End the run; returns at once. Tools that have begun run on, and nobody waits for them.

        The thread that reads gets StreamCancelled, whatever it waits for.
        """
        self._rounds.cancellation.cancel()

    def close(self) -> None:
        """End the run from the reading thread. Idempotent; in a callback, it is `cancel()`.

        A last reply whose finish reason has been seen counts as whole.

        Raises:
            StoreError: It was whole, and could not be saved.
        """
        if inspect.getgeneratorstate(self._chunks) == inspect.GEN_RUNNING:
            self.cancel()
            return
        self._chunks.close()
        self._rounds.close()  # if nothing was read yet

    def __del__(self) -> None:
        rounds = getattr(self, "_rounds", None)
        if rounds is None or rounds.is_over:
            return
        rounds.close()
        if rounds.message is None:
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


class _Rounds:
    """One run: what it asks, what it calls, and how it ends. One thread works."""

    def __init__(
        self, conversation: Conversation, wish: Wish, max_rounds: int, on_tool: Optional[OnTool]
    ) -> None:
        self._conversation = conversation
        self._wish = wish
        self._tools = {tool.name: tool for tool in wish.tools or () if isinstance(tool, Tool)}
        self._max_rounds = self._rounds_left = max_rounds
        self._on_tool = on_tool
        self._pid = os.getpid()
        self.cancellation = current_cancellation()
        # Of this round: its stream, or None; its reply, once that is whole.
        self._stream: Optional[ChatStream] = None
        self._reply: Optional[Message] = None
        self.messages: tuple[Message, ...] = ()  # replaced as a whole
        # How it ended: one of them is set, once.
        self.message: Optional[Message] = None
        self.error: Optional[CloudLLMError] = None
        with using(self.cancellation):
            self._turn = conversation.begin(wish, conversation.enter(wish))
        try:
            self._open()
        except BaseException as error:
            self._fail(error)
            raise

    @property
    def is_over(self) -> bool:
        """Whether it has ended; so it has for a forked child, which has no part in its parent's."""
        over = self.message is not None or self.error is not None
        return over or os.getpid() != self._pid

    @property
    def partial(self) -> Message:
        """This round's reply, as far as it has come."""
        stream = self._stream
        arrived = Message(Role.ASSISTANT, "") if stream is None else stream.partial
        return self.message or self._reply or arrived

    def chunks(self) -> Generator[MessageChunk, None, None]:
        """The chunks of all rounds; between two rounds the tools are called."""
        try:
            while not self.is_over:
                if self._stream is not None:
                    for chunk in self._stream:
                        yield chunk
                else:
                    assert self._reply is not None
                    yield _chunk_of(self._reply)
                self._go_on()
        except GeneratorExit:
            self.close()
            raise
        except BaseException as error:
            self._fail(error)
            raise

    def close(self) -> None:
        """End it, well if its last reply is whole."""
        if self.is_over:
            return
        if self._stream is not None:
            self._stream.close()
            if self._stream.ended_well:
                self._reply = self._stream.result()
        if self._reply is not None and _is_last(self._reply):
            self._end()
        else:
            self._fail(StreamCancelled("the run was closed before its end"))

    @hides_arguments
    def _go_on(self) -> None:
        """A reply is whole: it is the last one, or there is something to be done for it."""
        if self._stream is not None:
            self._reply = self._stream.result()
        assert self._reply is not None
        if _is_last(self._reply):
            self._end()
            return
        if not self._rounds_left:
            raise ToolRoundsError(
                f"the model wanted more after {self._max_rounds} rounds: "
                "raise max_rounds, or look at what the tools tell it",
                partial=self._reply,
            )
        said = self._called()
        self._stream = self._reply = None
        self.messages = (*self.messages, *said.messages)
        self._turn.add_round(said.messages)
        self._open()

    def _open(self) -> None:
        """Ask for the reply to what has been said so far."""
        self._rounds_left -= 1
        with using(self.cancellation):
            self.cancellation.check()
            self._stream = self._conversation.open(self._turn, self._wish)
            if self._stream is None:  # the client cannot
                self._reply = self._conversation.send(self._turn, self._wish)

    def _called(self) -> Said:
        """The round's messages: the reply, and the results of its calls in their order."""
        assert self._reply is not None
        results: dict[int, ToolResult] = {}
        if self._reply.tool_calls:
            self._wish = _free_to_answer(self._wish)
        running = ToolCalls(self._reply.tool_calls, self._tools, self.cancellation)
        for answered in running.results():
            results[answered.number] = answered.result
            if self._on_tool is not None:
                self._on_tool(answered.call, answered.result)
        calls = enumerate(self._reply.tool_calls)
        return Said((self._reply, *(results[number].message(call) for number, call in calls)))

    def _end(self) -> None:
        """The one good end."""
        assert self._reply is not None
        try:
            self._turn.settle(self._reply, None)
        except CloudLLMError as error:
            self.error = error
            raise
        except BaseException as cause:
            # Ctrl-C in a store: whether the turn was kept is the store's to say, not to do again.
            self.error = cancelled_by(cause, "the run was interrupted while it was being kept")
            raise
        self.messages = (*self.messages, self._reply)
        self.message = self._reply

    def _fail(self, error: BaseException) -> None:
        """The one bad end."""
        if self.is_over:
            return
        if not isinstance(error, CloudLLMError):
            error = cancelled_by(error, f"the run was interrupted by {type(error).__name__}")
        self.error = error
        if error.partial is None and self.partial.content:
            error.partial = self.partial
        if self._stream is not None:
            self._stream.close()
        self._turn.settle(None, error)


def _is_last(reply: Message) -> bool:
    """Whether nothing is to be done for it. Calls of a reply that was cut may be half written."""
    wants_tools = bool(reply.tool_calls) and reply.finish_reason not in _CUT
    return not wants_tools and reply.finish_reason != "pause"


def _free_to_answer(wish: Wish) -> Wish:
    """The wish for the rounds after a call: a model that has to call again would never end."""
    options = wish.options
    if options is None or options.tool_choice in (None, "auto", "none"):
        return wish
    return attrs.evolve(wish, options=attrs.evolve(options, tool_choice="auto"))


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
