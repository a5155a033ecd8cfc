"""The retry budget: an allowance, a share of the requests, and time."""

from __future__ import annotations

import threading

import pytest

from cloudllm_sync import ServerError
from cloudllm_sync.testing import Raw
from cloudllm_sync.transport.budget import RetryBudget

BROKEN = Raw(b"{}", status=500, framing="length")


def spend_all(budget):
    """How many retries are left."""
    count = 0
    while budget.spend():
        count += 1
    return count


@pytest.fixture
def time_s():
    """The time, to be moved."""
    return [1000.0]


@pytest.fixture
def budget(time_s):
    return RetryBudget(now=lambda: time_s[0])


def test_allowance_is_ten(budget):
    """A few calls may use all their retries."""
    assert 10 == spend_all(budget)


@pytest.mark.parametrize(("requests", "retries"), [(9, 0), (10, 1), (35, 3), (5000, 10)])
def test_ten_requests_earn_one_retry(budget, requests, retries):
    """Up to the allowance."""
    spend_all(budget)
    for _ in range(requests):
        budget.earn()

    assert retries == spend_all(budget)


@pytest.mark.parametrize(("seconds", "retries"), [(0.5, 0), (1, 1), (3.5, 3), (3600, 10)])
def test_every_second_gives_one_back(budget, time_s, seconds, retries):
    """Up to the allowance: a client that asks seldom always has its retries."""
    spend_all(budget)
    time_s[0] += seconds

    assert retries == spend_all(budget)


def test_provider_that_fails_is_not_hammered(serve, make_client, no_backoff):
    """Fifty threads, two retries allowed to each call: hardly more requests than calls."""
    server = serve(default=BROKEN)
    client = make_client(server, max_retries=2)
    client._transport.budget = RetryBudget(now=lambda: 0.0)
    attempts = []

    def work():
        for _ in range(4):
            with pytest.raises(ServerError) as caught:
                client.send_message("hi")
            attempts.append(caught.value.attempts)

    threads = [threading.Thread(target=work) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert 200 == len(attempts)
    assert len(server.requests) == sum(attempts)
    assert 210 <= len(server.requests) <= 230


def test_single_call_has_all_its_retries(read, serve, make_client, no_backoff):
    """The budget is for many."""
    server = serve(BROKEN, BROKEN, "well")

    assert "well" == read(make_client(server)).text
