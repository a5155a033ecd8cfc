"""`cloudllm doctor`: what keeps replies from streaming, of what the command line can be told.

Django's own, `manage.py cloudllm_doctor`, sees the settings and the middleware, too.
"""

from __future__ import annotations

import ast
import os
from typing import Any, Optional

import attrs
import click

from cloudllm_sync.web.doctor import Facts, findings, report
from cloudllm_sync.web.gunicorn_config import read_gunicorn
from cloudllm_sync.web.nginx_config import read_nginx
from cloudllm_sync.web.settings import NAMES, Settings, faults_of, read_settings

__all__ = ["command"]

_FORM = "CLOUDLLM_{}"


@click.command("doctor")
@click.option("--gunicorn", metavar="ARGUMENTS", help="Its command line, as one string.")
@click.option("--nginx", metavar="PATH", help="Its configuration.")
@click.option("--streams", type=click.IntRange(1), help="How many replies are wanted at once.")
@click.option("--asgi", is_flag=True, help="The site is served by ASGI.")
@click.option(
    "--set",
    "given",
    metavar="NAME=VALUE",
    multiple=True,
    help="A setting of the site, as Python writes it.",
)
def command(
    gunicorn: Optional[str],
    nginx: Optional[str],
    streams: Optional[int],
    asgi: bool,
    given: tuple[str, ...],
) -> None:
    """Say what keeps a site's replies from streaming, and fail if there is something.

    Gunicorn's own environment variable and gunicorn.conf.py in this folder are read, too.

    \b
    cloudllm doctor --gunicorn "--threads 64 shop:app" --nginx /etc/nginx/nginx.conf
    cloudllm doctor --set HEARTBEAT_S=90 --set PROTOCOL=text
    """  # noqa: D301  click's mark for lines to be left as they are
    try:
        proxies = read_nginx(nginx) if nginx else ()
    except OSError as error:
        raise click.ClickException(f"nginx's configuration cannot be read: {error}") from None
    facts = attrs.evolve(
        _facts_of(dict(map(_pair, given))),
        is_asgi=asgi,
        streams=streams,
        proxies=proxies,
        gunicorn=None
        if gunicorn is None and "GUNICORN_CMD_ARGS" not in os.environ
        else read_gunicorn(os.environ, os.getcwd(), arguments=gunicorn or ""),
    )
    found = findings(facts)
    click.echo(report(found))
    if found:
        raise click.exceptions.Exit(1)


def _facts_of(given: dict[str, Any]) -> Facts:
    faults = faults_of(given, form=_FORM)
    return Facts(settings=Settings() if faults else read_settings(given, form=_FORM), faults=faults)


def _pair(setting: str) -> tuple[str, Any]:
    name, equals, value = setting.partition("=")
    name = name.upper()
    name = name[len("CLOUDLLM_") :] if name.startswith("CLOUDLLM_") else name
    if not equals:
        raise click.UsageError(f"--set {setting!r}: write NAME=VALUE, as one of {', '.join(NAMES)}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
