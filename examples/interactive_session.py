r"""A chat in the terminal.

An empty line, or \end on a line of its own, sends what you typed. Ctrl-C stops the reply and keeps
what had come of it; Ctrl-D leaves. `--session NAME` keeps the chat in the file chats.db, and goes
on with it the next time, also if the terminal was closed in the middle of a reply.
"""

from __future__ import annotations

import contextlib
import sys

from client_from_args import argument_parser, chosen_client

from cloudllm_sync import CloudLLMError, LLMSession, SQLiteStore

with contextlib.suppress(ImportError):  # Windows has none; input() works without
    import readline  # noqa: F401

HELP = r"""An empty line (or \end) sends a message.
Ctrl-C stops a reply, Ctrl-D leaves.
"""


def read_message() -> tuple[str, bool]:
    """What was typed, and whether more can come."""
    lines: list[str] = []
    while True:
        try:
            line = input("... " if lines else "you> ")
        except EOFError:
            print()
            return "\n".join(lines), False
        except KeyboardInterrupt:
            print("\n[Ctrl-D leaves]")
            lines = []
            continue
        if line.strip() in ("", r"\end"):
            if lines:
                return "\n".join(lines), True
        else:
            lines.append(line)


def take_turn(session: LLMSession, message: str) -> None:
    """Print the reply as it comes, or why there is none; the chat goes on in any case."""
    try:
        with session.stream(message) as stream:
            for text in stream.text():
                print(text, end="", flush=True)
    except KeyboardInterrupt:
        print("\n[stopped]\n")
    except CloudLLMError as error:
        print(f"\n[{type(error).__name__}: {error}]\n")
    else:
        print(f"\n[{usage_line(session)}]\n")


def usage_line(session: LLMSession) -> str:
    """What the last turn cost, and all of them."""
    usage = session.last_token_usage
    if usage is None:
        return "tokens used: not reported"
    total = session.token_usage.total_tokens
    return f"tokens used: {usage.input_tokens} in + {usage.output_tokens} out, {total} so far"


def main() -> None:
    """Chat until the input ends."""
    parser = argument_parser("A chat in the terminal.")
    parser.add_argument("--session", metavar="NAME", help="kept in chats.db; goes on with it")
    arguments = parser.parse_args()
    if sys.stdin is None:
        sys.exit("a chat needs an input: it is closed")
    with chosen_client(arguments) as client:
        session = LLMSession(
            client,
            "You are a helpful assistant.",
            partial="keep",
            session_id=arguments.session,
            store=SQLiteStore("chats.db") if arguments.session else None,
        )
        print(HELP)
        for message in session.history[-2:]:  # where the chat was left
            print(f"{message.role.value}: {message.content}\n")
        more = True
        while more:
            message, more = read_message()
            if message:
                take_turn(session, message)
        print("Bye.")


if __name__ == "__main__":
    main()
