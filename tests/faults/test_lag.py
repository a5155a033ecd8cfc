"""Each token is seen before the next is sent, in every framing."""

from __future__ import annotations

import statistics
import threading
import time

import pytest

from cloudllm_sync.testing import Reply, WaitFor

WORDS = ("one", " two", " three", " four", " five")
GAP_S = 0.02


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
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
def test_token_is_seen_at_once(
    read, serve, make_client, server_tls, certificate, record_property, delivery, tls
):
    """From the server's write to the reader's loop; the next one waits until this one was seen."""
    gates = [threading.Event() for _ in WORDS]
    # Event 1 opens the stream; the n-th word waits for its gate before event n + 1.
    after = {n: WaitFor(gate) for n, gate in enumerate(gates, 1)}
    server = serve(Reply(WORDS, after=after, **delivery), ssl_context=server_tls if tls else None)
    client = make_client(server, verify=certificate)
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
    print(f"lag: median {1000 * statistics.median(lags):.2f} ms")

    assert outcome.text == "one two three four five"
    assert len(lags) == len(WORDS)
    assert statistics.median(lags) < 0.05
    assert max(lags) < 0.25
