"""Messages as plain records, and back: what every file and database keeps (pure).

A record is JSON: text, numbers, lists and objects. Fields at their defaults are left out, and
fields that are not known are passed over, so that older and newer programs read each other's as
far as they can. `FORMAT` counts the changes after which that is no longer true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import msgspec

from cloudllm_sync.known_types import known
from cloudllm_sync.values import Message, TokenUsage

__all__ = [
    "FORMAT",
    "message_from_record",
    "message_to_record",
    "usage_from_record",
    "usage_to_record",
]

FORMAT = 1

_Value = TypeVar("_Value", Message, TokenUsage)


def message_to_record(message: Message) -> dict[str, Any]:
    """The message as JSON can say it; bytes are base64 (RFC 4648, 4).

    Raises:
        ValueError: Its provider_state holds what no JSON can say.
    """
    return _to_record(message)


def message_from_record(record: Mapping[str, Any]) -> Message:
    """The message that the record was made of.

    Raises:
        ValueError: It is no message's; it says where, and quotes no text.
    """
    return _from_record(record, Message)


def usage_to_record(usage: TokenUsage) -> dict[str, Any]:
    """The counts that are known."""
    return _to_record(usage)


def usage_from_record(record: Mapping[str, Any]) -> TokenUsage:
    """The usage that the record was made of. Raises as `message_from_record()`."""
    return _from_record(record, TokenUsage)


def _to_record(value: Any) -> dict[str, Any]:
    """The value's fields but those at their defaults; the same for what is in them."""
    record: dict[str, Any] = {}
    for field in attrs.fields(type(value)):
        item = getattr(value, field.name)
        if item != field.default:
            record[field.name] = _said(item, field.name)
    return record


def _said(item: Any, name: str) -> Any:
    if attrs.has(type(item)):
        return _to_record(item)
    if isinstance(item, tuple):
        return [_said(part, name) for part in item]
    try:
        return msgspec.to_builtins(item, enc_hook=_as_dict)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} holds what no JSON can say: {error}") from error


def _as_dict(value: Any) -> Any:
    """What msgspec does not know: mappings that are no dict."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"an object of type {type(value).__name__}")


def _from_record(record: Mapping[str, Any], kind: type[_Value]) -> _Value:
    try:
        return msgspec.convert(record, known(kind))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"no record of a {kind.__name__}: {error}") from error
