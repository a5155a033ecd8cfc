"""The public surface as a user's code sees it; never run, only checked by mypy --strict.

Every assignment says which type is promised. A line with `type: ignore[...]` is a mistake that the
types have to catch: if they do not, mypy complains of the unused ignore.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Optional

import redis
import sqlalchemy

import cloudllm_sync
from cloudllm_sync import (
    APIError,
    Attachment,
    AuthenticationError,
    AzureOpenAIClient,
    BadRequestError,
    CallInfo,
    ChatOptions,
    ChatStream,
    Client,
    ClientWrapper,
    CloudLLMError,
    CommitConflictError,
    ConfigurationError,
    ConnectError,
    ContextLengthError,
    GrokClient,
    Limits,
    LLMSession,
    MapResult,
    MemoryStore,
    Message,
    MessageChunk,
    Observer,
    OllamaClient,
    OpenAIClient,
    OpenAICompatibleClient,
    QuotaExceededError,
    RateLimit,
    RateLimitError,
    RedisStore,
    RequestTimeoutError,
    Role,
    ServerError,
    SessionBusyError,
    SessionInfo,
    SessionStore,
    SQLiteStore,
    SQLStore,
    StoredSession,
    StoreError,
    StreamCancelled,
    StreamError,
    StreamHandle,
    StreamingNotSupportedError,
    StreamInterrupted,
    StreamProtocolError,
    StreamTooLargeError,
    SummarizeOldest,
    Timeouts,
    TokenUsage,
    ToolCall,
    ToolCallDelta,
    ToolDefinition,
    ToolResult,
    TransportError,
    UnsupportedOptionError,
    open_store,
    tool,
)
from cloudllm_sync.clients.grok import Model as GrokModel
from cloudllm_sync.clients.openai import Model as OpenAIModel

version: str = cloudllm_sync.__version__


def values() -> None:
    """Values: what goes in, what comes out."""
    usage: TokenUsage = TokenUsage(1, 2, 3, 4, 5, 6) + TokenUsage(1, 2, total_tokens=3)
    counts: tuple[int, int, int] = (usage.input_tokens, usage.output_tokens, usage.total_tokens)
    parts: tuple[Optional[int], Optional[int], Optional[int]] = (
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )
    call = ToolCall("id", "name", "{}")
    arguments: dict[str, Any] = call.parsed()
    texts: tuple[str, str, str] = (call.id, call.name, call.arguments)
    tool = ToolDefinition("name", "description", {"type": "object"})
    schema: Mapping[str, Any] = tool.parameters
    delta = ToolCallDelta(0, None, None, "{")
    pieces: tuple[int, Optional[str], Optional[str], str] = (
        delta.index,
        delta.id,
        delta.name,
        delta.arguments,
    )
    chunk = MessageChunk("text", reasoning="r", tool_call_delta=delta, usage=usage)
    said: str = chunk.content + chunk.reasoning + chunk.refusal
    reason: Optional[str] = chunk.finish_reason or chunk.raw_finish_reason
    found: Optional[ToolCallDelta] = chunk.tool_call_delta
    pictures = (
        Attachment.from_path("cat.png"),
        Attachment.from_path(Path("cat.png"), "image/png"),
        Attachment.from_bytes(b"...", "image/png", name="cat"),
        Attachment.from_url("https://example.com/cat.png", "image/png"),
    )
    message = Message(
        Role.ASSISTANT,
        "text",
        tool_calls=[call],
        tool_call_id=None,
        attachments=pictures,
        citations=("https://example.com",),
        usage=usage,
        provider_state={"opaque": 1},
    )
    role: Role = message.role
    text: str = message.content + message.reasoning + message.refusal
    calls: tuple[ToolCall, ...] = message.tool_calls
    attached: tuple[Attachment, ...] = message.attachments
    cited: tuple[str, ...] = message.citations
    ended: Optional[str] = message.finish_reason or message.raw_finish_reason
    names: Optional[str] = message.model or message.response_id or message.tool_call_id
    spent: Optional[TokenUsage] = message.usage
    state: Optional[Mapping[str, Any]] = message.provider_state
    paid: Optional[Decimal] = message.cost() or message.cost(provider="azure")
    message.cost("azure")  # type: ignore[call-arg]
    Message("user", "a word for a role is taken as well")
    Message(Role.USER)  # type: ignore[call-arg]
    message.content = "frozen"  # type: ignore[misc]
    print(counts, parts, arguments, texts, schema, pieces, said, reason, found, role, text, calls)
    print(attached, cited, ended, names, spent, state, paid)


def settings() -> tuple[ChatOptions, Timeouts, Limits]:
    """Options, clocks, limits."""
    options = ChatOptions(
        max_output_tokens=100,
        temperature=0.5,
        top_p=1,
        stop=("END",),
        seed=7,
        reasoning_effort="low",
        tool_choice="auto",
        response_schema={"type": "object"},
        extra_body={"user": "ada"},
    )
    merged: ChatOptions = ChatOptions(stop="END").over(options)
    timeouts = Timeouts(10.0, first_chunk_s=None, idle_s=60, total_s=None)
    limits = Limits(event_bytes=1, stream_bytes=1, error_body_bytes=1, error_body_s=1.0)
    seconds: Optional[float] = timeouts.total_s
    print(merged, seconds)
    return options, timeouts, limits


class Quiet(Observer):
    """An observer that looks at one thing only."""

    def on_finish(self, call: CallInfo, message: Message) -> None:
        """Who answered."""
        who: tuple[str, str, bool] = (call.provider_name, call.model_name, call.streamed)
        print(who, message.usage)

    def on_start(self, call: CallInfo) -> None:
        """Nothing."""

    def on_retry(self, call: CallInfo, error: CloudLLMError, delay_s: float) -> None:
        """Nothing."""

    def on_first_chunk(self, call: CallInfo) -> None:
        """Nothing."""

    def on_error(self, call: CallInfo, error: CloudLLMError) -> None:
        """Nothing."""


def clients() -> Iterator[Client]:
    """Every client with every argument."""
    options, timeouts, limits = settings()
    yield OpenAIClient(
        OpenAIModel.GPT_5,
        api_key="key",
        base_url="https://api.openai.com/v1",
        options=options,
        timeouts=timeouts,
        max_retries=2,
        headers={"X-Team": "blue"},
        proxies={"https": "http://proxy:3128"},
        verify="/path/of/a/bundle.pem",
        cert=("/path/of/a/certificate.pem", "/path/of/a/key.pem"),
        observers=[Quiet()],
        limits=limits,
        allow_http=False,
    )
    yield GrokClient(GrokModel.GROK_4_3, api_key=None, verify=False, cert="/path/of/both.pem")
    yield OllamaClient("llama3.2", base_url="https://ollama.com", api_key="key", limits=limits)
    yield OpenAICompatibleClient("m", base_url="http://localhost:11434/v1", provider_name="ollama")
    yield AzureOpenAIClient(
        "deployment", base_url="https://r.openai.azure.com", api_version="2024-10-21"
    )
    OpenAICompatibleClient("m")  # type: ignore[call-arg]
    OpenAIClient("m", "key")  # type: ignore[call-arg]
    OpenAIClient(5)  # type: ignore[arg-type]


def on_chunk(chunk: MessageChunk) -> None:
    """A callback."""


def on_finish(message: Message) -> None:
    """A callback."""


def on_error(error: CloudLLMError) -> None:
    """A callback."""


def calls(client: Client, tools: Sequence[ToolDefinition]) -> None:
    """The three ways to ask a client."""
    options, timeouts, _ = settings()
    with client:
        whole: Message = client.send_message("hi", tools, options=options, timeouts=timeouts)
        stream: ChatStream = client.send_message_stream([whole], tools, options=options)
        handle: StreamHandle = client.start_message_stream(
            "hi",
            tools,
            on_chunk=on_chunk,
            on_finish=on_finish,
            on_error=on_error,
            options=options,
            timeouts=timeouts,
        )
        client.start_message_stream("hi", on_finish=on_error)  # type: ignore[arg-type]
        client.send_message("hi", tools, options)  # type: ignore[call-arg]
        client.send_message([{"role": "user"}])  # type: ignore[list-item]
    names: tuple[str, str] = (client.model_name, client.provider_name)
    wrapper: ClientWrapper = client
    client.close()
    streams(stream)
    handles(handle)
    print(names, wrapper)


def streams(stream: ChatStream) -> None:
    """Reading a stream."""
    with stream as same:
        for chunk in same:
            content: str = chunk.content
            print(content)
    first: MessageChunk = next(stream)
    texts: Iterator[str] = stream.text()
    reply: Message = stream.result()
    partial: Message = stream.partial
    reason: Optional[str] = stream.finish_reason
    usage: Optional[TokenUsage] = stream.usage
    request: Optional[str] = stream.request_id
    stream.cancel()
    stream.close()
    own: ChatStream = ChatStream.of([first])
    print(texts, reply, partial, reason, usage, request, own)


def handles(handle: StreamHandle) -> None:
    """Waiting for callbacks."""
    reply: Message = handle.result(timeout=5)
    error: Optional[BaseException] = handle.exception(0.5)
    ended: bool = handle.join() and handle.done()
    partial: Message = handle.partial
    handle.cancel()
    print(reply, error, ended, partial)


class OwnClient:
    """A client of a user's own: four members, no base class."""

    model_name: str = "mine"
    provider_name: str = "home"

    def send_message(
        self,
        messages: Sequence[Message],
        tools: Optional[Sequence[ToolDefinition]] = None,
        *,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> Message:
        """The whole reply."""
        return messages[-1]

    def send_message_stream(
        self,
        messages: Sequence[Message],
        tools: Optional[Sequence[ToolDefinition]] = None,
        *,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> None:
        """It cannot stream."""


class OwnStore(SessionStore):
    """A store of a user's own."""

    leases_end = True

    def load(self, session_id: str, *, newest: Optional[int] = None) -> StoredSession:
        """The conversation."""
        stored = StoredSession()
        version: int = stored.version
        messages: tuple[Message, ...] = stored.messages
        usage: tuple[TokenUsage, Optional[TokenUsage]] = (stored.usage, stored.last_usage)
        notes: Mapping[str, Any] = stored.notes
        print(version, messages, stored.length, usage, notes)
        return stored

    def append(
        self,
        session_id: str,
        base_version: int,
        messages: Sequence[Message],
        usage: Optional[TokenUsage],
        *,
        notes: Optional[Mapping[str, Any]] = None,
    ) -> None:
        """Add to it."""

    def clear(self, session_id: str, base_version: int) -> None:
        """Empty it."""

    def replace(self, session_id: str, base_version: int, stored: StoredSession) -> None:
        """Write it anew."""

    def delete(self, session_id: str) -> None:
        """Forget it."""

    def sessions(
        self, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> tuple[SessionInfo, ...]:
        """All of them."""
        return (SessionInfo("mine", 2, TokenUsage(1, 2, 3), 0.0),)

    def lease(self, session_id: str, owner: str, seconds: float) -> float:
        """Everybody may."""
        return 0.0

    def release(self, session_id: str, owner: str) -> None:
        """Nothing to give back."""

    def close(self) -> None:
        """Nothing is open."""


def stores(store: SessionStore) -> tuple[SessionStore, ...]:
    """Ours, and a user's own; what is in them."""
    store.append("mine", 0, [Message(Role.USER, "hi")], None, notes={"a": 1})
    store.replace("mine", 1, store.load("mine", newest=2))
    for info in store.sessions(prefix="m", after="a", limit=10):
        line: tuple[str, int, TokenUsage, float] = (
            info.session_id,
            info.length,
            info.usage,
            info.updated_at,
        )
        print(line)
    wait: float = store.lease("mine", "me", 60.0)
    store.release("mine", "me")
    store.close()
    print(wait)
    exported: int = store.export(Path("chats.jsonl"), prefix="m") + store.export("all.jsonl")
    with open("chats.jsonl", encoding="utf-8") as lines:
        imported: int = store.import_(lines) + store.import_("all.jsonl", replace=True)
    print(exported, imported)
    client = redis.Redis()
    engine = sqlalchemy.create_engine("sqlite:///chats.db")
    return (
        MemoryStore(),
        OwnStore(),
        SQLiteStore("chats.db"),
        SQLiteStore(Path("chats.db")),
        RedisStore("redis://localhost/0"),
        RedisStore(client, prefix="chats:", expire_after_s=3600),
        SQLStore("postgresql://localhost/chats"),
        SQLStore(engine),
        open_store("memory:"),
    )


@tool
def adds(a: int, b: int = 0) -> int:
    """Adds."""
    return a + b


@tool(name="subtract", timeout_s=2)
def subtracts(a: int, b: int) -> int:
    """Subtracts."""
    return a - b


def many(client: Client) -> None:
    """At once."""
    rate = RateLimit(requests_per_minute=5, tokens_per_minute=1000)
    prompts: list[str | list[Message]] = ["a", [Message(Role.USER, "b")]]
    for result in client.map(prompts, workers=2, ordered=False, rate=rate, results="out.jsonl"):
        whole: MapResult = result
        index: int = result.index
        error: Optional[CloudLLMError] = result.error
        print(whole, index, error, result.result().content, result.was_kept)
    client.map([1])  # type: ignore[list-item]


class Person:
    """What a reply may be read into."""


def objects(stream: ChatStream, message: Message) -> None:
    """Of a class."""
    ChatOptions(response_schema=Person)
    ChatOptions(response_schema={"type": "object"})
    whole: Person = message.parsed(Person)
    for person in stream.objects(Person):
        growing: Person = person
        print(growing, whole)


def told(call: ToolCall, result: ToolResult) -> None:
    """Of a call."""
    definitions: list[ToolDefinition] = [adds, subtracts]
    content: str = result.content
    error: Optional[Exception] = result.error
    print(call.name, content, error, result.elapsed_s, definitions)


def words(message: Message) -> int:
    """An estimate of a user's own."""
    return len(message.content.split())


def sessions(client: Client, tools: Sequence[ToolDefinition]) -> None:
    """A session, all of it."""
    options, timeouts, _ = settings()
    LLMSession(OwnClient())
    LLMSession(client, partial="maybe")  # type: ignore[arg-type]
    LLMSession("gpt-5")  # type: ignore[arg-type]
    session = LLMSession(
        client,
        "Be brief.",
        8192,
        session_id="mine",
        store=OwnStore(),
        options=options,
        partial="keep",
        turn_timeout=0,
        estimate_tokens=words,
        context=SummarizeOldest(OwnClient(), keep_tokens=2048),
    )
    LLMSession(client, context=SummarizeOldest(client))
    LLMSession(client, context=client)  # type: ignore[arg-type]
    SummarizeOldest("gpt-5")  # type: ignore[arg-type]
    picture = Attachment.from_path("cat.png")
    whole: Message = session.send_message(
        Role.USER,
        "hi",
        tools,
        attachments=[picture],
        options=options,
        timeouts=timeouts,
        turn_timeout=1,
    )
    maybe: Optional[ChatStream] = session.send_message_stream("user", "hi", tools)
    surely: ChatStream = session.send_message_stream("user", "hi")  # type: ignore[assignment]
    handle: StreamHandle = session.start_message_stream(
        Role.USER, "hi", on_chunk=on_chunk, on_finish=on_finish, on_error=on_error
    )
    answer: Message = session.ask("hi", tools, attachments=(picture,), turn_timeout=0.5)
    stream: ChatStream = session.stream("hi", options=options)
    submitted: StreamHandle = session.submit("hi", on_finish=lambda message: message.content)
    for call in answer.tool_calls:
        session.inject_message(Role.TOOL, "result", tool_call_id=call.id)
    again: Message = session.send_current_history(tools, options=options, turn_timeout=1)
    streamed: Optional[ChatStream] = session.stream_current_history(tools, timeouts=timeouts)
    run: Message = session.run("user", "hi", [adds], on_tool=told, on_chunk=on_chunk, max_rounds=3)
    with session.run_stream("user", "hi", [adds], on_tool=told) as rounds:
        for piece in rounds:
            on_chunk(piece)
        ended: Message = rounds.result()
        so_far: tuple[Message, ...] = rounds.messages
    print(run, ended, so_far)
    session.clear_history()
    session.set_system_prompt("Be kind.")
    history: tuple[Message, ...] = session.history + session.request_messages
    usage: TokenUsage = session.token_usage
    last: Optional[TokenUsage] = session.last_token_usage
    paid: Optional[Decimal] = session.cost
    numbers: tuple[int, int] = (session.estimated_history_tokens, session.max_tokens)
    names: tuple[str, str] = (session.model_name, session.session_id)
    session.history = ()  # type: ignore[misc]
    print(whole, maybe, surely, handle, stream, submitted, again, streamed, history, usage, last)
    print(numbers, names, paid)


def errors(session: LLMSession) -> Optional[str]:
    """Every error, the narrowest first, and what it carries."""
    try:
        session.ask("hi")
    except (AuthenticationError, ContextLengthError, QuotaExceededError, ServerError) as error:
        status: Optional[int] = error.status_code
        return f"{status} {error.code} {error.type} {error.body}"
    except (BadRequestError, RateLimitError, APIError) as error:
        seconds: Optional[float] = error.retry_after_s
        return f"{seconds}"
    except RequestTimeoutError as error:
        clock: str = error.clock
        return clock
    except (UnsupportedOptionError, StreamingNotSupportedError, ConfigurationError) as error:
        bad_value: ValueError = error
        return str(bad_value)
    except (ConnectError, TransportError):
        return None
    except (StreamInterrupted, StreamProtocolError, StreamTooLargeError, StreamError) as error:
        partial: Optional[Message] = error.partial
        return partial.content if partial else None
    except SessionBusyError as error:
        waited: float = error.waited_s
        return f"{waited}"
    except (CommitConflictError, StoreError) as error:
        reply: Optional[Message] = error.reply
        return reply.content if reply else None
    except StreamCancelled as error:
        request: Optional[str] = error.request_id
        return request
    except CloudLLMError as error:
        retry: tuple[bool, int] = (error.retryable, error.attempts)
        return str(retry)
    return None
