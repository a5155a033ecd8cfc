"""OpenAI's Responses API: the request side. Nothing is kept at the server.

Source: wire/WIRE.md, section 10, after OpenAI's API reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from cloudllm_sync.codecs import ChatRequest, WireRequest
from cloudllm_sync.codecs.json_text import write_json
from cloudllm_sync.codecs.openai_chat import arguments_text, response_format
from cloudllm_sync.codecs.openai_responses_decoder import OpenAIResponsesDecoder
from cloudllm_sync.errors import (
    APIError,
    BadRequestError,
    ConfigurationError,
    UnsupportedOptionError,
)
from cloudllm_sync.values import Attachment, ChatOptions, Message, Role, ToolDefinition

__all__ = ["OpenAIResponsesCodec"]

_FEATURES = frozenset(
    {"tools", "tool_choice", "images", "documents", "response_schema", "reasoning_effort"}
)
_TOOL_CHOICES = ("auto", "none", "required")
_CALL_ITEMS = ("function_call", "custom_tool_call")
_LEAST_OUTPUT_TOKENS = 16
_ENCRYPTED_REASONING = ["reasoning.encrypted_content"]
# "Encrypted content is not supported with this model", of models that do not reason.
_REFUSES_ENCRYPTED = re.compile(r"encrypted.content", re.IGNORECASE)
# "Your organization must be verified to generate reasoning summaries"
_REFUSES_SUMMARY = re.compile(r"reasoning.summar", re.IGNORECASE)


@attrs.frozen(slots=True)
class OpenAIResponsesCodec:
    """The codec of `POST {base_url}/responses`.

    Reasoning is asked for in encrypted form, so that tool loops can send it back. Models that do
    not reason refuse that, and summaries need a verified organisation: the server is asked again
    without what it refused, and later requests leave it out.
    """

    provider: str
    encrypted_reasoning: bool = True
    reasoning_summary: bool = True

    @property
    def features(self) -> frozenset[str]:
        """All but stop words, seeds and audio."""
        return _FEATURES

    def encode(self, request: ChatRequest) -> WireRequest:
        """The request as the Responses API says it."""
        body: dict[str, Any] = {
            "model": request.model,
            "input": self._input(request.messages),
            "stream": request.stream,
            "store": False,
        }
        system = [message.content for message in request.messages if message.role is Role.SYSTEM]
        if any(system):
            body["instructions"] = "\n\n".join(filter(None, system))
        if self.encrypted_reasoning:
            body["include"] = _ENCRYPTED_REASONING
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        body.update(self._options(request.options, request.tools))
        body.update(request.options.extra_body)
        return WireRequest("/responses", write_json(body))

    def amend(
        self, wire: WireRequest, error: APIError
    ) -> tuple[WireRequest, OpenAIResponsesCodec] | None:
        """The request without encrypted reasoning or summaries, if the server refused these."""
        if not isinstance(error, BadRequestError):
            return None
        body = msgspec.json.decode(wire.body)
        reasoning = body.get("reasoning")
        if (
            self.encrypted_reasoning
            and body.get("include") == _ENCRYPTED_REASONING
            and _REFUSES_ENCRYPTED.search(error.body)
        ):
            del body["include"]
            return WireRequest(wire.path, write_json(body)), attrs.evolve(
                self, encrypted_reasoning=False
            )
        if (
            self.reasoning_summary
            and isinstance(reasoning, dict)
            and reasoning.pop("summary", None) == "auto"
            and _REFUSES_SUMMARY.search(error.body)
        ):
            return WireRequest(wire.path, write_json(body)), attrs.evolve(
                self, reasoning_summary=False
            )
        return None

    def decoder(self) -> OpenAIResponsesDecoder:
        """A decoder for one reply."""
        return OpenAIResponsesDecoder(self.provider)

    def _options(self, options: ChatOptions, tools: Sequence[ToolDefinition]) -> dict[str, Any]:
        for name, value in (("stop", options.stop), ("seed", options.seed)):
            if value not in (None, ()):
                raise UnsupportedOptionError(
                    f"{name}: {self.provider}'s Responses API has no such option: leave it out"
                )
        limit = options.max_output_tokens
        if limit is not None and limit < _LEAST_OUTPUT_TOKENS:
            raise UnsupportedOptionError(
                f"max_output_tokens {limit!r}: {self.provider}'s Responses API takes "
                f"{_LEAST_OUTPUT_TOKENS} or more"
            )
        said = {
            "max_output_tokens": limit,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "reasoning": self._reasoning(options.reasoning_effort),
            "tool_choice": self._tool_choice(options.tool_choice, tools),
            "text": _text_format(options),
        }
        return {name: value for name, value in said.items() if value is not None}

    def _reasoning(self, effort: str | None) -> dict[str, str] | None:
        if effort is None:
            return None
        # Without effort there is nothing to sum up.
        if effort == "none" or not self.reasoning_summary:
            return {"effort": effort}
        return {"effort": effort, "summary": "auto"}

    def _tool_choice(self, choice: str | None, tools: Sequence[ToolDefinition]) -> object:
        if choice is None:
            return None
        if not tools:
            raise UnsupportedOptionError(
                f"tool_choice {choice!r} without tools: {self.provider} would refuse it"
            )
        if choice in _TOOL_CHOICES:
            return choice
        names = [tool.name for tool in tools]
        if choice not in names:
            raise UnsupportedOptionError(
                f"tool_choice {choice!r} is none of {', '.join(_TOOL_CHOICES)} and no tool's name: "
                f"the tools are {', '.join(names)}"
            )
        return {"type": "function", "name": choice}

    def _input(self, messages: Sequence[Message]) -> list[Mapping[str, Any]]:
        items: list[Mapping[str, Any]] = []
        custom: set[str] = set()
        for message in messages:
            if message.role is Role.USER:
                items.append({"role": "user", "content": self._user_parts(message)})
            elif message.role is Role.ASSISTANT:
                own = _own_output(message)
                items += own or _assistant_items(message)
                custom = {item["call_id"] for item in own if item.get("type") == "custom_tool_call"}
            elif message.role is Role.TOOL:
                kind = "custom_tool_call" if message.tool_call_id in custom else "function_call"
                items.append(
                    {
                        "type": f"{kind}_output",
                        "call_id": message.tool_call_id,
                        "output": message.content,
                    }
                )
        if not items:
            raise ConfigurationError(
                f"{self.provider}'s Responses API needs a message beside the system prompt: add one"
            )
        return items

    def _user_parts(self, message: Message) -> list[dict[str, Any]]:
        parts = [self._part(attachment) for attachment in message.attachments]
        if message.content or not parts:
            parts.insert(0, {"type": "input_text", "text": message.content})
        return parts

    def _part(self, attachment: Attachment) -> dict[str, Any]:
        kind = attachment.media_type
        if kind.startswith("image/"):
            return {"type": "input_image", "image_url": attachment.data_url()}
        if kind == "application/pdf" and attachment.url is not None:
            return {"type": "input_file", "file_url": attachment.url}
        if kind == "application/pdf":
            name = attachment.name or "document.pdf"
            return {"type": "input_file", "filename": name, "file_data": attachment.data_url()}
        raise UnsupportedOptionError(
            f"{self.provider}'s Responses API takes no {kind}: send an image or PDF, or its text"
        )


def _assistant_items(message: Message) -> list[Mapping[str, Any]]:
    """The items of a reply, rebuilt from what it says."""
    parts = []
    if message.content:
        parts.append({"type": "output_text", "text": message.content})
    if message.refusal:
        parts.append({"type": "refusal", "refusal": message.refusal})
    if not parts and not message.tool_calls:
        parts.append({"type": "output_text", "text": ""})
    items: list[Mapping[str, Any]] = [{"role": "assistant", "content": parts}] if parts else []
    for call in message.tool_calls:
        items.append(
            {
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": arguments_text(call),
            }
        )
    return items


def _own_output(message: Message) -> list[Mapping[str, Any]]:
    """The items that this wire handed out with the calls, to go back unchanged.

    Nothing if they do not hold just these calls: the message was changed, or the reply was cut.
    """
    items = (message.provider_state or {}).get("openai_output")
    if not message.tool_calls or not isinstance(items, (list, tuple)):
        return []
    objects = [item for item in items if isinstance(item, Mapping)]
    held = [str(item.get("call_id")) for item in objects if item.get("type") in _CALL_ITEMS]
    return objects if sorted(held) == sorted(call.id for call in message.tool_calls) else []


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        # Left out it would be true here, which refuses most schemas.
        "strict": False,
    }


def _text_format(options: ChatOptions) -> dict[str, Any] | None:
    named = response_format(options)
    return named and {"format": {"type": "json_schema", **named["json_schema"]}}
