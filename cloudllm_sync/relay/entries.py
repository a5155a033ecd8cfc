"""Chunks and ends as the entries of a log, and back: pure.

A batch of chunks is a JSON list: plain text is a string, anything else an object. An end is an
object with the whole message, or with the error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional, Union

import msgspec

from cloudllm_sync import errors
from cloudllm_sync.codecs.surrogates import well_formed
from cloudllm_sync.errors import CloudLLMError, StoreError
from cloudllm_sync.records import (
    message_from_record,
    message_to_record,
    usage_from_record,
    usage_to_record,
)
from cloudllm_sync.values import Message, MessageChunk, ToolCallDelta

__all__ = ["End", "chunks_of", "data_of_chunks", "data_of_end", "end_of"]

End = Union[Message, CloudLLMError]

_TEXTS = ("content", "reasoning", "refusal", "finish_reason", "raw_finish_reason")
# What an error says beside its words; JSON can say all of it.
_FIELDS = (
    "request_id",
    "retryable",
    "attempts",
    "clock",
    "status_code",
    "code",
    "type",
    "retry_after_s",
    "body",
    "waited_s",
)
_encode = msgspec.json.Encoder().encode
_decode_chunks = msgspec.json.Decoder(list[Union[str, dict[str, Any]]]).decode
_decode_end = msgspec.json.Decoder(dict[str, Any]).decode


def data_of_chunks(chunks: Iterable[MessageChunk]) -> bytes:
    """One entry of these chunks."""
    return _encode([_chunk_record(chunk) for chunk in chunks])


def chunks_of(data: bytes) -> list[MessageChunk]:
    """The chunks of an entry.

    Raises:
        StoreError: It is no entry.
    """
    try:
        return [_chunk(record) for record in _decode_chunks(data)]
    except (msgspec.MsgspecError, ValueError, TypeError, AttributeError) as error:
        raise _unreadable(error) from None


def data_of_end(end: End) -> bytes:
    """The last entry."""
    if isinstance(end, Message):
        return _encode({"message": message_to_record(end)})
    fields = {name: getattr(end, name) for name in _FIELDS if getattr(end, name, None) is not None}
    record: dict[str, Any] = {"error": type(end).__name__, "says": str(end), "fields": fields}
    if end.partial is not None:
        record["partial"] = message_to_record(end.partial)
    return _encode(record)


def end_of(data: bytes) -> End:
    """The message, or an error of the class that it was; of CloudLLMError if that is not known.

    Raises:
        StoreError: It is no end.
    """
    try:
        record = _decode_end(data)
        if "message" in record:
            return message_from_record(record["message"])
        return _error(record)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(error) from None


def _chunk_record(chunk: MessageChunk) -> Union[str, dict[str, Any]]:
    record: dict[str, Any] = {}
    for name in _TEXTS:
        text = getattr(chunk, name)
        if text:
            record[name] = _said(text)
    if chunk.tool_call_delta is not None:
        delta = chunk.tool_call_delta
        texts = (delta.id, delta.name, delta.arguments)
        record["call"] = [delta.index, *(text and _said(text) for text in texts)]
    if chunk.usage is not None:
        record["usage"] = usage_to_record(chunk.usage)
    return record["content"] if list(record) == ["content"] else record


def _said(text: str) -> str:
    """JSON has no halves of characters, which chunks of a client of one's own may hold."""
    return text if text.isascii() else well_formed(text)


def _chunk(record: Union[str, Mapping[str, Any]]) -> MessageChunk:
    if isinstance(record, str):
        return MessageChunk(record)
    texts: dict[str, Any] = {name: record[name] for name in _TEXTS if name in record}
    call, usage = record.get("call"), record.get("usage")
    return MessageChunk(
        **texts,
        tool_call_delta=None if call is None else ToolCallDelta(*call),
        usage=None if usage is None else usage_from_record(usage),
    )


def _error(record: Mapping[str, Any]) -> CloudLLMError:
    found = getattr(errors, str(record["error"]), None)
    kind = CloudLLMError
    if isinstance(found, type) and issubclass(found, CloudLLMError):
        kind = found
    error = kind(str(record["says"]))
    for name, value in record["fields"].items():
        if name in _FIELDS:
            setattr(error, name, value)
    partial: Optional[Mapping[str, Any]] = record.get("partial")
    error.partial = None if partial is None else message_from_record(partial)
    return error


def _unreadable(error: Exception) -> StoreError:
    return StoreError(f"the relay holds an entry that cannot be read: {str(error)[:200]}")
