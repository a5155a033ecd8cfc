"""LLMSession: a conversation that several threads may share."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import NoReturn, Optional, Union

from cloudllm_sync.clients.wrapper import ClientWrapper
from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.session.arguments import (
    Said,
    check_session,
    checked_context,
    checked_lease,
    checked_options,
    message_of,
    said,
    system,
)
from cloudllm_sync.session.conversation import Conversation, Partial, Wish
from cloudllm_sync.session.estimates import EstimateTokens, estimate_tokens as by_bytes
from cloudllm_sync.session.history import open_calls
from cloudllm_sync.session.leases import LEASE_S
from cloudllm_sync.session.readable import Readable
from cloudllm_sync.session.running import MAX_ROUNDS, OnTool, RunStream, tool_set
from cloudllm_sync.session.stores import SessionStore, checked_session_id
from cloudllm_sync.session.stores.memory import MemoryStore
from cloudllm_sync.session.strategies import ContextStrategy
from cloudllm_sync.session.turns import checked_timeout
from cloudllm_sync.streaming.handle import OnChunk, OnError, OnFinish, StreamHandle
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.transport.credentials import hides_arguments
from cloudllm_sync.values import (
    Attachment,
    ChatOptions,
    Message,
    Role,
    Timeouts,
    ToolDefinition,
)

__all__ = ["LLMSession"]

Tools = Optional[Sequence[ToolDefinition]]


class LLMSession(Readable):
    """A conversation with one client. Threads may share it: their turns come one after the other.

    A message and its reply enter the history together, when the reply is whole, before the loop
    over its chunks ends and before `on_finish` is called; a turn that fails or is cancelled leaves
    nothing behind.

    Args:
        client: One of this package's clients, or a ClientWrapper of your own.
        system_prompt: Goes first in every request; empty for none.
        max_tokens: The longest request, without its reply: the oldest exchanges are left out of it.
        session_id: The conversation's name in the store; made up if None.
        store: Where the conversation is kept; None is memory.
        options: For every turn; those of a turn win over them.
        partial: `keep` keeps what had arrived of a failed or cancelled reply, with its question.
        turn_timeout: Seconds to wait for other turns of this session, then SessionBusyError;
            0 refuses at once.
        estimate_tokens: Counts the tokens of a message; by default it learns from the replies.
        context: SummarizeOldest(...) has what would be left out summed up; None is to leave it out.
        lease_s: Seconds after which a killed process no longer keeps the session from others.

    Raises:
        ConfigurationError: Something in these cannot work.
    """

    @hides_arguments
    def __init__(
        self,
        client: ClientWrapper,
        system_prompt: str = "",
        max_tokens: int = 8192,
        *,
        session_id: Optional[str] = None,
        store: Optional[SessionStore] = None,
        options: Optional[ChatOptions] = None,
        partial: Partial = "discard",
        turn_timeout: float = 300.0,
        estimate_tokens: EstimateTokens = by_bytes,
        context: Optional[ContextStrategy] = None,
        lease_s: float = LEASE_S,
    ) -> None:
        prompt = system("system_prompt", system_prompt)
        del system_prompt  # tools that report errors show local variables
        check_session(client, max_tokens, partial, estimate_tokens)
        self._options = checked_options(options)
        self._turn_timeout = checked_timeout(turn_timeout)
        self._conversation = Conversation(
            client,
            system=prompt,
            max_tokens=max_tokens,
            session_id=(
                str(uuid.uuid4()) if session_id is None else checked_session_id(session_id)
            ),
            store=MemoryStore() if store is None else store,
            partial=partial,
            estimate=estimate_tokens,
            strategy=checked_context(context, max_tokens),
            lease_s=checked_lease(lease_s),
        )

    # --- turns ---

    @hides_arguments
    def send_message(
        self,
        role: Union[Role, str],
        content: str,
        tools: Tools = None,
        *,
        attachments: Iterable[Attachment] = (),
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
        turn_timeout: Optional[float] = None,
    ) -> Message:
        """Send a message and wait for the whole reply.

        Raises:
            CloudLLMError: See the tree in `cloudllm_sync.errors`; SessionBusyError if another
                turn does not end in time.
        """
        new = said(role, content, attachments)
        del content, attachments  # as above
        return self._conversation.whole(self._wish(new, tools, options, timeouts, turn_timeout))

    @hides_arguments
    def send_message_stream(
        self,
        role: Union[Role, str],
        content: str,
        tools: Tools = None,
        *,
        attachments: Iterable[Attachment] = (),
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
        turn_timeout: Optional[float] = None,
    ) -> Optional[ChatStream]:
        """Send a message; the reply as it comes. None if the client cannot stream.

        Read the stream to its end, or close it: the session's next turn waits for that.

        Raises:
            CloudLLMError: As `send_message()`.
        """
        new = said(role, content, attachments)
        del content, attachments  # as above
        return self._conversation.open_turn(self._wish(new, tools, options, timeouts, turn_timeout))

    @hides_arguments
    def start_message_stream(
        self,
        role: Union[Role, str],
        content: str,
        tools: Tools = None,
        *,
        on_chunk: Optional[OnChunk] = None,
        on_finish: Optional[OnFinish] = None,
        on_error: Optional[OnError] = None,
        attachments: Iterable[Attachment] = (),
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
        turn_timeout: Optional[float] = None,
    ) -> StreamHandle:
        """Send a message; the reply by callbacks on a worker thread. Returns at once.

        The turn is over before the last callback, which may therefore begin the next one.

        Raises:
            ConfigurationError: The message is none. All that comes later goes to `on_error`.
            SessionBusyError: `turn_timeout` is 0 and another turn is running.
        """
        new = said(role, content, attachments)
        del content, attachments  # as above
        wish = self._wish(new, tools, options, timeouts, turn_timeout)
        return self._conversation.start(wish, on_chunk, on_finish, on_error)

    @hides_arguments
    def ask(
        self,
        content: str,
        tools: Tools = None,
        *,
        attachments: Iterable[Attachment] = (),
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
        turn_timeout: Optional[float] = None,
    ) -> Message:
        """`send_message()` from the user."""
        new = said(Role.USER, content, attachments)
        del content, attachments  # as above
        return self._conversation.whole(self._wish(new, tools, options, timeouts, turn_timeout))

    @hides_arguments
    def stream(
        self,
        content: str,
        tools: Tools = None,
        *,
        attachments: Iterable[Attachment] = (),
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
        turn_timeout: Optional[float] = None,
    ) -> ChatStream:
        """`send_message_stream()` from the user.

        Raises:
            StreamingNotSupportedError: The client cannot stream.
        """
        new = said(Role.USER, content, attachments)
        del content, attachments  # as above
        wish = self._wish(new, tools, options, timeouts, turn_timeout)
        return self._conversation.streamed(self._conversation.open_turn(wish))

    @hides_arguments
    def submit(
        self,
        content: str,
        tools: Tools = None,
        *,
        on_chunk: Optional[OnChunk] = None,
        on_finish: Optional[OnFinish] = None,
        on_error: Optional[OnError] = None,
        attachments: Iterable[Attachment] = (),
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
        turn_timeout: Optional[float] = None,
    ) -> StreamHandle:
        """`start_message_stream()` from the user."""
        new = said(Role.USER, content, attachments)
        del content, attachments  # as above
        wish = self._wish(new, tools, options, timeouts, turn_timeout)
        return self._conversation.start(wish, on_chunk, on_finish, on_error)

    @hides_arguments
    def run(
        self,
        role: Union[Role, str],
        content: str,
        tools: Iterable[ToolDefinition],
        *,
        max_rounds: int = MAX_ROUNDS,
        on_chunk: Optional[OnChunk] = None,
        on_tool: Optional[OnTool] = None,
        attachments: Iterable[Attachment] = (),
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
        turn_timeout: Optional[float] = None,
    ) -> Message:
        """Send a message, call the tools that the model asks for, until it has what it needs.

        The callbacks come on this thread. All of it is one turn; see `RunStream`.

        Args:
            role: Who speaks.
            content: What is said.
            tools: Functions made tools by `@tool`.
            max_rounds: The most replies to ask for.
            on_chunk: Gets the chunks of all replies.
            on_tool: Gets every call, with its result, as soon as that is there.
            attachments: Go with the message.
            options: For all rounds; a `tool_choice` that forces a call, until there was one.
            timeouts: For each round.
            turn_timeout: Seconds to wait for other turns.

        Raises:
            CloudLLMError: As `send_message()`; ToolRoundsError after `max_rounds`.
        """
        new = said(role, content, attachments)
        del content, attachments  # as above
        wish = self._wish(new, tool_set(tools), options, timeouts, turn_timeout)
        with RunStream(self._conversation, wish, max_rounds=max_rounds, on_tool=on_tool) as chunks:
            if on_chunk is not None:
                for _ in map(on_chunk, chunks):  # no variable that holds what was said
                    pass
            return chunks.result()

    @hides_arguments
    def run_stream(
        self,
        role: Union[Role, str],
        content: str,
        tools: Iterable[ToolDefinition],
        *,
        max_rounds: int = MAX_ROUNDS,
        on_tool: Optional[OnTool] = None,
        attachments: Iterable[Attachment] = (),
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
        turn_timeout: Optional[float] = None,
    ) -> RunStream:
        """`run()` as an iterator of the chunks of all its rounds."""
        new = said(role, content, attachments)
        del content, attachments  # as above
        wish = self._wish(new, tool_set(tools), options, timeouts, turn_timeout)
        return RunStream(self._conversation, wish, max_rounds=max_rounds, on_tool=on_tool)

    def send_current_history(
        self,
        tools: Tools = None,
        *,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
        turn_timeout: Optional[float] = None,
    ) -> Message:
        """Have the model answer the history as it is: after `inject_message()`, say."""
        return self._conversation.whole(self._wish(Said(), tools, options, timeouts, turn_timeout))

    def stream_current_history(
        self,
        tools: Tools = None,
        *,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
        turn_timeout: Optional[float] = None,
    ) -> Optional[ChatStream]:
        """`send_current_history()` as a stream. None if the client cannot stream."""
        return self._conversation.open_turn(
            self._wish(Said(), tools, options, timeouts, turn_timeout)
        )

    # --- the history ---

    @hides_arguments
    def inject_message(
        self, role: Union[Role, str], content: str, *, tool_call_id: Optional[str] = None
    ) -> None:
        """Put a message into the history without sending it. Waits for a running turn.

        Raises:
            ConfigurationError: A tool result that answers no open call.
            SessionBusyError: A turn does not end in time.
        """
        new = Said((message_of(role, content, tool_call_id=tool_call_id),))
        del content  # as above
        is_result = new.messages[0].role is Role.TOOL
        if not is_result and tool_call_id is not None:
            raise ConfigurationError("only a message of Role.TOOL has a tool_call_id: leave it out")
        with self._conversation.change(self._turn_timeout) as state:
            waiting = open_calls(state.messages)
            if is_result and tool_call_id not in waiting:
                raise ConfigurationError(
                    f"no tool call {tool_call_id!r} waits for a result: open are "
                    f"{', '.join(waiting) or 'none'}"
                )
            self._conversation.ledger.append(state, new, None)

    def clear_history(self) -> None:
        """Forget the messages; usage and system prompt stay. Waits for a running turn.

        Raises:
            SessionBusyError: A turn does not end in time.
        """
        with self._conversation.change(self._turn_timeout) as state:
            self._conversation.ledger.clear(state)

    @hides_arguments
    def set_system_prompt(self, text: str) -> None:
        """Another system prompt, from the next turn on; empty for none."""
        self._conversation.set_system(system("the system prompt", text))

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "LLMSession holds a client, and does not pickle: make one where it is used, with the "
            "same store and session_id"
        )

    # --- parts ---

    def _wish(
        self,
        new: Said,
        tools: Tools,
        options: Optional[ChatOptions],
        timeouts: Optional[Timeouts],
        turn_timeout: Optional[float],
    ) -> Wish:
        wanted = checked_options(options)
        return Wish(
            new=new,
            tools=tools,
            options=wanted.over(self._options) if wanted is not None else self._options,
            timeouts=timeouts,
            turn_timeout_s=(
                self._turn_timeout if turn_timeout is None else checked_timeout(turn_timeout)
            ),
        )
