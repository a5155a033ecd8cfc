"""Streaming replies of large language models, on threads and blocking sockets::

    from cloudllm_sync import LLMSession, OpenAIClient

    session = LLMSession(OpenAIClient("gpt-5.4-mini"), "You are a helpful assistant.")
    for chunk in session.stream("Write a haiku about Python."):
        print(chunk.content, end="", flush=True)

Names are imported at their first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudllm_sync.clients.azure import AzureOpenAIClient
    from cloudllm_sync.clients.claude import ClaudeClient
    from cloudllm_sync.clients.client import Client
    from cloudllm_sync.clients.compatible import OpenAICompatibleClient
    from cloudllm_sync.clients.fallback import FallbackClient
    from cloudllm_sync.clients.gemini import GeminiClient
    from cloudllm_sync.clients.grok import GrokClient
    from cloudllm_sync.clients.mapping import MapResult
    from cloudllm_sync.clients.ollama import OllamaClient
    from cloudllm_sync.clients.openai import OpenAIClient
    from cloudllm_sync.clients.pace import RateLimit
    from cloudllm_sync.clients.registry import add_provider, known_providers, open_client
    from cloudllm_sync.clients.responses import OpenAIResponsesClient
    from cloudllm_sync.clients.wrapper import ClientWrapper
    from cloudllm_sync.errors import (
        APIError,
        AuthenticationError,
        BadRequestError,
        CloudLLMError,
        CommitConflictError,
        ConfigurationError,
        ConnectError,
        ContextLengthError,
        QuotaExceededError,
        RateLimitError,
        RequestTimeoutError,
        ServerError,
        SessionBusyError,
        StoreError,
        StreamCancelled,
        StreamError,
        StreamingNotSupportedError,
        StreamInterrupted,
        StreamProtocolError,
        StreamTooLargeError,
        ToolRoundsError,
        TransportError,
        UnsupportedOptionError,
    )
    from cloudllm_sync.session.running import RunStream
    from cloudllm_sync.session.session import LLMSession
    from cloudllm_sync.session.stores import SessionInfo, SessionStore, StoredSession
    from cloudllm_sync.session.stores.memory import MemoryStore
    from cloudllm_sync.session.stores.opening import open_store
    from cloudllm_sync.session.stores.redis import RedisStore
    from cloudllm_sync.session.stores.sql import SQLStore
    from cloudllm_sync.session.stores.sqlite import SQLiteStore
    from cloudllm_sync.session.strategies import SummarizeOldest
    from cloudllm_sync.session.tool_calls import ToolResult
    from cloudllm_sync.session.tools import Tool, tool
    from cloudllm_sync.streaming.handle import StreamHandle
    from cloudllm_sync.streaming.observer import CallInfo, Observer
    from cloudllm_sync.streaming.stream import ChatStream
    from cloudllm_sync.values import (
        Attachment,
        ChatOptions,
        Limits,
        Message,
        MessageChunk,
        Role,
        Timeouts,
        TokenUsage,
        ToolCall,
        ToolCallDelta,
        ToolDefinition,
    )

__all__ = [
    "APIError",
    "Attachment",
    "AuthenticationError",
    "AzureOpenAIClient",
    "BadRequestError",
    "CallInfo",
    "ChatOptions",
    "ChatStream",
    "ClaudeClient",
    "Client",
    "ClientWrapper",
    "CloudLLMError",
    "CommitConflictError",
    "ConfigurationError",
    "ConnectError",
    "ContextLengthError",
    "FallbackClient",
    "GeminiClient",
    "GrokClient",
    "LLMSession",
    "Limits",
    "MapResult",
    "MemoryStore",
    "Message",
    "MessageChunk",
    "Observer",
    "OllamaClient",
    "OpenAIClient",
    "OpenAICompatibleClient",
    "OpenAIResponsesClient",
    "QuotaExceededError",
    "RateLimit",
    "RateLimitError",
    "RedisStore",
    "RequestTimeoutError",
    "Role",
    "RunStream",
    "SQLStore",
    "SQLiteStore",
    "ServerError",
    "SessionBusyError",
    "SessionInfo",
    "SessionStore",
    "StoreError",
    "StoredSession",
    "StreamCancelled",
    "StreamError",
    "StreamHandle",
    "StreamInterrupted",
    "StreamProtocolError",
    "StreamTooLargeError",
    "StreamingNotSupportedError",
    "SummarizeOldest",
    "Timeouts",
    "TokenUsage",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolDefinition",
    "ToolResult",
    "ToolRoundsError",
    "TransportError",
    "UnsupportedOptionError",
    "__version__",
    "add_provider",
    "known_providers",
    "open_client",
    "open_store",
    "tool",
]

__version__ = "0.1.0"

# A name is imported when it is first used: a script that only asks for the version, or a web
# server that imports views it never serves, does not pay for requests.
_NAMES = {
    "clients.azure": "AzureOpenAIClient",
    "clients.claude": "ClaudeClient",
    "clients.client": "Client",
    "clients.compatible": "OpenAICompatibleClient",
    "clients.fallback": "FallbackClient",
    "clients.gemini": "GeminiClient",
    "clients.grok": "GrokClient",
    "clients.mapping": "MapResult",
    "clients.ollama": "OllamaClient",
    "clients.openai": "OpenAIClient",
    "clients.pace": "RateLimit",
    "clients.registry": "add_provider known_providers open_client",
    "clients.responses": "OpenAIResponsesClient",
    "clients.wrapper": "ClientWrapper",
    "errors": (
        "APIError AuthenticationError BadRequestError CloudLLMError CommitConflictError "
        "ConfigurationError ConnectError ContextLengthError QuotaExceededError RateLimitError "
        "RequestTimeoutError ServerError SessionBusyError StoreError StreamCancelled "
        "StreamError StreamingNotSupportedError StreamInterrupted StreamProtocolError "
        "StreamTooLargeError ToolRoundsError TransportError UnsupportedOptionError"
    ),
    "session.running": "RunStream",
    "session.session": "LLMSession",
    "session.stores": "SessionInfo SessionStore StoredSession",
    "session.stores.memory": "MemoryStore",
    "session.tool_calls": "ToolResult",
    "session.tools": "Tool tool",
    "session.stores.opening": "open_store",
    "session.stores.redis": "RedisStore",
    "session.stores.sql": "SQLStore",
    "session.stores.sqlite": "SQLiteStore",
    "session.strategies": "SummarizeOldest",
    "streaming.handle": "StreamHandle",
    "streaming.observer": "CallInfo Observer",
    "streaming.stream": "ChatStream",
    "values": (
        "Attachment ChatOptions Limits Message MessageChunk Role Timeouts TokenUsage ToolCall "
        "ToolCallDelta ToolDefinition"
    ),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
