"""The tool calls of a Responses API reply: which are the client's, and their arguments once.

Source: wire/WIRE.md, section 10.
"""

from __future__ import annotations

import json
from typing import Any, Optional

import attrs

from cloudllm_sync.codecs.openai_responses_parts import Object, objects, word_of
from cloudllm_sync.codecs.surrogates import Joiner
from cloudllm_sync.errors import StreamProtocolError
from cloudllm_sync.values import MessageChunk, ToolCallDelta

__all__ = ["CALL_ITEMS", "ResponseCalls"]

CALL_ITEMS = {"function_call": "arguments", "custom_tool_call": "input"}
"""The items that are calls, and the field of each that holds what the model wrote."""


@attrs.define(slots=True)
class _Call:
    number: int
    id: Optional[str] = None
    name: Optional[str] = None
    given: bool = False  # whether arguments were handed on


@attrs.define(slots=True, eq=False)
class ResponseCalls:
    """The client's calls, by the `output_index` of their items, numbered from 0."""

    _calls: list[_Call] = attrs.field(factory=list, init=False)
    _at: dict[int, _Call] = attrs.field(factory=dict, init=False)
    _custom_tools: Optional[frozenset[Optional[str]]] = attrs.field(default=None, init=False)
    _server_run: set[int] = attrs.field(factory=set, init=False)
    _joiner: Joiner = attrs.field(factory=Joiner, init=False)

    def any(self) -> bool:
        """Whether a call was seen."""
        return bool(self._calls)

    def by_id(self) -> dict[Optional[str], int]:
        """Where the calls are that have been seen."""
        return {call.id: index for index, call in self._at.items()}

    def note_tools(self, tools: Any) -> None:
        """The tools that the request offered, as the response repeats them."""
        offered = objects(tools)
        if offered and self._custom_tools is None:
            custom = [tool for tool in offered if tool.get("type") == "custom"]
            self._custom_tools = frozenset(word_of(tool.get("name")) for tool in custom)

    def read_input(self, index: int, said: Any, *, done: bool) -> list[MessageChunk]:
        """A piece of a call's arguments, or all of them; id and name come with the item."""
        if index in self._server_run:
            return []
        call = self._at.get(index) or self._new(index)
        text = _as_text(said)
        return [] if done and call.given else self._arguments(call, text)

    def read_item(self, index: int, item: Object, *, begins: bool = False) -> list[MessageChunk]:
        """A call's item, at its beginning or its end."""
        if self._is_server_run(item):
            self._server_run.add(index)
            return []
        call_id, name = word_of(item.get("call_id")), word_of(item.get("name"))
        call = self._at.get(index)
        another = call is not None and begins and call_id and call.id not in (None, call_id)
        if call is None or another:
            call = self._new(index)
        if not begins:
            call_id = call_id or word_of(item.get("id"))
        new_id, new_name = None if call.id else call_id, None if call.name else name
        call.id, call.name = call.id or new_id, call.name or new_name
        chunks = _chunk(call, new_id, new_name)
        arguments = _as_text(item.get(CALL_ITEMS[item["type"]]))
        # Arguments at the beginning may come again in deltas.
        if not begins and not call.given:
            chunks += self._arguments(call, arguments)
        return chunks

    def rest(self) -> list[MessageChunk]:
        """U+FFFD for every call whose arguments end in half a character."""
        chunks: list[MessageChunk] = []
        for call in self._calls:
            chunks += _chunk(call, text=self._joiner.rest(str(call.number)))
        return chunks

    def _arguments(self, call: _Call, text: str) -> list[MessageChunk]:
        call.given = call.given or bool(text)
        return _chunk(call, text=self._joiner.push(str(call.number), text))

    def _new(self, index: int) -> _Call:
        call = self._at[index] = _Call(len(self._calls))
        self._calls.append(call)
        return call

    def _is_server_run(self, item: Object) -> bool:
        """A custom call of a tool that the request did not offer: xAI searches X that way."""
        return (
            item["type"] == "custom_tool_call"
            and self._custom_tools is not None
            and word_of(item.get("name")) not in self._custom_tools
        )


def _as_text(arguments: Any) -> str:
    """Arguments as the model wrote them; some servers send them parsed."""
    if isinstance(arguments, str):
        return arguments
    try:
        return "" if arguments is None else json.dumps(arguments, ensure_ascii=False)
    except RecursionError:
        raise StreamProtocolError("the arguments of a tool call are nested too deep") from None


def _chunk(
    call: _Call, call_id: str | None = None, name: str | None = None, *, text: str = ""
) -> list[MessageChunk]:
    delta = ToolCallDelta(call.number, call_id, name, text)
    return [MessageChunk(tool_call_delta=delta)] if call_id or name or text else []
