"""A session in full: opening, reading and failing of a stream, its text, and the history.

Then the same with a client that cannot stream: send_message_stream() gives None.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from client_from_args import argument_parser, chosen_client

from cloudllm_sync import (
    ChatOptions,
    Client,
    CloudLLMError,
    LLMSession,
    Message,
    Role,
    Timeouts,
    ToolDefinition,
)


class WholeReplies:
    """A client of one's own: four names and no base class. This one cannot stream."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.model_name = client.model_name
        self.provider_name = client.provider_name

    def send_message(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolDefinition] | None = None,
        *,
        options: ChatOptions | None = None,
        timeouts: Timeouts | None = None,
    ) -> Message:
        """The whole reply at once."""
        return self._client.send_message(messages, tools, options=options, timeouts=timeouts)

    def send_message_stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolDefinition] | None = None,
        *,
        options: ChatOptions | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        """None says: not streamed."""
        return


def write_haiku(session: LLMSession) -> None:
    """One turn, with everything that can happen to it."""
    try:
        stream = session.send_message_stream(Role.USER, "Write a haiku about Python.")
    except CloudLLMError as error:  # no connection, a wrong key, no credit, ...
        sys.exit(f"Error: {type(error).__name__}: {error}")

    if stream is None:
        print("Streaming not available, so all at once:")
        print(session.send_message(Role.USER, "Write a haiku about Python.").content)
        return

    full_response = ""
    try:
        with stream:
            for chunk in stream:
                if chunk.content:
                    print(chunk.content, end="", flush=True)
                    full_response += chunk.content
                if chunk.finish_reason:
                    print(f"\n[finished: {chunk.finish_reason}]")
    except CloudLLMError as error:  # it opened, then broke off: what came is in error.partial
        print(f"\nError in stream: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"[{len(full_response)} characters had arrived]")
        return

    print(f"Received {len(full_response)} characters")


def print_history(session: LLMSession) -> None:
    """The reply is in there: nobody has to add it."""
    print("\nThe history:")
    for message in session.history:
        print(f"  {message.role.value}: {message.content!r}")
    if not session.history:
        print("  empty: a turn that fails leaves nothing behind")


def main() -> None:
    """One session that streams, one that cannot."""
    with chosen_client(argument_parser("A session in full.").parse_args()) as client:
        for wrapper in (client, WholeReplies(client)):
            session = LLMSession(wrapper, "You are a helpful assistant.", 8192)
            write_haiku(session)
            print_history(session)
            print()


if __name__ == "__main__":
    main()
