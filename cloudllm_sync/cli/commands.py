"""The list of commands. Each is loaded when it is called for, from the room that it belongs to."""

from __future__ import annotations

import importlib
from typing import Any, Optional

import click

import cloudllm_sync
from cloudllm_sync.cli.exits import telling_errors

__all__ = ["cloudllm"]

# What it does is said here, so that --help loads none of them.
_COMMANDS = {
    "ask": ("cloudllm_sync.cli.ask", "Ask one question; made for pipes."),
    "chat": ("cloudllm_sync.cli.chat", "Chat in the terminal."),
    "demo": ("cloudllm_sync.cli.demo", "Chat with the embedded server: no key, no network."),
    "doctor": ("cloudllm_sync.web.doctor_command", "What keeps a site's replies from streaming."),
    "fake-server": ("cloudllm_sync.testing.server_command", "Serve scripted replies."),
    "models": ("cloudllm_sync.cli.models", "Providers, their keys and their models."),
    "sessions": ("cloudllm_sync.cli.sessions", "Conversations that are kept."),
}


class _Commands(click.Group):
    """Commands that are loaded by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:
        found = _COMMANDS.get(cmd_name)
        if found is None:
            return None
        command: click.Command = importlib.import_module(found[0]).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        with telling_errors():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, what) for name, (_, what) in _COMMANDS.items()])


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or no model, 3 key refused, 4 rate or "
    "quota, 5 not reached or too late, 6 cut off, 7 filtered, 130 Ctrl-C, 141 nobody reads the "
    "output.",
)
@click.version_option(cloudllm_sync.__version__, "-V", "--version", package_name="cloudllm-sync")
def cloudllm() -> None:
    """Stream replies of large language models.

    \b
    cloudllm ask "Why is the sky blue?"
    git diff | cloudllm ask "Write a commit message"
    cloudllm chat -m claude:claude-sonnet-5 -s holidays
    """  # noqa: D301  click's mark for lines to be left as they are
