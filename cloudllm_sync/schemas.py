"""JSON Schemas of Python types, by msgspec (pure)."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from typing import Any

import msgspec

from cloudllm_sync.known_types import known

__all__ = ["has_free_keys", "holds_itself", "reply_schema", "schema_of"]

_NAME = "{name}"  # what a reference says: the name alone
_DEFS = "#/$defs/"


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema of a type: plain types, attrs classes, dataclasses, enums, lists of them.

    What it refers to stands in its place, as some providers take no `$ref`; only what holds itself
    is referred to.

    Raises:
        TypeError: It has no JSON form.
    """
    with contextlib.suppress(TypeError, NotImplementedError):  # said below, in its words
        known(kind)
    try:
        (schema,), parts = msgspec.json.schema_components([kind], ref_template=_NAME)
    except NotImplementedError as error:  # a default that is made of the object itself
        raise TypeError(str(error)) from error
    looped = {name for name in parts if _leads_to(name, parts[name], parts, set())}
    # The outermost is no reference in any case: providers want an object there.
    found: dict[str, Any] = _inlined(parts.get(schema.get("$ref", ""), schema), parts, looped)
    if looped & _names_in(found):
        found["$defs"] = {name: _inlined(parts[name], parts, looped) for name in sorted(looped)}
    return found


@functools.lru_cache(maxsize=64)
def reply_schema(kind: Any) -> dict[str, Any]:
    """The schema of a reply that is an object of this class: all of its fields have to be there,
    and no others, as OpenAI and Claude want it.

    Raises:
        TypeError: It has no JSON form, or one that is no object.
    """
    schema = schema_of(kind)
    if schema.get("type") != "object" or "properties" not in schema:
        raise TypeError(f"{kind!r} is no class with fields")
    strict: dict[str, Any] = _strict(schema)
    return strict


def has_free_keys(schema: Any) -> bool:
    """Whether anything goes somewhere in it: objects of any keys, as a `dict` is, lists of any
    items, tuples, any value at all. Strict modes take none of these.
    """
    if isinstance(schema, list):
        return any(map(has_free_keys, schema))
    if not isinstance(schema, Mapping):
        return False
    if not schema or (schema.get("type") == "array" and "items" not in schema):
        return True
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return True
    inner = {name: part for name, part in schema.items() if name != "properties"}
    fields = schema.get("properties") or {}
    return any(map(has_free_keys, [*inner.values(), *fields.values()]))


def holds_itself(schema: Mapping[str, Any]) -> bool:
    """Whether it refers to itself, which some providers do not take."""
    return "$defs" in schema


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _strict(part) for name, part in schema.items() if name != "default"}
    properties = schema.get("properties")
    if schema.get("type") == "object" and isinstance(properties, dict):
        # By hand: a property may be called "default".
        found["properties"] = {name: _strict(part) for name, part in properties.items()}
        found["required"] = list(properties)
        found["additionalProperties"] = False
    return found


def _leads_to(name: str, schema: Any, known: Mapping[str, Any], passed: set[str]) -> bool:
    """Whether a schema refers to this name, directly or by others."""
    for other in _references(schema):
        if other == name:
            return True
        if other not in passed:
            passed.add(other)
            if _leads_to(name, known[other], known, passed):
                return True
    return False


def _references(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [name for part in schema.values() for name in _references(part)]
    if isinstance(schema, list):
        return [name for part in schema for name in _references(part)]
    return []


def _names_in(schema: Any) -> set[str]:
    return {reference.rpartition("/")[2] for reference in _references(schema)}


def _inlined(schema: Any, known: Mapping[str, Any], looped: set[str]) -> Any:
    """The schema with what it refers to in place of the references."""
    if isinstance(schema, list):
        return [_inlined(part, known, looped) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _inlined(part, known, looped) for name, part in schema.items()}
    if isinstance(found.get("enum"), list) and {*map(type, found["enum"])} == {str}:
        found = {"type": "string", **found}  # msgspec leaves it out
    name = found.get("$ref")
    if not isinstance(name, str):
        return found
    if name in looped:
        return {**found, "$ref": _DEFS + name}
    del found["$ref"]
    return {**_inlined(known[name], known, looped), **found}
