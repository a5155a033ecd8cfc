"""Estimates: by size at first, then as the provider's reports say."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings, strategies as st

from cloudllm_sync import (
    Attachment,
    ChatOptions,
    ConfigurationError,
    Message,
    Role,
    StreamCancelled,
    ToolDefinition,
)
from cloudllm_sync.session.estimates import Estimates, estimate_tokens, tool_tokens

MAX = 8192
LONG = Message(Role.USER, "x" * 4000)
PICTURE = Message(Role.USER, "", attachments=(Attachment.from_url("https://a.example/b.png"),))


def after(*reports, max_tokens=MAX, estimates=None):
    """Estimates after reports of requests, each a pair of messages and tokens."""
    estimates = estimates or Estimates()
    for messages, tokens in reports:
        estimates = estimates.after(messages, 0, tokens, max_tokens)
    return estimates


def test_first_estimate_is_by_size():
    """One for four bytes, and nothing around it."""
    assert [Estimates().tokens(message) for message in (LONG, PICTURE)] == [
        estimate_tokens(LONG),
        estimate_tokens(PICTURE),
    ]
    assert Estimates().beside(7) == 7


@pytest.mark.parametrize("tokens", [500, 2000, 3900])
def test_estimate_comes_near_what_is_reported(tokens):
    """A little above it, once the same was reported a few times."""
    estimates = after(*[([LONG], tokens)] * 12)

    assert 0 <= estimates.tokens(LONG) / tokens - 1 < 0.06


def test_one_report_does_not_decide_alone():
    """What was believed before counts as some tokens more."""
    assert 1750 < after(([LONG], 2000)).tokens(LONG) < 1900


def test_longer_requests_count_more():
    """It is near the limit that estimates have to be right."""
    short = Message(Role.USER, "x" * 400)

    estimates = after(*[([LONG] * 8, 16_000)] * 4, *[([short], 104)] * 4)

    assert 1900 < estimates.tokens(LONG) < 2100


def test_new_kind_of_text_is_learned_within_two_long_requests():
    """Older reports are pushed out by newer ones."""
    estimates = after(*[([LONG] * 8, 8_000)] * 9, *[([LONG] * 8, 16_000)] * 2)

    assert estimates.tokens(LONG) > 1800


def test_what_is_put_around_messages_is_not_taken_for_text():
    """Of many short messages half the tokens may be the format's."""
    hello = Message(Role.USER, "Hello there, you two!!!!")

    estimates = after(*[([hello] * 20, 20 * (6 + 4))] * 10)

    assert 1000 <= estimates.tokens(LONG) < 1050
    assert 10 <= estimates.tokens(hello) < 12


@pytest.mark.parametrize("tokens", [10, 300, 9000], ids=["constant", "uncached", "search"])
def test_report_of_something_else_is_not_believed(tokens):
    """FakeServer says 10 whatever was sent; some servers leave out what was cached."""
    assert after(([LONG], tokens)) == Estimates()


def test_report_of_a_very_short_request_says_nothing():
    """What it counts is the provider's own."""
    assert after(([Message(Role.USER, "hi")], 10)) == Estimates()


def test_shortfall_is_allowed_for_and_forgotten():
    """A request that was longer than expected makes the next ones shorter, for a while."""
    calm = after(*[([LONG] * 8, 8_040)] * 9)
    warned = after(([LONG] * 8, 10_000), estimates=calm)
    later = after(*[([LONG] * 8, 9_000)] * 9, estimates=warned)

    assert warned.margin == pytest.approx(0.24, abs=0.02)
    assert calm.margin == 0.01
    assert later.margin < warned.margin / 2


def test_margin_has_a_ceiling():
    """A false alarm does not make a session useless."""
    calm = after(*[([LONG] * 8, 8_040)] * 9)

    assert after(([LONG] * 8, 60_000), estimates=calm).margin == 0.3


def test_pictures_have_a_scale_of_their_own():
    """A provider that counts them by half says nothing about text."""
    estimates = after(*[([PICTURE, PICTURE], 1600 + 8)] * 12)

    assert estimates.tokens(LONG) == math.ceil(1000 * 1.01) + 4
    assert 800 < estimates.tokens(PICTURE) < 900


def test_text_has_a_scale_of_its_own():
    """And a session's first long text does not change pictures."""
    estimates = after(*[([LONG] * 3, 6_000)] * 12)

    assert 1600 < estimates.tokens(PICTURE) < 1650


def test_picture_that_counts_a_tenth_is_believed():
    """Google counts 258 for small ones."""
    estimates = after(*[([PICTURE], 258 + 4)] * 30)

    assert estimates.tokens(PICTURE) < 400


def test_tools_are_part_of_a_request():
    """Their definitions, and the schema of a reply."""
    tool = ToolDefinition("look", "Looks it up", {"type": "object"})
    said = len(json.dumps(["look", "Looks it up", {"type": "object"}]))

    assert tool_tokens([tool], None) == -(-said // 4)
    assert tool_tokens(None, ChatOptions(response_schema={"type": "object"})) == 5
    assert tool_tokens(None, ChatOptions()) == 0


@pytest.mark.parametrize("tools", [5, ["no tool"], iter([ToolDefinition("a", "b", {})])])
def test_tools_that_are_none_are_left_to_the_client(tools):
    """It says what is wrong with them, and reads what can be read once."""
    assert tool_tokens(tools, None) == 0
    assert not hasattr(tools, "__next__") or next(tools).name == "a"


# --- a user's own ---


def own(answer):
    """Estimates of a user's own function that gives this, or raises it."""

    def estimate(message):
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return Estimates(estimate)


def test_estimate_of_ones_own_is_taken_as_it_is():
    """It may be exact: reports, and tools, do not change what it says."""
    estimates = after(*[([LONG], 3000)] * 9, estimates=own(5))

    assert estimates.tokens(LONG) == 5
    assert estimates.beside(100) == 0


def test_fraction_counts_as_the_next_token():
    """Averages are no whole numbers."""
    assert own(2.1).tokens(LONG) == 3


@pytest.mark.parametrize("answer", [None, "12", True, -1, math.nan, math.inf])
def test_estimate_that_is_no_number_is_refused(answer):
    """By name, without the message."""
    with pytest.raises(ConfigurationError, match=r"estimate_tokens must return a number"):
        own(answer).tokens(LONG)


def test_estimate_that_raises_is_a_configuration_error():
    """With its cause."""
    with pytest.raises(ConfigurationError, match="estimate_tokens raised KeyError") as caught:
        own(KeyError("x")).tokens(LONG)

    assert isinstance(caught.value.__cause__, KeyError)


def test_error_of_this_package_goes_through():
    """An estimate that asks a server may be cancelled, say."""
    with pytest.raises(StreamCancelled):
        own(StreamCancelled("stop")).tokens(LONG)


# --- notes ---


def test_note_brings_the_estimates_back():
    """In another process, by way of JSON."""
    estimates = after(([LONG] * 8, 16_000), ([PICTURE] * 3, 2_000), ([LONG], 2_300))

    again = Estimates().noted(json.loads(json.dumps(estimates.note())))

    assert [again.tokens(message) for message in (LONG, PICTURE)] == [
        pytest.approx(estimates.tokens(message), abs=4) for message in (LONG, PICTURE)
    ]


@pytest.mark.parametrize(
    "note",
    [
        None,
        "text",
        5,
        {},
        {"text": [1, 2], "media": [0, 0]},
        {"text": [1, 2, 3, 4], "media": [0, 0], "margin": 0},
        {"text": [1, "x"], "media": [0, 0], "margin": 0},
        {"text": [1, 99], "media": [0, 0], "margin": 0},
        {"text": [1, -1], "media": [0, 0], "margin": 0},
        {"text": [1, 1], "media": [math.nan, 1], "margin": 0},
        {"text": [1, 1], "media": [0, 0], "margin": 7},
        {"text": [1, 1], "media": [0, 0], "margin": math.nan},
    ],
)
def test_note_that_makes_no_sense_is_as_none(note):
    """Whoever wrote it."""
    assert Estimates().noted(note) == Estimates()


def test_small_change_is_no_news():
    """A store is not written to for it."""
    known = after(*[([LONG] * 8, 8_500)] * 12)

    assert not after(([LONG] * 8, 8_600), estimates=known).is_news_to(known)
    assert after(([LONG] * 8, 9_500), estimates=known).is_news_to(known)
    assert not Estimates().is_news_to(Estimates())


_reports = st.tuples(
    st.lists(st.text(max_size=300).map(lambda text: Message(Role.USER, text)), min_size=1),
    st.integers(-5, 10**7),
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(_reports, max_size=8), st.integers(1, 10**6))
def test_any_reports_leave_estimates_in_bounds(reports, max_tokens):
    """From a third to eight times the size, a margin and what stands around it."""
    estimates = after(*reports, max_tokens=max_tokens)

    assert 1000 / 3 <= estimates.tokens(LONG) <= 1000 * 8 * 1.3 + 5
    assert estimates.noted(estimates.note()).tokens(LONG) > 0
