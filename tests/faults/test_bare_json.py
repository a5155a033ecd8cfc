"""JSON where events are expected: laid out errors amid events, arrays that are cut."""

from __future__ import annotations

import json
import threading

import pytest

from cloudllm_sync import GeminiClient, ServerError, StreamInterrupted, Timeouts
from cloudllm_sync.testing import (
    Cut,
    Raw,
    Reply,
    Reset,
    Wait,
    WaitFor,
    gemini_events,
    openai_events,
)

pytestmark = pytest.mark.both_ways

OPENING, FIRST, *_ = openai_events(Reply(("Hel", "lo"), usage=None))
ERROR = {"error": {"message": "The model fell over", "type": "server_error"}}
CHUNKS = [json.loads(event[6:]) for event in gemini_events(Reply(["Grü", "ße", ", Welt"]))]


def laid_out(chunks):
    """An array as Google lays it out: a comma stands on a line of its own."""
    parts = [json.dumps(chunk, indent=2, ensure_ascii=False).encode() for chunk in chunks]
    return [b"[" + parts[0] + b"\n", *(b",\r\n" + part + b"\n" for part in parts[1:]), b"]"]


@pytest.fixture
def gemini(serve):
    """Makes a Gemini client whose reply is that; closed after the test."""
    made = []

    def make(*steps, **options):
        raw = Raw(*steps, content_type="application/json; charset=UTF-8", **options)
        client = GeminiClient(
            "m",
            api_key="k",
            base_url=serve(raw).url,
            max_retries=0,
            timeouts=Timeouts(5, 5, 5, 15),
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("body", [ERROR, [ERROR]], ids=["object", "array"])
def test_laid_out_error_amid_events_is_the_providers_error(fails, body, framing):
    """Many lines, one error."""
    text = json.dumps(body, indent=4).encode()
    outcome = fails(
        Raw(OPENING, FIRST, text, framing=framing),
        error=ServerError,
        partial="Hel",
        gone=framing == "close",
    )

    assert "The model fell over" in str(outcome.error)


PARTS = laid_out(CHUNKS)


@pytest.mark.parametrize(
    ("steps", "options", "partial"),
    [
        pytest.param((*PARTS[:2], PARTS[2][:9], Cut()), {}, "Grüße", id="in an element"),
        pytest.param((*PARTS[:2], PARTS[2][:9]), {"framing": "close"}, "Grüße", id="close"),
        pytest.param((*PARTS[:2], b","), {"framing": "close"}, "Grüße", id="after a comma"),
        pytest.param((*PARTS[:2], b",\n"), {}, "Grüße", id="after a comma, whole body"),
        pytest.param(PARTS[:2], {"framing": "close"}, "Grüße", id="after an element"),
        pytest.param((*PARTS[:3], Wait(0.05), Reset()), {}, "Grüße", id="reset"),
        pytest.param((PARTS[0][:30],), {"framing": "close"}, None, id="in the first"),
    ],
)
def test_array_that_is_cut_is_interrupted_and_keeps_its_elements(
    gemini, read, steps, options, partial
):
    """What had arrived is in the error, though it was to be one document."""
    failure = read(gemini(*steps, **options)).error

    assert StreamInterrupted is type(failure), repr(failure)
    assert partial == (failure.partial and failure.partial.content)


def test_array_that_is_whole_is_a_reply(gemini, read):
    """With all that its last element tells."""
    message = read(gemini(*PARTS)).message

    assert ("Grüße, Welt", "stop", 13) == (
        message.content,
        message.finish_reason,
        message.usage.total_tokens,
    )


def test_element_of_an_array_is_on_time(gemini):
    """The server does not go on until the text before was seen."""
    seen = [threading.Event() for _ in PARTS]
    steps = [PARTS[0], PARTS[1]]
    for number, part in enumerate(PARTS[2:]):
        steps += [WaitFor(seen[number]), part]
    texts = []
    for text in gemini(*steps).send_message_stream("hi").text():
        seen[len(texts)].set()
        texts.append(text)

    assert ["Grü", "ße", ", Welt"] == texts
