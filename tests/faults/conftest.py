"""Lanes: on which wire, by which way to read and over which transport a fault is met.

A fault is written once, as a test of `family`'s parts; it runs on every lane that can matter:

* always: each wire by the generator and by callbacks; two of these go through an LLMSession, which
  stands above the wire, reads by the same ways, and has to keep the turn or to leave no trace;
* `each_wire_once`: faults of HTTP below the events, and clocks: both end in the one pump that is
  under every way, so the ways go by turns. The wire matters for what counts as text and proof;
* `also_over_tls`: the transport fails in another way there (alerts, truncation, records), so each
  wire is there once more; with `each_wire_once` only Claude and Gemini are, with an end mark and
  without;
* `both_ways`: the test has wires of its own, and is read by the generator and by callbacks;
* `one_lane`: the test goes by its own ways, or has nothing to do with wires.

`fails` and `succeeds` check what is promised after every fault: see there.
"""

from __future__ import annotations

import pathlib
import sys

import attrs
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from families import CHAT, CLAUDE, GEMINI, RESPONSES, Family

from cloudllm_sync import LLMSession, Role, Timeouts

KEY = "sk-test-0123456789abcdef"
SECRET = KEY[8:]
# What a busy machine may add to a clock before it counts as a hang.
HANG_S = 10.0
PATIENT = Timeouts(5, 5, 5, 15)


@attrs.frozen
class Lane:
    """One way through all of it."""

    family: Family
    way: str
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.family}-{self.way}" + ("-tls" if self.tls else "")


MAIN = (
    Lane(CHAT, "generator"),
    Lane(CHAT, "callbacks"),
    Lane(CLAUDE, "generator"),
    Lane(CLAUDE, "session_callbacks"),
    Lane(GEMINI, "session"),
    Lane(GEMINI, "callbacks"),
    Lane(RESPONSES, "generator"),
    Lane(RESPONSES, "callbacks"),
)
ONCE = (
    Lane(CHAT, "callbacks"),
    Lane(CLAUDE, "generator"),
    Lane(GEMINI, "callbacks"),
    Lane(RESPONSES, "session"),
)
TLS = (
    Lane(CLAUDE, "callbacks", tls=True),
    Lane(GEMINI, "generator", tls=True),
    Lane(CHAT, "generator", tls=True),
    Lane(RESPONSES, "callbacks", tls=True),
)


def pytest_configure(config):
    for name, what in {
        "each_wire_once": "the fault ends in the pump, whoever reads",
        "also_over_tls": "the fault is another one over TLS",
        "both_ways": "the test has wires of its own",
        "one_lane": "neither wire nor way to read matters",
    }.items():
        config.addinivalue_line("markers", f"{name}: {what}")


def pytest_generate_tests(metafunc):
    if "lane" not in metafunc.fixturenames:
        return
    marked = {mark.name for mark in metafunc.definition.iter_markers()}
    once = "each_wire_once" in marked
    lanes = ONCE if once else MAIN
    if "both_ways" in marked:
        lanes = MAIN[:2]
    if "one_lane" in marked:
        lanes = MAIN[:1]
    if "also_over_tls" in marked:
        lanes += TLS[:2] if once or "one_lane" in marked else TLS
    metafunc.parametrize("lane", lanes, ids=str, indirect=True)


@pytest.fixture
def lane(request):
    return request.param


@pytest.fixture
def family(lane):
    """The parts of this lane's wire."""
    return lane.family


@pytest.fixture
def serve(serve, lane, server_tls):
    """Starts fake servers, with TLS if the lane has it."""

    def start(*script, **options):
        options.setdefault("ssl_context", server_tls if lane.tls else None)
        return serve(*script, **options)

    return start


@pytest.fixture
def make_client(lane, certificate):
    """Makes clients of the lane's wire for a server, or for an address without a path."""
    made = []

    def make(server, **options):
        url = server if isinstance(server, str) else server.url
        options.setdefault("timeouts", PATIENT)
        if lane.tls:
            options.setdefault("verify", certificate)
        client = lane.family.client("m", api_key=KEY, base_url=url + lane.family.version, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


class _Turns:
    """A session where a client is expected; its history is looked at after every turn."""

    def __init__(self, client):
        self.session = LLMSession(client, max_tokens=100_000_000)
        self.session.inject_message(Role.USER, "before")
        self.session.inject_message(Role.ASSISTANT, "after")

    def send_message_stream(self, prompt, **options):
        return self.session.stream(prompt, **options)

    def start_message_stream(self, prompt, **options):
        return self.session.submit(prompt, **options)


@pytest.fixture
def read(lane, pull, push):
    """Reads a client's reply to its end by the lane's way; gives an Outcome.

    By way of a session, the client has one, and its history must be as the turn ended.
    """
    by = push if "callbacks" in lane.way else pull
    if "session" not in lane.way:
        return by
    sessions = {}

    def in_a_turn(client, prompt="hi", **options):
        turns = sessions.setdefault(client, _Turns(client))
        before = turns.session.history
        outcome = by(turns, prompt, **options)
        kept = [] if outcome.error else [(Role.USER, prompt), (Role.ASSISTANT, outcome.text)]
        history = turns.session.history
        assert history[: len(before)] == before
        assert [(message.role, message.content) for message in history[len(before) :]] == kept
        return outcome

    return in_a_turn


@pytest.fixture
def fails(read, serve, make_client, texts_of):
    """Runs a script whose first reply fails; checks all that every failure has in common.

    One typed error with what had arrived, in time, on so many requests; no key in any text; the
    connection gone (`gone=False`: it may serve again); the next call fine.
    """

    def run(
        *script, error, partial=None, requests=1, prompt="hi", gone=True, server=None, **options
    ):
        server = serve(*script) if server is None else server
        client = make_client(server, **options)
        outcome = read(client, prompt)

        failure = outcome.error
        assert type(failure) is error, repr(failure)
        assert (failure.partial and failure.partial.content) == partial
        assert outcome.text == (failure.partial.content if failure.partial else "")
        server.wait_for_requests(requests)  # a short clock may fire before the server has read it
        assert len(server.requests) == failure.attempts == requests
        assert outcome.seconds < HANG_S
        assert SECRET not in texts_of(failure)
        if gone:
            assert server.wait_until_idle(2)
        _next_call_is_fine(read, server, client)
        return outcome

    return run


@pytest.fixture
def succeeds(read, serve, make_client):
    """Runs a script whose reply becomes whole, and the next call on the same client."""

    def run(*script, text, requests=1, server=None, **options):
        server = serve(*script) if server is None else server
        client = make_client(server, **options)
        outcome = read(client)

        assert outcome.error is None, repr(outcome.error)
        assert outcome.message.content == outcome.text == text
        assert len(server.requests) == requests
        assert outcome.seconds < HANG_S
        _next_call_is_fine(read, server, client)
        return outcome

    return run


def _next_call_is_fine(read, server, client):
    server.add("fine again")
    # The clock that the fault ran into is too short for a busy machine.
    assert read(client, timeouts=PATIENT).text == "fine again"
