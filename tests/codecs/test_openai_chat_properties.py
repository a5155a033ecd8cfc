"""Whatever a server sends, the decoder gives chunks or a CloudLLMError, and text that encodes."""

from __future__ import annotations

import json

import attrs
from hypothesis import HealthCheck, given, settings, strategies as st

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.json_text import CHECKED_BYTES
from cloudllm_sync.codecs.openai_chat import OpenAIChatCodec
from cloudllm_sync.errors import CloudLLMError
from cloudllm_sync.values import MessageChunk

# A busy machine is no finding.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Surrogates included: JSON can say them.
TEXTS = st.one_of(
    st.sampled_from(["", "a", "0", "1", "stop", "error", "\ud83c", "\udf27", "x\ud83c", "\udf27y"]),
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


FUNCTION = like(name=TEXTS, arguments=TEXTS)
FRAGMENT = like(index=st.integers(0, 2), id=TEXTS, function=FUNCTION)
DETAIL = like(type=TEXTS, index=st.integers(0, 1), text=TEXTS, summary=TEXTS, data=TEXTS)
PART = like(type=TEXTS, text=TEXTS, thinking=few(like(text=TEXTS)))
DELTA = like(
    content=TEXTS | few(PART),
    reasoning=TEXTS,
    reasoning_content=TEXTS,
    reasoning_details=few(DETAIL),
    refusal=TEXTS,
    tool_calls=few(FRAGMENT),
    function_call=FUNCTION,
    annotations=few(like(url=TEXTS, url_citation=like(url=TEXTS))),
)
COUNT = st.integers(0, 9) | st.sampled_from(["1", "x", -1, 1e30])
USAGE = like(
    prompt_tokens=COUNT,
    completion_tokens=COUNT,
    total_tokens=COUNT,
    prompt_tokens_details=like(cached_tokens=COUNT),
    completion_tokens_details=like(reasoning_tokens=COUNT),
)
CHOICE = like(
    index=st.sampled_from([0, 0, 0, 1]),
    delta=DELTA,
    message=DELTA,
    finish_reason=TEXTS | st.none(),
    usage=USAGE,
)
DETAILS = few(like(loc=few(TEXTS), msg=TEXTS))
ERROR = like(message=TEXTS, code=TEXTS, type=TEXTS, status=SCALARS, detail=DETAILS)
CHUNK = like(
    id=TEXTS,
    model=TEXTS,
    choices=few(CHOICE),
    usage=USAGE,
    x_groq=like(usage=USAGE),
    citations=few(TEXTS),
    error=st.none() | ERROR,
    object=TEXTS,
    message=TEXTS,
)
DOCUMENTS = st.one_of(CHUNK, CHUNK, CHUNK, st.lists(CHUNK, max_size=2), ANYTHING)
NAMES = st.sampled_from(["message"] * 6 + ["error", "ping", BARE_JSON, WHOLE_BODY])


def texts_of(value):
    """Every string in a value that a caller may show."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_of(item)
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            if field.name != "provider_state":  # opaque: it goes back as it came
                yield from texts_of(getattr(value, field.name))


@unhurried
@given(st.lists(st.tuples(DOCUMENTS, NAMES, st.booleans()), max_size=5))
def test_any_documents_give_chunks_or_an_error_of_ours(said):
    """Wrong types everywhere, in any order: no other exception, and all text is UTF-8."""
    decoder = OpenAIChatCodec("Acme").decoder()
    chunks, shown = [], []
    try:
        for document, name, ascii_only in said:
            data = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
            chunks += decoder.feed(ServerSentEvent(data, name))
        chunks += decoder.finish()
    except CloudLLMError as error:
        shown.append(str(error))
    arrived = Accumulator()
    for chunk in chunks:
        arrived.add(chunk)
    if decoder.error is not None:
        error = decoder.error
        shown += [str(error), error.code or "", error.type or "", error.body]

    assert all(type(chunk) is MessageChunk for chunk in chunks)
    for text in [*texts_of(arrived.message(decoder.facts)), *texts_of(chunks), *shown]:
        text.encode("utf-8")


@unhurried
@given(st.binary(max_size=200), NAMES)
def test_any_bytes_give_chunks_or_an_error_of_ours(data, name):
    """Even what is no JSON at all."""
    decoder = OpenAIChatCodec("Acme").decoder()
    try:
        chunks = [*decoder.feed(ServerSentEvent(data, name)), *decoder.finish()]
    except CloudLLMError:
        chunks = []

    assert all(type(chunk) is MessageChunk for chunk in chunks)


def _outcome(documents, padding):
    decoder = OpenAIChatCodec("Acme").decoder()
    chunks = []
    for document in documents:
        padded = {**document, "obfuscation": padding} if padding else document
        chunks += decoder.feed(ServerSentEvent(json.dumps(padded).encode()))
    chunks += decoder.finish()
    error = decoder.error
    # Model and id are not looked for in plain text events once text has come.
    facts = attrs.evolve(decoder.facts, model=None, response_id=None)
    return chunks, facts, decoder.complete(), error and (type(error), str(error))


@unhurried
@given(st.lists(CHUNK, max_size=4))
def test_short_and_long_events_are_read_alike(documents):
    """An event that is padded past the fast reading gives the same chunks, facts and error."""
    assert _outcome(documents, "") == _outcome(documents, "x" * CHECKED_BYTES)
