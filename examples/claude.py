"""Claude: what it thinks, then what it says, token by token."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator

from cloudllm_sync import ChatOptions, ChatStream, Client, CloudLLMError, LLMSession
from cloudllm_sync.clients.claude import ClaudeClient, Model
from cloudllm_sync.testing import FakeServer, Reply

NO_KEY = """\
No ANTHROPIC_API_KEY or CLAUDE_API_KEY:
using the embedded server (Claude's wire
format, a scripted reply).
"""
SCRIPT = Reply(
    "Seven: only one and seven itself divide it.",
    reasoning="A prime is wanted. Two, three and five do not divide seven.",
    token_delay_s=0.02,
)


@contextlib.contextmanager
def claude(model: str) -> Iterator[Client]:
    """Claude if there is a key, else the embedded server."""
    if os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("CLAUDE_API_KEY"):
        with ClaudeClient(model) as client:
            yield client
        return
    print(NO_KEY)
    with FakeServer(default=SCRIPT) as server:
        with ClaudeClient(model, api_key="none", base_url=server.url) as client:
            yield client


def show(stream: ChatStream) -> None:
    """Print thoughts and text as they come."""
    shown = ""
    for chunk in stream:
        kind = "thinks" if chunk.reasoning else "says" if chunk.content else shown
        if kind != shown:
            print(f"\n[{kind}] ", end="")
            shown = kind
        print(chunk.reasoning or chunk.content, end="", flush=True)
    print(f"\n\n[finished: {stream.finish_reason}]")


def main() -> None:
    """Ask one question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", nargs="?", default="Name a prime number. Why is it one?")
    parser.add_argument("--model", default=Model.CLAUDE_SONNET_5.value)
    arguments = parser.parse_args()
    # With an effort Claude thinks first; cache=True marks the prompt for the turns to come.
    options = ChatOptions(reasoning_effort="low", cache=True)
    try:
        with claude(arguments.model) as client:
            session = LLMSession(client, "You are a helpful assistant.", options=options)
            with session.stream(arguments.question) as stream:
                show(stream)
    except CloudLLMError as error:
        sys.exit(f"\n{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        print("\n[interrupted]", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
