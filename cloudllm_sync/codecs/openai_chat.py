"""OpenAI's Chat Completions, and the many servers that speak a dialect of it: the request side.

Source: wire/WIRE.md, sections 1 and 5 to 9, after the providers' API references.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import attrs
import msgspec

from cloudllm_sync.codecs import FEATURES, ChatRequest, WireRequest
from cloudllm_sync.codecs.json_text import write_json
from cloudllm_sync.codecs.openai_chat_decoder import OpenAIChatDecoder
from cloudllm_sync.errors import APIError, BadRequestError, UnsupportedOptionError
from cloudllm_sync.schemas import has_free_keys
from cloudllm_sync.values import Attachment, ChatOptions, Message, Role, ToolCall, ToolDefinition

__all__ = ["Dialect", "OpenAIChatCodec", "arguments_text", "response_format"]

_TOOL_CHOICES = ("auto", "none", "required")
_REFUSES_STREAM_OPTIONS = re.compile(r"stream_options|include_usage", re.IGNORECASE)
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")
_AUDIO_FORMATS = {"audio/wav": "wav", "audio/mpeg": "mp3"}


@attrs.frozen(slots=True)
class Dialect:
    """How a vendor's Chat Completions differs from OpenAI's, where requests are concerned."""

    token_limit_field: str = "max_tokens"
    seed_field: Optional[str] = "seed"
    usage_in_stream: bool = True
    """Whether `stream_options.include_usage` is sent; servers that refuse it are asked again."""
    required_word: str = "required"
    """What `tool_choice` calls "some tool, whichever"."""
    most_stop_words: Optional[int] = None
    """None where any number is taken, or the vendor does not say."""
    short_call_ids: bool = False
    """Whether ids of tool calls have to be nine letters and digits."""


@attrs.frozen(slots=True)
class OpenAIChatCodec:
    """The codec of `POST {base_url}/chat/completions`."""

    provider: str
    dialect: Dialect = Dialect()
    query: str = ""

    @property
    def features(self) -> frozenset[str]:
        """All of them, but for a vendor without seeds."""
        return frozenset(FEATURES) - (set() if self.dialect.seed_field else {"seed"})

    def encode(self, request: ChatRequest) -> WireRequest:
        """The request as Chat Completions says it."""
        body: dict[str, Any] = {
            "model": request.model,
            "messages": self._messages(request.messages),
            "stream": request.stream,
        }
        if request.stream and self.dialect.usage_in_stream:
            body["stream_options"] = {"include_usage": True}
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        body.update(self._options(request.options, request.tools))
        body.update(request.options.extra_body)
        return WireRequest(f"/chat/completions{self.query}", write_json(body))

    def amend(
        self, wire: WireRequest, error: APIError
    ) -> tuple[WireRequest, OpenAIChatCodec] | None:
        """The request without `stream_options`, if that is what the server refused."""
        if not isinstance(error, BadRequestError) or b'"stream_options"' not in wire.body:
            return None
        if not _REFUSES_STREAM_OPTIONS.search(error.body):
            return None
        body = msgspec.json.decode(wire.body)
        if body.pop("stream_options", None) is None:
            return None
        dialect = attrs.evolve(self.dialect, usage_in_stream=False)
        return WireRequest(wire.path, write_json(body)), attrs.evolve(self, dialect=dialect)

    def decoder(self) -> OpenAIChatDecoder:
        """A decoder for one reply."""
        return OpenAIChatDecoder(self.provider)

    def _options(self, options: ChatOptions, tools: Sequence[ToolDefinition]) -> dict[str, Any]:
        if options.seed is not None and self.dialect.seed_field is None:
            raise UnsupportedOptionError(f"{self.provider} takes no seed: leave it out")
        most = self.dialect.most_stop_words
        if most is not None and len(options.stop) > most:
            raise UnsupportedOptionError(
                f"{len(options.stop)} stop words: {self.provider} takes {most} at most"
            )
        said = {
            self.dialect.token_limit_field: options.max_output_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "stop": list(options.stop) or None,
            self.dialect.seed_field or "seed": options.seed,
            "reasoning_effort": options.reasoning_effort,
            "tool_choice": self._tool_choice(options.tool_choice, tools),
            "response_format": response_format(options),
        }
        return {name: value for name, value in said.items() if value is not None}

    def _tool_choice(self, choice: str | None, tools: Sequence[ToolDefinition]) -> object:
        if choice is None:
            return None
        if not tools:
            raise UnsupportedOptionError(
                f"tool_choice {choice!r} without tools: {self.provider} would refuse it"
            )
        if choice in _TOOL_CHOICES:
            return self.dialect.required_word if choice == "required" else choice
        names = [tool.name for tool in tools]
        if choice not in names:
            raise UnsupportedOptionError(
                f"tool_choice {choice!r} is none of {', '.join(_TOOL_CHOICES)} and no tool's name: "
                f"the tools are {', '.join(names)}"
            )
        return {"type": "function", "function": {"name": choice}}

    def _messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        last_user = max(
            (at for at, message in enumerate(messages) if message.role is Role.USER), default=-1
        )
        return [self._message(message, at > last_user) for at, message in enumerate(messages)]

    def _message(self, message: Message, in_this_turn: bool) -> dict[str, Any]:
        said: dict[str, Any] = {"role": message.role.value, "content": message.content}
        if message.role is Role.TOOL:
            said["tool_call_id"] = self._call_id(message.tool_call_id or "")
        if message.attachments:
            parts = [self._part(attachment) for attachment in message.attachments]
            text = [{"type": "text", "text": message.content}] if message.content else []
            said["content"] = text + parts
        if message.role is Role.ASSISTANT and message.refusal:
            said["refusal"] = message.refusal
        if message.tool_calls:
            said["content"] = message.content or None
            said["tool_calls"] = [
                {
                    "id": self._call_id(call.id),
                    "type": "function",
                    "function": {"name": call.name, "arguments": arguments_text(call)},
                }
                for call in message.tool_calls
            ]
            if in_this_turn:
                said.update(_own_state(message.provider_state))
        return said

    def _call_id(self, call_id: str) -> str:
        """The id; another one, always the same, where the vendor refuses another provider's."""
        if not self.dialect.short_call_ids or _SHORT_ID.fullmatch(call_id):
            return call_id
        return hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:9]

    def _part(self, attachment: Attachment) -> dict[str, Any]:
        kind = attachment.media_type
        if kind.startswith("image/"):
            return {"type": "image_url", "image_url": {"url": attachment.data_url()}}
        if attachment.url is not None:
            raise UnsupportedOptionError(
                f"{self.provider} takes addresses of images only, not of {kind}: "
                "use Attachment.from_bytes()"
            )
        if kind in _AUDIO_FORMATS:
            audio = {"data": attachment.base64(), "format": _AUDIO_FORMATS[kind]}
            return {"type": "input_audio", "input_audio": audio}
        if kind == "application/pdf":
            name = attachment.name or "document.pdf"
            return {"type": "file", "file": {"filename": name, "file_data": attachment.data_url()}}
        raise UnsupportedOptionError(
            f"{self.provider} takes no {kind}: send an image, WAV, MP3 or PDF, or its text"
        )


def arguments_text(call: ToolCall) -> str:
    """The arguments as the model wrote them; blank ones are an empty object, as servers parse them.

    Also for the Responses API.
    """
    return call.arguments if call.arguments.strip() else "{}"


def _own_state(state: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a tool loop has to send back: reasoning that this wire handed out."""
    names = ("reasoning_details", "reasoning_content")
    return {name: state[name] for name in names if name in state} if state else {}


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def response_format(options: ChatOptions) -> dict[str, Any] | None:
    """A JSON Schema as OpenAI's APIs want it, by name."""
    schema = options.json_schema
    if schema is None:
        return None
    # Strict mode takes no objects of any keys; whoever writes the schema himself knows that.
    strict = schema is options.response_schema or not has_free_keys(schema)
    # OpenAI wants a name of [A-Za-z0-9_-]{1,64} beside the schema.
    name = re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title") or "reply"))[:64]
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "schema": schema, "strict": strict},
    }
