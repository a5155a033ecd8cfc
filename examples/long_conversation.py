"""A conversation longer than its limit: what no longer fits is summed up, and nothing is lost.

The limit is low here, so that it is met after a few turns. See docs/context.md.
"""

from __future__ import annotations

from client_from_args import argument_parser, chosen_client

from cloudllm_sync import LLMSession, Role, SummarizeOldest

PLACES = ("Paris", "Oslo", "Lima", "Cairo", "Quito", "Delhi", "Accra")
QUESTIONS = (
    "My name is Ada. Why do programs stream?",
    *(
        f"Tell me of {place}: who lives there, what is made there, how one gets there by train, "
        "what the weather is like in spring, and what a visitor should not miss."
        for place in PLACES
    ),
    "What is my name?",
)


def print_request(session: LLMSession) -> None:
    """What the next question is sent with."""
    for message in session.request_messages:
        words = message.content.split()
        shown = " ".join(words[:10]) + (" ..." if len(words) > 10 else "")
        print(f"    {message.role.value}: {shown}")


def main() -> None:
    """Nine turns, of which the last one asks for what was said first."""
    with chosen_client(argument_parser("A long conversation.").parse_args()) as client:
        # A cheaper model may write the summaries: SummarizeOldest(open_client("claude:..."))
        context = SummarizeOldest(client, keep_tokens=200)
        session = LLMSession(client, "You are a helpful assistant.", 720, context=context)
        for question in QUESTIONS:
            print(f"> {question}")
            print(session.send_message(Role.USER, question).content)
        print(f"\n{len(session.history)} messages in the history, of which these are sent:")
        print_request(session)
        print(f"[tokens used: {session.token_usage.total_tokens}, summaries included]")


if __name__ == "__main__":
    main()
