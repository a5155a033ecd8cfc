"""Gemini's function calls: whole ones, and those that Vertex sends in pieces of their arguments.

Source: wire/WIRE.md, section 4 (functionCall, partialArgs).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Optional, Union

import attrs

from cloudllm_sync.codecs.surrogates import well_formed
from cloudllm_sync.errors import StreamProtocolError
from cloudllm_sync.values import ToolCallDelta

__all__ = ["MADE_ID_PREFIX", "FunctionCalls"]

MADE_ID_PREFIX = "gemini_call_"
"""Begins the ids made here, for calls that came without one; they are not sent back."""

_STEP = re.compile(
    r"""\.(?P<name>[^.\[\]]+) | \[(?P<index>\d{1,9})\]
      | \[(?P<quote>['"])(?P<quoted>(?:[^\\]|\\.)*?)(?P=quote)\]""",
    re.VERBOSE | re.DOTALL,
)
# A server that names element 5 before element 3 is believed, one that names element 10**9 is not;
# nor one that says [999] a thousand times, five bytes for the eight thousand that a gap takes.
_LARGEST_GAP = 16

_Step = Union[str, int]


def _steps(path: object) -> list[_Step]:
    """The names and indexes of a JSONPath as `$.a.b[0]['c d']`."""
    found: list[_Step] = []
    text = path if isinstance(path, str) else ""
    at = 1 if text.startswith("$") else 0
    if not at and text[:1] not in ("", ".", "["):
        text = "." + text
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            break
        at = step.end()
        if step["index"] is not None:
            found.append(int(step["index"]))
        else:
            name = step["name"] or re.sub(r"\\(.)", r"\1", step["quoted"] or "", flags=re.DOTALL)
            found.append(well_formed(name))
    if at < len(text) or not found or isinstance(found[0], int):
        raise StreamProtocolError(f"a piece of a tool call has the jsonPath {str(path)[:80]!r}")
    return found


def _place(tree: dict[str, Any], steps: list[_Step], value: Any) -> None:
    """Put a value into the tree; what is on the way there is made, and replaced if of no use."""
    node: Any = tree
    for step, following in zip(steps, steps[1:]):
        kind = list if isinstance(following, int) else dict
        inner = _get(node, step)
        if type(inner) is not kind:
            inner = kind()
            node[step] = inner
        node = inner
    _get(node, steps[-1])
    node[steps[-1]] = value


def _get(node: Any, step: _Step) -> Any:
    """What is at this step, a list being made long enough to have it."""
    if isinstance(step, str):
        return node.get(step)
    gap = step + 1 - len(node)
    if gap > _LARGEST_GAP:
        raise StreamProtocolError(f"a piece of a tool call is for element {step} of a short list")
    node.extend([None] * gap)
    return node[step]


def _as_json(arguments: Any) -> str:
    try:
        text = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise StreamProtocolError("the arguments of a tool call are nested too deep") from None
    return well_formed(text)


def _word(value: Any) -> Optional[str]:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return well_formed(str(value)) or None


@attrs.define(slots=True)
class _Call:
    """A call that is not over yet."""

    index: int
    id: str
    name: str
    given: Any  # the whole `args`, where there are some
    part: dict[str, Any]  # what is sent back in its place
    announced: bool = False
    args: dict[str, Any] = attrs.field(factory=dict)
    strings: dict[tuple[_Step, ...], list[str]] = attrs.field(factory=dict)  # still growing

    def take(self, piece: Mapping[str, Any]) -> None:
        """One of the `partialArgs`: all of a value, or more of a string."""
        steps = _steps(piece.get("jsonPath"))
        path = tuple(steps)
        for name in ("numberValue", "boolValue", "nullValue"):
            if name in piece:
                self.strings.pop(path, None)
                _place(self.args, steps, None if name == "nullValue" else piece[name])
                return
        text = piece.get("stringValue")
        if isinstance(text, str):
            if path not in self.strings:
                self.strings[path] = []
                _place(self.args, steps, "")
            self.strings[path].append(text)
        if path in self.strings and piece.get("willContinue") is not True:
            _place(self.args, steps, "".join(self.strings.pop(path)))

    def arguments(self) -> str:
        """The arguments as JSON text."""
        for path, pieces in self.strings.items():
            _place(self.args, list(path), "".join(pieces))
        if self.args or self.given in (None, ""):
            return _as_json(self.args)
        return well_formed(self.given) if isinstance(self.given, str) else _as_json(self.given)


class FunctionCalls:
    """The function calls of one reply, numbered from 0."""

    def __init__(self) -> None:
        self._count = 0
        self._ids: set[str] = set()
        self._open: Optional[_Call] = None

    def any(self) -> bool:
        """Whether a call was seen."""
        return self._count > 0

    def read(
        self, part: Mapping[str, Any], raw_parts: list[dict[str, Any]], response_id: Optional[str]
    ) -> list[ToolCallDelta]:
        """The deltas of a part with a `functionCall`; a new call's part is added to `raw_parts`.

        Arguments in pieces are handed on at the call's end: until then the pieces are no JSON text.
        """
        said: Mapping[str, Any] = part["functionCall"]
        name, call_id = _word(said.get("name")), _word(said.get("id"))
        call = self._open
        deltas: list[ToolCallDelta] = []
        if call is not None and (name is None or (call_id is not None and call_id == call.id)):
            call.part.update({key: part[key] for key in part if key != "functionCall"})
        else:
            # A call may lack its closing part: the next name ends it, too.
            deltas = self.close()
            if name is None:
                return deltas
            if call_id is None or call_id in self._ids:
                call_id = self._make_id(response_id)
            self._ids.add(call_id)
            call = self._begin(part, name, call_id)
            raw_parts.append(call.part)
        pieces = said.get("partialArgs")
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, Mapping):
                call.take(piece)
        if said.get("willContinue") is not True:
            return deltas + self.close()
        # Even without text: the reader sees that the reply goes on.
        deltas.append(self._delta(call, ""))
        return deltas

    def close(self) -> list[ToolCallDelta]:
        """What is left of a call that is open still."""
        call, self._open = self._open, None
        if call is None:
            return []
        arguments = call.arguments()
        if call.args:
            call.part["functionCall"]["args"] = call.args
        return [self._delta(call, arguments)]

    def _make_id(self, response_id: Optional[str]) -> str:
        return MADE_ID_PREFIX + (f"{response_id}_" if response_id else "") + str(self._count)

    def _begin(self, part: Mapping[str, Any], name: str, call_id: str) -> _Call:
        said = dict(part["functionCall"])
        for of_the_stream in ("partialArgs", "willContinue"):
            said.pop(of_the_stream, None)
        given = said.get("args")
        call = _Call(self._count, call_id, name, given, {**part, "functionCall": said})
        if isinstance(given, Mapping):
            call.args.update(given)
        self._count += 1
        self._open = call
        return call

    @staticmethod
    def _delta(call: _Call, arguments: str) -> ToolCallDelta:
        if call.announced:
            return ToolCallDelta(call.index, None, None, arguments)
        call.announced = True
        return ToolCallDelta(call.index, call.id, call.name, arguments)
