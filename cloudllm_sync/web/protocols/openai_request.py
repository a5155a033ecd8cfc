"""The body of a Chat Completions request to what the caller wants.

Source: OpenAI API reference, Chat Completions: create.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal, Optional, Union

import msgspec

from cloudllm_sync.attachments import Attachment
from cloudllm_sync.codecs import ChatRequest
from cloudllm_sync.codecs.conversation import as_messages, as_tools
from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.values import ChatOptions, Message, Role, ToolCall, ToolDefinition

__all__ = ["request_of", "wants_usage"]


class _Text(msgspec.Struct, tag="text"):
    text: str


class _Refusal(msgspec.Struct, tag="refusal"):
    refusal: str


class _Address(msgspec.Struct):
    url: str


class _Image(msgspec.Struct, tag="image_url"):
    image_url: _Address


class _Sound(msgspec.Struct):
    data: str
    format: Literal["wav", "mp3"]


class _Audio(msgspec.Struct, tag="input_audio"):
    input_audio: _Sound


class _Document(msgspec.Struct):
    file_data: str
    filename: Optional[str] = None


class _File(msgspec.Struct, tag="file"):
    file: _Document


_Part = Union[_Text, _Refusal, _Image, _Audio, _File]


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    id: str
    function: _CalledFunction


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Union[str, list[_Part], None] = None
    refusal: Optional[str] = None
    reasoning_content: Optional[str] = None
    tool_calls: Optional[list[_Call]] = None
    tool_call_id: Optional[str] = None


class _Function(msgspec.Struct):
    name: str
    description: Optional[str] = None
    parameters: Optional[dict[str, Any]] = None


class _Tool(msgspec.Struct):
    function: _Function
    type: Literal["function"] = "function"


class _Name(msgspec.Struct):
    name: str


class _Choice(msgspec.Struct):
    function: _Name


class _Schema(msgspec.Struct):
    schema: dict[str, Any]


class _PlainFormat(msgspec.Struct, tag="text"):
    pass


class _SchemaFormat(msgspec.Struct, tag="json_schema"):
    json_schema: _Schema


class _StreamOptions(msgspec.Struct):
    include_usage: Optional[bool] = None


class _Body(msgspec.Struct):
    messages: list[_Message]
    model: str = ""
    stream: Optional[bool] = None
    stream_options: Optional[_StreamOptions] = None
    n: Optional[Literal[1]] = None
    tools: Optional[list[_Tool]] = None
    tool_choice: Union[Literal["auto", "none", "required"], _Choice, None] = None
    max_tokens: Optional[int] = None
    max_completion_tokens: Optional[int] = None
    temperature: Optional[float] = None
    top_p: Optional[float] = None
    stop: Union[str, list[str], None] = None
    seed: Optional[int] = None
    reasoning_effort: Optional[str] = None
    response_format: Union[_PlainFormat, _SchemaFormat, None] = None


_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,  # OpenAI's newer word
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
}
_SOUNDS = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_decode = msgspec.json.Decoder(_Body).decode


def request_of(body: bytes) -> ChatRequest:
    """What a client of OpenAI's asks for. Fields that ChatOptions cannot say are passed over.

    Raises:
        ConfigurationError: It is no JSON, or no such request; says where, and quotes no prompt.
    """
    asked = _read(body)
    try:
        return ChatRequest(
            asked.model,
            as_messages(_message(at, said) for at, said in enumerate(asked.messages)),
            as_tools(map(_tool, asked.tools or ())),
            _options(asked),
            bool(asked.stream),
        )
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(f"the request cannot be taken: {error}") from error


def wants_usage(body: bytes) -> bool:
    """Whether the stream is to end with a chunk of usage; what `encoder_for()` has to be told.

    Raises:
        ConfigurationError: As `request_of()`.
    """
    options = _read(body).stream_options
    return bool(options and options.include_usage)


def _read(body: bytes) -> _Body:
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        # Without the cause, which may hold the body, and so the prompt.
        raise ConfigurationError(f"the body is no Chat Completions request: {error}") from None
    except RecursionError:
        raise ConfigurationError("the body is nested too deep") from None


def _message(at: int, said: _Message) -> Message:
    where = f"messages[{at}]"
    parts = [_Text(said.content)] if isinstance(said.content, str) else said.content or []
    texts = [part.text for part in parts if isinstance(part, _Text)]
    refusals = [part.refusal for part in parts if isinstance(part, _Refusal)]
    return Message(
        _ROLES[said.role],
        "\n".join(texts),
        tool_calls=tuple(
            ToolCall(call.id, call.function.name, call.function.arguments)
            for call in said.tool_calls or ()
        ),
        tool_call_id=said.tool_call_id,
        attachments=_attachments(where, parts),
        reasoning=said.reasoning_content or "",
        refusal=said.refusal or "\n".join(refusals),
    )


def _attachments(where: str, parts: Sequence[_Part]) -> tuple[Attachment, ...]:
    found = []
    for part in parts:
        if isinstance(part, _Image):
            found.append(_image(where, part.image_url.url))
        elif isinstance(part, _Audio):
            sound = part.input_audio
            data = _from_base64(where, sound.data)
            found.append(Attachment.from_bytes(data, _SOUNDS[sound.format]))
        elif isinstance(part, _File):
            found.append(_inline(where, part.file.file_data, part.file.filename))
    return tuple(found)


def _image(where: str, url: str) -> Attachment:
    if url.startswith("data:"):
        return _inline(where, url, None)
    try:
        return Attachment.from_url(url)
    except ValueError:
        # An address need not end in what it leads to; most are of this type.
        return Attachment.from_url(url, "image/jpeg")


def _inline(where: str, url: str, name: str | None) -> Attachment:
    """The file in a `data:` URL (RFC 2397)."""
    head, comma, data = url.partition(",")
    kind, _, encoding = head.rpartition(";")
    if not comma or encoding != "base64" or not kind.startswith("data:"):
        raise ConfigurationError(f"{where} has a file that is no data URL in base64")
    return Attachment.from_bytes(_from_base64(where, data), kind[5:] or None, name=name)


def _from_base64(where: str, data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ConfigurationError(f"{where} has a file that is not valid base64") from error


def _tool(said: _Tool) -> ToolDefinition:
    function = said.function
    none = {"type": "object", "properties": {}}
    return ToolDefinition(function.name, function.description or "", function.parameters or none)


def _options(asked: _Body) -> ChatOptions:
    choice, form = asked.tool_choice, asked.response_format
    limit = asked.max_completion_tokens
    return ChatOptions(
        max_output_tokens=asked.max_tokens if limit is None else limit,
        temperature=asked.temperature,
        top_p=asked.top_p,
        stop=() if asked.stop is None else asked.stop,
        seed=asked.seed,
        reasoning_effort=asked.reasoning_effort,
        tool_choice=choice.function.name if isinstance(choice, _Choice) else choice,
        response_schema=form.json_schema.schema if isinstance(form, _SchemaFormat) else None,
    )
