"""The replies that the benchmarks' server sends: the wires' events, in HTTP chunks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Callable

import attrs

BLOCK = 10_000
"""Texts are numbers of four digits, so that after so many all comes again."""
PIECES = 1_048_000
"""Characters of the one event that comes in pieces: with its frame just under 1 MiB."""
PIECE_BYTES = 100
EVENTS_A_SEGMENT = 250


@attrs.frozen
class Body:
    """Prepared bytes, of which one part is sent several times."""

    content_type: str
    begin: bytes
    block: bytes
    times: int
    end: bytes


@attrs.frozen
class Wire:
    """A provider's events around the texts, and the event of a text."""

    begin: list[bytes]
    text: Callable[[int], bytes]
    end: list[bytes]
    content_type: str = "text/event-stream"


def _json(data: object) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


def _sse(data: object, name: str = "") -> bytes:
    head = b"event: %s\n" % name.encode() if name else b""
    return head + b"data: " + _json(data) + b"\n\n"


def _word(number: int) -> str:
    return f"{number % BLOCK:04d}"


def _chat_event(delta: object, finish_reason: object = None) -> bytes:
    return _sse(
        {
            "id": "chatcmpl-Bq3nHnmCbFzT9mTR2bM7xYw1kQp5d",
            "object": "chat.completion.chunk",
            "created": 1787150085,
            "model": "gpt-5.4-mini-2026-03-17",
            "system_fingerprint": "fp_62a23a81ef",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        }
    )


CHAT_END = [_chat_event({}, "stop"), b"data: [DONE]\n\n"]


def _chat() -> Wire:
    """Chat Completions: about 230 bytes an event, 4 characters of text."""
    return Wire([], lambda number: _chat_event({"content": _word(number)}), CHAT_END)


def _claude() -> Wire:
    """Anthropic Messages."""

    def typed(kind: str, **fields: object) -> bytes:
        return _sse({"type": kind, **fields}, kind)

    def text(number: int) -> bytes:
        delta = {"type": "text_delta", "text": _word(number)}
        return typed("content_block_delta", index=0, delta=delta)

    usage = {"input_tokens": 9, "output_tokens": 1}
    start = {
        "id": "msg_1",
        "type": "message",
        "model": "m",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    begin = [
        typed("message_start", message=start),
        typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ]
    end = [
        typed("content_block_stop", index=0),
        typed("message_delta", delta=stop, usage={"output_tokens": 5}),
        typed("message_stop"),
    ]
    return Wire(begin, text, end)


def _gemini() -> Wire:
    """Gemini's streamGenerateContent."""

    def chunk(text: str, count: int, **more: object) -> bytes:
        content = {"parts": [{"text": text}], "role": "model"}
        usage = {"promptTokenCount": 9, "candidatesTokenCount": count, "totalTokenCount": 9 + count}
        return _sse(
            {
                "candidates": [{"content": content, "index": 0, **more}],
                "usageMetadata": usage,
                "modelVersion": "gemini-3.5-flash",
                "responseId": "abcdefghijklmnop",
            }
        )

    end = [chunk("", BLOCK, finishReason="STOP")]
    return Wire([], lambda number: chunk(_word(number), number % BLOCK), end)


def _responses() -> Wire:
    """OpenAI's Responses API."""

    def typed(kind: str, **fields: object) -> bytes:
        return _sse({"type": kind, "sequence_number": 1, **fields}, kind)

    where = {
        "item_id": "msg_68a1b2c3d4e5f60718293a4b5c6d7e8f",
        "output_index": 0,
        "content_index": 0,
    }
    item = {"id": where["item_id"], "type": "message", "role": "assistant", "content": []}
    whole = {"id": "resp_1", "model": "m", "status": "completed", "output": [item], "usage": None}

    def text(number: int) -> bytes:
        return typed("response.output_text.delta", **where, delta=_word(number), logprobs=[])

    begin = [
        typed("response.created", response={**whole, "status": "in_progress"}),
        typed("response.output_item.added", output_index=0, item=item),
    ]
    return Wire(begin, text, [typed("response.completed", response=whole)])


def _ollama() -> Wire:
    """Ollama's /api/chat: lines, no events."""

    def line(text: str, **more: object) -> bytes:
        body = {
            "model": "llama3.2",
            "created_at": "2026-08-01T10:20:30.123456789Z",
            "message": {"role": "assistant", "content": text},
            "done": False,
            **more,
        }
        return _json(body) + b"\n"

    end = line("", done=True, done_reason="stop", prompt_eval_count=9, eval_count=5)
    return Wire([], lambda number: line(_word(number)), [end], "application/x-ndjson")


WIRES = {
    "chat": _chat,
    "claude": _claude,
    "gemini": _gemini,
    "responses": _responses,
    "ollama": _ollama,
}
WIRE_OF = {
    "segments": "chat",
    "long": "chat",
    "chunks": "chat",
    "pieces": "chat",
    "claude": "claude",
    "gemini": "gemini",
    "responses": "responses",
    "ollama": "ollama",
}
"""The bodies, by the wire that each speaks."""


def http_chunks(parts: Iterable[bytes]) -> bytes:
    """The parts, each a chunk of HTTP's chunked framing."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


def _grouped(events: list[bytes], size: int) -> bytes:
    return http_chunks(b"".join(events[at : at + size]) for at in range(0, len(events), size))


def body(name: str, count: int) -> Body:
    """A reply of so many texts; of so many characters where they come in pieces."""
    wire = WIRES[WIRE_OF[name]]()
    last = b"0\r\n\r\n"
    if name == "pieces":
        text = ("0123 56789" * (count // 10 + 1))[:count]
        whole = b"".join([_chat_event({"content": text}), *wire.end])
        parts = (whole[at : at + PIECE_BYTES] for at in range(0, len(whole), PIECE_BYTES))
        return Body(wire.content_type, b"", http_chunks(parts), 1, last)
    size = EVENTS_A_SEGMENT if name in ("segments", "long") else 1
    times, rest = divmod(count, BLOCK)
    return Body(
        wire.content_type,
        _grouped(wire.begin, size) + _grouped([wire.text(number) for number in range(rest)], size),
        _grouped([wire.text(number) for number in range(BLOCK if times else 0)], size),
        times,
        _grouped(wire.end, size) + last,
    )


def characters(name: str, count: int) -> int:
    """The characters of text in such a reply, which every driver has to have read."""
    return count if name == "pieces" else 4 * count
