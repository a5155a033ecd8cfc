"""A reply that is an object of a class: shown while it arrives, checked when it is whole."""

from __future__ import annotations

import os
import sys

import attrs
from client_from_args import NO_KEY, argument_parser, chosen_client

from cloudllm_sync import ChatOptions
from cloudllm_sync.testing import FakeServer, Reply


@attrs.frozen
class Person:
    """What is asked for; its JSON Schema goes with the request."""

    name: str
    born: int
    known_for: list[str]


SCRIPT = Reply(
    ['{"name": "Ada', ' Lovelace", "born"', ': 1815, "known_for": ["the first', ' program"]}'],
    token_delay_s=0.05,
)


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
            options = ChatOptions(response_schema=Person)
            with client.send_message_stream(arguments.question, options=options) as stream:
                try:
                    for person in stream.objects(Person):
                        print(f"... {person.name}, {person.born}, {len(person.known_for)} deeds")
                except ValueError as error:  # not every server keeps to a schema
                    sys.exit(f"no answer: {error}")
    print(f"name:      {person.name}")
    print(f"born:      {person.born}")
    for deed in person.known_for:
        print(f"known for: {deed}")


if __name__ == "__main__":
    main()
