"""Ways to break a good reply: its bytes, the order of its events, the values in its JSON.

`choose(n)` picks a number below n: a fuzzer's, or Hypothesis's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional, Union

__all__ = ["HOSTILE", "break_bytes", "break_events", "broken_everywhere", "split"]

Choose = Callable[[int], int]
_Path = tuple[Union[str, int], ...]

# JSON in place of any other; None: the value is left out.
HOSTILE: Sequence[Optional[str]] = (
    None,
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "2.5",
    "1e999",
    "NaN",
    "-Infinity",
    "123456789012345678901234567890",
    "9" * 5000,
    '""',
    '"a"',
    '"0"',
    '"error"',
    '"\\ud83c"',
    '"\\udf27x"',
    '"' + "long" * 1200 + '"',
    "[]",
    "[null]",
    '["a"]',
    "[[]]",
    "[{}]",
    "{}",
    '{"a": 1}',
    '{"message": "m", "type": "error"}',
    "[" * 900 + "]" * 900,
    '{"a":' * 100_000 + "1" + "}" * 100_000,
)
_MARK = "here\N{SECTION SIGN}"


def _paths(value: Any, path: _Path = ()) -> Iterator[_Path]:
    yield path
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for step, item in items:
        yield from _paths(item, (*path, step))


def _replaced(document: Any, path: _Path, token: Optional[str]) -> str:
    """The document as JSON, with the token as the value at the path."""
    holder = {"": copy.deepcopy(document)}
    node: Any = holder
    steps = ("", *path)
    for step in steps[:-1]:
        node = node[step]
    if token is None and path:
        del node[steps[-1]]
    else:
        node[steps[-1]] = _MARK
    text = json.dumps(holder[""], ensure_ascii=False)
    return text.replace(json.dumps(_MARK, ensure_ascii=False), "" if token is None else token)


def _split_event(event: bytes) -> Optional[tuple[bytes, Any, bytes]]:
    """What is before the JSON of an event, the document, and what is behind it."""
    start, end = event.find(b"{"), event.rfind(b"}") + 1
    try:
        return event[:start], json.loads(event[start:end]), event[end:]
    except (ValueError, RecursionError):
        return None


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def broken_everywhere(event: bytes) -> Iterator[bytes]:
    """The event with each of its JSON values replaced by each hostile one."""
    parts = _split_event(event)
    if parts is None:
        return
    before, document, behind = parts
    for path in _paths(document):
        for token in HOSTILE:
            yield before + _encoded(_replaced(document, path, token)) + behind


def _break_value(event: bytes, choose: Choose) -> bytes:
    parts = _split_event(event)
    if parts is None:
        return event
    before, document, behind = parts
    token = HOSTILE[choose(len(HOSTILE))]
    try:
        paths = list(_paths(document))
        return before + _encoded(_replaced(document, paths[choose(len(paths))], token)) + behind
    except RecursionError:  # it is deep enough already
        return event


def break_events(
    events: Sequence[bytes], strangers: Sequence[bytes], choose: Choose, times: int
) -> list[bytes]:
    """The events, some of them dropped, repeated, moved, cut, broken, or another reply's."""
    found = list(events)
    for _ in range(times):
        if not found:
            break
        at, way = choose(len(found)), choose(8)
        if way == 0:
            del found[at]
        elif way == 1:
            found.insert(choose(len(found) + 1), found[at])
        elif way == 2:
            found.insert(choose(len(found)), found.pop(at))
        elif way == 3:
            found.insert(at, strangers[choose(len(strangers))])
        elif way == 4:
            found[at] = found[at][: choose(len(found[at]) + 1)]
        else:
            found[at] = _break_value(found[at], choose)
    return found


def break_bytes(body: bytes, choose: Choose, times: int) -> bytes:
    """The body, some of its bytes dropped, repeated, swapped, changed, or cut off."""
    for _ in range(times):
        start = choose(len(body) + 1)
        end = min(len(body), start + choose(40))
        way = choose(6)
        if way == 0:
            body = body[:start] + body[end:]
        elif way == 1:
            body = body[:end] + body[start:]
        elif way == 2:
            body = body[:start] + body[start:end][::-1] + body[end:]
        elif way == 3:
            body = body[:start] + bytes([choose(256)]) + body[end:]
        elif way == 4:
            body = body[:start] + b'\r\n:{["<\\,'[choose(9) :][:1] + body[start:]
        else:
            body = body[:start] + b"\xf0\x9f\x8c\xa7\xed\xa0\xbd\x00"[choose(8) :] + body[end:]
    return body


def split(body: bytes, choose: Choose, cuts: int) -> list[bytes]:
    """The body in pieces."""
    marks = sorted(choose(len(body) + 1) for _ in range(cuts))
    return [body[start:end] for start, end in zip([0, *marks], [*marks, len(body)])]
