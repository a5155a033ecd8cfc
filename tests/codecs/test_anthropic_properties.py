"""Whatever a server sends, the decoder gives chunks or a CloudLLMError, and text that encodes."""

from __future__ import annotations

import json

import attrs
from hypothesis import HealthCheck, given, settings, strategies as st

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.anthropic_messages import AnthropicMessagesCodec
from cloudllm_sync.codecs.json_text import CHECKED_BYTES
from cloudllm_sync.errors import CloudLLMError

# A busy machine is no finding.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Surrogates included: JSON can say them.
TEXTS = st.one_of(
    st.sampled_from(["", "a", "0", "{}", "\ud83c", "\udf27", "x\ud83c", "\udf27y"]),
    st.text(st.characters(exclude_categories=()), max_size=4),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.integers(), st.floats(), TEXTS)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def like(**fields):
    """An object with any of these fields, each of its own kind or of any other."""
    loose = {name: st.one_of(value, value, value, ANYTHING) for name, value in fields.items()}
    return st.fixed_dictionaries({}, optional=loose)


def few(value):
    return st.lists(st.one_of(value, value, ANYTHING), max_size=3)


CITATION = like(url=TEXTS, document_title=TEXTS, title=TEXTS, source=TEXTS)
BLOCK = like(
    type=st.sampled_from(
        ["text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "x"]
    ),
    text=TEXTS,
    thinking=TEXTS,
    id=TEXTS,
    name=TEXTS,
    input=st.dictionaries(TEXTS, SCALARS, max_size=2),
    citations=few(CITATION),
)
DELTA = like(
    type=st.sampled_from(
        ["text_delta", "thinking_delta", "input_json_delta", "signature_delta", "citations_delta"]
    ),
    text=TEXTS,
    thinking=TEXTS,
    partial_json=TEXTS,
    signature=TEXTS,
    citation=CITATION,
    stop_reason=st.sampled_from(["end_turn", "tool_use", "max_tokens", "refusal"]),
    stop_details=like(type=st.just("refusal"), explanation=TEXTS),
)
COUNT = st.integers(0, 9) | st.sampled_from(["1", "x", -1, 1e30])
USAGE = like(
    input_tokens=COUNT,
    output_tokens=COUNT,
    cache_read_input_tokens=COUNT,
    cache_creation_input_tokens=COUNT,
    output_tokens_details=like(thinking_tokens=COUNT),
)
MESSAGE = like(
    id=st.sampled_from(["m", "n"]),
    model=TEXTS,
    content=few(BLOCK),
    stop_reason=TEXTS,
    usage=USAGE,
)
KINDS = (
    "message_start", "content_block_start", "content_block_delta", "content_block_delta",
    "content_block_stop", "message_delta", "message", "ping", "x",
)  # fmt: skip
EVENT = like(
    type=st.sampled_from(KINDS),
    index=st.integers(0, 2),
    message=MESSAGE,
    content_block=BLOCK,
    delta=DELTA,
    content=few(BLOCK),
    usage=USAGE,
)
NAMES = st.sampled_from(["message", *KINDS, "error", BARE_JSON])


def read(events):
    """The chunks, and the message as UTF-8; a CloudLLMError ends the reading."""
    decoder = AnthropicMessagesCodec("Acme").decoder()
    arrived = Accumulator()
    chunks = []
    try:
        for event in events:
            chunks += decoder.feed(event)
            if decoder.ended:
                break
        chunks += decoder.finish()
    except CloudLLMError as error:
        str(error).encode()
    for chunk in chunks:
        arrived.add(chunk)
    message = arrived.message(decoder.facts)
    said = attrs.asdict(attrs.evolve(message, provider_state=None))
    json.dumps(said, default=str, ensure_ascii=False).encode()
    json.dumps(message.provider_state)
    return chunks, message, decoder


@unhurried
@given(st.lists(st.tuples(NAMES, EVENT | ANYTHING), max_size=6))
def test_any_events_are_chunks_or_an_error(said):
    """No event makes the decoder fail in its own way, and calls are numbered without gaps."""
    _, message, _ = read(ServerSentEvent(json.dumps(body).encode(), name) for name, body in said)

    assert message.provider_state is None or message.provider_state["anthropic_blocks"] is not None


@unhurried
@given(MESSAGE | ANYTHING)
def test_any_body_is_a_reply_or_an_error(body):
    """A body without either is refused."""
    read([ServerSentEvent(json.dumps(body).encode(), WHOLE_BODY)])


@unhurried
@given(st.binary(max_size=40), NAMES)
def test_any_bytes_are_chunks_or_an_error(data, name):
    """Not even JSON."""
    read([ServerSentEvent(data, name)])


@unhurried
@given(st.lists(EVENT, max_size=6))
def test_the_short_way_gives_what_the_careful_way_gives(bodies):
    """Padding makes events long, which sends them the careful way."""
    texts = [json.dumps(body).encode() for body in bodies]
    short = read(ServerSentEvent(text) for text in texts)
    careful = read(ServerSentEvent(text + b" " * CHECKED_BYTES) for text in texts)

    assert short[0] == careful[0]
    # NaN is no equal of itself, its text is.
    assert repr(short[1]) == repr(careful[1])
