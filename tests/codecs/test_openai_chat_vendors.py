"""Chat Completions as each vendor of wire/WIRE.md writes it; the bodies are our own."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync.codecs import ServerSentEvent
from cloudllm_sync.values import TokenUsage

DONE = "[DONE]"
COUNTED = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
NINE = TokenUsage(9, 7, 16)


def chunk(delta=None, finish=None, index=0, choice=(), **fields):
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    said = {"index": index, "delta": delta, "finish_reason": finish, **dict(choice)}
    return {**head, "choices": [said], **fields}


def bare(**fields):
    """A chunk without choices."""
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [], **fields}


def whole(message, finish="stop", choice=(), **fields):
    said = {"index": 0, "message": message, "finish_reason": finish, **dict(choice)}
    return {"id": "c1", "object": "chat.completion", "model": "m", "choices": [said], **fields}


def call(index, call_id, name, arguments):
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": call_id, "type": "function", "function": function}


def more(index, arguments, **fields):
    return {"index": index, "function": {"arguments": arguments, **fields}}


def thinking(text, **fields):
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}], **fields}


def cited(url):
    place = {"url": url, "title": "t", "start_index": 0, "end_index": 2}
    return {"type": "url_citation", "url_citation": place}


FILTERS = {"content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}
TIMES = {"queue_time": 0.1, "prompt_time": 0.2, "total_time": 0.3}

# Each: the events of a stream, and the fields of its message that are not as usual.
STREAMS = {
    "OpenAI, all that is to be ignored": (
        [
            chunk({"role": "assistant", "content": "", "refusal": None}, usage=None,
                  service_tier="default", system_fingerprint="fp", obfuscation="x9"),
            chunk({"content": "Hel"}, choice={"logprobs": {"content": []}}, obfuscation="aaaa"),
            chunk({"content": "lo", "audio": {"id": "a"}}, usage=None),
            chunk({}, "stop", usage=None),
            bare(usage={**COUNTED, "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
                        "completion_tokens_details": {"reasoning_tokens": 2}}),
            DONE,
        ],
        {"content": "Hello", "usage": TokenUsage(9, 7, 16, 4, None, 2)},
    ),
    "OpenAI, n > 1": (
        [
            chunk({"content": "X"}, index=1),
            chunk({"content": "a"}),
            chunk({}, "length", index=1),
            chunk({"content": "b"}),
            chunk({"content": "Y"}, index=2),
            chunk({}, "stop"),
            chunk({"content": "Z"}, index=2),
            DONE,
        ],
        {"content": "ab"},
    ),
    "OpenAI, refusal": (
        [chunk({"content": None, "refusal": "I"}), chunk({"refusal": " won't"}), chunk({}, "stop"),
         DONE],
        {"refusal": "I won't"},
    ),
    "OpenAI, old function call": (
        [
            chunk({"content": None, "function_call": {"name": "f", "arguments": ""}}),
            chunk({"function_call": {"arguments": "{}"}}),
            chunk({}, "function_call"),
            DONE,
        ],
        {"calls": [("call_0", "f", "{}")], "finish": ("tool_calls", "function_call")},
    ),
    "OpenAI, web search": (
        [
            chunk({"content": "hi"}),
            chunk({"annotations": [cited("https://a/1"), cited("https://a/2")]}),
            chunk({"annotations": [cited("https://a/1")]}, "stop"),
            DONE,
        ],
        {"content": "hi", "citations": ("https://a/1", "https://a/2")},
    ),
    "xAI": (
        [
            chunk({"role": "assistant", "content": "", "reasoning_content": "hm"}),
            chunk({"tool_calls": [call(0, "a", "f", "{}")]}),
            chunk({"tool_calls": [call(1, "b", "g", "[1]")]}),
            chunk({"content": ""}, "tool_calls", citations=["https://x/1"]),
            bare(usage={"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 20,
                        "completion_tokens_details": {"reasoning_tokens": 4},
                        "num_sources_used": 1, "cost_in_usd_ticks": 5}),
            DONE,
        ],
        {
            "reasoning": "hm",
            "calls": [("a", "f", "{}"), ("b", "g", "[1]")],
            "finish": ("tool_calls", "tool_calls"),
            "citations": ("https://x/1",),
            "usage": TokenUsage(9, 11, 20, None, None, 4),
        },
    ),
    "OpenRouter, finish twice": (
        [
            chunk({"role": "assistant", "content": "", "reasoning": "h",
                   "reasoning_details": [{"type": "reasoning.text", "text": "h", "index": 0}]},
                  choice={"native_finish_reason": None}, provider="P"),
            chunk({"role": "assistant", "content": "", "reasoning": None, "reasoning_details": [
                {"type": "reasoning.text", "text": "m", "index": 0}]}),
            chunk({"role": "assistant", "content": "a"}),
            chunk({"role": "assistant", "content": "b"}),
            chunk({"role": "assistant", "content": ""}, "stop"),
            chunk({"role": "assistant", "content": ""}, "stop",
                  usage={**COUNTED, "cost": 0.1, "is_byok": False, "cost_details": {},
                         "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 1}}),
            DONE,
        ],
        {"content": "ab", "reasoning": "hm", "usage": TokenUsage(9, 7, 16, 3, 1)},
    ),
    "DeepSeek": (
        [
            chunk({"role": "assistant", "content": None, "reasoning_content": "h"}),
            chunk({"content": None, "reasoning_content": "m"}),
            chunk({"content": "a", "reasoning_content": None}),
            chunk({"tool_calls": [call(0, "a", "f", "")]}),
            *(chunk({"tool_calls": [more(0, piece)]}) for piece in '{"x":1}'),
            chunk({"content": "", "reasoning_content": None}, "tool_calls", usage={
                **COUNTED, "prompt_cache_hit_tokens": 5, "prompt_cache_miss_tokens": 4}),
            DONE,
        ],
        {
            "content": "a",
            "reasoning": "hm",
            "calls": [("a", "f", '{"x":1}')],
            "finish": ("tool_calls", "tool_calls"),
            "usage": TokenUsage(9, 7, 16, 5),
        },
    ),
    "DeepSeek, out of resources": (
        [chunk({"content": "a"}), chunk({}, "insufficient_system_resource", usage=COUNTED), DONE],
        {"content": "a", "finish": ("error", "insufficient_system_resource"), "usage": NINE},
    ),
    "Groq": (
        [
            chunk({"role": "assistant", "content": ""}, x_groq={"id": "req"}),
            chunk({"reasoning": "hm", "channel": "analysis"}),
            chunk({"content": "a"}),
            chunk({"executed_tools": []}, "stop", usage={**COUNTED, **TIMES},
                  x_groq={"id": "req", "usage": {**COUNTED, **TIMES}}),
            bare(usage={**COUNTED, **TIMES}, x_groq={"id": "req"}),
            DONE,
        ],
        {"content": "a", "reasoning": "hm", "usage": NINE},
    ),
    "Mistral": (
        [
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": [thinking("h")]}, p="abc"),
            chunk({"content": [thinking("m", closed=True), {"type": "text", "text": "a"}]}),
            chunk({"content": [{"type": "reference", "reference_ids": [1]}]}),
            chunk({"content": "b", "tool_calls": [
                {"id": "AbCd12345", "function": {"name": "f", "arguments": "{}"}},
                {"id": "AbCd12346", "function": {"name": "g", "arguments": '{"x": 1}'}},
            ]}, "tool_calls", usage=COUNTED),
            DONE,
        ],
        {
            "content": "ab",
            "reasoning": "hm",
            "calls": [("AbCd12345", "f", "{}"), ("AbCd12346", "g", '{"x": 1}')],
            "finish": ("tool_calls", "tool_calls"),
            "usage": NINE,
        },
    ),
    "Mistral, length of the model": (
        [chunk({"content": "a"}), chunk({"content": "b"}, "model_length", usage=COUNTED), DONE],
        {"content": "ab", "finish": ("length", "model_length"), "usage": NINE},
    ),
    "GLM at Mistral's": (
        [
            chunk({"tool_calls": [call(0, "a", "f", "{")]}),
            chunk({"tool_calls": [{**more(0, "}", name=""), "id": "null"}]}),
            chunk({}, "tool_calls"),
            DONE,
        ],
        {"calls": [("a", "f", "{}")], "finish": ("tool_calls", "tool_calls")},
    ),
    "Together": (
        [chunk({"content": "a"}, choice={"text": "a", "seed": None}), chunk({}, "eos"), DONE],
        {"content": "a", "finish": ("stop", "eos")},
    ),
    "Perplexity": (
        [
            *(chunk({"role": "assistant", "content": text[-1]}, usage={**COUNTED,
                    "completion_tokens": len(text)}, choice={"message": {"content": text}},
                    citations=["https://p/1", "https://p/2"], search_results=[{"url": "x"}])
              for text in ("a", "ab", "abc")),
            {**chunk({"role": "assistant", "content": ""}, "stop", choice={
                "message": {"role": "assistant", "content": "abc"}}, usage={**COUNTED, "cost": {}},
                citations=["https://p/1", "https://p/2"]), "object": "chat.completion.done"},
        ],
        {"content": "abc", "citations": ("https://p/1", "https://p/2"), "usage": NINE},
    ),
    "Cerebras": (
        [chunk({"content": "a"}), chunk({}, "stop", usage=COUNTED, time_info=TIMES), DONE],
        {"content": "a", "usage": NINE},
    ),
    "Moonshot": (
        [
            chunk({"tool_calls": [call(0, "f:0", "f", "{}")]}),
            chunk({"tool_calls": [call(1, "functions.g:1", "g", "{}")]}),
            chunk({"content": ""}, "tool_calls", choice={"usage": COUNTED}),
            DONE,
        ],
        {
            "calls": [("f:0", "f", "{}"), ("functions.g:1", "g", "{}")],
            "finish": ("tool_calls", "tool_calls"),
            "usage": NINE,
        },
    ),
    "Z.ai": (
        [chunk({"content": "a", "reasoning_content": ""}), chunk({}, "sensitive", usage=COUNTED),
         DONE],
        {"content": "a", "finish": ("content_filter", "sensitive"), "usage": NINE},
    ),
    "Z.ai, network": (
        [chunk({"content": "a"}), chunk({}, "network_error"), DONE],
        {"content": "a", "finish": ("error", "network_error")},
    ),
    "Alibaba": (
        [
            chunk({"content": None, "tool_calls": [call(0, "a", "f", "")]}, ""),
            chunk({"content": None, "tool_calls": [call(0, "", "", '{"x"')]}, ""),
            chunk({"content": None, "tool_calls": [call(0, "", None, ":1}")]}, ""),
            chunk({"content": ""}, "tool_calls"),
            bare(usage=COUNTED),
            DONE,
        ],
        {
            "calls": [("a", "f", '{"x":1}')],
            "finish": ("tool_calls", "tool_calls"),
            "usage": NINE,
        },
    ),
    "Anthropic under an OpenAI skin": (
        [
            chunk({"content": "a"}),
            chunk({"tool_calls": [call(1, "toolu_1", "f", "")]}),
            chunk({"tool_calls": [more(1, "")]}),
            chunk({"tool_calls": [more(1, '{"x":1}')]}),
            chunk({"tool_calls": [call(3, "toolu_2", "g", None)]}),
            chunk({}, "tool_calls"),
            DONE,
        ],
        {
            "content": "a",
            "calls": [("toolu_1", "f", '{"x":1}'), ("toolu_2", "g", "")],
            "finish": ("tool_calls", "tool_calls"),
        },
    ),
    "Gemini under an OpenAI skin": (
        [
            chunk({"role": "assistant", "tool_calls": [{"id": "", "type": "function", "function": {
                "name": "f", "arguments": "{}"}}]}),
            chunk({}, "stop"),
            DONE,
        ],
        {"calls": [("call_0", "f", "{}")], "finish": ("tool_calls", "stop")},
    ),
    "Snowflake": (
        [
            chunk({"reasoning_details": [{"type": "reasoning.text", "text": "h"}]}, ""),
            chunk({"reasoning_details": [{"type": "reasoning.text", "text": "m"}]}, ""),
            chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "s"}]}, ""),
            chunk({"tool_calls": [call(0, "a", "f", "{}")]}, ""),
            chunk({}, "", usage=COUNTED),
            DONE,
        ],
        {
            "reasoning": "hm",
            "calls": [("a", "f", "{}")],
            "finish": ("tool_calls", None),
            "usage": NINE,
        },
    ),
    "Azure": (
        [
            {"choices": [], "created": 0, "id": "", "model": "", "object": "",
             "prompt_filter_results": [{"prompt_index": 0, **FILTERS}]},
            chunk({"role": "assistant", "content": ""}, choice=FILTERS),
            chunk({"content": "a"}, choice=FILTERS),
            chunk(None, choice={**FILTERS, "content_filter_offsets": {"check_offset": 1}}),
            chunk({}, "content_filter", choice=FILTERS),
            chunk({}, None, choice=FILTERS),
            bare(usage=COUNTED),
            DONE,
        ],
        {"content": "a", "finish": ("content_filter", "content_filter"), "usage": NINE},
    ),
    "Azure's Grok": (
        [
            chunk({"content": "a"}),
            chunk({}, "stop"),
            bare(usage={**COUNTED, "prompt_tokens_details": {"cached_tokens": 161}}),
            DONE,
        ],
        {"content": "a", "usage": TokenUsage(9, 7, 16, 161)},
    ),
    "Ollama": (
        [
            chunk({"role": "assistant", "content": "", "reasoning": "hm"}),
            chunk({"content": "", "tool_calls": [call(0, "call_x1", "f", "{}")]}),
            chunk({"content": ""}, "tool_calls"),
            bare(usage=COUNTED),
            DONE,
        ],
        {
            "reasoning": "hm",
            "calls": [("call_x1", "f", "{}")],
            "finish": ("tool_calls", "tool_calls"),
            "usage": NINE,
        },
    ),
    "vLLM": (
        [
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "a", "reasoning": None, "tool_calls": []}),
            chunk({"content": "b"}, "stop", choice={"stop_reason": 128001}),
            DONE,
        ],
        {"content": "ab"},
    ),
    "llama.cpp": (
        [
            chunk({"role": "assistant", "content": None}),
            chunk({"reasoning_content": "hm"}),
            chunk({"content": "a"}),
            chunk({}, "stop", timings=TIMES),
            bare(usage=COUNTED, timings=TIMES),
            DONE,
        ],
        {"content": "a", "reasoning": "hm", "usage": NINE},
    ),
    "GPUStack": (
        [chunk({"reasoning_content": "hm"}), chunk({"content": "a"}),
         chunk({"content": ""}, "stop", usage=COUNTED)],
        {"content": "a", "reasoning": "hm", "usage": NINE},
    ),
    "Vercel": (
        [
            chunk({"reasoning": "hm", "reasoning_details": [
                {"type": "reasoning.text", "text": "hm", "index": 0}]}),
            chunk({"content": "a", "provider_metadata": {"gateway": {}}}, generationId="gen"),
            chunk({}, "stop", usage=COUNTED),
            DONE,
        ],
        {"content": "a", "reasoning": "hm", "usage": NINE},
    ),
    "Avian": (
        [
            chunk({"reasoning": "hm", "reasoning_content": "hm", "reasoning_details": [
                {"type": "reasoning.text", "text": "hm"}]}),
            chunk({"content": "a"}),
            chunk({}, "stop"),
            chunk({}, "stop", usage=COUNTED),
            DONE,
        ],
        {"content": "a", "reasoning": "hm", "usage": NINE},
    ),
    "text and an end mark only": (
        [chunk({"content": "a"}), DONE],
        {"content": "a", "finish": (None, None)},
    ),
}  # fmt: skip

WHOLES = {
    "OpenAI": (
        whole({"role": "assistant", "content": "a", "refusal": None, "annotations": [
            cited("https://a/1")], "audio": None}, choice={"logprobs": None}, usage=COUNTED,
            service_tier="default", system_fingerprint="fp"),
        {"content": "a", "citations": ("https://a/1",), "usage": NINE},
    ),
    "refusal": (
        whole({"role": "assistant", "content": None, "refusal": "No"}),
        {"refusal": "No"},
    ),
    "n > 1": (
        {"id": "c1", "model": "m", "choices": [
            {"index": 1, "message": {"content": "X"}, "finish_reason": "length"},
            {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]},
        {"content": "a"},
    ),
    "Snowflake": (
        whole({"role": "assistant", "content": "", "audio": {"id": ""}, "function_call": {
            "name": "", "arguments": ""}, "tool_calls": [call(0, "a", "f", "{}")]}, "",
            usage=COUNTED),
        {"calls": [("a", "f", "{}")], "finish": ("tool_calls", None), "usage": NINE},
    ),
    "Mistral": (
        whole({"role": "assistant", "content": [thinking("hm"), {"type": "text", "text": "a"}],
               "tool_calls": None}, "stop", usage=COUNTED),
        {"content": "a", "reasoning": "hm", "usage": NINE},
    ),
    "Perplexity": (
        whole({"role": "assistant", "content": "a"}, choice={"delta": {"content": ""}},
              citations=["https://p/1"], usage=COUNTED),
        {"content": "a", "citations": ("https://p/1",), "usage": NINE},
    ),
    "Azure, filtered": (
        whole(None, "content_filter", choice=FILTERS, prompt_filter_results=[], usage=COUNTED),
        {"finish": ("content_filter", "content_filter"), "usage": NINE},
    ),
    "Gemini under an OpenAI skin, in an array": (
        [whole({"content": "a"})],
        {"content": "a"},
    ),
}  # fmt: skip


def check(reading, expected):
    """Every field that is not named in `expected` is as usual, or empty."""
    message = reading.message
    wanted = {"content": "", "reasoning": "", "refusal": "", "citations": (), "usage": None}
    wanted.update({"finish": ("stop", "stop"), "calls": []}, **expected)
    got = {name: getattr(message, name) for name in list(wanted)[:5]}
    got["finish"] = (message.finish_reason, message.raw_finish_reason)
    got["calls"] = reading.calls

    assert wanted == got
    assert (message.response_id, message.model) == ("c1", "m")
    assert reading.error is None
    assert reading.decoder.complete()
    assert len(reading.usages) == (wanted["usage"] is not None)


@pytest.mark.parametrize("padding", [0, 5000], ids=["short", "long"])
@pytest.mark.parametrize(("events", "expected"), STREAMS.values(), ids=STREAMS)
def test_stream_of_a_vendor_is_read_in_full(events, expected, padding, read_events):
    """Text, reasoning, calls, usage and reason, whatever stands where; by both readers."""
    said = [event if event == DONE else json.dumps(event) for event in events]
    reading = read_events(*(ServerSentEvent(text.encode() + b" " * padding) for text in said))

    check(reading, expected)


@pytest.mark.parametrize(("body", "expected"), WHOLES.values(), ids=WHOLES)
def test_whole_reply_of_a_vendor_is_read_in_full(body, expected, read_whole):
    """The same fields in one body; blank lines may come before it, while it is queued."""
    check(read_whole(b"\n\n\n" + json.dumps(body).encode()), expected)


def test_error_beside_choices_is_the_reply_s_end(read_events):
    """OpenRouter's, after status 200; the finish reason may be null or `error`."""
    error = {"code": 502, "message": "boom", "metadata": {"provider_name": "P"}}
    for finish in (None, "error"):
        reading = read_events(
            chunk({"content": "a"}), chunk({"content": ""}, finish, error=error), DONE
        )

        assert "boom" in str(reading.error)
        assert (reading.error.code, reading.error.status_code) == ("502", 502)
        assert reading.message.content == "a"
