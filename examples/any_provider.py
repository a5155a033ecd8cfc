"""One question to any provider: claude:claude-sonnet-5, openai:gpt-5.4-mini, ollama:llama3.2."""

from __future__ import annotations

import argparse
import contextlib
import sys
import textwrap
from collections.abc import Iterator

from cloudllm_sync import Client, CloudLLMError, ConfigurationError
from cloudllm_sync.clients.registry import known_providers, open_client
from cloudllm_sync.testing import FakeServer, Reply

SCRIPT = Reply("Hello from the embedded server, in your provider's words.", token_delay_s=0.02)
# Their base URLs end before the version; those of all others with it.
WITHOUT_VERSION = ("claude:", "gemini:")


@contextlib.contextmanager
def opened(spec: str) -> Iterator[Client]:
    """The client that `spec` names; without its key it talks to the embedded server."""
    provider = known_providers().get(spec.partition(":")[0])
    with contextlib.ExitStack() as stack:
        try:
            client = open_client(spec)
        except ConfigurationError as error:
            if provider is None or "API key" not in str(error) or "@http" in spec:
                raise
            print(textwrap.fill(str(error), 79))
            print("Using the embedded server (its wire format, a scripted reply).\n")
            server = stack.enter_context(FakeServer(default=SCRIPT))
            bare = provider.client.startswith(WITHOUT_VERSION)
            address = server.url if bare else server.base_url
            client = open_client(f"{spec}@{address}", api_key="none")
        yield stack.enter_context(client)


def main() -> None:
    """Ask, or list the providers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "spec", nargs="?", default="claude:claude-sonnet-5", metavar="PROVIDER:MODEL"
    )
    parser.add_argument("question", nargs="?", default="Who are you?")
    parser.add_argument("--list", action="store_true", help="list the providers that are known")
    arguments = parser.parse_args()
    if arguments.list:
        for name, provider in known_providers().items():
            print(f"{name:12} {provider.base_url or '(its own, or behind @)'}")
        return
    try:
        with opened(arguments.spec) as client:
            print(f"{client.provider_name}, {client.model_name}:")
            with client.send_message_stream(arguments.question) as stream:
                for text in stream.text():
                    print(text, end="", flush=True)
            print(f"\n[finished: {stream.finish_reason}]")
    except CloudLLMError as error:
        sys.exit(f"\n{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        print("\n[interrupted]", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
