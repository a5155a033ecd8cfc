"""The public surface: its names, and the signatures that other people's code is written against."""

from __future__ import annotations

import collections.abc
import contextlib
import importlib
import importlib.util
import inspect
import pathlib
import subprocess
import sys

import attrs
import pytest

import cloudllm_sync
from cloudllm_sync import Timeouts, errors

ROOT = pathlib.Path(__file__).parents[1]

EXPORTED = [
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
    "ServerError",
    "SQLStore",
    "SQLiteStore",
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
    "tool",
    "open_store",
]

ANY = object()
"""A default that is nobody's business."""

CLIENT = """api_key=None, base_url=None, options=None, timeouts=Timeouts(), max_retries=2,
    headers=None, proxies=None, verify=True, cert=None, observers=()"""
CALL = "tools=None, *, options=None, timeouts=None"
TURN = "options=None, timeouts=None, turn_timeout=None"
CALLBACKS = "on_chunk=None, on_finish=None, on_error=None"

SIGNATURES = {
    "Message": """role, content, *, tool_calls=(), tool_call_id=None, attachments=(),
        reasoning="", refusal="", citations=(), finish_reason=None, raw_finish_reason=None,
        usage=None, model=None, response_id=None, provider_state=None""",
    "MessageChunk": """content="", reasoning="", refusal="", finish_reason=None,
        raw_finish_reason=None, tool_call_delta=None, usage=None""",
    "ToolCall": "id, name, arguments",
    "ToolCall.parsed": "self",
    "ToolCallDelta": "index, id, name, arguments",
    "ToolDefinition": "name, description, parameters",
    "TokenUsage": """input_tokens, output_tokens, total_tokens, cached_input_tokens=None,
        cache_write_tokens=None, reasoning_tokens=None""",
    "ChatOptions": """*, max_output_tokens=None, temperature=None, top_p=None, stop=(), seed=None,
        reasoning_effort=None, tool_choice=None, response_schema=None, extra_body=ANY""",
    "Timeouts": "connect_s=10.0, first_chunk_s=120.0, idle_s=60.0, total_s=None",
    "OpenAIClient": f"model, *, {CLIENT}",
    "GrokClient": f"model, *, {CLIENT}",
    "ClaudeClient": f"model, *, {CLIENT}",
    "GeminiClient": f"model, *, {CLIENT}",
    "OllamaClient": f"model, *, {CLIENT}",
    "OpenAIResponsesClient": f"model, *, {CLIENT}",
    "OpenAICompatibleClient": f"""model, *, {CLIENT.replace("base_url=None", "base_url")},
        provider_name="custom" """,
    "AzureOpenAIClient": f"""model, *, {CLIENT.replace("base_url=None", "base_url")},
        api_version=None""",
    "Client.send_message": f"self, messages, {CALL}",
    "Client.send_message_stream": f"self, messages, {CALL}",
    "Client.start_message_stream": f"""self, messages, tools=None, *, {CALLBACKS},
        options=None, timeouts=None""",
    "Client.close": "self",
    "ClientWrapper.send_message": f"self, messages, {CALL}",
    "ClientWrapper.send_message_stream": f"self, messages, {CALL}",
    "ChatStream.text": "self",
    "ChatStream.result": "self",
    "ChatStream.cancel": "self",
    "ChatStream.close": "self",
    "StreamHandle.result": "self, timeout=None",
    "StreamHandle.exception": "self, timeout=None",
    "StreamHandle.join": "self, timeout=None",
    "StreamHandle.done": "self",
    "StreamHandle.cancel": "self",
    "LLMSession": """client, system_prompt="", max_tokens=8192, *, session_id=None, store=None,
        options=None, partial="discard", turn_timeout=300.0, estimate_tokens=ANY""",
    "SummarizeOldest": "client, keep_tokens=None",
    "LLMSession.send_message": f"self, role, content, tools=None, *, attachments=(), {TURN}",
    "LLMSession.send_message_stream": f"self, role, content, tools=None, *, attachments=(), {TURN}",
    "LLMSession.start_message_stream": f"""self, role, content, tools=None, *, {CALLBACKS},
        attachments=(), {TURN}""",
    "LLMSession.ask": f"self, content, tools=None, *, attachments=(), {TURN}",
    "LLMSession.stream": f"self, content, tools=None, *, attachments=(), {TURN}",
    "LLMSession.submit": f"self, content, tools=None, *, {CALLBACKS}, attachments=(), {TURN}",
    "LLMSession.send_current_history": f"self, tools=None, *, {TURN}",
    "LLMSession.stream_current_history": f"self, tools=None, *, {TURN}",
    "LLMSession.inject_message": "self, role, content, *, tool_call_id=None",
    "LLMSession.clear_history": "self",
    "LLMSession.set_system_prompt": "self, text",
}

PROPERTIES = {
    "Client": "model_name provider_name",
    "ChatStream": "partial finish_reason usage request_id",
    "StreamHandle": "partial",
    "LLMSession": """history request_messages token_usage last_token_usage
        estimated_history_tokens model_name max_tokens session_id""",
}

# As drawn in API.md: an error, what it is one of, and the fields that it adds.
ERRORS = {
    "CloudLLMError": ("Exception", "partial request_id retryable attempts"),
    "ConfigurationError": ("CloudLLMError", ""),
    "UnsupportedOptionError": ("ConfigurationError", ""),
    "StreamingNotSupportedError": ("ConfigurationError", ""),
    "TransportError": ("CloudLLMError", ""),
    "ConnectError": ("TransportError", ""),
    "RequestTimeoutError": ("TransportError", "clock"),
    "APIError": ("CloudLLMError", "status_code code type retry_after_s body"),
    "AuthenticationError": ("APIError", ""),
    "BadRequestError": ("APIError", ""),
    "ContextLengthError": ("BadRequestError", ""),
    "RateLimitError": ("APIError", ""),
    "QuotaExceededError": ("RateLimitError", ""),
    "ServerError": ("APIError", ""),
    "StreamError": ("CloudLLMError", ""),
    "StreamInterrupted": ("StreamError", ""),
    "StreamProtocolError": ("StreamError", ""),
    "StreamTooLargeError": ("StreamError", ""),
    "StreamCancelled": ("CloudLLMError", ""),
    "ToolRoundsError": ("CloudLLMError", ""),
    "SessionBusyError": ("CloudLLMError", "waited_s"),
    "StoreError": ("CloudLLMError", "reply"),
    "CommitConflictError": ("StoreError", ""),
}


def parameters_of(dotted):
    """The parameters of a class (without self) or of a method, by name."""
    name, _, method = dotted.partition(".")
    found = getattr(cloudllm_sync, name)
    # ChatOptions and Timeouts have a __new__, which inspect.signature() would take for them.
    signature = inspect.signature(getattr(found, method or "__init__"))
    parameters = list(signature.parameters.values())
    return parameters if method else parameters[1:]


def wanted(text):
    """The parameters that a text like that of API.md names."""
    made = eval(f"lambda {' '.join(text.split())}: None")
    return list(inspect.signature(made).parameters.values())


def test_exported_names_are_exactly_these():
    """A change here is a change of the public surface."""
    assert sorted(cloudllm_sync.__all__) == sorted(EXPORTED)


def test_every_exported_name_exists():
    """Also by a star import, and as help() and dir() list them."""
    namespace = {}
    exec("from cloudllm_sync import *", namespace)

    assert set(EXPORTED) <= namespace.keys()
    assert set(EXPORTED) <= set(dir(cloudllm_sync))


def test_nothing_else_is_public():
    """What the package imports for itself has a leading underscore, or is a room."""
    for name in EXPORTED:
        getattr(cloudllm_sync, name)

    public = {name for name in vars(cloudllm_sync) if not name.startswith("_")}
    modules = {name for name in public if inspect.ismodule(getattr(cloudllm_sync, name))}

    assert public - modules - {"TYPE_CHECKING", "annotations"} <= set(EXPORTED)


def test_unknown_name_is_an_attribute_error():
    """As of any module; hasattr() and pickle rely on it."""
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = cloudllm_sync.no_such_name


@pytest.mark.parametrize("name", [name for name in EXPORTED if name != "__version__"])
def test_exported_name_is_documented(name):
    """Every public name says what it is."""
    assert len(inspect.getdoc(getattr(cloudllm_sync, name)) or "") > 10


@pytest.mark.parametrize("dotted", SIGNATURES)
def test_signature_is_as_promised(dotted):
    """Names, order, kinds and defaults; more may follow, by keyword and with a default."""
    found = parameters_of(dotted)
    names = [parameter.name for parameter in found]
    promised = wanted(SIGNATURES[dotted])

    for parameter in promised:
        assert parameter.name in names
        actual = found[names.index(parameter.name)]
        assert (actual.name, actual.kind) == (parameter.name, parameter.kind)
        if parameter.default is not ANY:
            assert actual.default == parameter.default
    positional = [p.name for p in found if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [p.name for p in promised if p.kind is p.POSITIONAL_OR_KEYWORD]
    promised_names = {parameter.name for parameter in promised}
    for parameter in found:
        if parameter.name not in promised_names:
            assert parameter.kind is parameter.KEYWORD_ONLY
            assert parameter.default is not parameter.empty


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties_are_as_promised(name):
    """They are read, not called."""
    for attribute in PROPERTIES[name].split():
        assert isinstance(getattr(getattr(cloudllm_sync, name), attribute), property)


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_as_drawn(name):
    """Class, place in the tree, fields with defaults; the same class in `errors`."""
    parent, fields = ERRORS[name]
    error = getattr(cloudllm_sync, name)

    assert error is getattr(errors, name)
    assert error.__bases__[0].__name__ == parent
    assert all(hasattr(error("words"), field) for field in fields.split())


def test_no_error_is_missing_from_the_drawing():
    """The module has these and no others."""
    assert sorted(errors.__all__) == sorted(ERRORS)


def test_bad_input_is_a_value_error():
    """Whoever checks input catches ValueError."""
    assert issubclass(errors.ConfigurationError, ValueError)


def test_roles_are_as_promised():
    """By name, and by the word that the wires use."""
    assert [(role.name, role.value) for role in cloudllm_sync.Role] == [
        ("SYSTEM", "system"),
        ("USER", "user"),
        ("ASSISTANT", "assistant"),
        ("TOOL", "tool"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "Message",
        "ToolCall",
        "ToolCallDelta",
        "ToolDefinition",
        "TokenUsage",
        "ChatOptions",
        "Timeouts",
    ],
)
def test_values_are_frozen_and_slotted(name):
    """A value that was handed over cannot change."""
    value = getattr(cloudllm_sync, name)

    assert attrs.has(value)
    assert "__slots__" in vars(value)
    assert value.__setattr__ is not object.__setattr__


def test_options_start_empty():
    """Everything is the provider's default."""
    assert cloudllm_sync.ChatOptions().extra_body == {}


def test_stream_is_an_iterator_and_a_context_manager():
    """It can be looped over, and left by `with`."""
    assert issubclass(cloudllm_sync.ChatStream, collections.abc.Iterator)
    assert issubclass(cloudllm_sync.ChatStream, contextlib.AbstractContextManager)
    assert issubclass(cloudllm_sync.Client, contextlib.AbstractContextManager)


@pytest.mark.parametrize("module", ["openai", "grok"])
def test_models_stand_beside_their_client(module):
    """`cloudllm_sync.clients.openai.Model`, and so on."""
    model = importlib.import_module(f"cloudllm_sync.clients.{module}").Model

    assert all(isinstance(member.value, str) for member in model)


@pytest.mark.parametrize(
    "name",
    [
        "OpenAIClient",
        "GrokClient",
        "ClaudeClient",
        "GeminiClient",
        "OllamaClient",
        "OpenAIResponsesClient",
    ],
)
def test_every_client_is_a_client_wrapper(name):
    """What a session asks of a client, ours have."""
    with getattr(cloudllm_sync, name)("m", api_key="k", timeouts=Timeouts()) as client:
        assert isinstance(client, cloudllm_sync.ClientWrapper)


@pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="mypy is not installed for this interpreter"
)
def test_types_are_as_promised():
    """`tests/typing/api.py` uses all of it under mypy --strict."""
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "tests/typing/api.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
