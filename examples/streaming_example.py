"""Two turns of a session, each reply token by token; the second turn needs the first."""

from __future__ import annotations

import time

from client_from_args import argument_parser, chosen_client

from cloudllm_sync import LLMSession

SYSTEM_PROMPT = "You are a helpful assistant. Answer in one or two sentences."
QUESTIONS = (
    "My name is Ada. Why do people stream replies?",
    "What is my name? And what did I ask you first?",
)


def take_turn(session: LLMSession, question: str) -> None:
    """Ask, and print the reply as it comes."""
    print(f"you: {question}")
    print(f"{session.model_name}: ", end="", flush=True)

    asked = time.monotonic()
    first_token_s = None
    with session.stream(question) as stream:
        for chunk in stream:
            if chunk.content:
                if first_token_s is None:
                    first_token_s = time.monotonic() - asked
                print(chunk.content, end="", flush=True)

    print(f"\n[finished: {stream.finish_reason}]")
    if first_token_s is not None:
        print(f"[first token after {first_token_s:.2f} s]")
    if stream.usage is None:
        print("[tokens used: not reported]")
    else:
        usage = stream.usage
        print(
            f"[tokens used: {usage.total_tokens}, "
            f"{usage.input_tokens} in + {usage.output_tokens} out]"
        )
    print()


def main() -> None:
    """Run both turns."""
    with chosen_client(argument_parser(__doc__).parse_args()) as client:
        session = LLMSession(client, SYSTEM_PROMPT)
        print(f"system: {SYSTEM_PROMPT}\n")
        for question in QUESTIONS:
            take_turn(session, question)
        print(
            f"The session holds {len(session.history)} messages "
            f"and has used {session.token_usage.total_tokens} tokens."
        )


if __name__ == "__main__":
    main()
