"""What else comes from outside: error bodies, headers, files, histories; any of them."""

from __future__ import annotations

import json
import math

import attrs
import pytest
from hypothesis import given, settings, strategies as st
from requests.structures import CaseInsensitiveDict

from cloudllm_sync import (
    APIError,
    Attachment,
    AuthenticationError,
    ContextLengthError,
    Message,
    QuotaExceededError,
    Role,
    ToolCall,
)
from cloudllm_sync.codecs.error_bodies import error_from_body, error_from_json
from cloudllm_sync.session.history import estimate_tokens, request_messages
from cloudllm_sync.transport.retry import next_delay, retry_after_s

same_every_time = settings(derandomize=True, deadline=None, max_examples=200)

TEXTS = st.one_of(
    st.sampled_from(["", "a", "429", "billing_error", "prompt is too long", "\ud83c", "<p>x</p>"]),
    st.text(st.characters(exclude_categories=()), max_size=6),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS)
NAMES = st.sampled_from([
    "error", "message", "detail", "errors", "code", "type", "status", "details", "retryDelay",
    "reason", "loc", "msg", "object", "statusCode", "status_code",
])  # fmt: skip
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXTS, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=80),
    ANYTHING.map(lambda body: json.dumps(body).encode()),
    ANYTHING.map(lambda body: b"data: " + json.dumps(body).encode() + b"\n\n"),
)


def assert_can_be_shown(error):
    assert isinstance(error, APIError)
    for text in (str(error), error.code or "", error.type or "", error.body):
        text.encode("utf-8")
    assert error.retry_after_s is None or 0 <= error.retry_after_s < math.inf


@same_every_time
@given(st.integers(100, 999), BODIES)
def test_any_error_body_is_an_error_that_can_be_shown(status, body):
    """Its status decides where it has one to say; a quota is not retried."""
    error = error_from_body("Acme", status, body)

    assert_can_be_shown(error)
    assert error.status_code == status
    assert status not in (401, 403) or isinstance(error, AuthenticationError)
    assert not (error.retryable and isinstance(error, QuotaExceededError))


@same_every_time
@given(ANYTHING)
def test_any_document_of_a_stream_is_an_error_or_none(document):
    """One that names no error is none."""
    error = error_from_json("Acme", document)

    if error is not None:
        assert_can_be_shown(error)
        assert "error" in json.dumps(document)


DATES = st.lists(
    st.sampled_from(
        ["Tue", ", ", " ", "14", "Nov", "2023", "22:13:50", "GMT", "-", "+9999", "0", ":"]
    )
    | st.integers().map(str),
    max_size=9,
).map("".join)


NUMBERS = st.sampled_from(["inf", "-inf", "nan", "1e999", "-1", "-0.0", "1_0", "0x1", "9" * 5000])


@same_every_time
@given(
    st.one_of(NUMBERS, st.text(max_size=20), DATES, st.floats().map(str), st.integers().map(str))
)
@pytest.mark.parametrize("name", ["Retry-After", "retry-after-ms"])
def test_any_header_is_a_wait_or_none(name, text):
    """Never one that is no number of seconds, nor a longer one than is waited for."""
    wait_s = retry_after_s(CaseInsensitiveDict({name: text}), 1_700_000_000.0)
    error = APIError("x", retry_after_s=wait_s, retryable=True)
    delay_s = next_delay(1, error, max_retries=1, rand=lambda: 1.0)

    assert wait_s is None or 0 <= wait_s < math.inf
    assert delay_s is None or 0 <= delay_s <= 60


BEGINNINGS = st.sampled_from(
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF8",
        b"%PDF-",
        b"RIFF",
        b"RIFF1234WAVE",
        b"ID3",
    ]
)


@same_every_time
@given(
    BEGINNINGS,
    st.binary(max_size=40),
    st.none() | TEXTS | TEXTS.map(lambda name: f"{name}.png") | st.just("a.\0"),
    st.none() | st.sampled_from(["text/plain", "image/png"]),
)
def test_any_bytes_are_an_attachment_or_a_value_error(beginning, data, name, media_type):
    """With the bytes as they are."""
    whole = beginning + data
    try:
        attachment = Attachment.from_bytes(whole, media_type, name=name)
    except ValueError:
        assert not whole or media_type is None
        return

    assert attachment.data == whole
    assert "/" in attachment.media_type
    assert attachment.data_url().startswith(f"data:{attachment.media_type};base64,")


IDS = st.sampled_from("abc")
MESSAGES = st.builds(
    Message,
    st.sampled_from([Role.USER, Role.ASSISTANT, Role.ASSISTANT, Role.TOOL, Role.TOOL]),
    TEXTS,
    tool_calls=st.lists(st.builds(ToolCall, IDS, TEXTS, TEXTS), max_size=2),
    tool_call_id=IDS | st.none(),
    provider_state=st.none() | st.dictionaries(TEXTS, ANYTHING, max_size=2),
).map(lambda said: said if said.role is Role.ASSISTANT else attrs.evolve(said, tool_calls=()))


def assert_calls_are_answered(messages):
    """Every result has its call before it, and every call but the last message's its result."""
    open_ids = set()
    for message in messages:
        if message.role is Role.TOOL:
            assert message.tool_call_id in open_ids
            open_ids.remove(message.tool_call_id)
        else:
            assert not open_ids
            open_ids = {call.id for call in message.tool_calls}


@settings(same_every_time, max_examples=200)
@given(st.lists(MESSAGES, max_size=8), st.booleans(), st.integers(1, 60))
def test_any_history_is_trimmed_to_what_can_be_sent(history, asks, max_tokens):
    """In its order, within the limit, no call without its result and no result without its call."""
    system = (Message(Role.SYSTEM, "Be brief"),)
    new = (Message(Role.USER, "hi"),) if asks else ()
    try:
        sent = request_messages(
            system, history, new, max_tokens=max_tokens, estimate=estimate_tokens
        ).messages
    except ContextLengthError:
        return

    assert sent[0] == system[0]
    assert not asks or sent[-1] == new[0]
    assert sum(map(estimate_tokens, sent)) <= max_tokens
    assert_calls_are_answered(sent)
    left = iter(history)
    for message in sent[1 : len(sent) - len(new)]:
        # The calls of a message may have been taken off.
        assert any(
            message in (known, attrs.evolve(known, tool_calls=())) or repr(message) == repr(known)
            for known in left
        )
