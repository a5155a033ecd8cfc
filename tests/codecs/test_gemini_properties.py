"""Whatever a server sends, Gemini's decoder gives chunks or an error of ours."""

from __future__ import annotations

import json

import attrs
from hypothesis import given, strategies as st

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.gemini import GeminiCodec
from cloudllm_sync.codecs.json_text import CHECKED_BYTES
from cloudllm_sync.errors import CloudLLMError
from cloudllm_sync.values import MessageChunk

TEXTS = st.sampled_from(["", "a", "0", "STOP", "$.a", "$.b[1]", "\ud83c", "\udf27", "x\ud83c"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.floats(), TEXTS)
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


PIECE = like(
    jsonPath=TEXTS,
    stringValue=TEXTS,
    numberValue=SCALARS,
    nullValue=SCALARS,
    willContinue=st.booleans(),
)
CALL = like(
    name=TEXTS,
    id=TEXTS,
    args=like(a=ANYTHING),
    partialArgs=few(PIECE),
    willContinue=st.booleans(),
)
PART = like(text=TEXTS, thought=st.booleans(), functionCall=CALL, thoughtSignature=TEXTS)
SOURCE = like(uri=TEXTS, title=TEXTS)
CANDIDATE = like(
    index=st.sampled_from([0, 0, 1]),
    content=like(parts=few(PART) | st.lists(like(text=TEXTS, thought=st.booleans()), max_size=1)),
    finishReason=TEXTS | st.just("SAFETY"),
    finishMessage=TEXTS,
    groundingMetadata=like(groundingChunks=few(like(web=SOURCE))),
    citationMetadata=like(citations=few(SOURCE)),
)
COUNT = st.integers(0, 9) | st.sampled_from(["1", "x", -1, 1e30])
DOCUMENT = like(
    candidates=st.lists(CANDIDATE, max_size=2),
    usageMetadata=like(promptTokenCount=COUNT, thoughtsTokenCount=COUNT),
    modelVersion=TEXTS,
    responseId=TEXTS,
    promptFeedback=like(blockReason=TEXTS, blockReasonMessage=TEXTS),
    error=like(message=TEXTS, code=SCALARS, status=TEXTS),
)
NAMES = st.sampled_from(["message"] * 6 + ["error", "ping", BARE_JSON, WHOLE_BODY])


def decoded(documents, padding=""):
    decoder = GeminiCodec("Gemini").decoder()
    chunks = []
    error = None
    try:
        for document, name in documents:
            if padding and isinstance(document, dict):
                document = {**document, "padding": padding}
            data = json.dumps(document).encode()
            chunks += decoder.feed(ServerSentEvent(data, name))
        chunks += decoder.finish()
        error = decoder.error
    except CloudLLMError as failure:
        error = failure
    return chunks, decoder.facts, decoder.complete(), error and (type(error), str(error))


@given(
    st.lists(st.tuples(st.one_of(DOCUMENT, DOCUMENT, few(DOCUMENT), ANYTHING), NAMES), max_size=5)
)
def test_any_documents_give_chunks_or_an_error_of_ours(documents):
    """Wrong types everywhere, in any order: no other exception, and all text is UTF-8."""
    chunks, facts, _, error = decoded(documents)
    arrived = Accumulator()
    for chunk in chunks:
        arrived.add(chunk)

    repr(attrs.evolve(arrived.message(facts), provider_state=None)).encode("utf-8")
    shown = [
        arrived.message(facts).content,
        arrived.message(facts).reasoning,
        arrived.message(facts).refusal,
        error[1] if error else "",
    ]
    shown += [text for call in arrived.message(facts).tool_calls for text in attrs.astuple(call)]
    shown += [*facts.citations, facts.model or "", facts.response_id or ""]
    "".join(shown).encode("utf-8")
    assert all(type(chunk) is MessageChunk for chunk in chunks)


@given(st.lists(DOCUMENT, max_size=4))
def test_short_and_long_events_are_read_alike(documents):
    """An event that is padded past the fast reading gives the same chunks, facts and error."""
    said = [(document, "message") for document in documents]
    long, short = decoded(said, "x" * CHECKED_BYTES), decoded(said)
    # Model and id are not looked for in plain text events once text has come.
    for outcome in (long, short):
        outcome[1].model = outcome[1].response_id = None

    assert repr(long) == repr(short)  # as text, in which NaN equals itself
