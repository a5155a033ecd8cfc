"""Anthropic's Messages API: the request side.

Source: wire/WIRE.md, section 3, after Anthropic's API reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from cloudllm_sync.codecs import ChatRequest, WireRequest
from cloudllm_sync.codecs.anthropic_blocks import STATE
from cloudllm_sync.codecs.anthropic_decoder import AnthropicDecoder
from cloudllm_sync.codecs.json_text import write_json
from cloudllm_sync.errors import APIError, ConfigurationError, UnsupportedOptionError
from cloudllm_sync.values import Attachment, ChatOptions, Message, Role, ToolCall, ToolDefinition

__all__ = ["AnthropicMessagesCodec"]

_Json = dict[str, Any]

_FEATURES = frozenset(
    {
        "tools",
        "tool_choice",
        "images",
        "documents",
        "response_schema",
        "stop",
        "reasoning_effort",
    }
)
# The wire wants a limit; this one every model of the last years takes.
_DEFAULT_MAX_TOKENS = 8192
_TOOL_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_BUDGETS = {"low": 1024, "medium": 4096, "high": 16384}
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
# Models that think by budget: claude-3*, and claude-*-4 to 4-5 with or without a date.
_THINKS_BY_BUDGET = re.compile(
    r"(?:^|[/.])claude-(?:3\b|[a-z]+-4(?:[-.][015])?(?:$|[-@:](?!\d{1,2}(?:$|[-@:.]))))"
)
_EPHEMERAL = {"type": "ephemeral"}


@attrs.frozen(slots=True)
class AnthropicMessagesCodec:
    """The codec of `POST {base_url}/v1/messages`."""

    provider: str

    @property
    def features(self) -> frozenset[str]:
        """All but audio and seeds."""
        return _FEATURES

    def encode(self, request: ChatRequest) -> WireRequest:
        """The request as the Messages API says it."""
        options = request.options
        thinking = self._thinking(request.model, options)
        body: _Json = {
            "model": request.model,
            "max_tokens": self._max_tokens(options, thinking),
            "messages": self._turns(request.messages),
            "stream": request.stream,
        }
        system = [
            {"type": "text", "text": message.content}
            for message in request.messages
            if message.role is Role.SYSTEM and message.content.strip()
        ]
        if options.cache:
            _mark(system)
            _mark_turns(body["messages"])
        if system:
            plain = len(system) == 1 and not options.cache
            body["system"] = system[0]["text"] if plain else system
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        body.update(self._options(options, request.tools))
        body.update(thinking)
        if options.response_schema is not None:
            wanted = {"type": "json_schema", "schema": options.response_schema}
            body["output_config"] = {**body.get("output_config", {}), "format": wanted}
        body.update(options.extra_body)
        return WireRequest("/v1/messages", write_json(body))

    def amend(
        self, wire: WireRequest, error: APIError
    ) -> tuple[WireRequest, AnthropicMessagesCodec] | None:
        """Never: the wire has no dialects."""
        return None

    def decoder(self) -> AnthropicDecoder:
        """A decoder for one reply."""
        return AnthropicDecoder(self.provider)

    def _options(self, options: ChatOptions, tools: Sequence[ToolDefinition]) -> _Json:
        if options.seed is not None:
            raise UnsupportedOptionError(f"{self.provider} takes no seed: leave it out")
        if options.temperature is not None and options.temperature > 1:
            raise UnsupportedOptionError(
                f"{self.provider} takes a temperature from 0 to 1, not {options.temperature!r}"
            )
        said = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "stop_sequences": list(options.stop) or None,
            "tool_choice": self._tool_choice(options.tool_choice, tools),
        }
        return {name: value for name, value in said.items() if value is not None}

    def _tool_choice(self, choice: str | None, tools: Sequence[ToolDefinition]) -> _Json | None:
        if choice is None:
            return None
        if not tools:
            raise UnsupportedOptionError(
                f"tool_choice {choice!r} without tools: {self.provider} would refuse it"
            )
        if choice in _TOOL_CHOICES:
            return {"type": _TOOL_CHOICES[choice]}
        names = [tool.name for tool in tools]
        if choice not in names:
            raise UnsupportedOptionError(
                f"tool_choice {choice!r} is none of {', '.join(_TOOL_CHOICES)} and no tool's name: "
                f"the tools are {', '.join(names)}"
            )
        return {"type": "tool", "name": choice}

    def _thinking(self, model: str, options: ChatOptions) -> _Json:
        """The fields that `reasoning_effort` stands for on this model."""
        effort = options.reasoning_effort
        if effort is None:
            return {}
        if effort == "none":
            return {"thinking": {"type": "disabled"}}
        by_budget = _THINKS_BY_BUDGET.search(model) is not None
        known: Iterable[str] = _BUDGETS if by_budget else _EFFORTS
        if effort not in known:
            raise UnsupportedOptionError(
                f"reasoning_effort {effort!r} is none of none, {', '.join(known)}, which "
                f"{self.provider} takes for {model!r}"
            )
        self._check_free_to_think(options)
        if by_budget:
            return {"thinking": {"type": "enabled", "budget_tokens": _BUDGETS[effort]}}
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}

    def _check_free_to_think(self, options: ChatOptions) -> None:
        if options.temperature not in (None, 1):
            raise UnsupportedOptionError(
                f"{self.provider} takes no temperature but 1 with reasoning_effort: "
                "leave one of them out"
            )
        if options.tool_choice not in (None, "auto", "none"):
            raise UnsupportedOptionError(
                f"{self.provider} cannot be made to call a tool with reasoning_effort: leave it "
                f"out, or tool_choice {options.tool_choice!r}"
            )

    def _max_tokens(self, options: ChatOptions, thinking: _Json) -> int:
        """The limit asked for, or one that leaves room beside the thinking."""
        budget: int = thinking.get("thinking", {}).get("budget_tokens", 0)
        wanted = options.max_output_tokens
        if wanted is None:
            enough = budget < _DEFAULT_MAX_TOKENS
            return _DEFAULT_MAX_TOKENS if enough else budget + _DEFAULT_MAX_TOKENS
        if wanted <= budget:
            raise UnsupportedOptionError(
                f"max_output_tokens {wanted} leaves nothing beside the {budget} that "
                f"{self.provider} thinks with at reasoning_effort {options.reasoning_effort!r}: "
                "raise it, or lower the effort"
            )
        return wanted

    def _turns(self, messages: Sequence[Message]) -> list[_Json]:
        """User and assistant in turn; messages of one side that follow each other are one."""
        turns: list[_Json] = []
        for position, message in enumerate(messages):
            if message.role is Role.SYSTEM:
                continue
            where = f"messages[{position}]"
            if not turns and message.role is Role.ASSISTANT:
                raise ConfigurationError(
                    f"{where} is the assistant's, but {self.provider} wants the user's first: "
                    "begin with a Message(Role.USER, ...)"
                )
            role = "assistant" if message.role is Role.ASSISTANT else "user"
            blocks = self._blocks(where, message)
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"] += blocks
            elif blocks:
                turns.append({"role": role, "content": blocks})
        if not turns:
            raise ConfigurationError(
                f"messages has a system prompt only: {self.provider} wants a user's message, too"
            )
        for turn in turns:
            # Stable: what comes before the text is only the results.
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
        return turns

    def _blocks(self, where: str, message: Message) -> list[_Json]:
        if message.role is Role.TOOL:
            return [
                {
                    "type": "tool_result",
                    "tool_use_id": message.tool_call_id,
                    "content": message.content,
                }
            ]
        if message.role is Role.ASSISTANT:
            return _said_before(where, message)
        blocks = [self._part(attachment) for attachment in message.attachments]
        blocks += _text(message.content)
        if not blocks:
            raise ConfigurationError(
                f"{where} is empty, which {self.provider} refuses: give it some text"
            )
        return blocks

    def _part(self, attachment: Attachment) -> _Json:
        kind = attachment.media_type
        if kind.startswith("image/") and (attachment.url is not None or kind in _IMAGES):
            return {"type": "image", "source": _source(attachment)}
        if kind == "application/pdf":
            return {"type": "document", "source": _source(attachment)}
        if kind.startswith("text/") and attachment.url is None:
            return {"type": "document", "source": _plain_text(attachment)}
        raise UnsupportedOptionError(
            f"{self.provider} takes no {kind}{' by address' if attachment.url else ''}: send a "
            "JPEG, PNG, GIF, WebP or PDF, or plain text"
        )


def _text(text: str) -> list[_Json]:
    """A text block; none for blank text, which the API refuses."""
    return [{"type": "text", "text": text}] if text.strip() else []


def _source(attachment: Attachment) -> _Json:
    if attachment.url is not None:
        return {"type": "url", "url": attachment.url}
    return {
        "type": "base64",
        "media_type": attachment.media_type,
        "data": attachment.base64(),
    }


def _plain_text(attachment: Attachment) -> _Json:
    """Text is sent as it is: base64 is for PDF only (API reference, PlainTextSource)."""
    try:
        text = (attachment.data or b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        name = repr(attachment.name) if attachment.name else "an attachment"
        raise ConfigurationError(
            f"{name} of type {attachment.media_type} is not UTF-8: convert it first"
        ) from error
    return {"type": "text", "media_type": "text/plain", "data": text}


def _said_before(where: str, message: Message) -> list[_Json]:
    """An earlier reply; with what it was made of where a tool loop or a pause goes on from it."""
    calls = [_tool_use(where, call) for call in message.tool_calls]
    state = message.provider_state
    if state and STATE in state and (calls or message.finish_reason == "pause"):
        blocks = list(state[STATE])
        made = {block.get("id") for block in blocks if block.get("type") == "tool_use"}
        # A message whose calls were changed since is no longer what the blocks say.
        if made == {call["id"] for call in calls}:
            return blocks
    return _text(message.content or message.refusal) + calls


def _tool_use(where: str, call: ToolCall) -> _Json:
    try:
        arguments = call.parsed()
    except ValueError as error:
        raise ConfigurationError(
            f"{where} calls {call.name!r} with arguments that are no JSON object, as after a cut "
            "by the token limit: leave the message out, or mend the arguments"
        ) from error
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


def _tool(tool: ToolDefinition) -> _Json:
    about = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **about, "input_schema": {"type": "object", **tool.parameters}}


def _mark(blocks: list[_Json]) -> None:
    """Have the provider cache everything up to the last block that can carry the mark."""
    for at in range(len(blocks) - 1, -1, -1):
        if blocks[at].get("type") not in ("thinking", "redacted_thinking"):
            # A copy: the block may be a reply's own.
            blocks[at] = {**blocks[at], "cache_control": _EPHEMERAL}
            return


def _mark_turns(turns: list[_Json]) -> None:
    """Mark the newest user turn, for the next request, and what precedes it, for this one."""
    newest = max(at for at, turn in enumerate(turns) if turn["role"] == "user")
    for turn in turns[max(newest - 1, 0) : newest + 1]:
        _mark(turn["content"])
