"""Replies that end in their headers, and whole bodies that are cut or make no sense."""

from __future__ import annotations

import pytest

from cloudllm_sync import StreamInterrupted, StreamProtocolError
from cloudllm_sync.testing import Cut, Raw, Reply, openai_body

pytestmark = pytest.mark.one_lane


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Ty",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n",
        b"HTTP/1.1 100 Continue\r\n",
    ],
)
def test_connection_lost_in_the_headers_is_retried(succeeds, no_backoff, head):
    """No reply had begun, though http.client takes half a head for a whole one."""
    succeeds(Raw(head, Cut(), framing="none"), "well", text="well", requests=2)


@pytest.mark.parametrize("cut", [1, 30, 60])
@pytest.mark.parametrize("framing", ["close", "http1.0"])
def test_whole_body_that_is_cut_is_interrupted(serve, make_client, framing, cut):
    """Its brackets are open, and only the connection's end was its end: no provider's mistake."""
    body = openai_body(Reply("Grüße, Welt"))[:-cut]
    raw = Raw(body, framing=framing, content_type="application/json")
    client = make_client(serve(raw))

    with pytest.raises(StreamInterrupted):
        client.send_message("hi")


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("body", [b'{"choices": oops}', b'{"choices": [}]}'])
def test_whole_body_that_is_no_json_is_a_protocol_error(serve, make_client, framing, body):
    """It has its end, and makes no sense."""
    raw = Raw(body, framing=framing, content_type="application/json")
    client = make_client(serve(raw))

    with pytest.raises(StreamProtocolError):
        client.send_message("hi")


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_half_a_whole_body_that_came_as_announced_is_a_protocol_error(serve, make_client, framing):
    """Nothing was cut on the way: the provider sent no more."""
    client = make_client(serve(Raw(b'{"choices": [', framing=framing)))

    with pytest.raises(StreamProtocolError):
        client.send_message("hi")
