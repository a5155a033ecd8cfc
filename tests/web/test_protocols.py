"""What the encoders write: every kind of chunk, every end, in every protocol."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from cloudllm_sync import (
    APIError,
    AuthenticationError,
    BadRequestError,
    CloudLLMError,
    ConfigurationError,
    ContextLengthError,
    Message,
    MessageChunk,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    Role,
    ServerError,
    SessionBusyError,
    StreamCancelled,
    StreamInterrupted,
    TokenUsage,
    ToolCall,
    ToolCallDelta,
    errors,
)
from cloudllm_sync.codecs import ServerSentEvent
from cloudllm_sync.codecs.openai_chat import OpenAIChatCodec
from cloudllm_sync.codecs.surrogates import well_formed
from cloudllm_sync.web.protocols import PROTOCOLS, encoder_for
from cloudllm_sync.web.protocols.openai_chat import completion, error_body

USAGE = TokenUsage(7, 5, 12, cached_input_tokens=3)
ERRORS = [getattr(errors, name) for name in errors.__all__]
STREAMED = ["sse", "ai-sdk", "openai"]


def message(content="Hello", **fields):
    return Message(Role.ASSISTANT, content, **{"finish_reason": "stop", **fields})


def call_piece(index, call_id=None, name=None, arguments=""):
    return MessageChunk(tool_call_delta=ToolCallDelta(index, call_id, name, arguments))


def events_of(body):
    """The events of a stream as [id, name, data], read by the rules of HTML, 9.2.6."""
    found, fields = [], {}
    for line in re.split(rb"\r\n|\r|\n", body):
        if line.startswith(b":"):
            continue
        if not line:
            if b"data" in fields:
                data = fields[b"data"]
                found.append(
                    [
                        fields.get(b"id", b"").decode() or None,
                        fields.get(b"event", b"").decode() or None,
                        data.decode() if data == b"[DONE]" else json.loads(data),
                    ]
                )
            fields = {}
            continue
        name, _, value = line.partition(b": ")
        assert name not in fields
        fields[name] = value
    assert not fields
    return found


def written(protocol, *chunks, last=None, **options):
    """What a response says, as the data of its events."""
    encoder = encoder_for(protocol, **options)
    body = encoder.start() + b"".join(map(encoder.chunk, chunks))
    if isinstance(last, Message):
        body += encoder.finish(last)
    elif last is not None:
        body += encoder.error(last)
    return [data for _, _, data in events_of(body)]


# What is said: a few chunks, and what each protocol makes of them before the end.

SAID = {
    "content": (
        [MessageChunk("Hel"), MessageChunk("lo")],
        [{"content": "Hel"}, {"content": "lo"}],
        [
            {"type": "text-start", "id": "text-1"},
            {"type": "text-delta", "id": "text-1", "delta": "Hel"},
            {"type": "text-delta", "id": "text-1", "delta": "lo"},
        ],
        [{"content": "Hel"}, {"content": "lo"}],
        b"Hello",
    ),
    "reasoning before content": (
        [MessageChunk(reasoning="Hm"), MessageChunk("Yes", reasoning="!"), MessageChunk(" sir")],
        [{"reasoning": "Hm"}, {"content": "Yes", "reasoning": "!"}, {"content": " sir"}],
        [
            {"type": "reasoning-start", "id": "reasoning-1"},
            {"type": "reasoning-delta", "id": "reasoning-1", "delta": "Hm"},
            {"type": "reasoning-delta", "id": "reasoning-1", "delta": "!"},
            {"type": "reasoning-end", "id": "reasoning-1"},
            {"type": "text-start", "id": "text-2"},
            {"type": "text-delta", "id": "text-2", "delta": "Yes"},
            {"type": "text-delta", "id": "text-2", "delta": " sir"},
        ],
        [
            {"reasoning_content": "Hm"},
            {"reasoning_content": "!", "content": "Yes"},
            {"content": " sir"},
        ],
        b"Yes sir",
    ),
    "a refusal": (
        [MessageChunk(refusal="No")],
        [{"refusal": "No"}],
        [
            {"type": "text-start", "id": "text-1"},
            {"type": "text-delta", "id": "text-1", "delta": "No"},
        ],
        [{"refusal": "No"}],
        b"",
    ),
    "calls side by side": (
        [
            MessageChunk("Look"),
            call_piece(3, "a", "find", '{"q"'),
            call_piece(5, "b", "read"),
            call_piece(3, arguments=": 1}"),
        ],
        [
            {"content": "Look"},
            {"tool_call": {"index": 0, "id": "a", "name": "find", "arguments": '{"q"'}},
            {"tool_call": {"index": 1, "id": "b", "name": "read", "arguments": ""}},
            {"tool_call": {"index": 0, "arguments": ": 1}"}},
        ],
        [
            {"type": "text-start", "id": "text-1"},
            {"type": "text-delta", "id": "text-1", "delta": "Look"},
            {"type": "text-end", "id": "text-1"},
            {"type": "tool-input-start", "toolCallId": "a", "toolName": "find"},
            {"type": "tool-input-delta", "toolCallId": "a", "inputTextDelta": '{"q"'},
            {"type": "tool-input-start", "toolCallId": "b", "toolName": "read"},
            {"type": "tool-input-delta", "toolCallId": "a", "inputTextDelta": ": 1}"},
        ],
        [
            {"content": "Look"},
            {
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "a",
                        "type": "function",
                        "function": {"name": "find", "arguments": '{"q"'},
                    }
                ]
            },
            {
                "tool_calls": [
                    {
                        "index": 1,
                        "id": "b",
                        "type": "function",
                        "function": {"name": "read", "arguments": ""},
                    }
                ]
            },
            {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
        ],
        b"Look",
    ),
    "content beside all else": (
        [
            MessageChunk("Yes", refusal="No"),
            MessageChunk("!", tool_call_delta=ToolCallDelta(0, None, "f", "{}")),
            MessageChunk(".", finish_reason="stop"),
        ],
        [
            {"content": "Yes", "refusal": "No"},
            {"content": "!"},
            {"content": "."},
            {"tool_call": {"index": 0, "id": "call_0", "name": "f", "arguments": "{}"}},
        ],
        [
            {"type": "text-start", "id": "text-1"},
            {"type": "text-delta", "id": "text-1", "delta": "Yes"},
            {"type": "text-delta", "id": "text-1", "delta": "No"},
            {"type": "text-delta", "id": "text-1", "delta": "!"},
            {"type": "text-delta", "id": "text-1", "delta": "."},
            {"type": "text-end", "id": "text-1"},
            {"type": "tool-input-start", "toolCallId": "call_0", "toolName": "f"},
            {"type": "tool-input-delta", "toolCallId": "call_0", "inputTextDelta": "{}"},
            {"type": "tool-input-available", "toolCallId": "call_0", "toolName": "f", "input": {}},
        ],
        [
            {"content": "Yes", "refusal": "No"},
            {"content": "!"},
            {
                "content": ".",
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "call_0",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                    }
                ],
            },
        ],
        b"Yes!.",
    ),
    "nothing": ([MessageChunk(), MessageChunk(usage=USAGE)], [], [], [], b""),
}
SAID_CASES = [pytest.param(*case, id=name) for name, case in SAID.items()]


@pytest.mark.parametrize(("chunks", "sse", "ai_sdk", "openai", "text"), SAID_CASES)
def test_plain_events_have_what_is_said_and_no_name(chunks, sse, ai_sdk, openai, text):
    """One unnamed event a chunk, for onmessage."""
    encoder = encoder_for("sse")

    found = events_of(b"".join(map(encoder.chunk, chunks)))

    assert [[None, None, data] for data in sse] == found


@pytest.mark.parametrize(("chunks", "sse", "ai_sdk", "openai", "text"), SAID_CASES)
def test_ai_sdk_gets_parts_one_open_at_a_time(chunks, sse, ai_sdk, openai, text):
    """A part begins with its first delta, and ends before another begins."""
    head, step, *found = written("ai-sdk", *chunks)

    assert [{"type": "start"}, {"type": "start-step"}] == [head, step]
    assert ai_sdk == found


@pytest.mark.parametrize(("chunks", "sse", "ai_sdk", "openai", "text"), SAID_CASES)
def test_openai_chunks_have_deltas_of_the_first_choice(chunks, sse, ai_sdk, openai, text):
    """Behind the role; and every chunk has the head that clients look for."""
    found = written("openai", *chunks, model="m", response_id="r", created=9)

    deltas = [{"role": "assistant", "content": ""}, *openai]
    head = {"id": "r", "object": "chat.completion.chunk", "created": 9, "model": "m"}
    assert [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ] == found


@pytest.mark.parametrize(("chunks", "sse", "ai_sdk", "openai", "text"), SAID_CASES)
def test_text_is_the_content_alone(chunks, sse, ai_sdk, openai, text):
    """Whatever else is said is no part of it."""
    encoder = encoder_for("text")

    assert text == encoder.start() + b"".join(map(encoder.chunk, chunks))


# Ends of a whole reply.


def test_plain_stream_ends_with_what_is_known():
    """Finish reason, usage as far as it is known, and model, under a name of their own."""
    body = encoder_for("sse").finish(message(usage=USAGE, model="m", finish_reason="length"))

    usage = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12, "cached_input_tokens": 3}
    about = {"finish_reason": "length", "usage": usage, "model": "m"}
    assert [[None, "finish", about]] == events_of(body)


def test_plain_stream_ends_without_usage_that_is_not_known():
    """The fields are there, so that a page need not ask whether they are."""
    body = encoder_for("sse").finish(message())

    about = {"finish_reason": "stop", "usage": None, "model": None}
    assert [[None, "finish", about]] == events_of(body)


def test_ai_sdk_stream_ends_with_everything_closed():
    """Part, sources, step and message, in this order, and then the end mark."""
    last = message(usage=USAGE, model="m", citations=("https://a", "https://b"))

    found = written("ai-sdk", MessageChunk("Hello"), last=last)

    usage = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12, "cachedInputTokens": 3}
    metadata = {"model": "m", "usage": usage}
    assert [
        {"type": "text-end", "id": "text-1"},
        {"type": "source-url", "sourceId": "source-1", "url": "https://a"},
        {"type": "source-url", "sourceId": "source-2", "url": "https://b"},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "stop", "messageMetadata": metadata},
        "[DONE]",
    ] == found[4:]


def test_ai_sdk_message_has_the_id_it_was_given():
    """Without one the browser makes its own."""
    assert {"type": "start", "messageId": "r1"} == written("ai-sdk", response_id="r1")[0]


@pytest.mark.parametrize(
    ("reason", "theirs"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool-calls"),
        ("content_filter", "content-filter"),
        ("error", "error"),
        ("pause", "other"),
        ("unknown", "other"),
        (None, "other"),
    ],
)
def test_ai_sdk_gets_a_finish_reason_that_its_schema_has(reason, theirs):
    """Other words would fail the whole message."""
    *_, last, _ = written("ai-sdk", last=message(finish_reason=reason))

    assert {"type": "finish", "finishReason": theirs} == last


@pytest.mark.parametrize(
    ("reason", "theirs"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("pause", "length"),
        ("error", "error"),
        ("unknown", "stop"),
        (None, "stop"),
    ],
)
def test_openai_gets_a_finish_reason_that_clients_know(reason, theirs):
    """There is always one: it is the proof of a whole reply."""
    last = message(finish_reason=reason)

    _, chunk, end = written("openai", last=last)

    assert [(theirs, {}), "[DONE]"] == [
        (chunk["choices"][0]["finish_reason"], chunk["choices"][0]["delta"]),
        end,
    ]
    assert theirs == json.loads(completion(last))["choices"][0]["finish_reason"]


OPENAI_USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3},
}


def test_openai_usage_rides_with_the_finish_reason():
    """A client that did not ask for a chunk without choices may stumble over one."""
    _, last, end = written("openai", last=message(usage=USAGE))

    assert OPENAI_USAGE == last["usage"]
    assert (1, "[DONE]") == (len(last["choices"]), end)


@pytest.mark.parametrize(("usage", "said"), [(USAGE, OPENAI_USAGE), (None, None)])
def test_openai_usage_has_a_chunk_of_its_own_where_asked_for(usage, said):
    """As OpenAI has it: no choices, also where no usage is known."""
    _, finish, last, end = written("openai", last=message(usage=usage), include_usage=True)

    assert "usage" not in finish
    assert ([], said, "[DONE]") == (last["choices"], last["usage"], end)


def test_openai_stream_names_the_sources():
    """As annotations, beside the finish reason."""
    _, last, _ = written("openai", last=message(citations=("https://a",)))

    place = {"url": "https://a", "title": "https://a", "start_index": 0, "end_index": 5}
    annotations = [{"type": "url_citation", "url_citation": place}]
    assert {"annotations": annotations} == last["choices"][0]["delta"]


def test_text_ends_without_a_word():
    """A text has no end mark."""
    assert encoder_for("text").finish(message()) == b""


# Tool calls: what is late, missing, doubled or broken.


def calls_of(protocol, *chunks, last):
    """The calls that a client joins from the pieces, as (id, name, arguments), and all events."""
    found = written(protocol, *chunks, last=last)
    calls = {}
    for data in found:
        if protocol == "sse" and "tool_call" in data:
            piece = data["tool_call"]
            call = calls.setdefault(piece["index"], [piece.get("id"), piece.get("name"), ""])
            call[2] += piece["arguments"]
        if protocol == "openai" and data != "[DONE]":
            for piece in data["choices"][0]["delta"].get("tool_calls", ()):
                said = piece["function"]
                call = calls.setdefault(piece["index"], [piece.get("id"), said.get("name"), ""])
                call[2] += said["arguments"]
        if protocol == "ai-sdk" and "toolCallId" in data:
            key = data["toolCallId"]
            if data["type"] == "tool-input-start":
                assert key not in calls
                calls[key] = [key, data["toolName"], ""]
            calls[key][2] += data.get("inputTextDelta", "")
    return [tuple(call) for call in calls.values()]


FINISH = MessageChunk(finish_reason="tool_calls")
LATE = {
    "the name comes after the arguments begin": (
        [call_piece(0, "a", None, '{"q"'), call_piece(0, None, "f", ": 1}"), FINISH],
        [("a", "f", '{"q": 1}')],
    ),
    "no id at all": ([call_piece(2, None, "f", "{}"), FINISH], [("call_2", "f", "{}")]),
    "no id, no finish reason": ([call_piece(2, None, "f", "{}")], [("call_2", "f", "{}")]),
    "one id twice": (
        [call_piece(0, "a", "f", "{}"), call_piece(1, "a", "g", "{}")],
        [("a", "f", "{}"), ("a_1", "g", "{}")],
    ),
    "more behind the finish reason": (
        [call_piece(0, "a", "f", '{"q"'), FINISH, call_piece(0, arguments=": 1}")],
        [("a", "f", '{"q": 1}')],
    ),
    "another call behind the finish reason": (
        [call_piece(0, "a", "f", "{}"), FINISH, call_piece(1, "b", "g", "{}")],
        [("a", "f", "{}"), ("b", "g", "{}")],
    ),
    "two rounds of a run": (
        [call_piece(0, "a", "f", "{}"), FINISH, call_piece(0, "b", "g", "[]"), FINISH],
        [("a", "f", "{}"), ("b", "g", "[]")],
    ),
    "two rounds of two calls": (
        [
            *(call_piece(at, f"a{at}", "f", "{}") for at in (0, 1)),
            FINISH,
            *(call_piece(at, f"b{at}", "g", "[]") for at in (0, 1)),
        ],
        [("a0", "f", "{}"), ("a1", "f", "{}"), ("b0", "g", "[]"), ("b1", "g", "[]")],
    ),
    "two rounds, without ids": (
        [call_piece(0, None, "f", "{}"), FINISH, call_piece(0, None, "g", "[]"), FINISH],
        [("call_0", "f", "{}"), ("call_0_0", "g", "[]")],
    ),
}


@pytest.mark.parametrize("protocol", STREAMED)
@pytest.mark.parametrize(("chunks", "calls"), LATE.values(), ids=LATE)
def test_first_piece_of_a_call_has_its_id_and_its_name(protocol, chunks, calls):
    """Clients join pieces by number, and take id and name from the first of them."""
    assert calls == calls_of(protocol, *chunks, last=message(finish_reason="tool_calls"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ('{"q": [1, "x"]}', {"type": "tool-input-available", "input": {"q": [1, "x"]}}),
        ("", {"type": "tool-input-available", "input": {}}),
        ('{"n": 123456789012345678901}', {"input": {"n": 123456789012345678901}}),
        ('{\n"n": NaN}', {"type": "tool-input-available", "input": {"n": None}}),
        ('{"s": "\\ud800"}', {"type": "tool-input-available", "input": {"s": "\ufffd"}}),
        ('{"q": 1', {"type": "tool-input-error", "input": '{"q": 1'}),
        ("[1]", {"type": "tool-input-error", "input": "[1]"}),
        ("[" * 5000, {"type": "tool-input-error"}),
    ],
)
def test_ai_sdk_gets_the_whole_input_of_a_call_once(arguments, said):
    """Parsed; as an error where it is no object."""
    reply = message(tool_calls=(ToolCall("a", "f", arguments),))

    found = written("ai-sdk", call_piece(0, "a", "f", arguments), FINISH, last=reply)

    kinds = ("tool-input-available", "tool-input-error")
    (whole,) = (data for data in found if data != "[DONE]" and data["type"] in kinds)
    assert {"toolCallId": "a", "toolName": "f", **said}.items() <= whole.items()
    assert ("errorText" in whole) == (whole["type"] == "tool-input-error")


def test_ai_sdk_gets_the_input_again_when_more_of_it_came():
    """Some servers go on behind the finish reason."""
    late = [call_piece(0, "a", "f", '{"q"'), FINISH, call_piece(0, arguments=": 1}")]

    found = written("ai-sdk", *late, last=message())

    kinds = [data["type"] for data in found if "toolCallId" in data]
    assert [
        "tool-input-start",
        "tool-input-delta",
        "tool-input-error",
        "tool-input-delta",
        "tool-input-available",
    ] == kinds


def test_ai_sdk_gets_a_step_for_every_round_of_a_run():
    """Steps are what the AI SDK calls rounds."""
    chunks = [call_piece(0, "a", "f", "{}"), FINISH, MessageChunk("So"), call_piece(0, "b", "g")]

    found = written("ai-sdk", *chunks, FINISH, MessageChunk(usage=USAGE), last=message())

    assert [
        "start",
        "start-step",
        "tool-input-start",
        "tool-input-delta",
        "tool-input-available",
        "finish-step",
        "start-step",
        "text-start",
        "text-delta",
        "text-end",
        "tool-input-start",
        "tool-input-available",
        "finish-step",
        "finish",
    ] == [data["type"] for data in found[:-1]]


# Errors.


def test_failure_is_told_to_a_plain_stream():
    """Under a name of its own: onerror is for the connection."""
    error = RateLimitError("Acme said: secret", body="secret", retryable=True, partial=message())

    about = {
        "type": "RateLimitError",
        "message": "The model is busy, try again later.",
        "partial": True,
        "retryable": True,
    }
    assert [[None, "failed", about]] == events_of(encoder_for("sse").error(error))


def test_cancel_is_told_to_a_plain_stream():
    """It is no failure."""
    about = {
        "type": "StreamCancelled",
        "message": "The reply was stopped.",
        "partial": False,
        "retryable": False,
    }
    assert [[None, "cancelled", about]] == events_of(encoder_for("sse").error(StreamCancelled()))


def test_failure_of_other_code_has_no_class_of_ours():
    """What broke in the view is nobody's business."""
    ((_, _, about),) = events_of(encoder_for("sse").error(KeyError("secret")))

    assert ("InternalError", "Something went wrong.") == (about["type"], about["message"])


def test_failure_is_told_to_the_ai_sdk():
    """Parts are closed, calls are not finished."""
    found = written(
        "ai-sdk", MessageChunk("Hel"), call_piece(0, "a", "f"), last=StreamInterrupted("secret")
    )

    assert [
        {"type": "text-end", "id": "text-1"},
        {"type": "tool-input-start", "toolCallId": "a", "toolName": "f"},
        {"type": "error", "errorText": "The reply was cut off, try again."},
        "[DONE]",
    ] == found[4:]


def test_cancel_is_told_to_the_ai_sdk():
    """As an abort, behind the end of the part."""
    found = written("ai-sdk", MessageChunk(reasoning="Hm"), last=StreamCancelled())

    assert [
        {"type": "reasoning-end", "id": "reasoning-1"},
        {"type": "abort"},
        "[DONE]",
    ] == found[4:]


def test_failure_is_told_to_an_openai_client():
    """Without an end mark, which some take for the proof of a whole reply."""
    *_, last = written("openai", MessageChunk("Hel"), last=RateLimitError("secret"))

    assert {
        "message": "The model is busy, try again later.",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    } == last["error"]


@pytest.mark.parametrize(
    ("cls", "read_as"),
    [
        (ContextLengthError, ContextLengthError),
        (BadRequestError, BadRequestError),
        (ConfigurationError, BadRequestError),
        (QuotaExceededError, QuotaExceededError),
        (RateLimitError, RateLimitError),
        (ServerError, ServerError),
        (RequestTimeoutError, ServerError),
        (AuthenticationError, ServerError),  # the key at fault is not the client's
        (StreamCancelled, ServerError),
        (KeyError, ServerError),
    ],
)
def test_failure_is_of_a_kind_that_clients_tell_apart(cls, read_as):
    """Our own client raises what the view has met, as far as it concerns the client."""
    decoder = OpenAIChatCodec("Acme").decoder()

    decoder.feed(ServerSentEvent(encoder_for("openai").error(cls("secret"))[6:-2]))

    assert read_as is type(decoder.error)


def test_failure_cuts_a_text():
    """In a line of its own."""
    body = encoder_for("text").error(SessionBusyError("secret"))

    assert b"\n[error: Another message of this conversation is still being answered.]" == body


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "cls", [*ERRORS, KeyError, KeyboardInterrupt], ids=lambda cls: cls.__name__
)
def test_error_says_nothing_that_is_not_for_browsers(protocol, cls):
    """Whatever its fields hold."""
    error = cls("secret")
    for name in ("body", "code", "type", "request_id"):
        setattr(error, name, "secret")
    error.__cause__ = ValueError("secret")
    if isinstance(error, CloudLLMError):
        error.partial = message("secret")

    said = encoder_for(protocol).error(error)

    assert said.strip()
    assert b"secret" not in said + error_body(error)


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_every_class_of_errors_has_a_sentence(cls):
    """One, that ends."""
    error = json.loads(error_body(cls("secret")))["error"]

    assert re.fullmatch(r"[A-Z][^.]+\.", error["message"])
    assert error["message"] != "Something went wrong."


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_own_words_win(protocol):
    """A view may say more, or say it in another language."""
    encoder = encoder_for(protocol, error_text=lambda error: f"Nö: {error}\n\n")

    said = encoder.error(APIError("x"))

    assert "Nö: x".encode() in said


@pytest.mark.parametrize("answer", [None, "", 7])
def test_no_words_of_ones_own_leave_it_to_the_sentence(answer):
    """A view need not have words for everything."""
    body = encoder_for("text", error_text=lambda _: answer).error(StreamCancelled())

    assert body == b"\n[error: The reply was stopped.]"


def test_words_of_ones_own_that_raise_do_not_lose_the_end(caplog):
    """The browser is told all the same, and so is the log."""

    def broken(error):
        raise RuntimeError("no words")

    body = encoder_for("text", error_text=broken).error(StreamCancelled())

    assert body == b"\n[error: The reply was stopped.]"
    assert ["cloudllm_sync.web"] == [record.name for record in caplog.records]


# Ids, heartbeats, headers, names.


@pytest.mark.parametrize("protocol", ["sse", "ai-sdk"])
def test_id_stands_on_the_last_event_of_its_chunk(protocol):
    """Whoever has that one has the others; a chunk with nothing to say takes no id."""
    encoder = encoder_for(protocol)
    chunks = [
        MessageChunk("a"),
        MessageChunk("b"),
        MessageChunk(usage=USAGE),
        MessageChunk("c", "d"),
    ]

    bodies = [encoder.chunk(chunk, f"17-{number}") for number, chunk in enumerate(chunks)]

    ids = [[event_id for event_id, _, _ in events_of(body)] for body in bodies]
    assert [["17-0"], ["17-1"], [], ["17-3"]] == [found[-1:] for found in ids]
    assert {None} >= {event_id for found in ids for event_id in found[:-1]}


@pytest.mark.parametrize("protocol", ["openai", "text"])
def test_id_is_left_out_where_there_is_no_such_thing(protocol):
    """A client of OpenAI's takes a heartbeat behind an id for an event."""
    encoder = encoder_for(protocol)

    assert encoder.chunk(MessageChunk("a")) == encoder.chunk(MessageChunk("a"), "17-0")


@pytest.mark.parametrize("event_id", ["1\n\ndata: x", "1\r", "1\0", "\u2028"])
def test_id_that_would_break_the_stream_is_refused(event_id):
    """It is the program's own, so it is a mistake of the program's."""
    with pytest.raises(ConfigurationError, match="event id"):
        encoder_for("sse").chunk(MessageChunk("a"), event_id)


@pytest.mark.parametrize("protocol", STREAMED)
def test_heartbeat_is_no_event(protocol):
    """It stands between any two others."""
    encoder = encoder_for(protocol)
    body = encoder.start() + encoder.heartbeat() + encoder.chunk(MessageChunk("a"))

    assert encoder.heartbeat() == b": \n\n"
    assert written(protocol, MessageChunk("a")) == [data for _, _, data in events_of(body)]


def test_text_has_no_heartbeat():
    """It would be part of the text."""
    assert encoder_for("text").heartbeat() == b""


@pytest.mark.parametrize(
    ("protocol", "content_type", "headers"),
    [
        ("sse", "text/event-stream; charset=utf-8", {}),
        (
            "ai-sdk",
            "text/event-stream; charset=utf-8",
            {"x-vercel-ai-ui-message-stream": "v1"},
        ),
        ("openai", "text/event-stream; charset=utf-8", {}),
        ("text", "text/plain; charset=utf-8", {}),
    ],
)
def test_protocol_names_its_headers(protocol, content_type, headers):
    """Its own ones, and no others."""
    encoder = encoder_for(protocol)

    assert (protocol, content_type, headers) == (
        encoder.name,
        encoder.content_type,
        dict(encoder.headers),
    )


@pytest.mark.parametrize("protocol", ["SSE", "", None, ["sse"]])
def test_unknown_protocol_is_refused_with_those_there_are(protocol):
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="none of sse, ai-sdk, openai, text"):
        encoder_for(protocol)


def test_encoder_is_new_every_time():
    """It keeps the state of one response."""
    assert encoder_for("ai-sdk") is not encoder_for("ai-sdk")


# Text of every kind.

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
SAYS = {
    "sse": lambda data: data.get("content", ""),
    "ai-sdk": lambda data: data.get("delta", ""),
    "openai": lambda data: data["choices"][0]["delta"].get("content", ""),
}


@pytest.mark.parametrize("protocol", STREAMED)
@unhurried
@given(texts=st.lists(ANY_TEXT | st.sampled_from(["\n", "\r\n\r\n", "\u2028", "\ud83d", "😀"])))
def test_any_text_comes_out_as_it_was(protocol, texts):
    """Line ends, odd separators, emoji; halves of characters are replaced, and nothing raises."""
    encoder = encoder_for(protocol)

    found = events_of(b"".join(encoder.chunk(MessageChunk(text)) for text in texts))

    assert "".join(map(well_formed, texts)) == "".join(SAYS[protocol](data) for _, _, data in found)


@unhurried
@given(ANY_TEXT)
def test_any_text_comes_out_of_a_text_as_it_was(text):
    """Halves of characters aside."""
    assert well_formed(text) == encoder_for("text").chunk(MessageChunk(text)).decode()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@unhurried
@given(text=ANY_TEXT, other=ANY_TEXT, arguments=ANY_TEXT)
def test_nothing_that_a_model_says_raises(protocol, text, other, arguments):
    """Also where it is a name, an id or a model; and no event is broken by it."""
    encoder = encoder_for(protocol, model=text, response_id=other, error_text=lambda _: text)
    chunks = [
        MessageChunk(text, other, text),
        call_piece(0, other, text, arguments),
        MessageChunk(finish_reason=text),
    ]
    reply = message(text, model=other, citations=(text,), finish_reason=other)

    body = encoder.start() + b"".join(map(encoder.chunk, chunks))
    ends = (encoder.finish(reply), encoder.error(APIError(text)))

    if protocol != "text":
        for end in ends:
            events_of(body + end)
    assert json.loads(completion(reply, model=text))["object"] == "chat.completion"


# A completion in one body.


def test_completion_is_what_openai_answers():
    """Every field of a reply that has all of them."""
    reply = message(
        tool_calls=(ToolCall("a", "f", '{"q": 1}'),),
        reasoning="Hm",
        citations=("https://a",),
        finish_reason="tool_calls",
        usage=TokenUsage(7, 5, 12, 3, 2, 1),
        model="m",
        response_id="r",
    )

    place = {"url": "https://a", "title": "https://a", "start_index": 0, "end_index": 5}
    assert {
        "id": "r",
        "object": "chat.completion",
        "created": 9,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "refusal": None,
                    "reasoning_content": "Hm",
                    "annotations": [{"type": "url_citation", "url_citation": place}],
                    "tool_calls": [
                        {
                            "id": "a",
                            "type": "function",
                            "function": {"name": "f", "arguments": '{"q": 1}'},
                        }
                    ],
                },
                "finish_reason": "tool_calls",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": 5,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    } == json.loads(completion(reply, created=9))


@pytest.mark.parametrize(
    ("fields", "content", "refusal"),
    [
        ({"content": ""}, "", None),
        ({"content": "", "tool_calls": (ToolCall("a", "f", "{}"),)}, None, None),
        ({"content": "", "refusal": "No"}, "", "No"),
    ],
)
def test_completion_without_text_has_null_only_beside_calls(fields, content, refusal):
    """As OpenAI has it."""
    said = json.loads(completion(message(**fields)))["choices"][0]["message"]

    assert (content, refusal) == (said["content"], said["refusal"])


def test_completion_takes_the_names_that_it_is_given():
    """A view may hide which model is behind it."""
    body = json.loads(completion(message(model="m", response_id="r"), model="x", response_id="y"))

    assert ("x", "y") == (body["model"], body["id"])
