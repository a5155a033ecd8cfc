"""Reasoning, usage, citations and content lists, in every way that servers write them."""

from __future__ import annotations

import json
import time

import pytest

from cloudllm_sync.codecs import ServerSentEvent
from cloudllm_sync.codecs.openai_chat import OpenAIChatCodec
from cloudllm_sync.codecs.openai_chat_parts import ThoughtKeeper, usage_from
from cloudllm_sync.values import TokenUsage


def detail(text=None, *, kind="reasoning.text", index=0, **more):
    said = {"type": kind, "index": index, **more}
    return said if text is None else {**said, "text": text}


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning_details": [detail("hm")]},
        {"reasoning_details": [detail("h"), detail("m", index=1)]},
        {"reasoning_details": [detail(kind="reasoning.summary", summary="hm")]},
        {"reasoning_details": [None, detail("hm"), detail(kind="reasoning.encrypted", data="x")]},
        {"reasoning_content": "hm", "reasoning": "hm", "reasoning_details": [detail("hm")]},
        {"reasoning_content": "", "reasoning": "hm", "reasoning_details": [detail("hm")]},
        {"reasoning_content": None, "reasoning": "", "reasoning_details": [detail("hm")]},
        {"reasoning_content": {"odd": 1}, "reasoning": "hm"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        {"content": [{"type": "thinking", "thinking": "hm"}], "reasoning": "hm"},
    ],
)
def test_reasoning_is_taken_from_one_source(delta, read_deltas):
    """Fields that carry the same text are not added up."""
    reading = read_deltas(delta)

    assert reading.message.reasoning == "hm"
    assert reading.message.content == ""


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": 5},
        {"reasoning": ["hm"]},
        {"reasoning_details": "hm"},
        {"reasoning_details": [5, {"text": 5}, {}]},
        {"content": [5, None, {"text": 5}, {"thinking": 5}]},
        {"content": {"text": "hm"}},
        {"content": 5},
        {"refusal": 5},
    ],
)
def test_text_of_a_wrong_type_is_no_text(delta, read_deltas):
    """Odd types are passed over."""
    assert read_deltas(delta).chunks == []


def test_content_list_and_strings_may_be_mixed(read_deltas):
    """Mistral thinks in lists of parts and then goes on in strings."""
    reading = read_deltas(
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}]},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "m"}], "closed": True},
                {"type": "text", "text": "He"},
            ]
        },
        {"content": "ll"},
        {"content": ["o", {"type": "reference", "reference_ids": [1]}]},
    )

    assert (reading.message.reasoning, reading.message.content) == ("hm", "Hello")


def test_think_tags_stay_in_the_content(read_deltas):
    """They cannot be told from an answer that is about them."""
    reading = read_deltas({"content": "<think>hm</think>"}, {"content": "yes"})

    assert reading.message.content == "<think>hm</think>yes"
    assert reading.message.reasoning == ""


def test_reasoning_details_are_kept_to_be_sent_back(read_deltas):
    """Pieces of one detail are joined, with the signature that comes last."""
    reading = read_deltas(
        {"reasoning": "a", "reasoning_details": [detail("a", format="f")]},
        {"reasoning": "b", "reasoning_details": [detail("b", signature=None)]},
        {"reasoning_details": [detail("", signature="s")]},
        {"reasoning_details": [detail(kind="reasoning.encrypted", data="x", index=1)]},
        {"content": "c"},
    )

    assert reading.message.provider_state == {
        "reasoning_details": [
            detail("ab", format="f", signature="s"),
            detail(kind="reasoning.encrypted", data="x", index=1),
        ]
    }


ENCRYPTED = {"type": "reasoning.encrypted", "index": 0}


@pytest.mark.parametrize(
    ("known", "more", "expected"),
    [
        ([detail("a")], [detail("b", index=1)], [detail("a"), detail("b", index=1)]),
        (
            [detail("a", index=None)],
            [detail("b", index=None)],
            [detail("a", index=None), detail("b", index=None)],
        ),
        ([{"text": "a"}], [{"text": "b"}], [{"text": "a"}, {"text": "b"}]),
        (
            [detail(summary="a", kind="reasoning.summary")],
            [detail(summary="b", kind="reasoning.summary")],
            [detail(summary="ab", kind="reasoning.summary")],
        ),
        ([detail(data="x")], [detail(data="y")], [detail(data="xy")]),
        ([detail("a", text2=0)], [detail("b", text2=None)], [detail("ab", text2=0)]),
        ([detail("a", signature="s")], [detail(5, signature="")], [detail("a", signature="s")]),
        ([detail("a", id="1")], [detail("b", id="1")], [detail("ab", id="1")]),
        ([detail("a")], [detail("b", id="1")], [detail("ab", id="1")]),
        (
            [{**ENCRYPTED, "data": "x", "id": "call_1"}],
            [{**ENCRYPTED, "data": "y", "id": "call_2"}],
            [
                {**ENCRYPTED, "data": "x", "id": "call_1"},
                {**ENCRYPTED, "data": "y", "id": "call_2"},
            ],
        ),
        ([detail("a", kind=["t"])], [detail("b", kind=["t"])], [detail("ab", kind=["t"])]),
        ([5], [detail("a"), 6], [5, detail("a"), 6]),
        ([detail("a")], "odd", [detail("a")]),
    ],
)
def test_details_are_joined_only_with_their_own_kind(known, more, expected):
    """Type, index and id say which pieces belong together; without an index none do."""
    keeper = ThoughtKeeper()
    keeper.add_details(known)
    keeper.add_details(more)

    assert {"reasoning_details": expected} == keeper.state(calls_made=False)


@pytest.mark.parametrize("index", [{}, {"index": 0}], ids=["without index", "with index"])
def test_cost_of_details_grows_with_their_number_only(index):
    """Eight times the deltas cost about eight times the CPU, not sixty-four times."""
    small, large = (cpu_of_details(count, index) for count in (2_500, 20_000))

    assert large < 24 * small


def cpu_of_details(count, index):
    """CPU of reading this many deltas with one detail each; the least of three runs."""
    said = {"type": "reasoning.text", "text": "a thought of usual length", **index}
    data = json.dumps({"choices": [{"delta": {"reasoning_details": [said]}}]}).encode()
    finished = ServerSentEvent(b'{"choices":[{"delta":{},"finish_reason":"stop"}]}')
    spent = []
    for _ in range(3):
        decoder = OpenAIChatCodec("Acme").decoder()
        began = time.process_time()
        for _ in range(count):
            decoder.feed(ServerSentEvent(data))
        decoder.feed(finished)
        decoder.finish()
        spent.append(time.process_time() - began)
        details = decoder.facts.provider_state["reasoning_details"]
        assert sum(len(kept["text"]) for kept in details) == count * len(said["text"])
    return min(spent)


def test_reader_who_leaves_at_the_finish_reason_has_the_reasoning_state():
    """A turn that is left there counts as whole; its tool loop needs the reasoning."""
    decoder = OpenAIChatCodec("Acme").decoder()
    delta = {"reasoning_details": [detail("hm")], "tool_calls": [{"function": {"name": "f"}}]}
    event = {"choices": [{"delta": delta, "finish_reason": "tool_calls"}]}
    decoder.feed(ServerSentEvent(json.dumps(event).encode()))

    assert decoder.facts.provider_state == {"reasoning_details": [detail("hm")]}


def test_reasoning_content_is_kept_for_tool_loops(read_deltas):
    """DeepSeek wants the text back with the calls it led to."""
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    reading = read_deltas(
        {"content": None, "reasoning_content": "h"},
        {"content": None, "reasoning_content": "m"},
        {"tool_calls": [call]},
    )

    assert reading.message.provider_state == {"reasoning_content": "hm"}


@pytest.mark.parametrize("delta", [{"reasoning_content": "hm"}, {"reasoning": "hm"}])
def test_reasoning_without_calls_is_not_kept_to_be_sent_back(delta, read_deltas):
    """In plain chat no server wants it, and older ones refuse it."""
    assert read_deltas(delta, {"content": "yes"}).message.provider_state is None


def usage(given_in, given_out, total=None, **more):
    said = {"prompt_tokens": given_in, "completion_tokens": given_out, **more}
    return said if total is None else {**said, "total_tokens": total}


REASONED = {"completion_tokens_details": {"reasoning_tokens": 5}}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (usage(2, 3, 5), TokenUsage(2, 3, 5)),
        (usage(2, 3), TokenUsage(2, 3, 5)),
        (usage("2", "3", "5"), TokenUsage(2, 3, 5)),
        (usage(2.0, 3.0, 5.0), TokenUsage(2, 3, 5)),
        ({"input_tokens": 2, "output_tokens": 3}, TokenUsage(2, 3, 5)),
        ({"prompt_tokens": 2}, TokenUsage(2, 0, 2)),
        ({"total_tokens": 2}, TokenUsage(0, 0, 2)),
        (usage(0, 0, 0), TokenUsage(0, 0, 0)),
        (usage(2, 3, 5, prompt_tokens_details={"cached_tokens": 1}), TokenUsage(2, 3, 5, 1)),
        (usage(2, 3, 5, prompt_tokens_details={"cached_tokens": 0}), TokenUsage(2, 3, 5, 0)),
        (usage(2, 3, 5, prompt_cache_hit_tokens=1), TokenUsage(2, 3, 5, 1)),
        (usage(2, 3, 5, cached_tokens=1), TokenUsage(2, 3, 5, 1)),
        (
            usage(2, 3, 5, prompt_tokens_details={"cache_write_tokens": 2}),
            TokenUsage(2, 3, 5, None, 2),
        ),
        (usage(2, 9, 11, **REASONED), TokenUsage(2, 9, 11, None, None, 5)),
        (usage(2, 4, 11, **REASONED), TokenUsage(2, 9, 11, None, None, 5)),
        (usage(2, 4, **REASONED), TokenUsage(2, 4, 6, None, None, 5)),
        (usage(2, 9, 11, reasoning_tokens=5), TokenUsage(2, 9, 11, None, None, 5)),
        (usage(2, 3, 5, completion_tokens_details=[1]), TokenUsage(2, 3, 5)),
        (usage(True, 3, None), TokenUsage(0, 3, 3)),
        (usage(-1, 3, float("nan")), TokenUsage(0, 3, 3)),
        (usage("２", 3, 10**400), TokenUsage(0, 3, 3)),
    ],
)
def test_usage_counts_the_whole_prompt_and_all_that_was_generated(said, expected):
    """xAI's reasoning, which its own count leaves out, is told by the total."""
    assert expected == usage_from(said)


@pytest.mark.parametrize("said", [None, {}, [], 5, "5", {"prompt_tokens": None}, {"queue_time": 1}])
def test_usage_that_counts_nothing_is_none(said):
    """None is for `not reported`, 0 for `none used`."""
    assert usage_from(said) is None


FINISHED = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}
COUNTED = usage(2, 3, 5)


@pytest.mark.parametrize(
    "events",
    [
        [FINISHED, {"choices": [], "usage": COUNTED}],
        [FINISHED, {"usage": COUNTED}],
        [{**FINISHED, "usage": COUNTED}],
        [{**FINISHED, "x_groq": {"usage": COUNTED}}],
        [FINISHED, {"choices": [], "x_groq": {"id": "r", "usage": COUNTED}}],
        [{"choices": [{**FINISHED["choices"][0], "usage": COUNTED}]}],
        [{**FINISHED, "usage": COUNTED, "x_groq": 5}],
        [{**FINISHED, "usage": usage(2, 1, 3)}, {**FINISHED, "usage": COUNTED}],
        [{**FINISHED, "usage": COUNTED}, {"choices": [], "usage": None}],
    ],
)
def test_usage_is_found_wherever_it_stands(events, read_events):
    """At the top, in the choice, in x_groq; the last one that is not null counts."""
    assert read_events(*events).message.usage == TokenUsage(2, 3, 5)


def test_running_sums_are_handed_on_once(read_events):
    """Perplexity counts in every event; only the last count is the reply's."""
    reading = read_events(
        {"choices": [{"delta": {"content": "a"}}], "usage": usage(2, 1, 3)},
        {"choices": [{"delta": {"content": "b"}}], "usage": usage(2, 2, 4)},
        {"choices": [{"delta": {"content": ""}, "finish_reason": "stop"}], "usage": COUNTED},
    )

    assert reading.usages == [TokenUsage(2, 3, 5)]
    assert reading.message.content == "ab"


def test_same_usage_is_handed_on_once(read_events):
    """Groq reports it in two fields of the last chunk, and again in one of its own."""
    last = {**FINISHED, "usage": COUNTED, "x_groq": {"usage": COUNTED}}
    reading = read_events(last, {"choices": [], "usage": COUNTED}, "[DONE]")

    assert reading.usages == [TokenUsage(2, 3, 5)]


def test_usage_without_a_finish_reason_comes_at_the_end(read_events):
    """Some servers give no reason; what was used is known all the same."""
    reading = read_events({**FINISHED, "choices": []}, {"choices": [], "usage": COUNTED}, "[DONE]")

    assert reading.usages == [TokenUsage(2, 3, 5)]


def cited(url):
    return {"type": "url_citation", "url_citation": {"url": url, "title": "t"}}


def test_citations_are_unique_and_in_order(read_events):
    """From annotations and from lists of URLs."""
    reading = read_events(
        {"choices": [{"delta": {"annotations": [cited("u1"), cited("u2"), cited("u1")]}}]},
        {"citations": ["u2", "u3"], "choices": []},
        {"choices": [{"delta": {"annotations": [{"url": "u4"}, 5, cited(None), cited("")]}}]},
        {"choices": [{"delta": {"annotations": {"url": "u5"}}}], "citations": "u6"},
    )

    assert reading.message.citations == ("u1", "u2", "u3", "u4")


def test_citations_beside_text_are_read(read_events):
    """A late event may carry both."""
    text = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
    reading = read_events(text, {**text, "citations": ["u1"]})

    assert reading.message.citations == ("u1",)
    assert reading.message.content == "aa"
