"""A cut reply is not whole before its proof, and never says more than the whole."""

from __future__ import annotations

import pytest

from cloudllm_sync import StreamProtocolError
from fuzz.checks import CODECS, check, read
from fuzz.samples import BODIES, EVENTS, recordings

# Where a wire says that its reply is over.
MARKS = {
    "openai": (b'"finish_reason":"',),
    "responses": (b'{"type":"response.completed"', b'{"type":"response.incomplete"'),
    "anthropic": (b'"stop_reason":"',),
    "gemini": (b'"finishReason":"',),
}
WIRES = list(CODECS)
# What stands for half a character that was cut.
HALF = "\ufffd"


def proof_end(wire, events):
    """The position behind the last byte of the JSON that proves the end."""
    position = 0
    for event in events:
        if any(mark in event for mark in MARKS[wire]):
            return position + len(event.rstrip())
        position += len(event)
    raise AssertionError(f"no proof in {events!r}")


def is_beginning(part, whole):
    """Whether all text and calls of a reading are beginnings of another's."""
    texts = [*zip(part.said, whole.said)]
    calls = [*zip(part.message.tool_calls, whole.message.tool_calls)]
    texts += [(mine.name, other.name) for mine, other in calls]
    if part.wire != "gemini":  # its pieces are no JSON text, they are made so at the end
        texts += [(mine.arguments, other.arguments) for mine, other in calls]
    fewer = len(part.message.tool_calls) <= len(whole.message.tool_calls)
    return fewer and all(other.startswith(mine.rstrip(HALF)) for mine, other in texts)


def cuts_of(events):
    """Every byte of a short reply; of a long one every byte near an event's ends, and some more."""
    size = sum(map(len, events))
    if size < 6000:
        return range(size + 1)
    ends, position = set(range(0, size, 31)), 0
    for event in events:
        ends.update(range(max(0, position - 8), position + 8))
        position += len(event)
    return [*sorted(cut for cut in ends if cut < size), size]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", ["text", "everything", "refusal", "length"])
def test_cut_stream_is_whole_from_its_proof_on(wire, name):
    """An event without its empty line counts if its JSON is whole; nothing before it does."""
    events = EVENTS[wire][name]
    body = b"".join(events)
    whole = read(wire, body)
    end = proof_end(wire, events)
    said = 0
    for cut in cuts_of(events):
        part = read(wire, body[:cut])

        assert part.error is None
        assert part.complete == (cut >= end)
        assert is_beginning(part, whole)
        assert len("".join(part.said)) >= said
        said = len("".join(part.said).rstrip(HALF))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", ["text", "calls"])
def test_cut_body_is_no_reply(wire, name):
    """Half a JSON document says nothing."""
    body = BODIES[wire][name]
    for cut in range(1, len(body)):
        part = read(wire, body[:cut])

        assert isinstance(part.error, StreamProtocolError)
        assert (False, ()) == (part.complete, part.chunks)


@pytest.mark.parametrize("wire", WIRES)
def test_cut_recordings_say_the_beginning(wire):
    """Of every recorded stream, at places spread over it."""
    bodies = recordings(wire)
    if not bodies:
        pytest.skip("no corpus: set CLOUDLLM_CORPUS")
    for body in bodies:
        whole = check(read(wire, body))
        for seventh in range(1, 7):
            cut = len(body) * seventh // 7
            part = check(read(wire, body[:cut]))

            assert is_beginning(part, whole)
            assert whole.complete or not part.complete
