"""CPU per chunk of a streamed reply: this package beside a hand-written loop and openai-python.

    python benchmarks/stream.py [--chunks 20000] [--runs 5] [--only generator]

A server in a process of its own sends the same prepared bytes to all. The runs are interleaved,
and process CPU is taken, so that a busy machine shifts all rows alike; read the ratios.

The floor is what a careful person writes by hand for one known server: `sock.recv`, split on
newline, `json.loads`. It makes no objects, knows no errors, and sees no end of a stream.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import pathlib
import platform
import socket
import statistics
import sys
import time
from typing import Callable

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # runs in a clone, too

from cloudllm_sync import (
    ClaudeClient,
    Client,
    GeminiClient,
    LLMSession,
    OllamaClient,
    OpenAICompatibleClient,
    OpenAIResponsesClient,
)

PATHS = {
    "segments": "many events a segment",
    "chunks": "one HTTP chunk per event",
    "claude": "Claude's body, one HTTP chunk per event",
    "gemini": "Gemini's body, one HTTP chunk per event",
    "responses": "the Responses API's body, one HTTP chunk per event",
    "ollama": "Ollama's body, one HTTP chunk per line",
}


def sse(data: object, name: str = "") -> bytes:
    """One event."""
    head = b"event: %s\n" % name.encode() if name else b""
    return head + b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def chat(count: int) -> list[bytes]:
    """Chat Completions: about 230 bytes an event, 4 characters of text."""
    return [
        *(event(number) for number in range(count)),
        event(0).replace(b'{"content":"0000"}', b"{}").replace(b"null", b'"stop"'),
        b"data: [DONE]\n\n",
    ]


def claude(count: int) -> list[bytes]:
    """Anthropic Messages."""

    def delta(number: int) -> bytes:
        text = {"type": "text_delta", "text": f"{number % 10000:04d}"}
        kind = "content_block_delta"
        return sse({"type": kind, "index": 0, "delta": text}, kind)

    usage = {"input_tokens": 9, "output_tokens": 1}
    start = {"id": "msg_1", "model": "m", "role": "assistant", "content": [], "usage": usage}
    block = {"type": "text", "text": ""}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        sse({"type": "message_start", "message": start}, "message_start"),
        sse(
            {"type": "content_block_start", "index": 0, "content_block": block},
            "content_block_start",
        ),
        *(delta(number) for number in range(count)),
        sse({"type": "content_block_stop", "index": 0}, "content_block_stop"),
        sse(
            {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 5}}, "message_delta"
        ),
        sse({"type": "message_stop"}, "message_stop"),
    ]


def gemini(count: int) -> list[bytes]:
    """Gemini's streamGenerateContent."""

    def chunk(number: int, **more: object) -> bytes:
        content = {"parts": [{"text": f"{number % 10000:04d}"}], "role": "model"}
        usage = {
            "promptTokenCount": 9,
            "candidatesTokenCount": number,
            "totalTokenCount": 9 + number,
        }
        body = {
            "candidates": [{"content": content, "index": 0, **more}],
            "usageMetadata": usage,
            "modelVersion": "gemini-3.5-flash",
            "responseId": "abcdefghijklmnop",
        }
        return sse(body)

    return [*(chunk(number) for number in range(count - 1)), chunk(count, finishReason="STOP")]


def responses(count: int) -> list[bytes]:
    """OpenAI's Responses API."""

    def typed(kind: str, **fields: object) -> bytes:
        return sse({"type": kind, "sequence_number": 1, **fields}, kind)

    where = {
        "item_id": "msg_68a1b2c3d4e5f60718293a4b5c6d7e8f",
        "output_index": 0,
        "content_index": 0,
    }
    item = {"id": where["item_id"], "type": "message", "role": "assistant", "content": []}
    whole = {"id": "resp_1", "model": "m", "status": "completed", "output": [item], "usage": None}
    return [
        typed("response.created", response={**whole, "status": "in_progress"}),
        typed("response.output_item.added", output_index=0, item=item),
        *(
            typed("response.output_text.delta", **where, delta=f"{number % 10000:04d}", logprobs=[])
            for number in range(count)
        ),
        typed("response.completed", response=whole),
    ]


def ollama(count: int) -> list[bytes]:
    """Ollama's /api/chat: lines, no events."""

    def line(text: str, **more: object) -> bytes:
        body = {
            "model": "llama3.2",
            "created_at": "2026-08-01T10:20:30.123456789Z",
            "message": {"role": "assistant", "content": text},
            "done": False,
            **more,
        }
        return json.dumps(body, separators=(",", ":")).encode() + b"\n"

    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": count}
    return [*(line(f"{number % 10000:04d}") for number in range(count)), line("", **end)]


WIRES = {"claude": claude, "gemini": gemini, "responses": responses, "ollama": ollama}


def event(number: int) -> bytes:
    """A chunk of usual size: about 230 bytes, 4 characters of text."""
    chunk = {
        "id": "chatcmpl-Bq3nHnmCbFzT9mTR2bM7xYw1kQp5d",
        "object": "chat.completion.chunk",
        "created": 1787150085,
        "model": "gpt-5.4-mini-2026-03-17",
        "system_fingerprint": "fp_62a23a81ef",
        "choices": [
            {"index": 0, "delta": {"content": f"{number % 10000:04d}"}, "finish_reason": None}
        ],
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def body(which: str, count: int) -> bytes:
    """A chunked reply of `count` texts."""
    events = WIRES.get(which, chat)(count)
    per_chunk = 250 if which == "segments" else 1
    groups = [b"".join(events[at : at + per_chunk]) for at in range(0, len(events), per_chunk)]
    return b"".join(b"%x\r\n%s\r\n" % (len(group), group) for group in groups) + b"0\r\n\r\n"


def serve(listener: socket.socket, bodies: dict[str, bytes]) -> None:
    """Answer every request with the body that its path names."""
    import threading

    def connection(sock: socket.socket) -> None:
        reader = sock.makefile("rb")
        while line := reader.readline():
            length = 0
            while (header := reader.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            reader.read(length)
            which = line.split()[1].split(b"/")[1].decode()
            kind = b"application/x-ndjson" if which == "ollama" else b"text/event-stream"
            head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n" % kind
            sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + bodies[which])

    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=connection, args=(sock,), daemon=True).start()


# What a hand-written loop looks for; it reads on to the end of the body where there is no [DONE].
TEXT: dict[str, Callable[[dict], bool]] = {
    "claude": lambda event: event.get("delta", {}).get("type") == "text_delta",
    "gemini": lambda event: len(event["candidates"][0]["content"]["parts"][0]["text"]) > 0,
    "responses": lambda event: event["type"] == "response.output_text.delta",
    "ollama": lambda line: len(line["message"]["content"]) > 0,
}


def in_chat(chunk: dict) -> bool:
    return len(chunk["choices"][0]["delta"].get("content", "")) > 0


def floor(port: int, which: str) -> Callable[[], int]:
    request = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}'
    is_text = TEXT.get(which, in_chat)
    prefix = b"{" if which == "ollama" else b"data: "
    start = 0 if which == "ollama" else len(prefix)
    head = b"POST /%s/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"

    def run() -> int:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(head % (which.encode(), len(request)) + request)
            rest = b""
            count = 0
            while True:
                *lines, rest = (rest + sock.recv(65536)).split(b"\n")
                for line in lines:
                    if line.startswith(prefix):
                        if line == b"data: [DONE]":
                            return count
                        count += is_text(json.loads(line[start:]))
                    elif line == b"0\r":
                        return count

    return run


def client_for(port: int, which: str) -> Client:
    kinds = {
        "claude": ClaudeClient,
        "gemini": GeminiClient,
        "responses": OpenAIResponsesClient,
        "ollama": OllamaClient,
    }
    base_url = f"http://127.0.0.1:{port}/{which}"
    if which in kinds:
        return kinds[which]("m", api_key="k", base_url=base_url)
    return OpenAICompatibleClient("m", base_url=f"{base_url}/v1")


def ours(port: int, which: str) -> Callable[[], int]:
    client = client_for(port, which)

    def run() -> int:
        count = 0
        for chunk in client.send_message_stream("hi"):
            if chunk.content:
                count += 1
        return count

    return run


def session(port: int, which: str) -> Callable[[], int]:
    client = client_for(port, which)

    def run() -> int:
        count = 0
        for chunk in LLMSession(client).stream("hi"):
            if chunk.content:
                count += 1
        return count

    return run


def callbacks(port: int, which: str) -> Callable[[], int]:
    client = client_for(port, which)

    def run() -> int:
        counted = []

        def on_chunk(chunk: object) -> None:
            if chunk.content:  # type: ignore[attr-defined]
                counted.append(1)

        client.start_message_stream("hi", on_chunk=on_chunk).result()
        return len(counted)

    return run


def openai_python(port: int, which: str) -> Callable[[], int]:
    import openai

    if which in WIRES:
        raise ImportError  # another wire

    client = openai.OpenAI(api_key="x", base_url=f"http://127.0.0.1:{port}/{which}/v1")

    def run() -> int:
        count = 0
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                count += 1
        return count

    return run


DRIVERS = {
    "floor: recv, split, json.loads": floor,
    "cloudllm_sync, generator": ours,
    "cloudllm_sync, session": session,
    "cloudllm_sync, callbacks": callbacks,
    "openai-python": openai_python,
}


def measure(port: int, which: str, chunks: int, runs: int, only: str) -> dict[str, float]:
    """Median CPU microseconds a chunk, by driver; a driver that does not import is left out."""
    made = {}
    for name, driver in DRIVERS.items():
        if only not in name and driver is not floor:
            continue
        try:
            made[name] = driver(port, which)
        except ImportError:
            if which not in WIRES:
                print(f"{name}: not installed, left out", file=sys.stderr)
    taken: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(runs + 1):
        for name, run in made.items():
            began = time.process_time()
            count = run()
            spent = time.process_time() - began
            if count != chunks:
                raise SystemExit(f"{name}: {count} chunks of {chunks}")
            if turn:  # the first is the warm-up
                taken[name].append(spent / chunks * 1e6)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="leave out drivers without this in their name")
    args = parser.parse_args()
    bodies = {which: body(which, args.chunks) for which in PATHS}
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    server = multiprocessing.get_context("fork").Process(
        target=serve, args=(listener, bodies), daemon=True
    )
    server.start()
    print(f"Python {platform.python_version()}, {args.chunks} chunks, median of {args.runs} runs")
    for which, title in PATHS.items():
        table = measure(listener.getsockname()[1], which, args.chunks, args.runs, args.only)
        base = table[next(iter(DRIVERS))]
        print(f"\n{title}\n{'':32}{'µs a chunk':>12}{'× floor':>10}")
        for name, cost in table.items():
            print(f"{name:32}{cost:12.2f}{cost / base:10.2f}")
    server.terminate()


if __name__ == "__main__":
    main()
