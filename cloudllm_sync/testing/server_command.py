"""`cloudllm fake-server`, and the server that `cloudllm demo` talks to."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator

import click

from cloudllm_sync.testing.demo import demo_model
from cloudllm_sync.testing.recorded import RecordedRequest
from cloudllm_sync.testing.reply import Reply
from cloudllm_sync.testing.server import FakeServer

__all__ = ["command", "demo_server"]


@contextlib.contextmanager
def demo_server() -> Iterator[str]:
    """The demo's model while it is served, as `open_client()` takes it."""
    with FakeServer(default=demo_model) as server:
        yield f"custom:demo-model@{server.base_url}"


@click.command("fake-server")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
@click.option("--reply", metavar="TEXT", multiple=True, help="What to answer, in turns.")
@click.option("--reasoning", metavar="TEXT", default="", help="What the model thinks before.")
@click.option("--delay", type=click.FloatRange(0), default=0.4, help="Seconds to the first token.")
@click.option("--token-delay", type=click.FloatRange(0), default=0.03, help="Seconds between two.")
def command(
    port: int, reply: tuple[str, ...], reasoning: str, delay: float, token_delay: float
) -> None:
    """Serve scripted replies on this machine, on the wires of all providers, until Ctrl-C.

    Without --reply it chats a little, on OpenAI's wire.
    """
    texts = itertools.cycle(reply)

    def next_reply(request: RecordedRequest) -> Reply:
        return Reply(
            next(texts),
            reasoning=reasoning,
            first_token_delay_s=delay,
            token_delay_s=token_delay,
        )

    try:
        server = FakeServer(default=next_reply if reply else demo_model, port=port)
    except OSError as error:
        raise click.ClickException(f"port {port} cannot be had: {error.strerror}") from None
    with server:
        click.echo(f"OpenAI:  {server.base_url}\nothers:  {server.url}\n")
        click.echo(f'cloudllm ask -m custom:demo@{server.base_url} "Hello"')
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
