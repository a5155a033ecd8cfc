"""A reply that fits a JSON Schema: read into Python, not into prose."""

from __future__ import annotations

import json
import os
import sys

from client_from_args import NO_KEY, argument_parser, chosen_client

from cloudllm_sync import ChatOptions
from cloudllm_sync.testing import FakeServer

SCHEMA = {
    "title": "person",
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "born": {"type": "integer"},
        "known_for": {"type": "array", "items": {"type": "string"}},
    },
    # OpenAI wants all of them required and no others allowed.
    "required": ["name", "born", "known_for"],
    "additionalProperties": False,
}
SCRIPT = '{"name": "Ada Lovelace", "born": 1815, "known_for": ["the first program", "notes"]}'


def main() -> None:
    """Ask OpenAI or the server at --base-url; without a key, the embedded one."""
    parser = argument_parser(__doc__)
    parser.add_argument("question", nargs="?", default="Who was Ada Lovelace?")
    arguments = parser.parse_args()
    keys = os.environ.get("OPENAI_API_KEY") or os.environ.get("OPEN_AI_SECRET")
    with FakeServer(SCRIPT) as server:
        if not arguments.base_url and not keys:
            print(NO_KEY)
            arguments.base_url, arguments.model = server.base_url, "demo-model"
        with chosen_client(arguments) as client:
            options = ChatOptions(response_schema=SCHEMA)
            reply = client.send_message(arguments.question, options=options)
    if reply.refusal or reply.finish_reason != "stop":  # cut short it is no whole JSON
        sys.exit(f"no answer ({reply.finish_reason}): {reply.refusal or reply.content}")
    try:
        person = json.loads(reply.content)
        name, born, deeds = person["name"], person["born"], person["known_for"]
    except (ValueError, TypeError, KeyError):  # not every server keeps to a schema
        sys.exit(f"the reply does not fit the schema: {reply.content}")
    print(f"name:      {name}")
    print(f"born:      {born}")
    for deed in deeds:
        print(f"known for: {deed}")


if __name__ == "__main__":
    main()
