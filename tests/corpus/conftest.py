"""The corpus of recorded replies: its wires, its cases, and what each of them has to give."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Callable, Optional, Union

import attrs
import pytest

from cloudllm_sync import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ClaudeClient,
    Client,
    ContextLengthError,
    GeminiClient,
    Message,
    MessageChunk,
    OllamaClient,
    OpenAICompatibleClient,
    OpenAIResponsesClient,
    RateLimitError,
)
from cloudllm_sync.testing import FakeServer, Raw

_ROOT = pathlib.Path(
    os.environ.get("CLOUDLLM_CORPUS")
    or pathlib.Path(__file__).resolve().parents[3] / "shared" / "wire" / "corpus"
)
_MISSING = f"no corpus at {_ROOT}: set CLOUDLLM_CORPUS"


@attrs.frozen(kw_only=True)
class Wire:
    """What is particular to the recordings of one wire."""

    prefix: str
    """What their file names begin with."""
    apis: frozenset[str]
    connect: Callable[[FakeServer], Client] = attrs.field(repr=False)
    streams: int
    """How many there are at least."""
    wholes: int
    errors: Mapping[Union[int, str], type[APIError]] = attrs.field(factory=dict, repr=False)
    """The classes of the errors, by status; by case where the body narrows that."""
    suffix: str = ".sse"
    content_type: str = "text/event-stream"
    event: str = r".*?\r?\n\r?\n|.+"
    reports_total: bool = True
    counts_whole_text: bool = True
    """Whether the deltas expected of a whole body are those of its text, not of its blocks."""
    counts_reasoning: bool = False
    """Whether every delta of reasoning is one chunk."""


WIRES = {
    "chat": Wire(
        prefix="chat",
        apis=frozenset({"openai-chat"}),
        connect=lambda server: OpenAICompatibleClient("m", base_url=server.base_url, max_retries=0),
        streams=48,
        wholes=22,
        errors={
            400: BadRequestError,
            401: AuthenticationError,
            "groq/chat-gpt-oss-120b-reasoning-mid-stream-error-564fc": BadRequestError,
            "openrouter/chat-claude-haiku-4-5-error-794b3": ContextLengthError,
            "perplexity/chat-sonar-error-74022": ContextLengthError,
        },
    ),
    "responses": Wire(
        prefix="responses",
        apis=frozenset({"openai-responses"}),
        connect=lambda server: OpenAIResponsesClient(
            "m", api_key="sk-x", base_url=server.base_url, max_retries=0
        ),
        streams=16,
        wholes=5,
        errors={400: AuthenticationError},  # xAI's word for a wrong key
        counts_whole_text=False,
    ),
    "anthropic": Wire(
        prefix="messages",
        apis=frozenset({"anthropic-messages"}),
        connect=lambda server: ClaudeClient(
            "claude-sonnet-5", api_key="sk-ant-0123456789", base_url=server.url, max_retries=0
        ),
        streams=16,
        wholes=3,
        errors={401: AuthenticationError, 404: BadRequestError},
        reports_total=False,
        counts_whole_text=False,
        counts_reasoning=True,
    ),
    "gemini": Wire(
        prefix="generate",
        apis=frozenset({"gemini"}),
        connect=lambda server: GeminiClient(
            "m", api_key="AIza-test-0123", base_url=server.url, max_retries=0
        ),
        streams=12,
        wholes=5,
        errors={404: BadRequestError, 429: RateLimitError},
    ),
    "ollama": Wire(
        prefix="native",
        apis=frozenset({"ollama-chat", "ollama-generate"}),
        connect=lambda server: OllamaClient("m", base_url=server.url, max_retries=0),
        streams=2,
        wholes=2,
        suffix=".ndjson",
        content_type="application/x-ndjson",
        event=r".*?\n|.+",
        reports_total=False,
        counts_reasoning=True,
    ),
}


@attrs.frozen
class Case:
    """One recording: its bytes, how it was delivered, and its expectations."""

    name: str
    wire: Wire = attrs.field(repr=False)
    api: str
    body: bytes = attrs.field(repr=False)
    status: int
    headers: dict[str, str]
    expected: dict[str, Any] = attrs.field(repr=False)

    @property
    def error_class(self) -> type[APIError] | type[None]:
        """What the reply is raised as, if it is."""
        if self.expected["error"] is None:
            return type(None)
        return self.wire.errors.get(self.name) or self.wire.errors[self.status]


@attrs.frozen
class Outcome:
    """What became of a recording: the reply, or what an error left of it, and the chunks."""

    message: Optional[Message]
    error: Optional[APIError]
    chunks: tuple[MessageChunk, ...]


def _pulled(client: Client) -> Outcome:
    """A stream is asked for and read as a generator."""
    chunks: list[MessageChunk] = []
    try:
        with client.send_message_stream("Hi") as stream:
            chunks.extend(stream)
            return Outcome(stream.result(), None, tuple(chunks))
    except APIError as error:
        return Outcome(error.partial, error, tuple(chunks))


def _asked(client: Client) -> Outcome:
    """A stream is read by a thread that never waits."""
    chunks: list[MessageChunk] = []
    try:
        with client.send_message_stream("Hi") as stream, contextlib.suppress(StopIteration):
            while True:
                chunk = stream.next_within(0)
                if chunk is not None:
                    chunks.append(chunk)
        return Outcome(stream.result(), None, tuple(chunks))
    except APIError as error:
        return Outcome(error.partial, error, tuple(chunks))


def _pushed(client: Client) -> Outcome:
    """A stream is asked for and handed to callbacks."""
    chunks: list[MessageChunk] = []
    finished: list[Message] = []
    failed: list[APIError] = []
    client.start_message_stream(
        "Hi", on_chunk=chunks.append, on_finish=finished.append, on_error=failed.append
    ).join(10)
    (ending,) = finished + failed
    error = failed[0] if failed else None
    return Outcome(error.partial if error else ending, error, tuple(chunks))


def _sent(client: Client) -> Outcome:
    """A whole reply is asked for."""
    try:
        return Outcome(client.send_message("Hi"), None, ())
    except APIError as error:
        return Outcome(error.partial, error, ())


STYLES = {"pulled": _pulled, "asked": _asked, "pushed": _pushed, "sent": _sent}


def _load(path: pathlib.Path, wire: Wire) -> Case:
    about = path.with_name(path.name.replace(".response.json", ".expected.json"))
    about = about if about != path else path.with_suffix(".json")
    meta = json.loads(about.read_bytes())
    name = f"{path.parent.name}/{path.name.split('.')[0]}"
    http, expected = meta["http"], meta["expected"]
    usage = expected["usage"]
    if usage is not None and not wire.reports_total:
        # The sum, which TokenUsage has though the wire does not report it.
        total = usage["input_tokens_total"] + usage["output_tokens_total"]
        expected["usage"] = {**usage, "total_tokens": total}
    return Case(
        name, wire, meta["api"], path.read_bytes(), http["status"], http["headers"], expected
    )


def _cases(wire: Wire, suffix: str) -> list[Case]:
    return [_load(path, wire) for path in sorted(_ROOT.glob(f"*/{wire.prefix}-*{suffix}"))]


_ARGUMENTS = {
    "stream_case": (WIRES.values(), True),
    "anthropic_stream": ([WIRES["anthropic"]], True),
    "whole_case": (WIRES.values(), False),
}


def pytest_generate_tests(metafunc):
    """Parametrise what a test asks for by the cases of the corpus."""
    for argument in _ARGUMENTS.keys() & set(metafunc.fixturenames):
        wires, streamed = _ARGUMENTS[argument]
        cases = [
            pytest.param(case, id=case.name)
            for wire in wires
            for case in _cases(wire, wire.suffix if streamed else ".response.json")
        ]
        absent = pytest.param(None, marks=pytest.mark.skip(reason=_MISSING))
        metafunc.parametrize(argument, cases or [absent])


def _call_arguments(text: str) -> Any:
    """Parsed, as layout and escapes are the server's own; as text where a length cut broke them."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def _calls(calls: list[tuple[Any, str, str]]) -> list[tuple[Any, str, Any]]:
    return [(call_id, name, _call_arguments(arguments)) for call_id, name, arguments in calls]


def _usage(usage: dict[str, Any] | None) -> tuple[Any, ...] | None:
    names = (
        "input_tokens_total",
        "output_tokens_total",
        "total_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
    )
    return None if usage is None else tuple(usage[name] for name in names)


def _said(expected: dict[str, Any]) -> dict[str, Any]:
    calls = [(call["id"], call["name"], call["arguments"]) for call in expected["tool_calls"]]
    return {
        "content": expected["content"],
        "reasoning": expected["reasoning"],
        "refusal": expected["refusal"],
        "finish_reason": expected["finish_reason"],
        "raw_finish_reason": expected["finish_reason_raw"],
        "tool_calls": _calls(calls),
        "usage": _usage(expected["usage"]),
        "citations": expected["citations"],
        "model": expected["model"],
        "response_id": expected["id"],
    }


def _got(message: Message | None, expected: dict[str, Any]) -> dict[str, Any] | None:
    if message is None:
        return None
    ids = [call["id"] for call in expected["tool_calls"]]
    ids += [""] * (len(message.tool_calls) - len(ids))
    calls = [
        (None if known is None else call.id, call.name, call.arguments)
        for known, call in zip(ids, message.tool_calls)
    ]
    usage = message.usage
    return {
        "content": message.content,
        "reasoning": message.reasoning,
        "refusal": message.refusal,
        "finish_reason": message.finish_reason,
        "raw_finish_reason": message.raw_finish_reason,
        "tool_calls": _calls(calls),
        "usage": None if usage is None else attrs.astuple(usage),
        "citations": list(message.citations),
        "model": message.model,
        "response_id": message.response_id,
    }


@pytest.fixture(params=WIRES)
def corpus_of(request):
    """The wire, its streams and its whole replies."""
    if not _ROOT.is_dir():
        pytest.skip(_MISSING)
    wire = WIRES[request.param]
    return wire, _cases(wire, wire.suffix), _cases(wire, ".response.json")


@pytest.fixture(scope="session")
def server():
    """One server for all of them: it gives what it is told to, whatever it is asked."""
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="session")
def client_of(server):
    """The client that speaks a wire; one for all cases."""
    with contextlib.ExitStack() as stack:
        made = {wire.prefix: stack.enter_context(wire.connect(server)) for wire in WIRES.values()}
        yield lambda wire: made[wire.prefix]


@pytest.fixture
def replay(server, client_of):
    """Plays a case, delivered in a way, and reads it in a style; gives an Outcome."""

    def play(case: Case, delivery: Callable[[Case], Raw], style: str) -> Outcome:
        server.add(delivery(case))
        return STYLES[style](client_of(case.wire))

    return play


@pytest.fixture(scope="session")
def assert_as_recorded():
    """Compare an outcome with a case's expectations, all fields at once."""

    def check(case: Case, outcome: Outcome, *, counts_text: bool) -> None:
        expected = dict(case.expected)
        reported = expected["error"]
        anything = any(expected[name] for name in ("content", "reasoning", "refusal", "tool_calls"))
        wanted = None if reported and not anything else _said(expected)

        assert _got(outcome.message, expected) == wanted
        assert type(outcome.error) is case.error_class
        if reported is not None:
            code = reported["code"]
            assert reported["message"] in str(outcome.error)
            assert outcome.error.type == reported["type"]
            assert outcome.error.code == (None if code is None else str(code))
        if counts_text:
            deltas = sum(1 for chunk in outcome.chunks if chunk.content)
            assert deltas == expected["text_deltas"]
            assert "".join(chunk.content for chunk in outcome.chunks) == expected["content"]

    return check
