"""Drivers that read one stream and hand on its texts one by one, for any number of threads.

A driver is given the address of a server, makes one client as its users do, and gives what reads
a stream by it: all threads share the client. A library that is missing raises ImportError.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import sys
import threading
import time
from typing import Any, Callable
from urllib.parse import urlsplit

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # runs in a clone, too

FLOOR = "floor: recv, split, json.loads"
GENERATOR = "cloudllm_sync, generator"
CALLBACKS = "cloudllm_sync, callbacks"

OnText = Callable[[str], object]
Read = Callable[[OnText], object]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
PATIENCE_S = 300.0


def floor(url: str) -> Read:
    parts = urlsplit(url)
    body = json.dumps(CHAT).encode()
    head = f"POST {parts.path}/v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    idle: list[socket.socket] = []

    def read(on_text: OnText) -> None:
        sock = idle.pop() if idle else socket.create_connection((parts.hostname, parts.port))
        sock.sendall(request)
        rest = b""
        while True:
            *lines, rest = (rest + sock.recv(65536)).split(b"\n")
            for line in lines:
                if line.startswith(b"data: ") and line != b"data: [DONE]":
                    text = json.loads(line[6:])["choices"][0]["delta"].get("content")
                    if text:
                        on_text(text)
            if lines[-2:] == [b"0\r", b"\r"]:
                idle.append(sock)
                return

    return read


def requests_sseclient(url: str) -> Read:
    import requests
    import sseclient

    session = requests.Session()

    def read(on_text: OnText) -> None:
        response = session.post(f"{url}/v1/chat/completions", json=CHAT, stream=True)
        for event in sseclient.SSEClient(response).events():
            if event.data != "[DONE]":
                text = json.loads(event.data)["choices"][0]["delta"].get("content")
                if text:
                    on_text(text)

    return read


def httpx_sse(url: str) -> Read:
    import httpx
    from httpx_sse import connect_sse

    # By default it opens 100 connections and has all others wait.
    limits = httpx.Limits(max_connections=None)
    client = httpx.Client(timeout=PATIENCE_S, limits=limits)

    def read(on_text: OnText) -> None:
        with connect_sse(client, "POST", f"{url}/v1/chat/completions", json=CHAT) as source:
            for event in source.iter_sse():
                if event.data != "[DONE]":
                    text = json.loads(event.data)["choices"][0]["delta"].get("content")
                    if text:
                        on_text(text)

    return read


def openai_python(url: str) -> Read:
    import openai

    client = openai.OpenAI(api_key="x", base_url=f"{url}/v1")

    def read(on_text: OnText) -> None:
        for chunk in client.chat.completions.create(**CHAT):
            if chunk.choices and chunk.choices[0].delta.content:
                on_text(chunk.choices[0].delta.content)

    return read


def anthropic(url: str) -> Read:
    import anthropic

    client = anthropic.Anthropic(api_key="x", base_url=url)

    def read(on_text: OnText) -> None:
        for event in client.messages.create(**CHAT, max_tokens=100):
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                on_text(event.delta.text)

    return read


def litellm(url: str) -> Read:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would download its list of prices
    import litellm

    options = {**CHAT, "model": "openai/m", "api_base": f"{url}/v1", "api_key": "x"}

    def read(on_text: OnText) -> None:
        for chunk in litellm.completion(**options):
            if chunk.choices and chunk.choices[0].delta.content:
                on_text(chunk.choices[0].delta.content)

    return read


def _client(url: str) -> Any:
    from cloudllm_sync import OpenAICompatibleClient

    return OpenAICompatibleClient("m", base_url=f"{url}/v1")


def generator(url: str) -> Read:
    client = _client(url)

    def read(on_text: OnText) -> None:
        for chunk in client.send_message_stream("hi"):
            if chunk.content:
                on_text(chunk.content)

    return read


def _callbacks_of(client: Any, on_text: OnText) -> Any:
    def on_chunk(chunk: Any) -> None:
        if chunk.content:
            on_text(chunk.content)

    return client.start_message_stream("hi", on_chunk=on_chunk)


def callbacks(url: str) -> Read:
    client = _client(url)
    return lambda on_text: _callbacks_of(client, on_text).result()


READERS: dict[str, Callable[[str], Read]] = {
    FLOOR: floor,
    "requests + sseclient-py": requests_sseclient,
    "httpx + httpx-sse": httpx_sse,
    "openai-python": openai_python,
    "anthropic": anthropic,
    "litellm": litellm,
    GENERATOR: generator,
    CALLBACKS: callbacks,
}


def start(driver: str, url: str, takers: list[OnText]) -> tuple[float, Callable[[], object]]:
    """Have one thread for every taker read a stream; when they were let go, and what joins them.

    Callbacks bring threads of their own, which cannot be made beforehand: their time is theirs.
    """
    raise_file_limit()
    if driver == CALLBACKS:
        client = _client(url)
        began = time.monotonic()
        handles = [_callbacks_of(client, take) for take in takers]
        return began, lambda: [handle.join() for handle in handles]
    read = READERS[driver](url)
    go = threading.Event()

    def run(take: OnText) -> None:
        go.wait()
        read(take)

    threads = [threading.Thread(target=run, args=(take,), daemon=True) for take in takers]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    go.set()
    return began, lambda: [thread.join() for thread in threads]


def raise_file_limit() -> None:
    """Every stream has a connection, and 1024 files are what many systems start with."""
    try:
        import resource
    except ImportError:
        return  # Windows has no such limit
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
