"""Pieces of tool calls, put so that a browser can join them by their number alone."""

from __future__ import annotations

from typing import Optional

import attrs

from cloudllm_sync.values import ToolCallDelta

__all__ = ["CallPieces"]


@attrs.define(slots=True)
class _Call:
    number: int
    index: int
    id: Optional[str] = None
    name: Optional[str] = None
    held: str = ""
    told: bool = False


class CallPieces:
    """Numbers the calls of a response from 0; the first piece of each has its id and its name.

    A run has several rounds, and in each the provider counts from the start.
    """

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}  # of this round, by index
        self._ids: set[str] = set()
        self._count = 0
        self._round_is_over = False

    def add(self, delta: ToolCallDelta) -> ToolCallDelta | None:
        """The piece to be sent, or None while the call's id or name is not known."""
        call = self._calls.get(delta.index)
        if call is not None and self._round_is_over and (delta.id or delta.name):
            self._calls.clear()
            self._round_is_over = False
            call = None
        if call is None:
            call = self._calls[delta.index] = _Call(self._count, delta.index)
            self._count += 1
        if call.told:
            return ToolCallDelta(call.number, None, None, delta.arguments)
        call.id = call.id or delta.id
        call.name = call.name or delta.name
        call.held += delta.arguments
        return self._first(call) if call.id and call.name else None

    def end_round(self) -> list[ToolCallDelta]:
        """What was held back, now that the reply has a finish reason; goes for its last, too."""
        self._round_is_over = True
        return [self._first(call) for call in self._calls.values() if not call.told]

    def _first(self, call: _Call) -> ToolCallDelta:
        call_id = call.id or f"call_{call.index}"  # as the accumulator has it
        while call_id in self._ids:
            call_id += f"_{call.index}"
        self._ids.add(call_id)
        call.told = True
        return ToolCallDelta(call.number, call_id, call.name or "", call.held)
