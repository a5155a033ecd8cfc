"""Functions that the model calls: asked for, run side by side, answered, until it knows enough."""

from __future__ import annotations

import json
import os

from client_from_args import NO_KEY, argument_parser, chosen_client

from cloudllm_sync import LLMSession, ToolCall, ToolResult, ToolRoundsError, tool
from cloudllm_sync.testing import FakeServer, RecordedRequest, Reply

STATIONS = {"Cologne": "rain, 14 °C", "Lisbon": "sun, 26 °C"}


@tool
def get_weather(city: str) -> str:
    """The weather in a city, now.

    Args:
        city: Its English name.
    """
    return STATIONS[city]


def show_call(call: ToolCall, result: ToolResult) -> None:
    """Print what was called, and what came of it."""
    print(f"\n[{call.name} {call.arguments}: {result.content}]", end="", flush=True)


def answer(session: LLMSession, question: str) -> None:
    """One question, and as many rounds of calls as it takes."""
    with session.run_stream("user", question, [get_weather], on_tool=show_call) as chunks:
        try:
            for chunk in chunks:
                print(chunk.content, end="", flush=True)
                if chunk.finish_reason == "tool_calls":
                    print("\n[asks for tools]", end="", flush=True)
        except ToolRoundsError as error:
            print(f"\n[{error}]", end="")
    print()


def from_results(request: RecordedRequest) -> str:
    """The embedded server's last word: it knows only what the request tells."""
    messages = request.json["messages"]
    results = [message["content"] for message in messages if message["role"] == "tool"]
    return f"\nThe stations say: {' / '.join(results)}."


SCRIPT = (
    Reply(
        "I ask both stations.",
        tool_calls=[
            ToolCall(f"call_{number}", "get_weather", json.dumps({"city": city}))
            for number, city in enumerate(STATIONS)
        ],
        token_delay_s=0.02,
    ),
    from_results,
)


def main() -> None:
    """Ask OpenAI or the server at --base-url; without a key, the embedded one."""
    parser = argument_parser(__doc__)
    parser.add_argument("question", nargs="?", default="Cologne or Lisbon: where is it warmer?")
    arguments = parser.parse_args()
    keys = os.environ.get("OPENAI_API_KEY") or os.environ.get("OPEN_AI_SECRET")
    with FakeServer(*SCRIPT) as server:
        if not arguments.base_url and not keys:
            print(NO_KEY)
            arguments.base_url, arguments.model = server.base_url, "demo-model"
        with chosen_client(arguments) as client:
            answer(LLMSession(client, "Answer in one sentence."), arguments.question)


if __name__ == "__main__":
    main()
