"""Ollama's own wire, /api/chat: the request side.

Source: wire/WIRE.md, section 9, after Ollama's API reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

import attrs

from cloudllm_sync.codecs import ChatRequest, WireRequest
from cloudllm_sync.codecs.conversation import in_order_of_calls
from cloudllm_sync.codecs.json_text import merged, write_json
from cloudllm_sync.codecs.ollama_decoder import MADE_ID_PREFIX, OllamaDecoder
from cloudllm_sync.errors import APIError, ConfigurationError, UnsupportedOptionError
from cloudllm_sync.values import Attachment, ChatOptions, Message, Role, ToolCall, ToolDefinition

__all__ = ["OllamaCodec"]

_FEATURES = frozenset({"tools", "images", "response_schema", "stop", "seed", "reasoning_effort"})
_EFFORTS = ("low", "medium", "high")


@attrs.frozen(slots=True)
class OllamaCodec:
    """The codec of `POST {base_url}/api/chat`."""

    provider: str

    @property
    def features(self) -> frozenset[str]:
        """All but documents, audio, and a say in which tool is called."""
        return _FEATURES

    def encode(self, request: ChatRequest) -> WireRequest:
        """The request as Ollama says it. `extra_body` is merged into it, object by object."""
        options = request.options
        body: dict[str, Any] = {
            "model": request.model,
            "messages": self._messages(request.messages),
            "stream": request.stream,  # always: it streams unless told not to
        }
        if self._may_call(options.tool_choice, request.tools) and request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        if options.response_schema is not None:
            body["format"] = options.json_schema
        if options.reasoning_effort is not None:
            body["think"] = self._think(options.reasoning_effort)
        settings = _settings(options)
        if settings:
            body["options"] = settings
        text = write_json(merged(body, options.extra_body))
        return WireRequest("/api/chat", text, json_lines=request.stream)

    def amend(self, wire: WireRequest, error: APIError) -> None:
        """None: there is nothing that some servers take and others refuse."""
        return

    def decoder(self) -> OllamaDecoder:
        """A decoder for one reply."""
        return OllamaDecoder(self.provider)

    def _may_call(self, choice: Optional[str], tools: Sequence[ToolDefinition]) -> bool:
        """Whether the model is told of its tools: not being told is how it is kept from calling."""
        if choice is not None and not tools:
            raise UnsupportedOptionError(
                f"tool_choice {choice!r} without tools: {self.provider} has nothing to choose from"
            )
        if choice not in (None, "auto", "none"):
            raise UnsupportedOptionError(
                f"{self.provider} cannot be made to call a tool: leave out tool_choice {choice!r}"
            )
        return choice != "none"

    def _think(self, effort: str) -> Union[bool, str]:
        effort = effort.strip().lower()
        if effort == "none":
            return False
        if effort not in _EFFORTS:
            raise UnsupportedOptionError(
                f"{self.provider} has no reasoning_effort {effort!r}: use one of none, "
                f"{', '.join(_EFFORTS)}"
            )
        return effort

    def _messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        said = []
        calls: tuple[ToolCall, ...] = ()
        for message in in_order_of_calls(messages):
            if message.role is not Role.TOOL:
                calls = message.tool_calls
            said.append(self._message(message, calls))
        return said

    def _message(self, message: Message, calls: Sequence[ToolCall]) -> dict[str, Any]:
        said: dict[str, Any] = {"role": message.role.value, "content": message.content}
        if message.role is Role.TOOL:
            said["tool_name"] = _name_of(message.tool_call_id, calls)
        if message.attachments:
            said["images"] = [self._image(attachment) for attachment in message.attachments]
        if message.role is Role.ASSISTANT:
            said["content"] = message.content or message.refusal
            if message.reasoning:
                said["thinking"] = message.reasoning
            if calls:
                said["tool_calls"] = [_call(call) for call in calls]
        return said

    def _image(self, attachment: Attachment) -> str:
        kind = attachment.media_type
        if not kind.startswith("image/"):
            raise UnsupportedOptionError(f"{self.provider} takes no {kind}: send an image, or text")
        if attachment.url is not None:
            raise UnsupportedOptionError(
                f"{self.provider} fetches no image by its address: use Attachment.from_bytes()"
            )
        return attachment.base64()


def _settings(options: ChatOptions) -> dict[str, Any]:
    said = {
        "num_predict": options.max_output_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "stop": list(options.stop) or None,
        "seed": options.seed,
    }
    return {name: value for name, value in said.items() if value is not None}


def _call(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = call.parsed()
    except ValueError as error:
        raise ConfigurationError(
            f"the tool call {call.id!r} cannot be sent, Ollama takes an object only: {error}"
        ) from error
    own_id = {} if call.id.startswith(MADE_ID_PREFIX) else {"id": call.id}
    return {**own_id, "function": {"name": call.name, "arguments": arguments}}


def _name_of(call_id: Optional[str], calls: Sequence[ToolCall]) -> str:
    for call in calls:
        if call.id == call_id:
            return call.name
    raise ConfigurationError(
        f"a tool result is for {call_id!r}, a call that the assistant message before it does not "
        "make"
    )


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}
