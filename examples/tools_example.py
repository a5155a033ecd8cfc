"""A tool loop: calls shown as they come, run, and answered, until the model has what it needs."""

from __future__ import annotations

import json
import os

from client_from_args import NO_KEY, argument_parser, chosen_client

from cloudllm_sync import ChatStream, LLMSession, Message, Role, ToolCall, ToolDefinition
from cloudllm_sync.testing import FakeServer, RecordedRequest, Reply

WEATHER = {"Cologne": "rain, 14 °C", "Lisbon": "sun, 26 °C"}
TOOLS = (
    ToolDefinition(
        "get_weather",
        "The weather in a city, now.",
        {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    ),
)
MAX_ROUNDS = 5  # a model may want more and more


def run(call: ToolCall) -> str:
    """The result of a call; what went wrong is for the model to read, too."""
    if call.name != "get_weather":
        return "error: no such tool"
    try:
        city = str(call.parsed()["city"])
    except (ValueError, KeyError) as error:  # the arguments are what a model wrote
        return f"error: {error}"
    return WEATHER.get(city, f"error: no station in {city}")


def show(stream: ChatStream) -> Message:
    """Print text and calls as they come. Gives the whole reply."""
    for chunk in stream:
        print(chunk.content, end="", flush=True)
        call = chunk.tool_call_delta
        if call is not None:
            if call.name:
                print(f"\n[call {call.index}: {call.name}] ", end="")
            print(call.arguments, end="", flush=True)
    print()
    return stream.result()


def answer_with_tools(session: LLMSession, question: str) -> None:
    """One question, and as many rounds of calls as it takes."""
    with session.stream(question, TOOLS) as stream:
        reply = show(stream)
    if not reply.tool_calls:
        return
    for _ in range(MAX_ROUNDS):
        for call in reply.tool_calls:
            result = run(call)
            print(f"[result of {call.name}: {result}]")
            session.inject_message(Role.TOOL, result, tool_call_id=call.id)
        reply = session.send_current_history(TOOLS)
        print(f"\n{reply.content}")
        if not reply.tool_calls:
            return
    print(f"[stopped after {MAX_ROUNDS} rounds]")


def from_results(request: RecordedRequest) -> str:
    """The embedded server's last word: it knows only what the request tells."""
    messages = request.json["messages"]
    results = [message["content"] for message in messages if message["role"] == "tool"]
    return f"The stations say: {' / '.join(results)}."


SCRIPT = (
    Reply(
        "I ask both stations.",
        tool_calls=[
            ToolCall(f"call_{number}", "get_weather", json.dumps({"city": city}))
            for number, city in enumerate(WEATHER)
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
            answer_with_tools(LLMSession(client, "Answer in one sentence."), arguments.question)


if __name__ == "__main__":
    main()
