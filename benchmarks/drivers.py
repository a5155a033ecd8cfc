"""Those who read a reply: a hand-written loop, other SDKs as their users write, this package.

A driver is given the address of a body, makes its client once, and gives a function that reads one
reply and returns how many characters of text it had. All that it needs is imported in there: each
driver runs in a process of its own (worker.py), which holds nothing of the others.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import sys
from typing import TYPE_CHECKING, Callable
from urllib.parse import urlsplit

import attrs
import bodies

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # runs in a clone, too

if TYPE_CHECKING:
    from cloudllm_sync import Client

# Read when litellm is imported, which would else fetch a file from GitHub.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

FLOOR = "floor: recv, split, json.loads"
GENERATOR = "cloudllm_sync, generator"
SESSION = "cloudllm_sync, session"
CALLBACKS = "cloudllm_sync, callbacks"

MESSAGES = [{"role": "user", "content": "hi"}]
ASKED = {"model": "m", "messages": MESSAGES, "stream": True}
PATHS = {
    "chat": "/v1/chat/completions",
    "claude": "/v1/messages",
    "gemini": "/v1beta/models/m:streamGenerateContent?alt=sse",
    "responses": "/v1/responses",
    "ollama": "/api/chat",
}
# What a loop over decoded JSON takes from each event, or line.
TEXT: dict[str, Callable[[dict], str]] = {
    "chat": lambda chunk: chunk["choices"][0]["delta"].get("content", ""),
    "claude": lambda event: event.get("delta", {}).get("text", ""),
    "gemini": lambda chunk: chunk["candidates"][0]["content"]["parts"][0]["text"],
    "responses": lambda event: (
        event["delta"] if event["type"] == "response.output_text.delta" else ""
    ),
    "ollama": lambda line: line["message"]["content"],
}

Read = Callable[[], int]


def floor(address: str, body: str) -> Read:
    """What a careful person writes for one known server: no objects, no errors, no end seen.

    It tells HTTP's framing from the data by how lines begin, but where events come in pieces.
    """
    wire = bodies.WIRE_OF[body]
    text_of = TEXT[wire]
    prefix = b"{" if wire == "ollama" else b"data: "
    start = 0 if wire == "ollama" else len(prefix)
    where = urlsplit(address)
    asked = json.dumps(ASKED).encode()
    head = f"POST {where.path}{PATHS[wire]} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(asked)}\r\n"

    def events(sock: socket.socket) -> int:
        rest = b""
        count = 0
        while True:
            *lines, rest = (rest + sock.recv(65536)).split(b"\n")
            for line in lines:
                if line.startswith(prefix):
                    if line == b"data: [DONE]":
                        return count
                    count += len(text_of(json.loads(line[start:])))
                elif line == b"0\r":
                    return count

    def read() -> int:
        with socket.create_connection((where.hostname, where.port)) as sock:
            sock.sendall(head.encode() + b"\r\n" + asked)
            return _pieces(sock, text_of) if body == "pieces" else events(sock)

    return read


def _pieces(sock: socket.socket, text_of: Callable[[dict], str]) -> int:
    """The same where HTTP's chunks have to be put together first."""
    file = sock.makefile("rb")
    while file.readline() != b"\r\n":
        pass
    parts = []
    while size := int(file.readline(), 16):
        parts.append(file.read(size + 2)[:-2])
    events = [line[6:] for line in b"".join(parts).split(b"\n") if line.startswith(b"data: ")]
    return sum(len(text_of(json.loads(data))) for data in events if data != b"[DONE]")


def requests_sseclient(address: str, body: str) -> Read:
    import requests
    import sseclient

    wire = bodies.WIRE_OF[body]
    text_of = TEXT[wire]
    session = requests.Session()

    def read() -> int:
        count = 0
        response = session.post(address + PATHS[wire], json=ASKED, stream=True)
        for event in sseclient.SSEClient(response).events():
            if event.data == "[DONE]":
                break
            count += len(text_of(json.loads(event.data)))
        return count

    return read


def requests_lines(address: str, body: str) -> Read:
    import requests

    wire = bodies.WIRE_OF[body]
    text_of = TEXT[wire]
    session = requests.Session()

    def read() -> int:
        response = session.post(address + PATHS[wire], json=ASKED, stream=True)
        return sum(len(text_of(json.loads(line))) for line in response.iter_lines() if line)

    return read


def httpx_sse(address: str, body: str) -> Read:
    import httpx
    from httpx_sse import connect_sse

    wire = bodies.WIRE_OF[body]
    text_of = TEXT[wire]
    client = httpx.Client(timeout=60)

    def read() -> int:
        count = 0
        with connect_sse(client, "POST", address + PATHS[wire], json=ASKED) as source:
            for event in source.iter_sse():
                if event.data == "[DONE]":
                    break
                count += len(text_of(json.loads(event.data)))
        return count

    return read


def httpx_lines(address: str, body: str) -> Read:
    import httpx

    wire = bodies.WIRE_OF[body]
    text_of = TEXT[wire]
    client = httpx.Client(timeout=60)

    def read() -> int:
        with client.stream("POST", address + PATHS[wire], json=ASKED) as response:
            return sum(len(text_of(json.loads(line))) for line in response.iter_lines() if line)

    return read


def openai_python(address: str, body: str) -> Read:
    import openai

    client = openai.OpenAI(api_key="x", base_url=f"{address}/v1")

    def read_chat() -> int:
        count = 0
        for chunk in client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
            if chunk.choices and chunk.choices[0].delta.content:
                count += len(chunk.choices[0].delta.content)
        return count

    def read_responses() -> int:
        count = 0
        for event in client.responses.create(model="m", input="hi", stream=True):
            if event.type == "response.output_text.delta":
                count += len(event.delta)
        return count

    return read_responses if body == "responses" else read_chat


def anthropic_create(address: str, body: str) -> Read:
    import anthropic

    client = anthropic.Anthropic(api_key="x", base_url=address)

    def read() -> int:
        count = 0
        for event in client.messages.create(
            model="m", max_tokens=1024, messages=MESSAGES, stream=True
        ):
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                count += len(event.delta.text)
        return count

    return read


def anthropic_stream(address: str, body: str) -> Read:
    import anthropic

    client = anthropic.Anthropic(api_key="x", base_url=address)

    def read() -> int:
        with client.messages.stream(model="m", max_tokens=1024, messages=MESSAGES) as stream:
            return sum(len(text) for text in stream.text_stream)

    return read


def google_genai(address: str, body: str) -> Read:
    from google import genai
    from google.genai import types

    client = genai.Client(api_key="x", http_options=types.HttpOptions(base_url=address))

    def read() -> int:
        count = 0
        for chunk in client.models.generate_content_stream(model="m", contents="hi"):
            count += len(chunk.text or "")
        return count

    return read


def litellm_completion(address: str, body: str) -> Read:
    import litellm

    litellm.telemetry = False

    def read() -> int:
        count = 0
        for chunk in litellm.completion(
            model="openai/m",
            api_base=f"{address}/v1",
            api_key="x",
            messages=MESSAGES,
            stream=True,
        ):
            count += len(chunk.choices[0].delta.content or "")
        return count

    return read


def _client(address: str, body: str) -> Client:
    from cloudllm_sync import (
        ClaudeClient,
        GeminiClient,
        Limits,
        OllamaClient,
        OpenAICompatibleClient,
        OpenAIResponsesClient,
    )

    kinds = {
        "claude": ClaudeClient,
        "gemini": GeminiClient,
        "responses": OpenAIResponsesClient,
        "ollama": OllamaClient,
    }
    if body in kinds:
        return kinds[body]("m", api_key="k", base_url=address)
    # A million tokens are more than the 64 MiB that a reply may have.
    limits = Limits(stream_bytes=2**30) if body == "long" else Limits()
    return OpenAICompatibleClient("m", base_url=f"{address}/v1", limits=limits)


def generator(address: str, body: str) -> Read:
    client = _client(address, body)

    def read() -> int:
        count = 0
        for chunk in client.send_message_stream("hi"):
            count += len(chunk.content)
        return count

    return read


def session(address: str, body: str) -> Read:
    from cloudllm_sync import LLMSession

    client = _client(address, body)

    def read() -> int:
        count = 0
        session = LLMSession(client)
        for chunk in session.stream("hi"):
            count += len(chunk.content)
        if len(session.history) != 2:
            raise RuntimeError(f"not committed: {len(session.history)} messages")
        return count

    return read


def callbacks(address: str, body: str) -> Read:
    client = _client(address, body)

    def read() -> int:
        count = 0

        def on_chunk(chunk: object) -> None:
            nonlocal count
            count += len(chunk.content)  # type: ignore[attr-defined]

        client.start_message_stream("hi", on_chunk=on_chunk).result()
        return count

    return read


@attrs.frozen
class Driver:
    """One way to read a reply."""

    name: str
    make: Callable[[str, str], Read]
    bodies: tuple[str, ...]
    modules: tuple[str, ...] = ()
    """What has to be installed."""
    share: float = 1.0
    """Of the usual number of chunks: who takes a millisecond for each is asked for fewer."""


_CHAT = ("segments", "chunks", "pieces")
_EVENTS = (*_CHAT, "claude", "gemini", "responses")
DRIVERS = (
    Driver(FLOOR, floor, tuple(bodies.WIRE_OF)),
    Driver(GENERATOR, generator, tuple(bodies.WIRE_OF)),
    Driver(SESSION, session, ("segments", "chunks")),
    Driver(CALLBACKS, callbacks, ("segments", "chunks")),
    Driver("requests + sseclient-py", requests_sseclient, _EVENTS, ("requests", "sseclient")),
    Driver("requests, iter_lines + json.loads", requests_lines, ("ollama",), ("requests",)),
    Driver("httpx + httpx-sse", httpx_sse, _EVENTS, ("httpx", "httpx_sse"), 0.5),
    Driver("httpx, iter_lines + json.loads", httpx_lines, ("ollama",), ("httpx",), 0.5),
    Driver("openai-python", openai_python, (*_CHAT, "responses"), ("openai",), 0.25),
    Driver("anthropic", anthropic_create, ("claude",), ("anthropic",), 0.25),
    Driver("anthropic, text_stream", anthropic_stream, ("claude",), ("anthropic",), 0.25),
    Driver("google-genai", google_genai, ("gemini",), ("google.genai",), 0.2),
    Driver("litellm", litellm_completion, _CHAT, ("litellm",), 0.1),
)
BY_NAME = {driver.name: driver for driver in DRIVERS}
