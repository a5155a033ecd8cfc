"""Chunks to the Message that they make up."""

from __future__ import annotations

from typing import Optional

import attrs

from cloudllm_sync.codecs import ReplyFacts
from cloudllm_sync.values import Message, MessageChunk, Role, TokenUsage, ToolCall, ToolCallDelta

__all__ = ["Accumulator"]


@attrs.define(slots=True)
class _CallParts:
    id: Optional[str] = None
    name: Optional[str] = None
    arguments: list[str] = attrs.field(factory=list)


class Accumulator:
    """Collects one reply. One thread adds; any thread may ask for the message so far.

    No lock: lists only grow, by single appends, and `message()` works on copies of them.
    """

    __slots__ = (
        "_calls",
        "_reasoning",
        "_refusal",
        "add_text",
        "finish_reason",
        "raw_finish_reason",
        "text",
        "usage",
    )

    def __init__(self) -> None:
        self.text: list[str] = []
        self.add_text = self.text.append
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _CallParts] = {}
        self.finish_reason: Optional[str] = None
        self.raw_finish_reason: Optional[str] = None
        self.usage: Optional[TokenUsage] = None

    def add(self, chunk: MessageChunk) -> None:
        """Take one chunk in."""
        if chunk.content:
            self.add_text(chunk.content)
        if chunk.reasoning:
            self._reasoning.append(chunk.reasoning)
        if chunk.refusal:
            self._refusal.append(chunk.refusal)
        if chunk.tool_call_delta is not None:
            self._add_call(chunk.tool_call_delta)
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.finish_reason is not None or chunk.raw_finish_reason is not None:
            self.finish_reason = chunk.finish_reason
            self.raw_finish_reason = chunk.raw_finish_reason

    def _add_call(self, delta: ToolCallDelta) -> None:
        parts = self._calls.get(delta.index)
        if parts is None:
            parts = self._calls[delta.index] = _CallParts()
        parts.id = parts.id or delta.id
        parts.name = parts.name or delta.name
        if delta.arguments:
            parts.arguments.append(delta.arguments)

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        calls: dict[str, ToolCall] = {}
        for index, parts in sorted(self._calls.copy().items()):
            call_id = parts.id or f"call_{index}"
            while call_id in calls:  # a server's mistake: each result has to find its call
                call_id += f"_{index}"
            calls[call_id] = ToolCall(call_id, parts.name or "", "".join(parts.arguments))
        return tuple(calls.values())

    def is_empty(self) -> bool:
        """Whether nothing that a reader would see has come."""
        return not (self.text or self._reasoning or self._refusal or self._calls)

    def message(self, facts: ReplyFacts | None = None) -> Message:
        """The reply as far as it has come."""
        facts = facts or ReplyFacts()
        return Message(
            Role.ASSISTANT,
            "".join(self.text),
            tool_calls=self._tool_calls(),
            reasoning="".join(self._reasoning),
            refusal="".join(self._refusal),
            citations=tuple(facts.citations.copy()),
            finish_reason=self.finish_reason,
            raw_finish_reason=self.raw_finish_reason,
            usage=self.usage or facts.usage,
            model=facts.model,
            response_id=facts.response_id,
            provider_state=facts.provider_state,
        )
