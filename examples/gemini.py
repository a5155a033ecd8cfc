"""Gemini with Google Search: an answer token by token, then the pages that it comes from."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator

from cloudllm_sync import ChatOptions, Client, CloudLLMError
from cloudllm_sync.clients.gemini import GeminiClient, Model
from cloudllm_sync.testing import FakeServer, Reply

NO_KEY = """\
No GEMINI_API_KEY or GOOGLE_API_KEY:
using the embedded server (Gemini's wire
format, a scripted reply).
"""
SCRIPT = Reply(
    "The longest river of Africa is the Nile, at about 6,650 km.",
    citations=("https://example.org/nile", "https://example.com/rivers"),
    token_delay_s=0.02,
)
# What only Gemini has goes into the request as it is.
SEARCH = ChatOptions(extra_body={"tools": [{"googleSearch": {}}]})


@contextlib.contextmanager
def gemini(model: str) -> Iterator[Client]:
    """Gemini if there is a key, else the embedded server."""
    if os.environ.get("GEMINI_API_KEY") or os.environ.get("GOOGLE_API_KEY"):
        with GeminiClient(model) as client:
            yield client
        return
    print(NO_KEY)
    with FakeServer(default=SCRIPT) as server:
        with GeminiClient(model, api_key="none", base_url=server.url) as client:
            yield client


def main() -> None:
    """Ask one question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", nargs="?", default="Which is the longest river of Africa?")
    parser.add_argument("--model", default=Model.GEMINI_3_7_FLASH.value)
    arguments = parser.parse_args()
    try:
        with gemini(arguments.model) as client:
            with client.send_message_stream(arguments.question, options=SEARCH) as stream:
                for text in stream.text():
                    print(text, end="", flush=True)
                print()
                for source in stream.result().citations:
                    print(f"[source: {source}]")
            print(f"[finished: {stream.finish_reason}]")
    except CloudLLMError as error:
        sys.exit(f"\n{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        print("\n[interrupted]", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
