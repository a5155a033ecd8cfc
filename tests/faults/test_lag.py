"""Each token is seen before the next is sent, in every framing."""

from __future__ import annotations

import statistics
import threading
import time

import pytest

from cloudllm_sync.testing import Reply, WaitFor

WORDS = ("one", " two", " three")
GAP_S = 0.01


@pytest.mark.each_wire_once
@pytest.mark.also_over_tls
@pytest.mark.parametrize(
    "delivery",
    [
        pytest.param({"framing": "chunked"}, id="chunked"),
        pytest.param({"framing": "http1.0"}, id="HTTP/1.0"),
        pytest.param({"framing": "close"}, id="close"),
        pytest.param({"framing": "length"}, id="length"),
        pytest.param({"gzip": True}, id="gzip chunked"),
        pytest.param({"gzip": True, "framing": "close"}, id="gzip close"),
        pytest.param({"line_end": "\r\n"}, id="CRLF"),
        pytest.param({"line_end": "\r"}, id="CR"),
        pytest.param({"line_end": "\r", "framing": "close"}, id="CR close"),
        pytest.param({"line_end": "\r\n", "split": 1}, id="CRLF, one byte a segment"),
    ],
)
def test_token_is_seen_at_once(read, serve, make_client, family, record_property, delivery):
    """From the server's write to the reader's loop; the next one waits until this one was seen."""
    gates = [threading.Event() for _ in WORDS]
    # A gate before every word.
    events = family.encode(Reply(WORDS))
    first = next(n for n, event in enumerate(events) if WORDS[0].encode() in event)
    after = {n: WaitFor(gate) for n, gate in enumerate(gates, first)}
    client = make_client(serve(Reply(WORDS, after=after, **delivery)))
    lags = []
    sent_at = []

    def send_next():
        if gates:
            # A pause between two tokens: nothing else may carry the first one along.
            threading.Event().wait(GAP_S)
            sent_at.append(time.monotonic())
            gates.pop(0).set()

    def on_chunk(chunk):
        if chunk.content:
            lags.append(time.monotonic() - sent_at[-1])
            send_next()

    threading.Timer(GAP_S, send_next).start()
    outcome = read(client, on_chunk=on_chunk)
    record_property("lag_ms", [round(1000 * lag, 2) for lag in lags])

    assert outcome.text == "".join(WORDS)
    assert len(lags) == len(WORDS)
    assert statistics.median(lags) < 0.05
    assert max(lags) < 0.25
