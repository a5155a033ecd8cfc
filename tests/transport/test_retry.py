"""When to try again, and after how long."""

from __future__ import annotations

import pytest
from requests.structures import CaseInsensitiveDict

from cloudllm_sync import APIError, CloudLLMError, ConnectError, RateLimitError
from cloudllm_sync.transport.retry import next_delay, retry_after_s, should_retry

NOW_S = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "86400"}, 86400.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "Retry-After": "7"}, 0.25),
        ({"retry-after-ms": "junk", "Retry-After": "7"}, 7.0),
        ({"retry-after-ms": "nan", "Retry-After": "7"}, 7.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"Retry-After": "Tue, 14 Nov 2023 23:13:50 +0100"}, 30.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:50"}, 30.0),
        ({"Retry-After": "Tuesday, 14-Nov-23 22:13:50 GMT"}, 30.0),
        ({"Retry-After": "Tue Nov 14 22:13:50 2023"}, 30.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:10 GMT"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "1e999"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Tue, 99 Nov 2023 22:13:50 GMT"}, None),
        ({"Retry-After": "Tue, 14 Nov 99999 22:13:50 GMT"}, None),
        ({"Retry-After": "Tue, 14 Nov 0000 22:13:50 GMT"}, 0.0),
        ({"Retry-After": "Tue, 14 Nov 99999999999999999999 22:13:50 GMT"}, None),
        ({"Retry-After": "Tue, 14 Nov 2023 99999999999999999999:13:50 GMT"}, None),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:50 +99999999999999999999"}, None),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2359"}, 251702387139.0),
        ({"Retry-After": "1, 2, 3"}, None),
    ],
)
def test_wait_that_headers_ask_for(headers, seconds):
    """Seconds, milliseconds and dates; what is no finite number of seconds is no wish."""
    assert retry_after_s(CaseInsensitiveDict(headers), NOW_S) == seconds


@pytest.mark.parametrize("retryable", [True, False])
@pytest.mark.parametrize(
    ("said", "expected"),
    [("true", True), ("false", False), (" TRUE ", True), ("maybe", None), ("", None)],
)
def test_x_should_retry_wins(retryable, said, expected):
    """Other words leave it to the status."""
    headers = CaseInsensitiveDict({"X-Should-Retry": said})

    assert should_retry(headers, retryable) is (retryable if expected is None else expected)
    assert should_retry({}, retryable) is retryable


@pytest.mark.parametrize(
    ("failures", "cap_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 8.0), (99, 8.0)]
)
def test_backoff_is_full_jitter_up_to_a_cap(failures, cap_s):
    """From nothing to the cap."""
    error = ConnectError("x", retryable=True)
    delays = [
        next_delay(failures, error, max_retries=99, rand=lambda draw=draw: draw)
        for draw in (0.0, 0.5, 1.0)
    ]

    assert delays == [0.0, cap_s / 2, cap_s]


def test_backoff_draws_by_itself():
    """Without being given a source of randomness."""
    error = ConnectError("x", retryable=True)

    assert 0 <= next_delay(1, error, max_retries=2) <= 0.5


@pytest.mark.parametrize(
    ("wish_s", "delay_s"), [(0.0, 0.0), (3.0, 3.0), (60.0, 60.0), (60.1, None), (86400.0, None)]
)
def test_providers_wish_is_obeyed_up_to_a_minute(wish_s, delay_s):
    """Longer: no retry at all."""
    error = RateLimitError("x", retry_after_s=wish_s, retryable=True)

    assert next_delay(1, error, max_retries=2) == delay_s


@pytest.mark.parametrize(
    ("failures", "error"),
    [
        (1, CloudLLMError("x")),
        (1, APIError("x", retry_after_s=1.0)),
        (3, ConnectError("x", retryable=True)),
        (3, APIError("x", retry_after_s=1.0, retryable=True)),
    ],
)
def test_giving_up(failures, error):
    """What may not be retried, and what has been often enough."""
    assert next_delay(failures, error, max_retries=2) is None
