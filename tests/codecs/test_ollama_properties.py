"""Whatever a server sends, Ollama's decoder gives chunks or an error of ours."""

from __future__ import annotations

import json

import attrs
from hypothesis import given, strategies as st

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.json_text import CHECKED_BYTES
from cloudllm_sync.codecs.ollama import OllamaCodec
from cloudllm_sync.errors import CloudLLMError
from cloudllm_sync.values import MessageChunk

TEXTS = st.sampled_from(["", "a", "0", "stop", "load", "{}", "\ud83c", "\udf27", "x\ud83c"])
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


CALL = like(id=TEXTS, function=like(name=TEXTS, arguments=like(a=ANYTHING), index=SCALARS))
MESSAGE = like(content=TEXTS, thinking=TEXTS, tool_calls=few(CALL)) | like(content=TEXTS)
COUNT = st.integers(0, 9) | st.sampled_from(["1", "x", -1, 1e30])
LINE = like(message=MESSAGE, model=TEXTS, done=st.just(False))
DOCUMENT = LINE | like(
    message=MESSAGE,
    response=TEXTS,
    thinking=TEXTS,
    model=TEXTS,
    created_at=TEXTS,
    done=st.booleans(),
    done_reason=TEXTS,
    prompt_eval_count=COUNT,
    eval_count=COUNT,
    error=TEXTS,
)
NAMES = st.sampled_from(["message"] * 6 + ["error", "ping", BARE_JSON, WHOLE_BODY])


def decoded(documents, padding=""):
    decoder = OllamaCodec("Ollama").decoder()
    chunks = []
    error = None
    try:
        for document, name in documents:
            if padding and isinstance(document, dict):
                document = {**document, "padding": padding}
            chunks += decoder.feed(ServerSentEvent(json.dumps(document).encode(), name))
            if decoder.ended:
                break
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

    message = arrived.message(facts)
    shown = [message.content, message.reasoning, error[1] if error else "", facts.model or ""]
    shown += [message.raw_finish_reason or ""]
    shown += [text for call in message.tool_calls for text in attrs.astuple(call)]
    "".join(shown).encode("utf-8")
    assert all(type(chunk) is MessageChunk for chunk in chunks)


@given(st.lists(DOCUMENT, max_size=6))
def test_short_and_long_lines_are_read_alike(documents):
    """A line that is padded past the fast reading gives the same chunks, facts and error."""
    said = [(document, "message") for document in documents]
    long, short = decoded(said, "x" * CHECKED_BYTES), decoded(said)
    # The model is not looked for in lines of text once text has come.
    for outcome in (long, short):
        outcome[1].model = None

    assert repr(long) == repr(short)  # as text, in which NaN equals itself
