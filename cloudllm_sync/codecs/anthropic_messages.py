"""Anthropic's Messages API: the request side.

Source: wire/WIRE.md, section 3, after Anthropic's API reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from cloudllm_sync.codecs import ChatRequest, WireRequest
from cloudllm_sync.codecs.anthropic_decoder import AnthropicDecoder
from cloudllm_sync.codecs.anthropic_turns import mark, mark_turns, turns
from cloudllm_sync.codecs.json_text import write_json
from cloudllm_sync.errors import APIError, UnsupportedOptionError
from cloudllm_sync.schemas import has_free_keys, holds_itself
from cloudllm_sync.values import ChatOptions, Role, ToolDefinition

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
_BUDGETS = {"low": 1024, "medium": 4096, "high": 16384}
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
# Models that think by budget: claude-3*, and claude-*-4 to 4-5 with or without a date.
_THINKS_BY_BUDGET = re.compile(
    r"(?:^|[/.])claude-(?:3\b|[a-z]+-4(?:[-.][015])?(?:$|[-@:](?!\d{1,2}(?:$|[-@:.]))))"
)
# They answer thinking of type "disabled" with status 400 (Anthropic's guide to adaptive thinking).
_ALWAYS_THINKS = re.compile(r"claude-(?:fable|mythos)-")
_DISABLED = {"type": "disabled"}
# Since Claude 4.7 thoughts come without their text unless it is asked for.
_ADAPTIVE = {"type": "adaptive", "display": "summarized"}


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
            "messages": turns(self.provider, request.messages),
            "stream": request.stream,
        }
        self._check_prefill(request, body["messages"], thinking)
        system = [
            {"type": "text", "text": message.content}
            for message in request.messages
            if message.role is Role.SYSTEM and message.content.strip()
        ]
        tools = [_tool(tool) for tool in request.tools]
        if options.cache:
            mark_turns(body["messages"])
            for items in filter(None, (system, tools)):
                items[-1] = mark(items[-1])
        if system:
            plain = len(system) == 1 and not options.cache
            body["system"] = system[0]["text"] if plain else system
        if tools:
            body["tools"] = tools
        body.update(self._options(options, request.tools))
        body.update(thinking)
        schema = options.json_schema
        if schema is not None:
            if schema is not options.response_schema:
                self._check_class(schema)
            wanted = {"type": "json_schema", "schema": schema}
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

    def _check_class(self, schema: Mapping[str, Any]) -> None:
        """Refuse what the API would: classes that hold themselves, and dicts of any keys."""
        if holds_itself(schema) or has_free_keys(schema):
            raise UnsupportedOptionError(
                f"response_schema: {self.provider} takes no class that holds itself, and no dict "
                "of any keys: use lists of objects"
            )

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
        if options.reasoning_effort is None:
            return {}
        effort = options.reasoning_effort.strip().lower()
        by_budget = _THINKS_BY_BUDGET.search(model) is not None
        known = list(_BUDGETS if by_budget else _EFFORTS)
        if not _ALWAYS_THINKS.search(model):
            known.insert(0, "none")
        if effort not in known:
            raise UnsupportedOptionError(
                f"reasoning_effort {options.reasoning_effort!r} is none of {', '.join(known)}, "
                f"which {self.provider} takes for {model!r}"
            )
        if effort == "none":
            return {"thinking": _DISABLED}
        self._check_free_to_think(model, options)
        if by_budget:
            return {"thinking": {"type": "enabled", "budget_tokens": _BUDGETS[effort]}}
        return {"thinking": _ADAPTIVE, "output_config": {"effort": effort}}

    def _check_free_to_think(self, model: str, options: ChatOptions) -> None:
        if options.temperature not in (None, 1):
            raise UnsupportedOptionError(
                f"temperature {options.temperature!r} with reasoning_effort: {model!r} of "
                f"{self.provider} takes only 1 then, leave one of them out"
            )
        if options.tool_choice not in (None, "auto", "none"):
            raise UnsupportedOptionError(
                f"tool_choice {options.tool_choice!r} with reasoning_effort: {model!r} of "
                f"{self.provider} cannot be made to call a tool then, leave one of them out"
            )

    def _check_prefill(self, request: ChatRequest, made: Sequence[_Json], thinking: _Json) -> None:
        """Refuse to think in the middle of a reply that was begun for the model.

        A pause ends with the assistant as well; from there it goes on.
        """
        said = [message for message in request.messages if message.role is not Role.SYSTEM]
        begun = made[-1]["role"] == "assistant" and said[-1].finish_reason != "pause"
        if begun and thinking.get("thinking", _DISABLED) != _DISABLED:
            raise UnsupportedOptionError(
                "reasoning_effort with a last message of the assistant's: "
                f"{request.model!r} of {self.provider} cannot think and go on from it, leave one "
                "of them out"
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


def _tool(tool: ToolDefinition) -> _Json:
    about = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **about, "input_schema": {"type": "object", **tool.parameters}}
