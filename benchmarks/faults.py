"""What SDKs make of replies that go wrong: this package beside others, on real sockets.

    python benchmarks/faults.py [--only openai anthropic]

Every SDK gets the same scripted faults in the wire format that it speaks, with a read time-out of
one second and its own default retries. Its answer is right if it gives the whole text where the
reply is whole, and raises where it is not, within eight seconds. What it raises is not judged, nor
what the error carries. SDKs that are not installed are left out by name.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import pathlib
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Callable

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # runs in a clone, too

from cloudllm_sync import ClaudeClient, GeminiClient, OpenAICompatibleClient, Timeouts
from cloudllm_sync.testing import (
    Cut,
    FakeServer,
    Raw,
    Reply,
    Reset,
    Stall,
    Wait,
    Wire,
    anthropic_events,
    gemini_events,
    openai_events,
)

TEXT = "Grüße, wide world"
PIECES = ("Grüße,", " wide", " world")
KEY = "sk-test-0123456789abcdef"
READ_S = 1.0
HANGS_S = 8.0
WHOLE, ERROR = "whole", "error"

ENCODERS = {"chat": openai_events, "claude": anthropic_events, "gemini": gemini_events}
# How many events a wire sends up to the second piece of text, and before its finish reason.
UP_TO_SECOND = {"chat": 3, "claude": 4, "gemini": 2}


class Parts:
    """The events of one reply in one wire format."""

    def __init__(self, wire: str) -> None:
        encode = ENCODERS[wire]
        self.wire = wire
        self.events = list(encode(Reply(PIECES)))
        self.begun = self.events[: UP_TO_SECOND[wire]]
        self.next = self.events[UP_TO_SECOND[wire]]

    def error(self, kind: str, message: str) -> bytes:
        """The events of a reply that fails after its text, from the error on."""
        encode = ENCODERS[self.wire]
        failing = encode(Reply(PIECES[:2], error={"type": kind, "message": message}))
        return failing[-1]


def drip(data: bytes) -> list[object]:
    """One byte after the other, for ever."""
    return [step for at in range(len(data)) for step in (data[at : at + 1], Wait(0.05))]


def faults(parts: Parts) -> Iterator[tuple[str, list[object], str]]:
    """Name, script, and whether the reply that comes of it is whole."""
    begun, upcoming, events = parts.begun, parts.next, parts.events
    again = Reply(PIECES)
    length = {"Content-Length": "100000"}
    yield "nothing wrong", [again], WHOLE
    yield "one byte a segment", [Reply(PIECES, split=1)], WHOLE
    yield "CR LF", [Reply(PIECES, line_end="\r\n")], WHOLE
    yield "CR", [Reply(PIECES, line_end="\r")], WHOLE
    yield "gzip", [Reply(PIECES, gzip=True)], WHOLE
    yield "close-delimited", [Reply(PIECES, framing="close")], WHOLE
    yield "HTTP/1.0", [Reply(PIECES, framing="http1.0")], WHOLE
    yield "byte-order mark", [Raw(b"\xef\xbb\xbf", *events)], WHOLE
    yield "comments between", [Raw(*begun, b": ping\n\n", *events[len(begun) :])], WHOLE
    yield (
        "charset latin-1",
        [Raw(*events, content_type="text/event-stream; charset=latin-1")],
        (WHOLE),
    )
    yield "cut between events, chunked", [Raw(*begun, Cut())], ERROR
    yield "cut between events, chunked body ended", [Raw(*begun)], ERROR
    yield "cut between events, close-delimited", [Raw(*begun, framing="close")], ERROR
    yield "cut between events, HTTP/1.0", [Raw(*begun, framing="http1.0")], ERROR
    yield "cut in an event, chunked", [Raw(*begun, upcoming[:30], Cut())], ERROR
    yield "cut in an event, close-delimited", [Raw(*begun, upcoming[:30], framing="close")], ERROR
    yield "Content-Length not met", [Raw(*begun, framing="length", headers=length)], ERROR
    yield "reset in mid-stream", [Raw(*begun, Wait(0.1), Reset())], ERROR
    yield "bad chunk size", [Raw(*begun, Wire(b"zz\r\n"), Stall())], ERROR
    yield "200 and nothing", [Raw()], ERROR
    yield "headers, then silence", [Raw(Stall())], ERROR
    yield "tokens, then silence", [Raw(*begun, Stall())], ERROR
    yield "tokens, then comments for ever", [Raw(*begun, *[b": ping\n\n", Wait(0.2)] * 100)], ERROR
    yield "headers that drip", [Raw(before_headers=drip(b"HTTP/1.1 200 OK\r\n" * 20))], ERROR
    yield "error in mid-stream", [Raw(*begun, parts.error("overloaded_error", "Busy"))], ERROR
    yield "error as the first event", [Raw(parts.error("invalid_request_error", "No"))], ERROR
    yield "200 with a page", [Raw(b"<html>Hello</html>", content_type="text/html")], ERROR
    yield "invalid JSON", [Raw(*begun, b"data: {oops\n\n", *events[len(begun) :])], ERROR
    yield "100,000 levels deep", [Raw(*begun, b"data: " + b"[" * 100_000 + b"\n\n")], ERROR
    yield "refused once (503)", [Raw(b"{}", status=503, framing="length"), again], WHOLE
    yield "closed before headers, once", [Raw(before_headers=(Cut(),)), again], WHOLE
    yield (
        "cut in the headers, once",
        [Raw(b"HTTP/1.1 200 OK\r\nCo", Cut(), framing="none"), again],
        (WHOLE),
    )
    yield (
        "unknown events and fields",
        [Raw(*begun, b'event: x\ndata: {"type":"x"}\n\n', *events[len(begun) :])],
        WHOLE,
    )
    if parts.wire != "gemini":  # it has no end mark, but the end of the body
        yield "end mark, then the socket stays open", [Raw(*events, Stall())], WHOLE
        yield "end mark, then a reset", [Raw(*events, Wait(0.1), Reset())], WHOLE


Ask = Callable[[FakeServer], str]


def ours(make: Callable[[FakeServer], object]) -> Ask:
    def ask(server: FakeServer) -> str:
        with make(server) as client:  # type: ignore[attr-defined]
            return "".join(client.send_message_stream("hi").text())

    return ask


CLOCKS = Timeouts(connect_s=READ_S, first_chunk_s=READ_S, idle_s=READ_S, total_s=5.0)


def with_openai(server: FakeServer) -> str:
    import openai

    client = openai.OpenAI(api_key=KEY, base_url=server.base_url, timeout=READ_S)
    stream = client.chat.completions.create(
        model="gpt-5", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def with_anthropic(server: FakeServer) -> str:
    import anthropic

    client = anthropic.Anthropic(api_key=KEY, base_url=server.url, timeout=READ_S)
    with client.messages.stream(
        model="claude-sonnet-5", max_tokens=99, messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        return "".join(stream.text_stream)


def with_google_genai(server: FakeServer) -> str:
    from google import genai

    options = genai.types.HttpOptions(base_url=server.url, timeout=int(READ_S * 1000))
    client = genai.Client(api_key=KEY, http_options=options)
    stream = client.models.generate_content_stream(model="gemini-3.7-flash", contents="hi")
    return "".join(chunk.text or "" for chunk in stream)


def with_litellm(server: FakeServer) -> str:
    import litellm

    stream = litellm.completion(
        model="openai/gpt-5",
        api_base=server.base_url,
        api_key=KEY,
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        timeout=READ_S,
    )
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def with_langchain(server: FakeServer) -> str:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-5", base_url=server.base_url, api_key=KEY, timeout=READ_S)
    return "".join(chunk.content for chunk in model.stream("hi"))


def with_any_llm(server: FakeServer) -> str:
    from any_llm import completion

    stream = completion(
        model="openai:gpt-5",
        api_base=server.base_url,
        api_key=KEY,
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        client_args={"timeout": READ_S},
    )
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def with_pydantic_ai(server: FakeServer) -> str:
    import asyncio

    from pydantic_ai.direct import model_request_stream
    from pydantic_ai.messages import ModelRequest
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def ask() -> str:
        provider = OpenAIProvider(base_url=server.base_url, api_key=KEY)
        model = OpenAIChatModel("gpt-5", provider=provider)
        request = [ModelRequest.user_text_prompt("hi")]
        settings = {"timeout": READ_S}
        async with model_request_stream(model, request, model_settings=settings) as stream:
            async for _ in stream:
                pass
            parts = stream.get().parts
        return "".join(part.content for part in parts if part.part_kind == "text")

    return asyncio.run(ask())


PEERS: dict[str, tuple[str, str, Ask]] = {
    "this package, chat": (
        "chat",
        "cloudllm_sync",
        ours(lambda s: OpenAICompatibleClient("m", base_url=s.base_url, timeouts=CLOCKS)),
    ),
    "this package, Claude": (
        "claude",
        "cloudllm_sync",
        ours(lambda s: ClaudeClient("m", api_key=KEY, base_url=s.url, timeouts=CLOCKS)),
    ),
    "this package, Gemini": (
        "gemini",
        "cloudllm_sync",
        ours(lambda s: GeminiClient("m", api_key=KEY, base_url=s.url, timeouts=CLOCKS)),
    ),
    "openai": ("chat", "openai", with_openai),
    "anthropic": ("claude", "anthropic", with_anthropic),
    "google-genai": ("gemini", "google.genai", with_google_genai),
    "litellm": ("chat", "litellm", with_litellm),
    "langchain-openai": ("chat", "langchain_openai", with_langchain),
    "any-llm": ("chat", "any_llm", with_any_llm),
    "pydantic-ai": ("chat", "pydantic_ai", with_pydantic_ai),
}


def judged(ask: Ask, script: list[object], expected: str) -> str:
    """`right`, or what it did."""
    with FakeServer(*script, default=Raw(status=400, framing="length")) as server:  # type: ignore[arg-type]
        got: list[object] = []

        def work() -> None:
            try:
                got.append(ask(server))
            except BaseException as error:
                got.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(HANGS_S)
        if not got:
            return "hangs"
    if isinstance(got[0], BaseException):
        return "right" if expected == ERROR else f"raises {type(got[0]).__name__}"
    if expected == ERROR:
        return "ends as if whole"
    return "right" if got[0] == TEXT else "wrong text"


def is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="*", metavar="NAME", help="some of the SDKs")
    wanted = parser.parse_args().only or list(PEERS)
    warnings.simplefilter("ignore")
    for name, (wire, module, ask) in PEERS.items():
        if name not in wanted:
            continue
        if not is_installed(module):
            print(f"{name}: not installed, left out")
            continue
        began = time.monotonic()
        answers = {}
        for fault, script, expected in faults(Parts(wire)):
            with contextlib.redirect_stderr(None), contextlib.redirect_stdout(None):
                answers[fault] = judged(ask, script, expected)
        right = sum(answer == "right" for answer in answers.values())
        print(f"{name}: {right} of {len(answers)} right ({time.monotonic() - began:.0f} s)")
        for fault, answer in answers.items():
            if answer != "right":
                print(f"    {fault}: {answer}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
