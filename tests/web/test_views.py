"""Views of Flask and Django behind the web servers that people use, with a real browser's manners:
it reads as bytes come, and goes when it likes.
"""

from __future__ import annotations

import json
import threading
import time

import pytest
from sites import COMMANDS, serving

from cloudllm_sync.testing import FakeServer, Raw, Reply, Stall, WaitFor, openai_events

pytest.importorskip("flask", reason="Flask is not installed")
pytest.importorskip("django", reason="Django is not installed")

EVENTS = openai_events(Reply("one two three"))
HEARTBEAT_S = 0.4
# Far over what a notice takes; that a stall would end by itself is not to be waited for.
PATIENCE_S = 8.0


def says(*steps):
    """An answer whose connection ends with it: an open one is a reply on its way."""
    return Raw(*steps, framing="close")


@pytest.fixture(scope="module", params=COMMANDS)
def upstream_and_site(request):
    """A model, and an application that asks it, behind each server."""
    with FakeServer() as upstream, serving(request.param, upstream.base_url) as site:
        yield upstream, site


@pytest.fixture
def upstream(upstream_and_site):
    return upstream_and_site[0]


@pytest.fixture
def site(upstream_and_site):
    yield upstream_and_site[1]
    upstream_and_site[1].leave()


def events_of(body):
    """Names and data of a body of plain events; comments are left out."""
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if line and line[0] not in ": "
        )
        if fields:
            found.append((fields.get("event", "message"), json.loads(fields["data"])))
    return found


def read_until(response, wanted):
    """What has come once `wanted` is among it."""
    seen = b""
    while wanted not in seen:
        piece = response.read1(65536)
        assert piece, seen
        seen += piece
    return seen


def is_true_within(condition, seconds=PATIENCE_S):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)  # another program is at it
    return condition()


def workers(site):
    return [name for name in site.json("threads") if name == "cloudllm-stream"]


def test_reply_arrives_whole_and_is_not_held_up(upstream, site):
    """Middleware that packs, and headers for proxies that would."""
    upstream.add(Reply("one two three", framing="close"))
    response = site.open("chat", q="hi")
    assert response.status == 200, site.log.read_text()
    seen = events_of(response.read())

    assert [("message", {"content": text}) for text in ("one", " two", " three")] == seen[:-1]
    assert seen[-1][0] == "finish"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert response.headers["Content-Encoding"] == "identity"


def test_text_is_there_while_the_model_still_thinks(upstream, site):
    """The server behind the view hands on what it has."""
    go_on = threading.Event()
    upstream.add(says(*EVENTS[:2], WaitFor(go_on), *EVENTS[2:]))
    response = site.open("chat", q="hi", protocol="text")
    first = read_until(response, b"one")
    go_on.set()

    assert first == b"one"
    assert response.read() == b" two three"


@pytest.mark.parametrize("path", ["chat", "handle"])
@pytest.mark.parametrize("when", ["before the first text", "after some text"])
def test_closed_tab_closes_the_providers_stream(upstream, site, path, when):
    """Though the model says nothing: a heartbeat finds nobody."""
    asked = len(upstream.requests)
    upstream.add(says(*EVENTS[: 0 if when.startswith("before") else 2], Stall()))
    response = site.open(path, q="hi", heartbeat_s=HEARTBEAT_S)
    read_until(response, b": " if when.startswith("before") else b"one")
    # The response of a handle may begin before its worker has asked.
    assert upstream.wait_for_requests(asked + 1, PATIENCE_S)
    assert upstream.open_connections == 1
    site.leave()

    assert upstream.wait_until_idle(PATIENCE_S)
    assert is_true_within(lambda: workers(site) == [])


def test_heartbeats_come_while_the_model_is_silent(upstream, site):
    """Comments, which EventSource passes over."""
    go_on = threading.Event()
    upstream.add(says(*EVENTS[:2], WaitFor(go_on), *EVENTS[2:]))
    response = site.open("chat", q="hi", heartbeat_s=0.1)
    read_until(response, b"one")
    silence = b""
    while silence.count(b":") < 4:
        silence += response.read1(65536)
    go_on.set()

    assert set(silence) <= set(b": \n")
    assert [data["content"] for name, data in events_of(response.read())[:-1]] == [" two", " three"]


def test_turn_is_finished_for_a_browser_that_left(upstream, site):
    """on_disconnect="finish": the session has it all."""
    go_on = threading.Event()
    upstream.add(says(*EVENTS[:2], WaitFor(go_on), *EVENTS[2:]))
    asked = {"session": "left", "on_disconnect": "finish", "heartbeat_s": 0.1}
    response = site.open("turn", q="hi", **asked)
    read_until(response, b"one")
    site.leave()
    time.sleep(0.5)  # heartbeats find nobody
    go_on.set()
    history = [["user", "hi"], ["assistant", "one two three"]]

    assert is_true_within(lambda: site.json("history", session="left") == history)


def test_turn_is_cut_for_a_browser_that_left(upstream, site):
    """on_disconnect="cancel", and the session keeps what had arrived."""
    upstream.add(says(*EVENTS[:2], Stall()))
    response = site.open("turn", q="hi", session="cut", heartbeat_s=0.1)
    read_until(response, b"one")
    site.leave()
    kept = [["user", "hi"], ["assistant", "one"]]
    assert is_true_within(lambda: site.json("history", session="cut") == kept)
    upstream.add(Reply("fine", framing="close"))
    site.get("turn", q="again", session="cut")

    assert site.json("history", session="cut") == [*kept, ["user", "again"], ["assistant", "fine"]]


def test_error_in_mid_reply_is_the_last_event(upstream, site):
    """With what is for browsers, and not what the provider said."""
    cut = says(*EVENTS[:2], b'data: {"error": {"message": "secret plans", "code": 500}}\n\n')
    upstream.add(cut)
    body = site.get("chat", q="hi")
    seen = events_of(body)

    assert seen[0] == ("message", {"content": "one"})
    assert seen[-1][0] == "failed"
    assert seen[-1][1]["type"] == "ServerError"
    assert b"secret" not in body


def test_fifty_browsers_on_one_worker(upstream, site):
    """All of them at once, though each thread of the server waits for a model."""
    go_on = threading.Event()
    upstream.add(*[says(*EVENTS[:2], WaitFor(go_on), *EVENTS[2:])] * 50)
    responses = [site.open("chat", q="hi", protocol="text") for _ in range(50)]
    firsts = [read_until(response, b"one") for response in responses]
    go_on.set()

    assert firsts == [b"one"] * 50
    assert [response.read() for response in responses] == [b" two three"] * 50


def test_unknown_protocol_is_the_servers_error(upstream, site):
    """A mistake in the view: it is raised there, before anything is sent."""
    upstream.add(Reply("one", framing="close"))
    response = site.open("chat", q="hi", protocol="morse")

    assert response.status == 500


@pytest.mark.parametrize(
    "upstream_and_site", [name for name in COMMANDS if name.endswith("django")], indirect=True
)
def test_django_has_its_database_back_while_the_reply_is_sent(upstream, site):
    """A pool of connections would be used up by replies that take minutes."""
    upstream.add(Reply("one two", framing="close"))
    body = site.get("queried", q="hi", protocol="text")

    assert body.startswith(b"oneFalse twoFalse")


def test_slow_browser_slows_the_provider(upstream, site):
    """Memory stays bounded: what is not taken is not read."""
    big = openai_events(Reply(["x" * 4000]))[1]
    upstream.add(says(EVENTS[0], *[big * 100] * 130, *EVENTS[-3:]))
    before = site.json("peak")
    response = site.open("chat", q="hi", protocol="text")
    first = response.read(1000)
    time.sleep(0.5)  # nothing is taken meanwhile
    grown_mb = (site.json("peak") - before) / 1e3
    count = len(first) + len(response.read())

    assert grown_mb < 30
    assert count == 52_000_000
