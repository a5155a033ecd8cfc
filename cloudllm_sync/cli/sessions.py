"""`cloudllm sessions`: the conversations that are kept."""

from __future__ import annotations

import datetime as dt
import sys

import click

from cloudllm_sync.cli.conversations import all_kept, opened_store
from cloudllm_sync.cli.exits import complain, leave_by
from cloudllm_sync.cli.printable import printable
from cloudllm_sync.values import Role

__all__ = ["command"]


@click.group("sessions", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List the conversations that are kept, the latest first."""
    if context.invoked_subcommand is not None:
        return
    for info in all_kept():
        when = dt.datetime.fromtimestamp(info.updated_at).strftime("%Y-%m-%d %H:%M")
        tokens = info.usage.total_tokens
        click.echo(f"{when}  {info.length:4} messages  {tokens:7} tokens  {info.session_id}")


@command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Print a conversation."""
    stored = opened_store().load(name)
    if not stored.version:
        _unknown(name)
    for message in stored.messages:
        if message.role in (Role.USER, Role.ASSISTANT):
            text = printable(message.content) if sys.stdout.isatty() else message.content
            click.echo(f"{message.role.value}: {text}\n")


@command.command("delete")
@click.argument("names", nargs=-1, required=True)
def delete(names: tuple[str, ...]) -> None:
    """Forget conversations."""
    store = opened_store()
    for name in names:
        if not store.load(name, newest=1).version:
            _unknown(name)
        store.delete(name)


@command.command("export")
@click.argument("path")
@click.option("--prefix", default="", help="Only those whose names begin so.")
def export(path: str, prefix: str) -> None:
    """Write them to a file, as JSON lines."""
    click.echo(f"{opened_store().export(path, prefix=prefix)} written")


@command.command("import")
@click.argument("path")
def import_(path: str) -> None:
    """Read what `export` wrote."""
    click.echo(f"{opened_store().import_(path)} read")


def _unknown(name: str) -> None:
    complain(f"no conversation {name!r} is kept: see `cloudllm sessions`")
    leave_by(1)
