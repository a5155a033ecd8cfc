"""`cloudllm demo`: a first look."""

from __future__ import annotations

import click

from cloudllm_sync.cli.chat import run_chat
from cloudllm_sync.cli.choosing import DEMO

__all__ = ["command"]


@click.command("demo")
def command() -> None:
    """Chat with the embedded server: real HTTP on this machine, scripted replies.

    Ask it for a haiku, why it streams, or to show Markdown.
    """
    click.echo("The embedded server answers: real HTTP, scripted replies.")
    click.echo('Try "Write a haiku", "Why streaming?" or "Show Markdown".')
    run_chat(DEMO)
