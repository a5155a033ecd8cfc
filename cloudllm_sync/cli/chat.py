"""`cloudllm chat`: a conversation in the terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import Optional

import click

from cloudllm_sync.cli.chat_commands import Commands
from cloudllm_sync.cli.choosing import MAX_TOKENS, max_tokens_option, model_option, opened_client
from cloudllm_sync.cli.conversing import Conversing
from cloudllm_sync.cli.display import Plain, is_terminal, show
from cloudllm_sync.cli.exits import complain
from cloudllm_sync.errors import CloudLLMError
from cloudllm_sync.streaming.stream import ChatStream

__all__ = ["command", "run_chat"]

_QUOTES = '"""'


@click.command("chat")
@model_option
@click.option("-s", "--session", metavar="NAME", help="Keep it, or go on with it.")
@click.option("--system", default="", metavar="TEXT", help="What the model is told first.")
@max_tokens_option
@click.option("--plain", is_flag=True, help="No Markdown.")
def command(
    model: Optional[str], session: Optional[str], system: str, max_tokens: int, plain: bool
) -> None:
    """Chat in the terminal. Ctrl-C stops a reply and keeps what had come; Ctrl-D leaves.

    /help lists what else can be typed. A line that ends in a backslash goes on in the next one,
    and so does all between two lines of three quotes.
    """
    run_chat(model, session=session, system=system, max_tokens=max_tokens, plain=plain)


def run_chat(
    model: Optional[str],
    *,
    session: Optional[str] = None,
    system: str = "",
    max_tokens: int = MAX_TOKENS,
    plain: bool = False,
) -> None:
    """Read, ask and print until the input ends."""
    reads_along = sys.stdin is not None and sys.stdin.isatty()
    with opened_client(model, may_ask=reads_along) as client:
        with contextlib.closing(Conversing(client, system=system, max_tokens=max_tokens)) as talk:
            if session is not None:
                talk.load(session)
            if reads_along:
                _converse(talk, plain=plain)
                return
            for line in sys.stdin or ():
                if line.strip():
                    _print(talk.ask(line.strip()), plain=plain)


def _converse(talk: Conversing, *, plain: bool) -> None:
    with contextlib.suppress(ImportError):  # Windows has none; input() works without
        import readline

        # Python turns it off for its own prompt, since 3.9.2.
        readline.parse_and_bind("set enable-bracketed-paste on")
    commands = Commands(talk)
    click.secho(f"{talk.model} · /help, Ctrl-D leaves", dim=True)
    commands.show_last()
    while (typed := _typed()) is not None:
        if not typed.strip():
            continue
        try:
            stream = commands.run(typed) if typed.startswith("/") else talk.ask(typed)
            if stream is not None:
                click.echo()
                _print(stream, plain=plain)
                click.echo()
        except KeyboardInterrupt:
            click.secho("[stopped: what had come is kept]\n", dim=True)
        except CloudLLMError as error:
            complain(f"{type(error).__name__}: {error}\n[/retry asks again]\n")
        if commands.leaves:
            break
    click.secho("Bye.", dim=True)


def _print(stream: ChatStream, *, plain: bool) -> None:
    if plain or not is_terminal():
        show(lambda: stream, Plain())
        return
    from cloudllm_sync.cli.markdown import OnTerminal

    show(lambda: stream, OnTerminal())


def _typed() -> Optional[str]:
    """A message, which may have several lines; None if there are no more."""
    lines: list[str] = []
    quoted = False
    while True:
        try:
            line = input("  … " if lines or quoted else "you> ")
        except EOFError:
            click.echo()
            return None
        except KeyboardInterrupt:
            click.secho("\n[Ctrl-D leaves]", dim=True)
            lines, quoted = [], False
            continue
        if line.strip() == _QUOTES:
            quoted = not quoted
        elif not quoted and line.endswith("\\"):
            lines.append(line[:-1])
            continue
        else:
            lines.append(line)
        if not quoted:
            return "\n".join(lines)
