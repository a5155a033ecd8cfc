"""The four clocks, by a clock that the test moves."""

from __future__ import annotations

import socket

import pytest

from cloudllm_sync import BadRequestError, Limits, Timeouts
from cloudllm_sync.testing import Raw
from cloudllm_sync.transport.clocks import Clocks


class Hand:
    """The time."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def hand():
    return Hand()


@pytest.fixture
def clocks_of(hand):
    """Clocks in their first phase."""

    def make(connect_s=None, first_chunk_s=None, idle_s=None, total_s=None):
        clocks = Clocks(Timeouts(connect_s, first_chunk_s, idle_s, total_s), hand)
        clocks.connecting()
        return clocks

    return make


def wait(clocks, hand, seconds):
    """One wait that ends in time; what it was allowed."""
    allowed = clocks.before_wait()
    hand.now_s += seconds
    clocks.after_wait()
    return allowed


def test_without_limits_waits_have_none(clocks_of, hand):
    """In no phase."""
    clocks = clocks_of()
    first = wait(clocks, hand, 1e6)
    clocks.sending()
    second = wait(clocks, hand, 1e6)
    clocks.chunk_came = True

    assert (first, second, clocks.before_wait()) == (None, None, None)
    assert clocks.total_left_s() == float("inf")


VERY_LONG = [1e6 + 1, 25 * 86400, 1e10, 1e300, float("inf"), pytest.param(10**400, id="huge")]


@pytest.mark.parametrize("limit_s", VERY_LONG)
def test_very_long_limit_is_none(clocks_of, hand, limit_s):
    """The system refuses to wait for more than 24 days; and nobody does."""
    clocks = clocks_of(limit_s, limit_s, limit_s, limit_s)
    first = wait(clocks, hand, 1)
    clocks.sending()
    second = wait(clocks, hand, 1)
    clocks.chunk_came = True
    third = wait(clocks, hand, 1)
    clocks.at_most(limit_s)

    assert [None] * 4 == [first, second, third, clocks.before_wait()]
    assert clocks.total_left_s() == float("inf")


@pytest.mark.parametrize("limit_s", VERY_LONG)
def test_call_with_very_long_limits(serve, make_client, limit_s):
    """By a name, so that the resolver is waited for, and with a refusal's body to wait for."""
    server = serve(Raw(b"no", status=400), "fine")
    url = server.base_url.replace("127.0.0.1", "localhost")
    limits = Limits(error_body_s=limit_s)
    client = make_client(url, timeouts=Timeouts(*[limit_s] * 4), limits=limits)
    with pytest.raises(BadRequestError):
        client.send_message("hi")

    assert "fine" == client.start_message_stream("hi").result(limit_s).content


def test_each_phase_has_its_own_budget(clocks_of, hand):
    """Connect, first chunk, idle."""
    clocks = clocks_of(1, 2, 3)
    connect = wait(clocks, hand, 0.5)
    clocks.sending()
    first = wait(clocks, hand, 0.5)
    clocks.chunk_came = True

    assert (connect, first, wait(clocks, hand, 0.5)) == (1, 2, 3)


def test_waits_use_the_budget_up_and_a_chunk_refills_it(clocks_of, hand):
    """However many bytes come meanwhile."""
    clocks = clocks_of(idle_s=3)
    clocks.sending()
    clocks.chunk_came = True
    allowed = [wait(clocks, hand, 1) for _ in range(3)]
    clocks.chunk_came = True
    refilled = wait(clocks, hand, 1)

    assert allowed == [3, 2, 1]
    assert refilled == 3


@pytest.mark.parametrize(("idle_s", "allowed"), [(60, 5.0), (None, 5.0), (2, 2)])
def test_wait_after_the_finish_reason_is_short(clocks_of, hand, idle_s, allowed):
    """All of the reply is there: what may follow, its usage, does so at once."""
    clocks = clocks_of(idle_s=idle_s)
    clocks.sending()
    clocks.chunk_came = clocks.finish_came = True

    assert allowed == wait(clocks, hand, 1)


def test_attempt_after_a_finish_reason_waits_as_long_as_ever(clocks_of, hand):
    """A new attempt has not finished."""
    clocks = clocks_of(idle_s=60)
    clocks.finish_came = True
    clocks.connecting()
    clocks.chunk_came = True

    assert 60 == wait(clocks, hand, 1)


def test_time_between_waits_does_not_count(clocks_of, hand):
    """It is the consumer's, but for the total clock."""
    clocks = clocks_of(idle_s=3, total_s=100)
    clocks.chunk_came = True
    wait(clocks, hand, 1)
    hand.now_s += 50

    assert clocks.before_wait() == 2
    assert clocks.total_left_s() == 49


def test_total_bounds_every_wait(clocks_of, hand):
    """It is a point in time."""
    clocks = clocks_of(10, 10, 10, total_s=4)
    clocks.sending()

    assert wait(clocks, hand, 3) == 4
    assert clocks.before_wait() == 1


@pytest.mark.parametrize("phase", ["connect", "first_chunk", "idle"])
def test_clock_that_runs_out_is_named(clocks_of, hand, phase):
    """By `fired`, with its limit."""
    clocks = clocks_of(**{f"{phase}_s": 2, "total_s": 50})
    if phase != "connect":
        clocks.sending()
    clocks.chunk_came = phase == "idle"
    allowed = clocks.before_wait()
    hand.now_s += allowed
    error = clocks.expired()

    assert isinstance(error, socket.timeout)
    assert (allowed, clocks.fired, clocks.limit_s()) == (2, phase, 2)


def test_the_nearer_of_two_is_named(clocks_of, hand):
    """Total, where it is first."""
    clocks = clocks_of(first_chunk_s=5, total_s=4)
    clocks.sending()
    hand.now_s += clocks.before_wait()
    clocks.expired()

    assert (clocks.fired, clocks.limit_s()) == ("total", 4)


@pytest.mark.parametrize(("limits", "fired"), [({"idle_s": 1}, "idle"), ({"total_s": 1}, "total")])
def test_wait_with_nothing_left_is_refused(clocks_of, hand, limits, fired):
    """No wait of zero, which would be none at all."""
    clocks = clocks_of(**limits)
    clocks.chunk_came = True
    wait(clocks, hand, 1)
    with pytest.raises(socket.timeout, match=fired):
        clocks.before_wait()

    assert clocks.fired == fired


def test_new_attempt_begins_anew_but_for_the_total(clocks_of, hand):
    """Budgets refill, the deadline stays."""
    clocks = clocks_of(1, 2, 3, 10)
    clocks.sending()
    wait(clocks, hand, 2)
    clocks.connecting()

    assert clocks.fired is None
    assert clocks.before_wait() == 1
    assert clocks.total_left_s() == 8


def test_phase_can_be_cut_short(clocks_of, hand):
    """Never made longer; a chunk that came just before does not refill it."""
    clocks = clocks_of(first_chunk_s=2)
    clocks.sending()
    clocks.chunk_came = True
    clocks.at_most(0.5)
    short = wait(clocks, hand, 0.1)
    clocks.at_most(50)

    assert short == 0.5
    assert clocks.before_wait() == pytest.approx(0.4)


def test_total_can_be_declared_over(clocks_of):
    """For waits that are not on a socket."""
    clocks = clocks_of(total_s=3)
    error = clocks.total_expired()

    assert "total" in str(error)
    assert (clocks.fired, clocks.limit_s()) == ("total", 3)
