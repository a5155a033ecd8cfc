"""Objects out of a reply's JSON: whole, and as far as they have arrived (pure)."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, Union, cast

import attrs
import msgspec
import msgspec.structs

from cloudllm_sync.known_types import known

__all__ = ["ObjectReader", "name_of", "parsed_reply"]

_Object = TypeVar("_Object")

_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?\s*```", re.DOTALL)

# Up to here every piece of text is read anew; beyond, when the text has grown by this part of it.
# So all readings together cost 33 times the last one, and not the square of the text.
_SHORT_CHARACTERS = 4096
_GROWTH = 32
# How many braces of a text may be the one where the JSON begins.
_BRACES = 20
_read_one = json.JSONDecoder().raw_decode
# A number that is not over, maybe: it may be of a string, where it comes a little later then.
_NUMBER = re.compile(rb"(?<=[:,\[])\s*[-+.\w]*$")
_UNIONS = (Union, getattr(types, "UnionType", Union))


def name_of(kind: object) -> str:
    """What errors call a type."""
    return getattr(kind, "__name__", None) or repr(kind)


def parsed_reply(text: str, kind: type[_Object], *, is_cut: bool = False) -> _Object:
    """The object that a whole reply says.

    Raises:
        ValueError: It is no JSON, or does not fit; it says where.
    """
    try:
        return _found_in(text, kind)
    except ValueError as error:
        cut = ", as it was cut (finish_reason 'length')" if is_cut else ""
        raise ValueError(f"the reply is no {name_of(kind)}{cut}: {error}") from None


def _found_in(text: str, kind: type[_Object]) -> _Object:
    try:
        return _decoded(text, kind)
    except ValueError as error:
        said = error
    if not _is_json(said):
        for inner in _inside(text):
            try:
                return _decoded(inner, kind)
            except ValueError as error:
                # What is JSON and does not fit tells more than what is none.
                said = said if _is_json(said) else error
    raise said


def _is_json(error: ValueError) -> bool:
    return isinstance(error.__cause__, msgspec.ValidationError)


def _decoded(text: str, kind: type[_Object]) -> _Object:
    try:
        return msgspec.json.decode(text, type=known(kind))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(str(error)) from error
    except TypeError as error:
        raise ValueError(f"it is no class that can be read: {error}") from error


def _inside(text: str) -> Iterator[str]:
    """Where the JSON may be, if there is text around it."""
    yield from _FENCE.findall(text)
    for brace in itertools.islice(re.finditer("{", text), _BRACES):
        try:
            _, end = _read_one(text, brace.start())
        except (ValueError, RecursionError):
            continue
        yield text[brace.start() : end]


class ObjectReader:
    """Reads an object again and again as its text arrives.

    Raises:
        ImportError: The library that reads unfinished JSON is missing.
    """

    def __init__(self, kind: type[Any]) -> None:
        try:
            import jiter
        except ImportError as error:
            raise ImportError(
                'objects that arrive need jiter: pip install "cloudllm-sync[objects]"'
            ) from error
        self._read = functools.partial(jiter.from_json, partial_mode="on")
        self._read_half = functools.partial(jiter.from_json, partial_mode="trailing-strings")
        with contextlib.suppress(TypeError):  # said when the whole is read
            known(kind)
        self._kind = kind
        self._pieces: list[str] = []
        self._length = 0
        self._read_length = 0
        self._last: Any = None

    def add(self, text: str) -> Any:
        """The object as far as it has arrived; None if nothing of it is new."""
        self._pieces.append(text)
        self._length += len(text)
        grown = self._length - self._read_length
        if self._length > _SHORT_CHARACTERS and grown * _GROWTH < self._length:
            return None
        self._read_length = self._length
        whole = "".join(self._pieces)
        self._pieces = [whole]
        begin = whole.find("{")
        if begin < 0:
            return None
        data = _NUMBER.sub(b"", whole[begin:].encode("utf-8", "replace"))
        try:
            found, half = self._read(data), self._read_half(data)
        except ValueError:
            return None  # no JSON: the end tells
        # Half a text is what a reader wants to see grow; half of another value is another value.
        made = so_far(half if _ends_in_text(half, self._kind) else found, self._kind)
        if made == self._last:
            return None
        self._last = made
        return made


def _ends_in_text(found: Any, kind: Any) -> bool:
    """Whether what came last is to be free text."""
    while isinstance(found, (Mapping, list)) and found:
        parts = typing.get_args(kind)
        origin = typing.get_origin(kind)
        if origin in _UNIONS:
            kind = next((part for part in parts if _may_be(found, part)), None)
        elif isinstance(found, list):
            found, kind = found[-1], parts[0] if parts else Any
        else:
            name = next(reversed(found))
            inner = parts[1] if origin is dict and parts else _hints(kind).get(name)
            found, kind = found[name], inner
    texts = [part for part in typing.get_args(kind) or (kind,) if part is not type(None)]
    return texts in ([str], [Any])


def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind) if isinstance(kind, type) else {}


def so_far(found: Any, kind: Any) -> Any:
    """What has been read as an object of this type: what is missing is at its default, or
    empty, or None.
    """
    try:
        return msgspec.convert(found, kind)
    except (msgspec.MsgspecError, ValueError, TypeError):
        pass
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return so_far(found, parts[0])
    if origin in _UNIONS:
        return next((so_far(found, part) for part in parts if _may_be(found, part)), None)
    if isinstance(found, list):
        inner = parts[0] if parts else Any
        items = [so_far(item, inner) for item in found]
        return tuple(items) if origin is tuple else items
    if isinstance(found, Mapping):
        if origin is dict:
            return {name: so_far(item, parts[1]) for name, item in found.items()}
        return _instance(found, kind)
    return None


def _may_be(found: Any, kind: Any) -> bool:
    """Whether this member of a union is meant."""
    if isinstance(found, Mapping):
        return bool(_fields(kind)) or typing.get_origin(kind) is dict
    return isinstance(found, list) and typing.get_origin(kind) in (list, tuple)


def _fields(kind: Any) -> dict[str, Any]:
    """The fields of a class, with their defaults; empty if it has none."""
    if attrs.has(kind):
        return {field.name: field.default for field in attrs.fields(kind)}
    if dataclasses.is_dataclass(kind):
        return {
            field.name: (
                attrs.Factory(cast(Any, field.default_factory))
                if field.default_factory is not dataclasses.MISSING
                else None
                if field.default is dataclasses.MISSING
                else field.default
            )
            for field in dataclasses.fields(kind)
        }
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        known = msgspec.structs.fields(kind)
        return {one.name: None if one.required else one.default for one in known}
    return {}


def _at_first(default: Any, kind: Any) -> Any:
    """What stands in a field that has not arrived: lists and dicts are empty, not None."""
    if default not in (None, attrs.NOTHING):
        made = getattr(default, "factory", None)
        return default if made is None else None if default.takes_self else made()
    empty = typing.get_origin(kind)
    return empty() if empty in (list, tuple, dict) else None


def _instance(found: Mapping[str, Any], kind: Any) -> Any:
    """An object that no constructor has seen, as it would refuse to be made of less."""
    hints = _hints(kind)
    fields = _fields(kind)
    if not fields:
        return {name: so_far(item, hints.get(name, Any)) for name, item in found.items()}
    values = {
        name: so_far(found[name], hints.get(name, Any))
        if name in found
        else _at_first(default, hints.get(name, Any))
        for name, default in fields.items()
    }
    if issubclass(kind, msgspec.Struct):
        return kind(**values)  # takes what it is given
    made = kind.__new__(kind)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made
