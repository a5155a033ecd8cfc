"""`manage.py cloudllm_doctor`: what keeps replies from streaming, here and where the site runs."""

from __future__ import annotations

import os
from typing import Any

import attrs
from django.core.management.base import BaseCommand, CommandError, CommandParser

from cloudllm_sync.web.django.checks import facts_of_site
from cloudllm_sync.web.doctor import findings, report
from cloudllm_sync.web.gunicorn_config import read_gunicorn
from cloudllm_sync.web.nginx_config import read_nginx

__all__ = ["Command"]


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """Prints findings; fails if there is one."""

    help = "Says what keeps replies of models from streaming: settings, server, proxy."
    requires_system_checks: tuple[str, ...] = ()  # it says what they would

    def add_arguments(self, parser: CommandParser) -> None:
        """What the site itself cannot know."""
        parser.add_argument(
            "--gunicorn",
            default="",
            metavar="ARGUMENTS",
            help='gunicorn\'s command line: "--worker-class gthread --threads 64 shop.wsgi"',
        )
        parser.add_argument("--nginx", metavar="PATH", help="nginx's configuration")
        parser.add_argument("--streams", type=int, help="how many replies are wanted at once")

    def handle(self, *_: Any, **options: Any) -> None:
        """Gather the facts, and print what is found."""
        try:
            proxies = read_nginx(options["nginx"]) if options["nginx"] else ()
        except OSError as error:
            raise CommandError(f"nginx's configuration cannot be read: {error}") from error
        facts = attrs.evolve(
            facts_of_site(),
            gunicorn=read_gunicorn(os.environ, os.getcwd(), arguments=options["gunicorn"]),
            streams=options["streams"],
            proxies=proxies,
        )
        found = findings(facts)
        self.stdout.write(report(found))
        if found:
            raise CommandError(f"{len(found)} found")
