"""Gemini's generateContent: the request side.

Source: wire/WIRE.md, section 4, after Google's API reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional
from urllib.parse import quote

import attrs

from cloudllm_sync.codecs import FEATURES, ChatRequest, WireRequest
from cloudllm_sync.codecs.conversation import in_order_of_calls
from cloudllm_sync.codecs.gemini_calls import MADE_ID_PREFIX
from cloudllm_sync.codecs.gemini_decoder import GeminiDecoder
from cloudllm_sync.codecs.json_text import merged, write_json
from cloudllm_sync.errors import APIError, ConfigurationError, UnsupportedOptionError
from cloudllm_sync.values import (
    Attachment,
    ChatOptions,
    Message,
    Role,
    ToolCall,
    ToolDefinition,
)

__all__ = ["GeminiCodec"]

_MAX_STOPS = 5  # Google's limit
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576}
_LEVELS = ("minimal", "low", "medium", "high")
_COUNTS_THOUGHTS = re.compile(r"gemini-[12]\b")
"""Models that take a number of tokens to think with; later ones take a level."""
_ALWAYS_THINKS = re.compile(r"gemini-2\.5-pro\b")
_WANTS_SIGNATURES = re.compile(r"gemini-(?![12]\b)")
"""Models that refuse a step whose first call lacks a thoughtSignature: from Gemini 3 on."""
# For calls that the model did not make itself (Google's guide, Thought signatures, FAQ).
_UNSIGNED = "skip_thought_signature_validator"
_MEDIA = ("image/", "audio/", "video/", "text/", "application/pdf")


@attrs.frozen(slots=True)
class GeminiCodec:
    """The codec of `POST {base_url}/v1beta/models/MODEL:generateContent` and its streaming twin."""

    provider: str

    @property
    def features(self) -> frozenset[str]:
        """All of them."""
        return frozenset(FEATURES)

    def encode(self, request: ChatRequest) -> WireRequest:
        """The request as Gemini says it. `extra_body` is merged into it, object by object."""
        options = request.options
        model = request.model[7:] if request.model.startswith("models/") else request.model
        body: dict[str, Any] = {"contents": self._contents(request.messages)}
        if _WANTS_SIGNATURES.search(model):
            _sign(body["contents"])
        system = [
            {"text": message.content}
            for message in request.messages
            if message.role is Role.SYSTEM and message.content
        ]
        if system:
            body["systemInstruction"] = {"parts": system}
        if request.tools:
            body["tools"] = [{"functionDeclarations": [_tool(tool) for tool in request.tools]}]
        if options.tool_choice is not None:
            config = self._tool_choice(options.tool_choice, request.tools)
            body["toolConfig"] = {"functionCallingConfig": config}
        generation = self._generation(options, model)
        if generation:
            body["generationConfig"] = generation
        verb = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        path = f"/v1beta/models/{quote(model, safe='', errors='replace')}:{verb}"
        return WireRequest(path, write_json(merged(body, options.extra_body)))

    def amend(self, wire: WireRequest, error: APIError) -> None:
        """None: there is nothing that some servers take and others refuse."""
        return

    def decoder(self) -> GeminiDecoder:
        """A decoder for one reply."""
        return GeminiDecoder(self.provider)

    def _generation(self, options: ChatOptions, model: str) -> dict[str, Any]:
        if len(options.stop) > _MAX_STOPS:
            raise UnsupportedOptionError(
                f"{self.provider} takes {_MAX_STOPS} stop sequences, not {len(options.stop)}"
            )
        said: dict[str, Any] = {
            "maxOutputTokens": options.max_output_tokens,
            "temperature": options.temperature,
            "topP": options.top_p,
            "stopSequences": list(options.stop) or None,
            "seed": options.seed,
            "thinkingConfig": self._thinking(options.reasoning_effort, model),
        }
        if options.response_schema is not None:
            said["responseMimeType"] = "application/json"
            said["responseJsonSchema"] = options.json_schema
        return {name: value for name, value in said.items() if value is not None}

    def _thinking(self, effort: Optional[str], model: str) -> Optional[dict[str, Any]]:
        if effort is None:
            return None
        counts = _COUNTS_THOUGHTS.search(model) is not None
        known = tuple(_BUDGETS) if counts else _LEVELS
        if _ALWAYS_THINKS.search(model):
            known = tuple(word for word in known if word != "none")
        effort = effort.strip().lower()
        if effort not in known:
            always = ", which cannot switch thinking off" if effort == "none" else ""
            raise UnsupportedOptionError(
                f"{self.provider} has no reasoning_effort {effort!r} for {model!r}{always}: "
                f"use one of {', '.join(known)}"
            )
        if not counts:
            return {"thinkingLevel": effort.upper(), "includeThoughts": True}
        return {"thinkingBudget": _BUDGETS[effort], "includeThoughts": effort != "none"}

    def _tool_choice(self, choice: str, tools: Sequence[ToolDefinition]) -> dict[str, Any]:
        if not tools:
            raise UnsupportedOptionError(
                f"tool_choice {choice!r} without tools: {self.provider} would refuse it"
            )
        if choice in _MODES:
            return {"mode": _MODES[choice]}
        names = [tool.name for tool in tools]
        if choice not in names:
            raise UnsupportedOptionError(
                f"{self.provider} cannot take tool_choice {choice!r}: it is none of "
                f"{', '.join(_MODES)} and no tool's name, the tools are {', '.join(names)}"
            )
        return {"mode": "ANY", "allowedFunctionNames": [choice]}

    def _contents(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """The turns of both sides, neighbours of one side in one."""
        contents: list[dict[str, Any]] = []
        calls: tuple[ToolCall, ...] = ()
        for position, message in enumerate(in_order_of_calls(messages)):
            if message.role is Role.SYSTEM:
                continue
            if message.role is Role.ASSISTANT:
                calls = message.tool_calls
                role, parts = "model", list(_model_parts(message))
            else:
                role = "user"
                parts = (
                    [_result(message, calls)]
                    if message.role is Role.TOOL
                    else list(self._user_parts(message))
                )
                if not parts:
                    raise ConfigurationError(
                        f"messages[{position}] is empty: {self.provider} takes no user message "
                        "without text or attachment"
                    )
            if contents and contents[-1]["role"] == role:
                contents[-1]["parts"] += parts
            elif parts:
                contents.append({"role": role, "parts": parts})
        if not contents:
            raise ConfigurationError(
                f"{self.provider} needs a message that is no system prompt: add a user message"
            )
        return contents

    def _user_parts(self, message: Message) -> Iterator[dict[str, Any]]:
        if message.content:
            yield {"text": message.content}
        for attachment in message.attachments:
            yield self._attached(attachment)

    def _attached(self, attachment: Attachment) -> dict[str, Any]:
        kind = attachment.media_type
        if not kind.startswith(_MEDIA):
            raise UnsupportedOptionError(
                f"{self.provider} takes no {kind}: send an image, audio, video, PDF or text"
            )
        if attachment.url is not None:
            return {"fileData": {"mimeType": kind, "fileUri": attachment.url}}
        return {"inlineData": {"mimeType": kind, "data": attachment.base64()}}


def _model_parts(message: Message) -> Iterator[dict[str, Any]]:
    known = (message.provider_state or {}).get("gemini_parts")
    if known and _called(known) == [call.name for call in message.tool_calls]:
        yield from known
        return
    for text in (message.content, message.refusal):
        if text:
            yield {"text": text}
    for call in message.tool_calls:
        try:
            arguments = call.parsed()
        except ValueError as error:
            raise ConfigurationError(
                f"the tool call {call.id!r} cannot be sent, Gemini takes an object only: {error}"
            ) from error
        yield {"functionCall": {**_own_id(call), "name": call.name, "args": arguments}}


def _called(parts: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The names of the calls among these parts."""
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    return [call.get("name") for call in calls if isinstance(call, Mapping)]


def _sign(contents: Sequence[dict[str, Any]]) -> None:
    """Have the first call of each step carry a signature; others' calls have none."""
    for content in contents:
        parts = content["parts"]
        first = next((at for at, part in enumerate(parts) if "functionCall" in part), None)
        if first is not None and not parts[first].get("thoughtSignature"):
            # A copy: the part may be a reply's own.
            parts[first] = {**parts[first], "thoughtSignature": _UNSIGNED}


def _own_id(call: ToolCall) -> dict[str, str]:
    """The id, if a provider gave it."""
    return {"id": call.id} if call.id and not call.id.startswith(MADE_ID_PREFIX) else {}


def _result(message: Message, calls: Sequence[ToolCall]) -> dict[str, Any]:
    call = next((call for call in calls if call.id == message.tool_call_id), None)
    if call is None:
        raise ConfigurationError(
            f"a tool result is for {message.tool_call_id!r}, a call that the assistant message "
            "before it does not make"
        )
    response = {**_own_id(call), "name": call.name, "response": _as_object(message.content)}
    return {"functionResponse": response}


def _as_object(text: str) -> Mapping[str, Any]:
    """The result as the object that Gemini wants."""
    try:
        result = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        result = None
    # Gemini takes "$ref" in a result for a reference of its own, and answers with status 400
    # (seen in July 2026, https://github.com/vercel/ai/issues/14369).
    is_plain = isinstance(result, dict) and '"$ref"' not in text
    return result if is_plain else {"result": text}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is Python's, not JSON's")


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    said: dict[str, Any] = {"name": tool.name}
    if tool.description:
        said["description"] = tool.description
    if tool.parameters:
        said["parametersJsonSchema"] = tool.parameters
    return said
