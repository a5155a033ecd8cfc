"""Spans and metrics of calls, by OpenTelemetry's conventions for generative AI (extra `otel`)::

    from cloudllm_sync.telemetry import OpenTelemetryObserver

    client = OpenAIClient("gpt-5.4-mini", observers=[OpenTelemetryObserver()])

Nothing is done for a chunk: a call is told of at its start, its first chunk and its end.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any, Optional
from urllib.parse import urlsplit

import attrs

import cloudllm_sync
from cloudllm_sync.codecs import ChatRequest
from cloudllm_sync.codecs.surrogates import well_formed
from cloudllm_sync.errors import APIError, CloudLLMError, StoreError, StreamCancelled
from cloudllm_sync.streaming.observer import CallInfo, Observer
from cloudllm_sync.transport.forks import renew_in_children
from cloudllm_sync.values import Message, Role

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError(
        'cloudllm_sync.telemetry needs OpenTelemetry: pip install "cloudllm-sync[otel]"'
    ) from error

__all__ = ["OpenTelemetryObserver"]

# The conventions' names for providers.
# Source: open-telemetry/semantic-conventions-genai, docs/registry, gen_ai.provider.name.
_PROVIDERS = {
    "claude": "anthropic",
    "gemini": "gcp.gemini",
    "grok": "x_ai",
    "xai": "x_ai",
    "azure openai": "azure.ai.openai",
    "mistral": "mistral_ai",
}
_PORTS = {"https": 443, "http": 80}
# Source: the same, docs/gen-ai/gen-ai-metrics.md.
_SECONDS = [0.01 * 2**n for n in range(14)]
_TOKENS = [float(4**n) for n in range(14)]


@attrs.define(slots=True)
class _Running:
    """A call that has begun."""

    span: trace.Span
    attributes: dict[str, Any]
    """Of its metrics."""
    began_at: float
    first_chunk_s: Optional[float] = None
    retries: int = 0


class OpenTelemetryObserver(Observer):
    """Makes a span of every call, and records what it took.

    The span is a child of the one that was current where the call was made, also if a worker
    thread reads the reply, and covers retries. A reply that was cancelled or closed early is no
    error: its span says that it was cancelled. Threads may share an observer, and clients, too.

    Args:
        tracer_provider: None is the global one.
        meter_provider: None is the global one.
        capture_content: Whether spans hold prompts, replies, and what a server says of them in an
            error. They go wherever spans go.
    """

    def __init__(
        self,
        *,
        tracer_provider: Optional[trace.TracerProvider] = None,
        meter_provider: Optional[metrics.MeterProvider] = None,
        capture_content: bool = False,
    ) -> None:
        self._tracer = trace.get_tracer("cloudllm_sync", cloudllm_sync.__version__, tracer_provider)
        meter = metrics.get_meter("cloudllm_sync", cloudllm_sync.__version__, meter_provider)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="How long calls take.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            description="How long the first chunk takes.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens read and written.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._capture_content = capture_content
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: the calls that run are the parent's."""
        self._lock = threading.Lock()
        self._running: dict[int, _Running] = {}  # by the id of the call's info; guarded by _lock

    def on_start(self, call: CallInfo) -> None:
        """Begin the span, in the context that the caller was in."""
        attributes = _of_call(call)
        span = self._tracer.start_span(
            f"chat {call.model_name}",
            kind=trace.SpanKind.CLIENT,
            attributes={**attributes, **_of_request(call)},
        )
        if self._capture_content and call.request is not None and span.is_recording():
            span.set_attributes(_said_in(call.request))
        with self._lock:
            self._running[id(call)] = _Running(span, attributes, time.monotonic())

    def on_retry(self, call: CallInfo, error: CloudLLMError, delay_s: float) -> None:
        """Count it; the span goes on."""
        running = self._found(call)
        if running is not None:
            running.retries += 1
            running.span.add_event(
                "retry", {"error.type": type(error).__name__, "cloudllm_sync.delay_s": delay_s}
            )

    def on_first_chunk(self, call: CallInfo) -> None:
        """Note how long it took."""
        running = self._found(call)
        if running is not None and call.streamed:
            running.first_chunk_s = time.monotonic() - running.began_at

    def on_finish(self, call: CallInfo, message: Message) -> None:
        """End the span well."""
        self._end(call, message, None)

    def on_error(self, call: CallInfo, error: CloudLLMError) -> None:
        """End the span, with what had arrived."""
        arrived = error.reply if isinstance(error, StoreError) else error.partial
        self._end(call, arrived, error)

    def _found(self, call: CallInfo) -> Optional[_Running]:
        with self._lock:
            return self._running.get(id(call))

    def _end(
        self, call: CallInfo, message: Optional[Message], error: Optional[CloudLLMError]
    ) -> None:
        with self._lock:
            running = self._running.pop(id(call), None)
        if running is None:
            return  # it began before the observer was there
        span = running.span
        if span.is_recording():
            span.set_attributes(_of_end(running, message))
            if self._capture_content and message is not None:
                span.set_attribute("gen_ai.output.messages", _as_json((message,)))
            _set_error(span, error, says_content=self._capture_content)
        span.end()
        self._record(running, message, error)

    def _record(
        self, running: _Running, message: Optional[Message], error: Optional[CloudLLMError]
    ) -> None:
        attributes = running.attributes
        if message is not None and message.model:
            attributes = {**attributes, "gen_ai.response.model": message.model}
        if running.first_chunk_s is not None:
            self._first_chunk.record(running.first_chunk_s, attributes)
        usage = None if message is None else message.usage
        if usage is not None:
            for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
                self._tokens.record(count, {**attributes, "gen_ai.token.type": kind})
        if error is not None and not _is_cancel(error):
            attributes = {**attributes, "error.type": type(error).__name__}
        self._duration.record(time.monotonic() - running.began_at, attributes)


def _is_cancel(error: CloudLLMError) -> bool:
    """Whether the caller wanted it so; a callback that raised did not."""
    return isinstance(error, StreamCancelled) and error.__cause__ is None


def _set_error(span: trace.Span, error: Optional[CloudLLMError], *, says_content: bool) -> None:
    if error is None:
        return
    if error.request_id:
        span.set_attribute("cloudllm_sync.request_id", error.request_id)
    if _is_cancel(error):
        span.set_attribute("cloudllm_sync.cancelled", True)
        return
    span.set_attribute("error.type", type(error).__name__)
    words = str(error)
    if isinstance(error, APIError) and not says_content:
        words = _without_message(error)
    span.set_status(trace.Status(trace.StatusCode.ERROR, words))


def _without_message(error: APIError) -> str:
    """What a server says may quote the prompt; how it names its errors does not."""
    status = f"status {error.status_code}" if error.status_code else None
    return ", ".join(filter(None, (status, error.code, error.type)))


def _of_call(call: CallInfo) -> dict[str, Any]:
    """What metrics have, too: few values each."""
    name = call.provider_name.lower()
    server = urlsplit(call.base_url)
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(name, name),
        "gen_ai.request.model": call.model_name,
    }
    if server.hostname:
        attributes["server.address"] = server.hostname
        attributes["server.port"] = server.port or _PORTS.get(server.scheme, 0)
    return attributes


def _of_request(call: CallInfo) -> dict[str, Any]:
    options = None if call.request is None else call.request.options
    asked = {
        "gen_ai.request.stream": call.streamed,
        "gen_ai.request.max_tokens": options and options.max_output_tokens,
        "gen_ai.request.temperature": options and options.temperature,
        "gen_ai.request.top_p": options and options.top_p,
        "gen_ai.request.seed": options and options.seed,
        "gen_ai.request.stop_sequences": (options and options.stop) or None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _of_end(running: _Running, message: Optional[Message]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.response.time_to_first_chunk": running.first_chunk_s,
        "cloudllm_sync.retries": running.retries or None,
    }
    if message is not None:
        usage = message.usage
        found.update(
            {
                "gen_ai.response.id": message.response_id,
                "gen_ai.response.model": message.model,
                "gen_ai.response.finish_reasons": message.finish_reason
                and (message.finish_reason,),
                "gen_ai.usage.input_tokens": usage and usage.input_tokens,
                "gen_ai.usage.output_tokens": usage and usage.output_tokens,
                "gen_ai.usage.cache_read.input_tokens": usage and usage.cached_input_tokens,
                "gen_ai.usage.cache_creation.input_tokens": usage and usage.cache_write_tokens,
                "gen_ai.usage.reasoning.output_tokens": usage and usage.reasoning_tokens,
            }
        )
    return {name: value for name, value in found.items() if value is not None}


# --- content ---


def _said_in(request: ChatRequest) -> dict[str, str]:
    system = [message for message in request.messages if message.role is Role.SYSTEM]
    others = [message for message in request.messages if message.role is not Role.SYSTEM]
    said = {"gen_ai.input.messages": _as_json(others)}
    if system:
        said["gen_ai.system_instructions"] = _dumped(
            [part for message in system for part in _parts(message)]
        )
    return said


def _as_json(messages: Any) -> str:
    """Source: the conventions' JSON schemas of messages; attachments are named, not copied."""
    made = []
    for message in messages:
        one: dict[str, Any] = {"role": message.role.value, "parts": _parts(message)}
        if message.finish_reason is not None:
            one["finish_reason"] = message.finish_reason
        made.append(one)
    return _dumped(made)


def _dumped(value: Any) -> str:
    # An OTLP exporter leaves out what is no UTF-8: half a character, and with it the conversation.
    return well_formed(json.dumps(value, ensure_ascii=False))


def _parts(message: Message) -> list[dict[str, Any]]:
    if message.role is Role.TOOL:
        response = {"id": message.tool_call_id, "response": message.content}
        return [{"type": "tool_call_response", **response}]
    parts: list[dict[str, Any]] = []
    if message.reasoning:
        parts.append({"type": "reasoning", "content": message.reasoning})
    if message.content or message.refusal:
        parts.append({"type": "text", "content": message.content or message.refusal})
    parts += [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]
    parts += [{"type": "blob", "mime_type": one.media_type} for one in message.attachments]
    return parts
