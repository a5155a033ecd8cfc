"""Four times the input costs about four times the time and memory, whatever shape it has."""

from __future__ import annotations

import itertools
import json
import time
import tracemalloc

import pytest
import requests

from cloudllm_sync import Message, Role, ToolCall
from cloudllm_sync.codecs import WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.error_bodies import error_from_body
from cloudllm_sync.session.history import estimate_tokens, request_messages
from cloudllm_sync.transport.events import reply_events
from cloudllm_sync.transport.lines import LineBlocks
from cloudllm_sync.transport.retry import retry_after_s
from cloudllm_sync.values import Limits
from fuzz.checks import decode

pytestmark = pytest.mark.cost

# Linear is 4, quadratic 16. The machine may be busy: the best of some attempts counts.
TIMES = 4
BOUND = 2 * TIMES
ATTEMPTS = 6
# What JSON takes as objects; the smallest of them need the most, for their size.
BYTES_FOR_A_BYTE = 100
# What is needed for any input.
SOME_BYTES = 300_000


def cpu_s(work, given):
    began = time.process_time()
    work(given)
    return time.process_time() - began


def peak_bytes(work, given):
    tracemalloc.start()
    try:
        work(given)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def assert_linear_time(work, short, long):
    fastest = [float("inf"), float("inf")]
    for _ in range(ATTEMPTS):
        fastest = [min(best, cpu_s(work, it)) for best, it in zip(fastest, (short, long))]
        if fastest[1] < BOUND * fastest[0]:
            break

    assert fastest[1] < BOUND * fastest[0]


def assert_linear_memory(work, short, long, size_bytes):
    peaks = [peak_bytes(work, it) for it in (short, long)]

    assert peaks[1] < BOUND * peaks[0] + SOME_BYTES
    assert peaks[1] < BYTES_FOR_A_BYTE * size_bytes + SOME_BYTES


# --- bodies to events ---


def pieces_of(body, size):
    return [body[start : start + size] for start in range(0, len(body), size)]


def read_events(pieces):
    limits = Limits(event_bytes=1 << 26)
    response = requests.Response()
    response.raw = LineBlocks(iter(pieces), limits, "the server")
    lines = response.iter_lines(chunk_size=None)
    for _ in reply_events(lines, event_limit=1 << 26, source="the server", content_type="none"):
        pass


BODIES = {
    "one long line in pieces of two bytes": lambda n: pieces_of(b"data: " + b"x" * n, 2),
    "one long body of JSON in pieces of two bytes": lambda n: pieces_of(b'{"' + b"x" * n, 2),
    "a body of JSON of many lines": lambda n: pieces_of(b"{\n" * n, 2),
    "bare JSON of many lines, then an event": lambda n: pieces_of(b"{\n" * n + b"data: x\n\n", 999),
    "bare JSON and events in turn": lambda n: pieces_of(b"{\ndata: x\n\n" * (n // 8), 999),
    "blank lines in single bytes": lambda n: pieces_of(b"\n" * n, 1),
    "blank lines that end with CR, in single bytes": lambda n: pieces_of(b"\r" * n, 1),
    "spaces in single bytes": lambda n: pieces_of(b" " * n, 1),
    "many tiny events": lambda n: pieces_of(b"data: x\n\n" * (n // 4), 999),
    "many tiny events in single bytes": lambda n: pieces_of(b"data: x\n\n" * (n // 8), 1),
    "many data lines in one event": lambda n: pieces_of(b"data: x\n" * (n // 4) + b"\n", 999),
    "many data lines without their end": lambda n: pieces_of(b"data\r\n" * (n // 4), 999),
    "many names in one event": lambda n: pieces_of(b"event: x\n" * (n // 4) + b"data: x\n\n", 999),
    "many comments in one event": lambda n: pieces_of(b":\n" * (n // 4) + b"data: x\n\n", 999),
    "many bare lines in one event": lambda n: pieces_of(b":\n" + b"{}\n" * (n // 4) + b"\n", 999),
    "one long name": lambda n: pieces_of(b"event: " + b"x" * n + b"\ndata: x\n\n", 99),
}


@pytest.mark.parametrize("shape", BODIES.values(), ids=BODIES)
def test_bodies_are_read_in_linear_time_and_memory(shape):
    """Lines and events, however small the pieces."""
    size = 6_000
    short, long = shape(size), shape(TIMES * size)

    assert_linear_time(read_events, short, long)
    assert_linear_memory(read_events, short, long, len(b"".join(long)))


# --- events to messages ---


def decode_all(given):
    wire, events = given
    # An error of ours is an end as good as any.
    return decode(wire, events)


def event(body, name="message"):
    return ServerSentEvent(json.dumps(body).encode(), name)


def said(wire, *parts):
    """A shape: what comes once, or, where a function makes it from a number, n times."""

    def shape(n):
        found = []
        for part in parts:
            found += map(part, range(n)) if callable(part) else [part]
        return wire, list(itertools.chain(*(p if isinstance(p, list) else [p] for p in found)))

    return shape


def delta(finish=None, **fields):
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]})


def call(number, **fields):
    return {"id": f"c{number}", "function": {"name": "f", "arguments": "{}"}, **fields}


def claude(kind, **fields):
    return event({"type": kind, **fields}, kind)


def block(index, kind, **fields):
    return claude("content_block_start", index=index, content_block={"type": kind, **fields})


def piece(index, kind, **fields):
    return claude("content_block_delta", index=index, delta={"type": kind, **fields})


def reason(word):
    return claude("message_delta", delta={"stop_reason": word})


def parts(*found, reason=None, **fields):
    candidate = {"content": {"parts": list(found)}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return event({"candidates": [candidate], **fields})


def gemini_call(**fields):
    return parts({"functionCall": fields})


def response(kind, **fields):
    return event({"type": f"response.{kind}", **fields}, f"response.{kind}")


def function(number):
    at = {"type": "function_call", "id": f"i{number}", "call_id": f"c{number}", "name": "f"}
    return {**at, "arguments": "{}"}


def whole(wire, make):
    return lambda n: (wire, [event(make(n), WHOLE_BODY)])


PIECE = {"jsonPath": "$.a", "stringValue": "x", "willContinue": True}

REPLIES = {
    "events without text": said("openai", lambda n: delta(role="assistant", content="")),
    "text": said("openai", lambda n: delta(content="x")),
    "halves of characters": said("openai", lambda n: delta(content="\ud83c")),
    "running usage": said("openai", lambda n: event({"choices": [], "usage": {"total_tokens": n}})),
    "calls by index": said("openai", lambda n: delta(tool_calls=[call(n, index=n)])),
    "calls by id": said("openai", lambda n: delta(tool_calls=[call(n)])),
    "calls that all have index 0": said("openai", lambda n: delta(tool_calls=[call(n, index=0)])),
    "calls without index or id": said("openai", lambda n: delta(tool_calls=[call(n, id=None)])),
    "calls in one event": lambda n: ("openai", [delta(tool_calls=[*map(call, range(n))])]),
    "fragments of one call": said("openai", lambda n: delta(tool_calls=[call(0, index=0)])),
    "citations": said("openai", lambda n: delta(annotations=[{"url": f"https://{n}.example"}])),
    "many choices": lambda n: ("openai", [event({"choices": [{"index": i} for i in range(n)]})]),
    "thoughts behind ever new reasons": said(
        "openai",
        delta(tool_calls=[call(0)]),
        lambda n: delta("ab"[n % 2], reasoning_content="well " * 700),
    ),
    "a whole reply of many calls": whole(
        "openai", lambda n: {"choices": [{"message": {"tool_calls": [*map(call, range(n))]}}]}
    ),
    "deep nesting": lambda n: (
        "openai",
        [ServerSentEvent(b'{"choices":' + b"[" * n), ServerSentEvent(b'{"a":' * n)],
    ),
    "Claude's thoughts": said(
        "anthropic",
        lambda n: [block(n, "thinking"), piece(n, "thinking_delta", thinking="x")],
        reason("end_turn"),
    ),
    "Claude's calls": said(
        "anthropic",
        lambda n: block(n, "tool_use", id=f"c{n}", name="f", input={}),
        reason("tool_use"),
    ),
    "fragments of Claude's call": said(
        "anthropic",
        block(0, "tool_use", id="c", name="f"),
        lambda n: piece(0, "input_json_delta", partial_json="x"),
    ),
    "Claude's citations": said(
        "anthropic",
        block(0, "text"),
        lambda n: piece(0, "citations_delta", citation={"url": f"https://{n}.example"}),
    ),
    "blocks behind ever new reasons": said(
        "anthropic", lambda n: [block(n, "thinking"), reason("ab"[n % 2])]
    ),
    "Claude begins again and again": said(
        "anthropic",
        lambda n: [
            claude("message_start", message={"id": f"m{n}"}),
            block(0, "thinking", thinking="x"),
            reason("end_turn"),
        ],
    ),
    "text and thoughts in turn": said(
        "anthropic",
        lambda n: piece(0, ("text_delta", "thinking_delta")[n % 2], text="x", thinking="x"),
    ),
    "usage with ever new fields": said(
        "anthropic", lambda n: claude("message_delta", delta={}, usage={f"f{n}": n})
    ),
    "Gemini's calls": said("gemini", lambda n: gemini_call(name="f", args={"a": n})),
    "Gemini's calls, each with a reason": said(
        "gemini", lambda n: parts({"functionCall": {"name": "f"}}, reason="STOP")
    ),
    "Gemini's call in pieces of one text": said(
        "gemini",
        gemini_call(name="f", willContinue=True),
        lambda n: gemini_call(partialArgs=[PIECE], willContinue=True),
    ),
    "Gemini's call in pieces of many texts": said(
        "gemini",
        gemini_call(name="f", willContinue=True),
        lambda n: gemini_call(partialArgs=[{**PIECE, "jsonPath": f"$.a[{n}]"}], willContinue=True),
    ),
    "a long path": lambda n: (
        "gemini",
        [gemini_call(name="f", partialArgs=[{**PIECE, "jsonPath": "$.a" + "[15]" * n}])],
    ),
    "a path of large gaps": lambda n: (
        "gemini",
        [gemini_call(name="f", partialArgs=[{**PIECE, "jsonPath": "$.a" + "[999]" * (n // 4)}])],
    ),
    "a path that never ends": lambda n: (
        "gemini",
        [gemini_call(name="f", partialArgs=[{**PIECE, "jsonPath": "$" + "['a" * n}])],
    ),
    "thoughts and text in turn": said(
        "gemini", lambda n: parts({"text": "x", "thought": n % 2 == 0})
    ),
    "items": said(
        "responses",
        lambda n: [
            response("output_item.added", output_index=n, item={**function(n), "arguments": ""}),
            response("function_call_arguments.delta", output_index=n, delta="{}"),
            response("output_item.done", output_index=n, item=function(n)),
        ],
        response("completed", response={"status": "completed"}),
    ),
    "texts": said("responses", lambda n: response("output_text.delta", output_index=n, delta="x")),
    "fragments of an item": said(
        "responses", lambda n: response("function_call_arguments.delta", output_index=0, delta="x")
    ),
    "annotations": said(
        "responses",
        lambda n: response("output_text.annotation.added", annotation={"url": f"https://{n}.ex"}),
    ),
    "a whole response of many calls": whole(
        "responses", lambda n: {"object": "response", "output": [*map(function, range(n))]}
    ),
}


@pytest.mark.parametrize("shape", REPLIES.values(), ids=REPLIES)
def test_replies_are_decoded_in_linear_time_and_memory(shape):
    """Decoder and accumulator."""
    few, many = 100, 500

    assert_linear_time(decode_all, shape(many), shape(TIMES * many))
    assert_linear_memory(
        decode_all,
        shape(few),
        shape(TIMES * few),
        sum(len(found.data) for found in shape(TIMES * few)[1]),
    )


def test_one_call_of_100_000_fragments_is_joined_once():
    """Within a few seconds of CPU, where joining at each would take minutes."""
    fragment = delta(tool_calls=[call(0, index=0)])
    began = time.process_time()
    reading = decode("openai", itertools.repeat(fragment, 100_000))

    assert "{}" * 100_000 == reading.message.tool_calls[0].arguments
    assert time.process_time() - began < 30


# --- what refuses ---

UNITS = [b"<", b"<script>", b"<script", b"<a ", b"</script><", b"data:\n", b"[", b'{"a":', b" \n"]
UNITS += [b"exceeds the maximum number of", b"api_key_", b'"', b"\xff", b"&lt;"]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("field", [None, "message"])
def test_error_bodies_are_read_in_linear_time(unit, field):
    """As they are, or as a field of an error object."""

    def body(n):
        text = unit * (n // len(unit))
        said = {"error": {field: text.decode("latin-1")}}
        return text if field is None else json.dumps(said).encode()

    size = 16_000

    assert_linear_time(
        lambda given: error_from_body("Acme", 400, given), body(size), body(TIMES * size)
    )


@pytest.mark.parametrize("unit", ["9", "(", ' "', "Tue, ", "14 Nov 2023 ", "22:13:50 ", "-", "\\("])
def test_headers_are_read_in_linear_time(unit):
    """A date has a long and winding parser."""
    size = 16_000
    short, long = (unit * (n // len(unit)) for n in (size, TIMES * size))

    assert_linear_time(lambda given: retry_after_s({"retry-after": given}, 0.0), short, long)


# --- histories ---


def test_results_of_many_calls_are_trimmed_in_linear_time():
    """Thousands of calls in one reply, and all their results behind it."""

    def history(n):
        calls = [ToolCall(f"c{i}", "f", "{}") for i in range(n)]
        results = [Message(Role.TOOL, "7", tool_call_id=call.id) for call in calls]
        return [Message(Role.USER, "hi"), Message(Role.ASSISTANT, "", tool_calls=calls), *results]

    def trim(given):
        request_messages((), given, (), max_tokens=1 << 40, estimate=estimate_tokens)

    size = 250

    assert_linear_time(trim, history(size), history(TIMES * size))
