"""Spans and metrics of calls, as OpenTelemetry's own exporters see them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs opentelemetry-sdk")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cloudllm_sync import (
    ChatOptions,
    CloudLLMError,
    FallbackClient,
    LLMSession,
    MemoryStore,
    Message,
    OpenAICompatibleClient,
    Role,
    StoreError,
    StreamCancelled,
    TokenUsage,
)
from cloudllm_sync.telemetry import OpenTelemetryObserver
from cloudllm_sync.testing import FakeServer, Raw, Reply, WaitFor, error_reply, openai_events

KEY = "sk-test-0123456789abcdef"
WORDS = openai_events(Reply("one two three four"))


class Watched:
    """An observer, and what came of it."""

    def __init__(self, **options):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.observer = OpenTelemetryObserver(
            tracer_provider=self.tracers,
            meter_provider=MeterProvider([self.reader]),
            **options,
        )

    def client(self, server, model="m", **options):
        return OpenAICompatibleClient(
            model, base_url=server.base_url, api_key=KEY, observers=[self.observer], **options
        )

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def points(self, name):
        """The points of a metric: attributes, count and sum."""
        data = self.reader.get_metrics_data()
        return [
            (dict(point.attributes), point.count, point.sum)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def watched():
    return Watched()


def test_streamed_call_is_a_span_by_the_conventions(watched):
    """Source: semantic-conventions-genai, docs/gen-ai/gen-ai-spans.md."""
    usage = TokenUsage(20, 7, 27, cached_input_tokens=5, reasoning_tokens=3)
    options = ChatOptions(temperature=0.5, max_output_tokens=9, stop=("END",))
    with FakeServer(Reply("Hello there.", usage=usage)) as server:
        watched.client(server).send_message_stream("Hi", options=options).result()
        port = int(server.url.rpartition(":")[2])
    [span] = watched.spans
    attributes = dict(span.attributes)
    first_chunk_s = attributes.pop("gen_ai.response.time_to_first_chunk")

    assert ("chat m", trace.SpanKind.CLIENT) == (span.name, span.kind)
    assert trace.StatusCode.UNSET is span.status.status_code
    assert 0 < first_chunk_s < 20
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "custom",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": "chatcmpl-fake",
        "gen_ai.response.model": "m",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 3,
        "server.address": "127.0.0.1",
        "server.port": port,
    } == attributes


def test_metrics_count_calls_tokens_and_first_chunks(watched):
    """Source: semantic-conventions-genai, docs/gen-ai/gen-ai-metrics.md."""
    with FakeServer(default="Hello there.") as server:
        client = watched.client(server)
        client.send_message_stream("Hi").result()
        client.send_message("Hi")
    [(attributes, calls, _)] = watched.points("gen_ai.client.operation.duration")
    tokens = {
        each["gen_ai.token.type"]: (count, total)
        for each, count, total in watched.points("gen_ai.client.token.usage")
    }
    [(_, streams, seconds)] = watched.points("gen_ai.client.operation.time_to_first_chunk")

    assert (2, "m", "chat") == (
        calls,
        attributes["gen_ai.response.model"],
        attributes["gen_ai.operation.name"],
    )
    assert {"input": (2, 20), "output": (2, 4)} == tokens
    assert 1 == streams
    assert seconds > 0


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error_reply(400, "no"), "BadRequestError"),
        (Raw(*WORDS[:3]), "StreamInterrupted"),
    ],
)
def test_failure_is_an_error_of_the_span_and_of_the_metric(watched, answer, kind):
    """With what had arrived."""
    with FakeServer(answer) as server, pytest.raises(CloudLLMError):
        watched.client(server).send_message_stream("Hi").result()
    [span] = watched.spans
    [(attributes, _, _)] = watched.points("gen_ai.client.operation.duration")

    assert trace.StatusCode.ERROR is span.status.status_code
    assert kind == span.attributes["error.type"] == attributes["error.type"]
    assert KEY not in str(span.status.description)


class FullStore(MemoryStore):
    """It can be read, not written."""

    def append(self, *args, **options):
        raise OSError("no space left")


def test_reply_that_was_not_saved_is_measured_all_the_same(watched):
    """The provider wants its money for it."""
    with FakeServer(Reply("Hello there.", usage=TokenUsage(20, 7, 27))) as server:
        session = LLMSession(watched.client(server), store=FullStore())
        with pytest.raises(StoreError):
            session.stream("Hi").result()
    [span] = watched.spans
    tokens = [total for _, _, total in watched.points("gen_ai.client.token.usage")]

    assert "StoreError" == span.attributes["error.type"]
    assert ("stop",) == span.attributes["gen_ai.response.finish_reasons"]
    assert 7 == span.attributes["gen_ai.usage.output_tokens"]
    assert [7, 20] == sorted(tokens)


@pytest.mark.parametrize("how", ["close", "cancel", "with"])
def test_reply_that_is_ended_early_is_no_error(watched, how):
    """A user who has read enough alarms nobody; what had come is measured."""
    stalled = Raw(*WORDS[:3], WaitFor(threading.Event()))
    with FakeServer(stalled) as server:
        stream = watched.client(server).send_message_stream("Hi")
        next(stream)
        if how == "close":
            stream.close()
        elif how == "with":
            with stream:
                pass
        else:
            stream.cancel()
            with pytest.raises(StreamCancelled):
                stream.result()
    [span] = watched.spans
    [(attributes, _, _)] = watched.points("gen_ai.client.operation.duration")

    assert trace.StatusCode.UNSET is span.status.status_code
    assert span.attributes["cloudllm_sync.cancelled"] is True
    assert "error.type" not in span.attributes
    assert "error.type" not in attributes
    assert 1 == len(watched.points("gen_ai.client.operation.time_to_first_chunk"))


def test_callback_that_raises_is_an_error(watched):
    """It is nobody's wish."""
    with FakeServer("Hello there.") as server:
        handle = watched.client(server).start_message_stream("Hi", on_chunk=lambda chunk: 1 / 0)
        assert isinstance(handle.exception(), StreamCancelled)
    [span] = watched.spans

    assert trace.StatusCode.ERROR is span.status.status_code


def by_generator(client):
    client.send_message_stream("Hi").result()


def by_callbacks(client):
    client.start_message_stream("Hi").result()


def in_a_session(client):
    LLMSession(client).submit("Hi").result()


def by_map(client):
    for result in client.map(["Hi"]):
        result.result()


@pytest.mark.parametrize("ask", [by_generator, by_callbacks, in_a_session, by_map])
def test_span_is_a_child_of_the_callers(watched, ask):
    """Whichever thread reads the reply; and the caller's stays the current one."""
    tracer = watched.tracers.get_tracer("test")
    with FakeServer("Hello there.") as server, tracer.start_as_current_span("request") as parent:
        ask(watched.client(server))
        still = trace.get_current_span()
    child, _ = watched.spans

    assert parent is still
    assert parent.get_span_context().span_id == child.parent.span_id


def test_streams_side_by_side_have_spans_of_their_own(watched):
    """Also if they ask the same model the same thing."""
    with FakeServer(default=Reply("Hello there.")) as server:
        client = watched.client(server)
        streams = [client.send_message_stream("Hi") for _ in range(3)]
        for stream in reversed(streams):
            stream.result()

    assert 3 == len({span.context.span_id for span in watched.spans})
    assert 3 == len(watched.spans)


def test_retry_is_an_event_of_the_one_span(watched, monkeypatch):
    """The span covers the logical call."""
    answers = (error_reply(503, "later", headers={"retry-after": "0"}), Reply("Fine."))
    with FakeServer(*answers) as server:
        watched.client(server).send_message("Hi")
    [span] = watched.spans

    assert 1 == span.attributes["cloudllm_sync.retries"]
    assert [("retry", "ServerError")] == [
        (event.name, event.attributes["error.type"]) for event in span.events
    ]


def test_every_client_of_a_fallback_has_a_span(watched):
    """The one that failed, and the one that answered."""
    with FakeServer(error_reply(503, "no"), Reply("Fine.")) as server:
        clients = [watched.client(server, name, max_retries=0) for name in ("first", "second")]
        FallbackClient(clients).send_message_stream("Hi").result()

    assert [("chat first", False), ("chat second", True)] == [
        (span.name, span.status.is_ok) for span in watched.spans
    ]


def test_content_is_left_out_unless_it_is_asked_for(watched):
    """Neither prompt nor reply, nor the key."""
    with FakeServer("secret reply") as server:
        watched.client(server).send_message([Message(Role.USER, "secret prompt")])
    [span] = watched.spans

    assert "secret" not in span.to_json()
    assert KEY not in span.to_json()


def refused(watched):
    """The description of the span of a call whose refusal quotes the prompt."""
    refusal = error_reply(400, "Invalid value: 'secret prompt'", type="bad_request", code="c-1")
    with FakeServer(refusal) as server, pytest.raises(CloudLLMError):
        watched.client(server).send_message("secret prompt")
    [span] = watched.spans
    return span.status.description


def test_what_a_server_quotes_of_the_prompt_is_left_out(watched):
    """The status and the names of an error are its own words, the message may be the user's."""
    assert "status 400, c-1, bad_request" == refused(watched)


def test_message_of_a_server_is_there_with_the_content():
    """Who keeps prompts may as well keep what is said of them."""
    watched = Watched(capture_content=True)

    assert "Invalid value: 'secret prompt'" in refused(watched)


def test_content_is_captured_where_it_is_asked_for():
    """By the conventions' JSON; attachments are named only."""
    watched = Watched(capture_content=True)
    with FakeServer(Reply("Fine.", reasoning="Hm.")) as server:
        asked = [Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "How?")]
        watched.client(server).send_message(asked)
    [span] = watched.spans
    told = {
        name: json.loads(span.attributes[f"gen_ai.{name}"])
        for name in ("system_instructions", "input.messages", "output.messages")
    }

    assert KEY not in span.to_json()
    assert {
        "system_instructions": [{"type": "text", "content": "Be brief."}],
        "input.messages": [{"role": "user", "parts": [{"type": "text", "content": "How?"}]}],
        "output.messages": [
            {
                "role": "assistant",
                "parts": [
                    {"type": "reasoning", "content": "Hm."},
                    {"type": "text", "content": "Fine."},
                ],
                "finish_reason": "stop",
            }
        ],
    } == told


def test_captured_content_is_always_utf_8():
    """An OTLP exporter would leave the prompt out for half a character in it."""
    watched = Watched(capture_content=True)
    asked = [Message(Role.SYSTEM, "\ud83d"), Message(Role.USER, "\ud83d \U0001f600")]
    with FakeServer("Fine.") as server:
        watched.client(server).send_message(asked)
    [span] = watched.spans
    told = [span.attributes[f"gen_ai.{name}"] for name in ("system_instructions", "input.messages")]

    assert ["\ufffd", "\ufffd \U0001f600"] == [
        json.loads(told[0])[0]["content"],
        json.loads(told[1])[0]["parts"][0]["content"],
    ]


def test_nothing_is_done_for_a_chunk(watched):
    """Start, first chunk and end: three notices, however long the reply."""
    told = []
    observer = watched.observer
    for name in ("on_start", "on_retry", "on_first_chunk", "on_finish", "on_error"):
        method = getattr(observer, name)
        setattr(
            observer,
            name,
            lambda *args, name=name, method=method: (told.append(name), method(*args)),
        )
    with FakeServer(Reply(["word "] * 500)) as server:
        watched.client(server).send_message_stream("Hi").result()

    assert ["on_start", "on_first_chunk", "on_finish"] == told


def test_calls_are_forgotten_when_they_end(watched):
    """However they end."""
    with FakeServer(error_reply(400, "no"), default="Hello there.") as server:
        client = watched.client(server)
        with pytest.raises(CloudLLMError):
            client.send_message("Hi")
        client.send_message_stream("Hi").close()
        client.send_message_stream("Hi").result()

    assert {} == watched.observer._running
    assert 3 == len(watched.spans)


def test_without_opentelemetry_it_says_what_to_install(tmp_path):
    """At the import of the module, not of the package."""
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('not here')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import cloudllm_sync.telemetry"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert 'pip install "cloudllm-sync[otel]"' in ran.stderr
