"""The client that an example talks to: a server named by --base-url, OpenAI, or the embedded one.

OPENAI_API_KEY or OPEN_AI_SECRET in the environment selects OpenAI. Without either, and without
--base-url, FakeServer answers from this process: real HTTP on loopback, scripted replies.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator

from cloudllm_sync import Client, CloudLLMError, OpenAIClient, OpenAICompatibleClient
from cloudllm_sync.testing import FakeServer
from cloudllm_sync.testing.demo import demo_model

NO_KEY = """\
No OPENAI_API_KEY or OPEN_AI_SECRET:
using the embedded server (real HTTP,
scripted replies). --help names others.
"""


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """What every example takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--base-url", metavar="URL", help="as http://localhost:11434/v1 (Ollama)")
    parser.add_argument("--model", metavar="NAME", help="default with OpenAI: gpt-5.4-mini")
    parser.add_argument(
        "--key-variable", metavar="VARIABLE", help="holds the key, if the server at URL wants one"
    )
    parser.add_argument(
        "--allow-http", action="store_true", help="allow http:// to a server on another machine"
    )
    return parser


@contextlib.contextmanager
def chosen_client(arguments: argparse.Namespace) -> Iterator[Client]:
    """The client, closed at the end; errors end the program with one line, not with a traceback."""
    try:
        with contextlib.ExitStack() as stack:
            yield stack.enter_context(_choose(arguments, stack))
    except CloudLLMError as error:
        sys.exit(f"\n{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        print("\n[interrupted]", file=sys.stderr)
        sys.exit(130)


def _choose(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> Client:
    if arguments.base_url:
        if not arguments.model:
            sys.exit("--base-url needs --model: the name of a model which that server has")
        if arguments.key_variable and not os.environ.get(arguments.key_variable):
            sys.exit(f"the variable {arguments.key_variable} is not set: it should hold the key")
        return OpenAICompatibleClient(
            arguments.model,
            base_url=arguments.base_url,
            api_key=os.environ[arguments.key_variable] if arguments.key_variable else None,
            allow_http=arguments.allow_http,
        )
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPEN_AI_SECRET"):
        return OpenAIClient(arguments.model or "gpt-5.4-mini")
    print(NO_KEY)
    server = stack.enter_context(FakeServer(default=demo_model))
    return OpenAICompatibleClient(arguments.model or "demo-model", base_url=server.base_url)
