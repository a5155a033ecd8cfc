"""Whether a conversation can be sent at all: checked before any I/O, for every provider."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Optional, Union

from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.values import Message, Role, ToolDefinition

__all__ = ["as_messages", "as_tools", "check_order", "in_order_of_calls"]


def as_messages(messages: Union[str, Iterable[Message]]) -> tuple[Message, ...]:
    """The conversation as a tuple; a plain string is one user message.

    Raises:
        ConfigurationError: Empty, not made of messages, or in an order no provider takes.
    """
    if isinstance(messages, str):
        return (Message(Role.USER, messages),)
    if isinstance(messages, Message) or not isinstance(messages, Iterable):
        raise ConfigurationError(
            f"messages must be a string or a sequence of Message, not {type(messages).__name__}"
        )
    found = tuple(messages)
    for position, message in enumerate(found):
        if not isinstance(message, Message):
            raise ConfigurationError(
                f"messages[{position}] must be a Message, not {type(message).__name__}: "
                "write Message(Role.USER, text)"
            )
    check_order(found)
    return found


def check_order(messages: Sequence[Message]) -> None:
    """Refuse what no provider takes: tool results without their call, calls without a result or
    with another's id.

    Raises:
        ConfigurationError: Naming the message and the call.
    """
    if not messages:
        raise ConfigurationError("messages is empty: send at least one")
    open_calls: dict[str, str] = {}
    for position, message in enumerate(messages):
        where = f"messages[{position}]"
        if message.role is Role.TOOL:
            _check_result(where, message, open_calls)
            continue
        _refuse_open(where, open_calls)
        if message.tool_calls and message.role is not Role.ASSISTANT:
            raise ConfigurationError(f"{where} has tool calls, which only an ASSISTANT can make")
        open_calls = {}
        for call in message.tool_calls:
            if call.id in open_calls:
                raise ConfigurationError(
                    f"{where} has two tool calls of the id {call.id!r}: results could not be told "
                    "apart"
                )
            open_calls[call.id] = call.name
        if message.tool_call_id is not None:
            raise ConfigurationError(f"{where} has a tool_call_id: its role must be Role.TOOL")
        if message.attachments and message.role is not Role.USER:
            raise ConfigurationError(f"{where} has attachments, which only a USER can send")
    _refuse_open("the conversation's end", open_calls)


def _check_result(where: str, message: Message, open_calls: dict[str, str]) -> None:
    if message.tool_call_id is None:
        raise ConfigurationError(f"{where} is a tool result without tool_call_id: say which call")
    if message.tool_call_id not in open_calls:
        raise ConfigurationError(
            f"{where} is the result of {message.tool_call_id!r}, a call that the assistant "
            "message before it does not make: put it right after that message"
        )
    del open_calls[message.tool_call_id]


def _refuse_open(where: str, open_calls: dict[str, str]) -> None:
    for call_id, name in open_calls.items():
        raise ConfigurationError(
            f"the tool call {call_id!r} ({name}) has no result before {where}: "
            "add a Message(Role.TOOL, result, tool_call_id=...)"
        )


def in_order_of_calls(messages: Sequence[Message]) -> list[Message]:
    """The messages, tool results in the order of their calls: it is what matches those without id.

    Positions do not change but among the results of one message.
    """
    found: list[Message] = []
    places: dict[Optional[str], int] = {}
    first = 0
    for message in messages:
        if message.role is not Role.TOOL:
            places = {call.id: place for place, call in enumerate(message.tool_calls)}
            first = len(found) + 1
        found.append(message)
        if message.role is Role.TOOL:
            found[first:] = sorted(found[first:], key=lambda said: places.get(said.tool_call_id, 0))
    return found


def as_tools(tools: Optional[Iterable[ToolDefinition]]) -> tuple[ToolDefinition, ...]:
    """The tools as a tuple.

    Raises:
        ConfigurationError: Not made of tool definitions, or two of one name.
    """
    if isinstance(tools, (str, ToolDefinition)) or not isinstance(tools, (Iterable, type(None))):
        raise ConfigurationError(
            f"tools must be a sequence of ToolDefinition, not {type(tools).__name__}"
        )
    found = tuple(tools or ())
    names = set()
    for position, tool in enumerate(found):
        if not isinstance(tool, ToolDefinition):
            raise ConfigurationError(
                f"tools[{position}] must be a ToolDefinition, not {type(tool).__name__}"
            )
        if tool.name in names:
            raise ConfigurationError(f"two tools are named {tool.name!r}: rename one")
        names.add(tool.name)
    return found
