"""Every recorded reply of every wire, through a real socket, cut in many ways, in every style."""

from __future__ import annotations

import re

import pytest

from cloudllm_sync import CloudLLMError
from cloudllm_sync.clients.gemini import GeminiClient, Model
from cloudllm_sync.testing import FakeServer, Raw


def by_event(case) -> Raw:
    """Every event is a write and an HTTP chunk of its own."""
    events = re.findall(case.wire.event.encode(), case.body, re.DOTALL)
    return Raw(*events, content_type=case.wire.content_type)


def at_once(case) -> Raw:
    """One write, one HTTP chunk."""
    return Raw(case.body, content_type=case.wire.content_type)


def by_byte(case) -> Raw:
    """HTTP chunks of one byte, in one write: 50,000 writes would take seconds."""
    head = [b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"Connection: close", b"", b""]
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in case.body)
    return Raw(b"\r\n".join(head) + chunks + b"0\r\n\r\n", framing="none")


def by_seven_bytes(case) -> Raw:
    """Writes and HTTP chunks of seven bytes, which cut characters, line ends and numbers."""
    pieces = (case.body[at : at + 7] for at in range(0, len(case.body), 7))
    return Raw(*pieces, content_type=case.wire.content_type)


def until_close(case) -> Raw:
    """No length and no chunks: the body ends with the connection."""
    return Raw(case.body, framing="close", content_type=case.wire.content_type)


def whole(case) -> Raw:
    """One JSON body, with the status and the headers that it had."""
    return Raw(
        case.body,
        status=case.status,
        headers=case.headers,
        framing="length",
        content_type="application/json",
    )


DELIVERIES = [by_event, at_once, by_byte, by_seven_bytes, until_close]


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("style", ["pulled", "asked", "pushed"])
def test_stream_gives_what_was_recorded(stream_case, delivery, style, replay, assert_as_recorded):
    """Every field of the reply is that of the recording, however the network cuts it."""
    outcome = replay(stream_case, delivery, style)

    assert_as_recorded(stream_case, outcome, counts_text=True)
    if stream_case.wire.counts_reasoning:
        reasoning = sum(1 for chunk in outcome.chunks if chunk.reasoning)
        assert stream_case.expected["reasoning_deltas"] == reasoning


def test_whole_reply_gives_what_was_recorded(whole_case, replay, assert_as_recorded):
    """A reply in one JSON body, or an error body, is read in full."""
    outcome = replay(whole_case, whole, "sent")

    assert_as_recorded(whole_case, outcome, counts_text=False)


@pytest.mark.parametrize("style", ["pulled", "pushed"])
def test_whole_reply_to_a_stream_request_is_a_reply(whole_case, style, replay, assert_as_recorded):
    """A server that does not stream answers with one body, which is as good."""
    outcome = replay(whole_case, whole, style)

    assert_as_recorded(whole_case, outcome, counts_text=whole_case.wire.counts_whole_text)


def test_corpus_is_whole(corpus_of):
    """A corpus that lost files, or a pattern that misses them, would let all other tests pass."""
    wire, streams, wholes = corpus_of

    assert wire.apis == {case.api for case in streams + wholes}
    assert len(streams) >= wire.streams
    assert len(wholes) >= wire.wholes


def test_provider_state_has_the_blocks_that_only_it_can_say(anthropic_stream, replay):
    """Blocks of the recording beside text and tool use, all of them and in order."""
    state = replay(anthropic_stream, at_once, "pulled").message.provider_state
    kinds = [
        kind.decode()
        for kind in re.findall(rb'"content_block":\{[^}]*?"type":"(\w+)"', anthropic_stream.body)
    ]
    special = [kind for kind in kinds if kind not in ("text", "tool_use")]
    kept = [block["type"] for block in (state or {}).get("anthropic_blocks", ())]

    assert special == [kind for kind in kept if kind not in ("text", "tool_use")]
    assert (state is None) == (special == [])


def test_request_goes_where_gemini_listens():
    """Model and method in the path, the key in a header of its own, without a prefix."""
    with FakeServer(Raw(b"{}"), Raw(b"{}")) as server:
        with GeminiClient(Model.GEMINI_2_5_PRO, api_key="AIza-test", base_url=server.url) as client:
            with pytest.raises(CloudLLMError):
                client.send_message_stream("Hi").result()
            with pytest.raises(CloudLLMError):
                client.send_message("Hi")
        streamed, whole_one = server.requests

    assert streamed.path == "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    assert whole_one.path == "/v1beta/models/gemini-2.5-pro:generateContent"
    assert streamed.headers["x-goog-api-key"] == "AIza-test"
    assert "authorization" not in streamed.headers
