"""The pure part: estimates, open calls, groups, orphans, trimming."""

from __future__ import annotations

import time

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from cloudllm_sync import Attachment, ContextLengthError, Message, Role, ToolCall
from cloudllm_sync.codecs.conversation import check_order
from cloudllm_sync.session.history import (
    estimate_tokens,
    open_calls,
    request_messages,
    share_that_fits,
)


def user(text="u"):
    return Message(Role.USER, text)


def system(text="s"):
    return Message(Role.SYSTEM, text)


def assistant(text="a", *calls):
    return Message(
        Role.ASSISTANT, text, tool_calls=tuple(ToolCall(call, "look", "{}") for call in calls)
    )


def result(call, text="r"):
    return Message(Role.TOOL, text, tool_call_id=call)


def trimmed(history, new=(), *, prompt=(), max_tokens=1000, estimate=lambda message: 1):
    return request_messages(prompt, history, new, max_tokens=max_tokens, estimate=estimate).messages


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        (user(""), 1),
        (user("abcd"), 1),
        (user("abcde"), 2),
        (user("日本語日"), 3),
        (user("\ud800"), 1),
        (Message(Role.ASSISTANT, "", refusal="12345678"), 2),
        (
            Message(Role.ASSISTANT, "1234", tool_calls=(ToolCall("id", "abcd", '{"a":1}'),)),
            4,
        ),
        (Message(Role.ASSISTANT, "1234", provider_state={"not": "sent"}), 1),
        (
            Message(
                Role.ASSISTANT,
                "",
                tool_calls=(ToolCall("id", "abcd", "1234"),),
                provider_state={"ab": object},
            ),
            2 + len('{"ab": "<class \'object\'>"}') // 4 + 1,
        ),
        (
            Message(Role.USER, "1234", attachments=(Attachment.from_url("https://a/b.png"),) * 2),
            1 + 2 * 1600,
        ),
    ],
    ids=range(10),
)
def test_estimate_counts_what_is_sent(message, tokens):
    """A quarter of the bytes, at least one; a picture counts as a picture, not by its bytes."""
    assert estimate_tokens(message) == tokens


def test_estimate_bears_any_state():
    """What a reply was read with may be nested deeper than it can be written from here."""
    state = []
    for _ in range(100_000):
        state = [state]
    message = attrs.evolve(assistant("", "c1"), provider_state={"deep": state})

    assert 0 < estimate_tokens(message)


@pytest.mark.parametrize(
    ("messages", "waiting"),
    [
        ([], []),
        ([user()], []),
        ([result("c1")], []),
        ([user(), assistant("", "c1", "c2")], ["c1", "c2"]),
        ([user(), assistant("", "c1", "c2"), result("c2")], ["c1"]),
        ([user(), assistant("", "c1"), result("c1")], []),
        ([user(), assistant("", "c1"), user()], []),
    ],
    ids=range(7),
)
def test_open_calls_are_those_of_the_last_message(messages, waiting):
    """Results answer the message that they follow."""
    assert list(open_calls(messages)) == waiting


def test_everything_is_sent_if_it_fits():
    """In its order, system prompt first."""
    history = [user("1"), assistant("2"), user("3"), assistant("4")]

    assert trimmed(history, [user("5")], prompt=[system()], max_tokens=6) == (
        system(),
        *history,
        user("5"),
    )


def test_last_exchange_counts_as_new_without_new_messages():
    """It is what is to be answered."""
    history = [user("1"), assistant("2"), user("3"), assistant("", "c1"), result("c1")]

    assert trimmed(history, max_tokens=3) == tuple(history[2:])
    with pytest.raises(ContextLengthError):
        trimmed(history, max_tokens=2)


def test_messages_before_the_first_question_are_a_group_of_their_own():
    """A greeting that was injected, say."""
    history = [assistant("Welcome"), system("note"), user("1"), assistant("2")]

    assert trimmed(history, [user("3")], max_tokens=5) == (*history, user("3"))
    assert trimmed(history, [user("3")], max_tokens=4) == (*history[2:], user("3"))


def test_nothing_is_sent_of_nothing():
    """The codec refuses it, and says why."""
    assert trimmed([]) == ()


def test_call_that_was_passed_over_is_left_out():
    """With the results it has; its text stays."""
    history = [user("1"), assistant("text", "c1", "c2"), result("c1"), user("2"), assistant("3")]

    assert trimmed(history, [user("4")]) == (
        user("1"),
        assistant("text"),
        user("2"),
        assistant("3"),
        user("4"),
    )


def test_silent_call_that_was_passed_over_leaves_nothing():
    """An empty assistant message is refused by some providers."""
    assert trimmed([user("1"), assistant("", "c1")], [user("2")]) == (user("1"), user("2"))


def test_open_calls_at_the_end_are_for_the_caller_to_hear():
    """They are not left out in silence: the caller has forgotten a result."""
    history = [user("1"), assistant("", "c1", "c2"), result("c1")]

    assert trimmed(history) == tuple(history)


def test_call_number_that_was_used_before_is_not_mixed_up():
    """Servers without ids of their own count from 0 in every reply: a result that lost its call
    is not taken for a second result of an older one.
    """
    history = [
        user("1"),
        assistant("", "c0"),
        result("c0", "kept"),
        assistant("", "c0", "c1"),
        result("c0", "lost its call"),
    ]

    assert trimmed(history, [user("2")]) == (*history[:3], user("2"))


# --- properties ---

_IDS = ("c0", "c1", "c2")
_texts = st.text("ab ", max_size=6)
_call_ids = st.lists(st.sampled_from(_IDS), max_size=3, unique=True)


@st.composite
def _steps(draw):
    """A model's step: text, or calls with all of their results, some, or too many."""
    calls = draw(_call_ids)
    said = [assistant(draw(_texts), *calls)]
    answered = draw(
        st.one_of(
            st.permutations(calls),
            st.lists(st.sampled_from(_IDS), max_size=3),
        )
    )
    return said + [result(call, draw(_texts)) for call in answered]


_exchanges = st.tuples(
    st.one_of(_texts.map(user), _texts.map(user), _texts.map(system)).map(lambda said: [said]),
    st.lists(_steps(), max_size=3),
).map(lambda parts: [*parts[0], *(message for step in parts[1] for message in step)])


@st.composite
def conversations(draw):
    """A history: exchanges, maybe with something before the first one."""
    start = draw(st.one_of(st.just([]), _steps(), st.just([result("c0")])))
    return start + [message for part in draw(st.lists(_exchanges, max_size=5)) for message in part]


def _tokens(messages):
    return sum(map(estimate_tokens, messages))


def _texts_of(messages):
    return [(message.role, message.content, message.tool_call_id) for message in messages]


@settings(max_examples=250, derandomize=True, deadline=None)
@given(
    conversations(), st.lists(_texts.map(system), max_size=1), _texts.map(user), st.integers(1, 40)
)
def test_any_history_with_a_question_can_be_sent(history, prompt, question, max_tokens):
    """In an order that every provider takes, within the limit, from the newest back; only what
    cannot fit at all is refused.
    """
    if _tokens(prompt) + _tokens([question]) > max_tokens:
        with pytest.raises(ContextLengthError):
            trimmed(
                history, [question], prompt=prompt, max_tokens=max_tokens, estimate=estimate_tokens
            )
        return

    sent = trimmed(
        history, [question], prompt=prompt, max_tokens=max_tokens, estimate=estimate_tokens
    )

    check_order(sent)
    assert _tokens(sent) <= max_tokens
    assert sent[: len(prompt)] == tuple(prompt)
    assert sent[-1] == question
    kept = iter(_texts_of(history))
    assert all(message in kept for message in _texts_of(sent[len(prompt) : -1]))


@settings(max_examples=120, derandomize=True, deadline=None)
@given(conversations(), st.integers(1, 60))
def test_history_itself_can_be_sent_unless_calls_are_open(history, max_tokens):
    """Without a new message the last exchange is sent whole, or the request is refused."""
    history = [*history, user("last"), assistant("", "c0", "c1"), result("c1"), result("c0")]
    try:
        sent = trimmed(history, max_tokens=max_tokens, estimate=estimate_tokens)
    except ContextLengthError:
        assert _tokens(history[-4:]) > max_tokens
        return

    check_order(sent)
    assert _tokens(sent) <= max_tokens
    assert list(sent[-4:]) == history[-4:]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(conversations(), _texts.map(user))
def test_more_room_never_sends_less(history, question):
    """Trimming takes a tail of the exchanges, and a longer one where there is more room."""
    lengths = [
        sum(
            map(
                estimate_tokens,
                trimmed(history, [question], max_tokens=room, estimate=estimate_tokens),
            )
        )
        for room in range(estimate_tokens(question), _tokens(history) + 10, 3)
    ]

    assert lengths == sorted(lengths)


def steps(count):
    """A tool loop of so many steps."""
    pairs = ((assistant("", f"c{step}"), result(f"c{step}")) for step in range(count))
    return [user(), *(message for pair in pairs for message in pair)]


def parallel(count):
    """So many calls at once, with their results."""
    names = [f"c{call}" for call in range(count)]
    return [user(), assistant("", *names), *map(result, names)]


def passed_over(count):
    """Calls without results, each of which the user has passed over."""
    pairs = ((assistant("text", f"c{step}"), user()) for step in range(count))
    return [message for pair in pairs for message in pair]


@pytest.mark.parametrize("shape", [steps, parallel, passed_over])
def test_cost_grows_with_the_length_only(shape):
    """Eight times the messages cost about eight times the CPU, not sixty-four times."""
    small, large = (cpu_of_trimming(shape(count)) for count in (1_500, 12_000))

    assert large < 24 * small


def cpu_of_trimming(history):
    """CPU of one request; the least of five runs."""
    spent = []
    for _ in range(5):
        began = time.process_time()
        trimmed(history, max_tokens=len(history) + 1)
        spent.append(time.process_time() - began)
    return min(spent)


def test_messages_are_not_changed():
    """A call that is left out is left out of a copy."""
    said = assistant("text", "c1")
    before = attrs.evolve(said)

    trimmed([user("1"), said], [user("2")])

    assert said == before


CONTEXT = "This model's maximum context length is"
REPLY = "1 in the completion"


@pytest.mark.parametrize(
    ("words", "share"),
    [
        ("prompt is too long: 200 tokens > 100 maximum", 0.5),
        ("prompt is too long: 250,000 tokens > 200,000 maximum", 0.8),
        ("The input token count (400) exceeds the maximum number of tokens allowed (100).", 0.25),
        (f"status 400: {CONTEXT} 4097 tokens. Your messages resulted in 8194 tokens.", 0.5),
        (f"{CONTEXT} 41 tokens. You requested 61 tokens (60 in the messages, {REPLY}).", 40 / 60),
        (
            "This model's maximum prompt length is 1000 but the request contains 4000 tokens.",
            0.25,
        ),
        ("prompt is too long: 100 tokens > 200 maximum", 0.5 / 0.95),
        ("Your input exceeds the context window of this model", 0.5 / 0.95),
        ("", 0.5 / 0.95),
    ],
)
def test_share_that_fits_is_as_told(words, share):
    """A little less than the provider says, or half where it says nothing of use."""
    assert share_that_fits(words) == pytest.approx(0.95 * share)
