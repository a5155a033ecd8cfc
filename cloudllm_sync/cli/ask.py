"""`cloudllm ask`: one question, for pipes and for the impatient."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Optional

import click

from cloudllm_sync.attachments import Attachment
from cloudllm_sync.cli.choosing import max_tokens_option, model_option, opened_client
from cloudllm_sync.cli.display import JSONLines, Plain, Shown, is_terminal, show
from cloudllm_sync.cli.exits import leave_by
from cloudllm_sync.clients.client import Client
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.values import ChatOptions, Message, Role

if TYPE_CHECKING:
    from cloudllm_sync.session.session import LLMSession

__all__ = ["command"]

_FILTERED = 7


@click.command("ask")
@click.argument("words", nargs=-1, metavar="[QUESTION]")
@model_option
@click.option("--system", default="", metavar="TEXT", help="What the model is told first.")
@click.option("-s", "--session", metavar="NAME", help="Go on with a conversation that is kept.")
@max_tokens_option
@click.option("-a", "--attach", metavar="FILE", multiple=True, help="A picture or document.")
@click.option("-o", "--option", "given", metavar="NAME=VALUE", multiple=True, help="temperature=0")
@click.option("--json", "as_json", is_flag=True, help="Chunks as JSON lines.")
@click.option("--plain", is_flag=True, help="No Markdown on a terminal.")
def command(
    words: tuple[str, ...],
    model: Optional[str],
    system: str,
    session: Optional[str],
    max_tokens: int,
    attach: tuple[str, ...],
    given: tuple[str, ...],
    as_json: bool,
    plain: bool,
) -> None:
    """Ask one question, and print the reply as it comes.

    What is piped in follows the question, or is the question. On a terminal the reply is Markdown,
    elsewhere it is the text alone.

    \b
    git diff | cloudllm ask "Write a commit message"
    cloudllm ask --json "Hi" | jq -r .content
    """  # noqa: D301  click's mark for lines to be left as they are
    question = _question(words)
    attachments = tuple(map(_attachment, attach))
    options = _options(given)
    with opened_client(model) as client:

        def ask() -> ChatStream:
            if session is not None:
                talk = _session(client, session, system, max_tokens)
                return talk.stream(question, attachments=attachments, options=options)
            messages = [Message(Role.SYSTEM, system)] if system else []
            messages.append(Message(Role.USER, question, attachments=attachments))
            return client.send_message_stream(messages, options=options)

        message = show(ask, _shown(as_json, plain))
        if message.finish_reason == "content_filter":
            leave_by(_FILTERED)


def _question(words: tuple[str, ...]) -> str:
    parts = [" ".join(words).strip()]
    if sys.stdin is not None and not sys.stdin.isatty():
        parts.append(sys.stdin.read().strip())
    question = "\n\n".join(part for part in parts if part)
    if not question:
        raise click.UsageError('no question: cloudllm ask "Why is the sky blue?"')
    return question


def _session(client: Client, name: str, system: str, max_tokens: int) -> LLMSession:
    from cloudllm_sync.cli.conversations import opened_store
    from cloudllm_sync.session.session import LLMSession

    return LLMSession(
        client, system, max_tokens, session_id=name, store=opened_store(), turn_timeout=0
    )


def _shown(as_json: bool, plain: bool) -> Shown:
    if as_json:
        return JSONLines()
    if plain or not is_terminal():
        return Plain()
    from cloudllm_sync.cli.markdown import OnTerminal

    return OnTerminal()


def _attachment(path: str) -> Attachment:
    try:
        return Attachment.from_path(path)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--attach {path}: {error}") from None


def _options(given: tuple[str, ...]) -> Optional[ChatOptions]:
    values: dict[str, Any] = {}
    for option in given:
        name, equals, value = option.partition("=")
        if not equals:
            raise click.UsageError(f"--option {option!r}: write NAME=VALUE")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    try:
        return ChatOptions(**values) if values else None
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"--option: {error}") from None
