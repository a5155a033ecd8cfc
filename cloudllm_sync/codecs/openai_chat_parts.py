"""The parts of a Chat Completions reply that servers write in many ways.

Source: wire/WIRE.md, sections 1.1 (tool calls), 1.2 (reasoning), 2, 6, 7 (usage, content lists).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import attrs

from cloudllm_sync.codecs.json_text import count
from cloudllm_sync.codecs.surrogates import Joiner, well_formed
from cloudllm_sync.errors import StreamProtocolError
from cloudllm_sync.values import TokenUsage, ToolCallDelta

__all__ = [
    "ThoughtKeeper",
    "ToolCallTracker",
    "citations",
    "reasoning_text",
    "split_content",
    "usage_from",
]

_DETAIL_TEXTS = ("text", "summary", "data")


def split_content(content: Any) -> tuple[str, str]:
    """Visible text and thinking text of a `content`: a string, or Mistral's list of parts."""
    if isinstance(content, str):
        return content, ""
    text: list[str] = []
    thought: list[str] = []
    for part in content if isinstance(content, list) else ():
        text.append(_part_text(part))
        if isinstance(part, Mapping):
            thinking = part.get("thinking")
            pieces = thinking if isinstance(thinking, list) else [thinking]
            thought.extend(_part_text(piece) for piece in pieces)
    return "".join(text), "".join(thought)


def _part_text(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) else part
    return text if isinstance(text, str) else ""


def reasoning_text(delta: Any) -> str:
    """The reasoning of a delta, from one source only: several carry the same text."""
    for text in (delta.reasoning_content, delta.reasoning):
        if isinstance(text, str) and text:
            return text
    details = delta.reasoning_details
    found = []
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping):
            text = detail.get("text") or detail.get("summary")
            found.append(text if isinstance(text, str) else "")
    return "".join(found)


def _scalars(piece: Mapping[str, Any], *names: str) -> list[Any]:
    """These fields; None for lists and objects, whose comparison can go too deep."""
    values = map(piece.get, names)
    return [value if isinstance(value, (str, int, float)) else None for value in values]


@attrs.define(slots=True)
class _Detail:
    """One of OpenRouter's `reasoning_details` on its way; texts are joined once, at the end."""

    said: dict[str, Any]
    texts: dict[str, list[str]] = attrs.field(factory=dict)

    def goes_on(self, piece: Mapping[str, Any]) -> bool:
        """Whether the piece belongs to it: of its type and index, and of no other id."""
        kind, index, own_id = _scalars(piece, "type", "index", "id")
        last_kind, last_index, last_id = _scalars(self.said, "type", "index", "id")
        same = index is not None and (kind, index) == (last_kind, last_index)
        return same and (own_id == last_id or not own_id or not last_id)

    def add(self, piece: Mapping[str, Any]) -> None:
        for name, value in piece.items():
            if name in _DETAIL_TEXTS and isinstance(value, str):
                self.texts.setdefault(name, []).append(value)
            elif value or name not in self.said:
                self.said[name] = value

    def joined(self) -> dict[str, Any]:
        return {**self.said, **{name: "".join(texts) for name, texts in self.texts.items()}}


class ThoughtKeeper:
    """Keeps the reasoning of a reply in the form in which a tool loop has to send it back."""

    def __init__(self) -> None:
        self._details: list[Any] = []
        self._content: list[str] = []  # DeepSeek's

    def add_content(self, text: str) -> None:
        """A piece of `reasoning_content`."""
        self._content.append(text)

    def add_details(self, details: Any) -> None:
        """The `reasoning_details` of one delta: pieces of one detail are joined.

        They have to go back unchanged (OpenRouter's documentation of reasoning).
        """
        for piece in details if isinstance(details, list) else ():
            last = self._details[-1] if self._details else None
            if not isinstance(piece, Mapping):
                self._details.append(piece)
            elif isinstance(last, _Detail) and last.goes_on(piece):
                last.add(piece)
            else:
                self._details.append(_Detail({}))
                self._details[-1].add(piece)

    def state(self, *, calls_made: bool) -> Optional[dict[str, Any]]:
        """What to send back. `reasoning_content` with calls only: older servers refuse it else."""
        state: dict[str, Any] = {}
        if self._details:
            state["reasoning_details"] = [
                detail.joined() if isinstance(detail, _Detail) else detail
                for detail in self._details
            ]
        if self._content and calls_made:
            state["reasoning_content"] = "".join(self._content)
        return state or None


def citations(found: Any) -> Iterator[str]:
    """The URLs of a list of annotations or of plain URLs, in order."""
    for item in found if isinstance(found, list) else ():
        if isinstance(item, Mapping):
            inner = item.get("url_citation")
            item = (inner if isinstance(inner, Mapping) else item).get("url")
        if isinstance(item, str) and item:
            yield well_formed(item)


def usage_from(usage: Any) -> Optional[TokenUsage]:
    """A `usage` object in the meanings of TokenUsage, or None where it counts nothing.

    xAI leaves reasoning out of `completion_tokens`; it shows in that only all three make up
    `total_tokens`.
    """
    if not isinstance(usage, Mapping):
        return None
    given_in = count(usage, "prompt_tokens", "input_tokens")
    given_out = count(usage, "completion_tokens", "output_tokens")
    total = count(usage, "total_tokens")
    if given_in is None and given_out is None and total is None:
        return None
    prompt = usage.get("prompt_tokens_details")
    reasoning = count(usage.get("completion_tokens_details"), "reasoning_tokens")
    if reasoning is None:
        reasoning = count(usage, "reasoning_tokens")
    taken_in, given = given_in or 0, given_out or 0
    if reasoning and total == taken_in + given + reasoning:
        given += reasoning
    cached = count(prompt, "cached_tokens")
    if cached is None:
        cached = count(usage, "prompt_cache_hit_tokens", "cached_tokens")
    written = count(prompt, "cache_write_tokens")
    return TokenUsage(
        taken_in, given, taken_in + given if total is None else total, cached, written, reasoning
    )


def _says_anything(fragment: Mapping[str, Any], function: Mapping[str, Any]) -> bool:
    """Whether the fragment is more than a placeholder, as some servers send beside text."""
    said = (fragment.get("id"), function.get("name"), function.get("arguments"))
    return any(value not in (None, "") for value in said)


@attrs.define(slots=True)
class _Slot:
    id: Optional[str] = None
    name: Optional[str] = None


class ToolCallTracker:
    """Tells which call a fragment belongs to, whatever the server counts by.

    Calls are numbered from 0 in the order of their first fragments.
    """

    def __init__(self) -> None:
        self._slots: list[_Slot] = []
        self._by_index: dict[object, int] = {}
        self._by_id: dict[str, int] = {}
        self._joiner = Joiner()

    def any(self) -> bool:
        """Whether a call was seen."""
        return bool(self._slots)

    def deltas(self, fragments: Any, old_style: Any) -> list[ToolCallDelta]:
        """The fragments of one delta; `old_style` is its `function_call`."""
        if isinstance(fragments, Mapping):
            fragments = [fragments]
        found = []
        for position, fragment in enumerate(fragments if isinstance(fragments, list) else ()):
            if isinstance(fragment, Mapping):
                function = fragment.get("function")
                function = function if isinstance(function, Mapping) else {}
                if _says_anything(fragment, function):
                    found.append(self._delta(fragment, function, position))
        # Snowflake sends an empty function_call beside every reply.
        if isinstance(old_style, Mapping) and (
            old_style.get("name") or "function_call" in self._by_index
        ):
            found.append(self._delta({"index": "function_call"}, old_style, 0))
        return found

    def rest(self) -> list[ToolCallDelta]:
        """U+FFFD for every call whose arguments end in half a character."""
        calls = range(len(self._slots))
        return [
            ToolCallDelta(at, None, None, held)
            for at in calls
            if (held := self._joiner.rest(str(at)))
        ]

    def _delta(
        self, fragment: Mapping[str, Any], function: Mapping[str, Any], position: int
    ) -> ToolCallDelta:
        call_id = fragment.get("id")
        call_id = well_formed(str(call_id)) if call_id not in (None, "") else None
        name = function.get("name")
        name = well_formed(name) if isinstance(name, str) and name else None
        at = self._slot(fragment.get("index"), call_id, name, position)
        slot = self._slots[at]
        if call_id is not None:
            self._by_id.setdefault(call_id, at)
        # A server that repeats id or name on every fragment means them once.
        new_id, slot.id = (None, slot.id) if slot.id else (call_id, call_id)
        new_name, slot.name = (None, slot.name) if slot.name else (name, name)
        return ToolCallDelta(at, new_id, new_name, self._arguments(at, function.get("arguments")))

    def _arguments(self, at: int, arguments: Any) -> str:
        if isinstance(arguments, str):
            return self._joiner.push(str(at), arguments)
        if arguments is None:
            return ""
        try:
            return well_formed(json.dumps(arguments, ensure_ascii=False))
        except RecursionError:
            raise StreamProtocolError("the arguments of a tool call are nested too deep") from None

    def _slot(self, index: Any, call_id: str | None, name: str | None, position: int) -> int:
        """The number of the call; a new one where the fragment begins one."""
        if isinstance(index, (int, str)) and index != "":
            index = str(index)
            at = self._by_index.get(index)
            if at is None or self._begins_another(at, call_id, name):
                at = self._by_index[index] = self._new()
            return at
        if call_id is not None:
            at = self._by_id.get(call_id)
            return self._new() if at is None else at
        if name is None and self._slots:
            return len(self._slots) - 1
        at = position if position < len(self._slots) else self._new()
        return self._new() if self._slots[at].name else at

    def _begins_another(self, at: int, call_id: str | None, name: str | None) -> bool:
        """Some servers count every call as index 0: a new id with a name is a new call."""
        known = self._slots[at].id
        return bool(call_id and name and known and known != call_id)

    def _new(self) -> int:
        self._slots.append(_Slot())
        return len(self._slots) - 1
