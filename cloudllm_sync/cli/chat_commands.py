"""What can be typed in a chat beside messages: /help and the like."""

from __future__ import annotations

from typing import Callable, Optional

import click

from cloudllm_sync.cli.conversations import all_kept
from cloudllm_sync.cli.conversing import Conversing
from cloudllm_sync.cli.printable import printable
from cloudllm_sync.errors import ConfigurationError, StoreError
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.values import Role, TokenUsage

__all__ = ["Commands"]

_SHOWN_CHARACTERS = 400
_HELP = """\
/save NAME   keep this chat from now on
/load NAME   another chat; alone: list
/retry       ask the last one again
/model SPEC  another model answers
/usage       tokens used
/cost        US dollars
/quit        leave, as Ctrl-D

Ctrl-C stops a reply. A line that ends
in \\ goes on in the next one; so do all
between two lines of three quotes.\
"""


class Commands:
    """The commands of one chat."""

    def __init__(self, talk: Conversing) -> None:
        self._talk = talk
        self.leaves = False
        """Whether it was asked to end the chat."""
        self._known: dict[str, Callable[[str], Optional[ChatStream]]] = {
            "help": self._help,
            "save": self._save,
            "load": self._load,
            "retry": self._retry,
            "model": self._model,
            "usage": self._usage,
            "cost": self._cost,
            "quit": self._quit,
            "exit": self._quit,
        }

    def run(self, typed: str) -> Optional[ChatStream]:
        """Do what was typed; a reply if that makes one.

        Raises:
            CloudLLMError: It cannot be done.
        """
        name, _, rest = typed[1:].partition(" ")
        known = self._known.get(name.strip().lower())
        if known is None:
            click.echo(f"There is no /{name}.\n{_HELP}")
            return None
        try:
            return known(rest.strip())
        except (ConfigurationError, StoreError) as error:
            click.echo(f"[{error}]")
            return None

    def show_last(self) -> None:
        """Where the chat was left."""
        for message in self._talk.turns[-2:]:
            who = "you" if message.role is Role.USER else "model"
            text = message.content
            short = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
            click.secho(f"{who}: {printable(short)}", dim=True)

    def _help(self, _: str) -> None:
        click.echo(_HELP)

    def _save(self, name: str) -> None:
        if not name:
            raise ConfigurationError("write /save NAME")
        self._talk.save(name)
        click.echo(f"[kept as {name}: cloudllm chat -s {name} goes on with it]")

    def _load(self, name: str) -> None:
        if not name:
            names = [info.session_id for info in all_kept()]
            click.echo("\n".join(names) or "[none is kept]")
            return
        self._talk.load(name)
        if not self._talk.turns:
            click.echo(f"[{name} is new]")
        self.show_last()

    def _retry(self, _: str) -> ChatStream:
        return self._talk.retry()

    def _model(self, spec: str) -> None:
        if spec:
            self._talk.use(spec)
        click.echo(f"[{self._talk.model}]")

    def _usage(self, _: str) -> None:
        session = self._talk.session
        click.echo(f"last turn: {_counts(session.last_token_usage)}")
        click.echo(f"all turns: {_counts(session.token_usage)}")

    def _cost(self, _: str) -> None:
        try:
            cost = self._talk.session.cost
        except ImportError as error:
            click.echo(f"[{error}]")
            return
        click.echo("[no price is known]" if cost is None else f"${cost:.4f}")

    def _quit(self, _: str) -> None:
        self.leaves = True


def _counts(usage: Optional[TokenUsage]) -> str:
    if usage is None:
        return "not reported"
    return f"{usage.input_tokens} read, {usage.output_tokens} written"
