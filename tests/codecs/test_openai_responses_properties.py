"""Whatever a server sends, the decoder gives chunks or a CloudLLMError, and text that encodes."""

from __future__ import annotations

import json

import attrs
from hypothesis import given, strategies as st

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.json_text import CHECKED_BYTES
from cloudllm_sync.codecs.openai_responses import OpenAIResponsesCodec
from cloudllm_sync.errors import CloudLLMError

# Surrogates included: JSON can say them.
TEXTS = st.one_of(
    st.sampled_from(["", "a", "0", "\ud83c", "\udf27", "x\ud83c", "\udf27y"]),
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


INDEX = st.integers(0, 2) | st.sampled_from(["0", "1", None, -2])
PART = like(
    type=st.sampled_from(["output_text", "refusal", "summary_text", "reasoning_text", "new"]),
    text=TEXTS,
    refusal=TEXTS,
    annotations=few(like(type=st.just("url_citation"), url=TEXTS)),
)
ITEM = like(
    type=st.sampled_from(
        ["message", "reasoning", "function_call", "custom_tool_call", "web_search_call"]
    ),
    id=TEXTS,
    call_id=TEXTS,
    name=TEXTS,
    arguments=TEXTS,
    input=TEXTS,
    content=few(PART),
    summary=few(PART),
)
ERROR = like(message=TEXTS, code=TEXTS, type=TEXTS)
COUNT = st.integers(0, 9) | st.sampled_from(["1", "x", -1, 1e30])
RESPONSE = like(
    object=st.just("response"),
    id=TEXTS,
    model=TEXTS,
    status=st.sampled_from(["completed", "incomplete", "failed", "queued"]) | TEXTS,
    error=st.none() | ERROR,
    incomplete_details=like(reason=TEXTS),
    output=few(ITEM),
    tools=few(like(type=st.just("custom"), name=TEXTS)),
    usage=like(
        input_tokens=COUNT,
        output_tokens=COUNT,
        input_tokens_details=like(cached_tokens=COUNT),
        output_tokens_details=like(reasoning_tokens=COUNT),
    ),
)
KINDS = st.sampled_from(
    [
        f"response.{kind}"
        for kind in (
            *(
                f"{stem}.{verb}"
                for stem in (
                    "output_text",
                    "refusal",
                    "reasoning_summary_text",
                    "reasoning_text",
                    "function_call_arguments",
                    "custom_tool_call_input",
                )
                for verb in ("delta", "done")
            ),
            "output_item.added",
            "output_item.done",
            "output_text.annotation.added",
            "created",
            "completed",
            "incomplete",
            "failed",
        )
    ]
    + ["error", "new"]
)
BODY = like(
    type=KINDS,
    output_index=INDEX,
    content_index=INDEX,
    summary_index=INDEX,
    item_id=TEXTS,
    delta=TEXTS,
    text=TEXTS,
    refusal=TEXTS,
    arguments=TEXTS,
    input=TEXTS,
    item=ITEM,
    annotation=like(url=TEXTS),
    response=RESPONSE,
)
EVENTS = st.builds(
    lambda body, name: ServerSentEvent(json.dumps(body).encode(), name),
    BODY | RESPONSE | ANYTHING,
    KINDS | st.sampled_from(["message", "message", "message", BARE_JSON, WHOLE_BODY]),
)


def texts_of(value):
    """Every text in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from (*texts_of(name), *texts_of(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_of(item)


@given(st.lists(EVENTS, max_size=8))
def test_any_events_give_chunks_or_an_error(events):
    """No other exception, no text that UTF-8 cannot say, and an end once one was said."""
    decoder = OpenAIResponsesCodec("Acme").decoder()
    arrived = Accumulator()
    chunks = []
    try:
        for event in events:
            chunks += decoder.feed(event)
    except CloudLLMError as error:
        str(error).encode()
    chunks += decoder.finish()
    for chunk in chunks:
        arrived.add(chunk)
    message = attrs.evolve(arrived.message(decoder.facts), provider_state=None)

    for text in texts_of(attrs.astuple(message)):
        text.encode()
    assert not decoder.complete() or decoder.ended
    assert decoder.error is None or isinstance(decoder.error, CloudLLMError)


def outcome(bodies, padding):
    decoder = OpenAIResponsesCodec("Acme").decoder()
    chunks, failure = [], ""
    try:
        for body in bodies:
            chunks += decoder.feed(ServerSentEvent(json.dumps(body).encode() + padding))
    except CloudLLMError as error:
        failure = str(error)
    facts = attrs.evolve(decoder.facts, provider_state=None)  # NaN is not NaN
    return [*chunks, *decoder.finish()], facts, decoder.complete(), str(decoder.error), failure


TEXT = st.fixed_dictionaries(
    {"type": st.just("response.output_text.delta"), "delta": TEXTS},
    optional={"output_index": INDEX, "content_index": INDEX},
)


@given(st.lists(TEXT | TEXT | BODY.filter(lambda body: isinstance(body, dict)), max_size=8))
def test_short_and_long_events_are_read_alike(bodies):
    """An event that is padded past the fast reading gives the same chunks, facts and error."""
    assert outcome(bodies, b"") == outcome(bodies, b" " * CHECKED_BYTES)
