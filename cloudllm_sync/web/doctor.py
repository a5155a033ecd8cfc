"""What keeps replies from streaming where a site runs: findings, from facts that others gather.

Nothing is looked up here. Of a server that runs elsewhere, of its command line and of proxies
whose configuration was not given, nothing is known, and nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Optional

import attrs

from cloudllm_sync.web.settings import Settings

__all__ = ["Facts", "Finding", "Gunicorn", "ProxyBlock", "findings", "report"]

# What nginx, load balancers and platforms wait for the next byte, unless they are told otherwise.
_USUAL_PATIENCE_S = 60.0

# Threads for each reply that is wanted: pages and short requests need some, too.
_SPARE = 1.25

# These hand an application's reply on when it is whole, or run none that is synchronous.
_COLLECTING = ("uvicorn", "asgi", "tornado")


@attrs.frozen(kw_only=True)
class Gunicorn:
    """Gunicorn's settings, as far as they are about replies that take long."""

    worker_class: str = "sync"
    threads: int = 1
    workers: int = 1
    timeout_s: float = 30.0
    unread: str = ""
    """Why some of its settings are not known; empty if all are."""

    @property
    def is_sync(self) -> bool:
        """Whether a worker serves one request at a time; with threads gunicorn takes gthread."""
        name = self.worker_class
        return (name == "sync" or name.endswith("SyncWorker")) and self.threads <= 1

    @property
    def is_threaded(self) -> bool:
        """Whether a worker serves as many requests as it has threads."""
        name = self.worker_class
        return name in ("sync", "gthread") or name.endswith(("SyncWorker", "ThreadWorker"))


@attrs.frozen(kw_only=True)
class ProxyBlock:
    """A block of a proxy's configuration that passes requests on."""

    where: str
    buffers: bool = True
    ignores_header: bool = False
    """Whether X-Accel-Buffering, by which a response asks not to be buffered, is ignored."""
    read_timeout_s: float = _USUAL_PATIENCE_S


@attrs.frozen(kw_only=True)
class Facts:
    """What is known of a site and of where it runs."""

    settings: Settings = attrs.field(factory=Settings)
    faults: tuple[str, ...] = ()
    """What is wrong with its settings."""
    no_client: str = ""
    """Why the settings make no client; empty if they do, or should not."""
    is_asgi: bool = False
    packing: tuple[str, ...] = ()
    """Middleware that keeps replies back or packs them."""
    gunicorn: Optional[Gunicorn] = None
    streams: Optional[int] = None
    """How many replies are wanted at once."""
    proxies: tuple[ProxyBlock, ...] = ()


@attrs.frozen
class Finding:
    """Something that keeps replies from streaming, or will."""

    level: str
    """`error`: it cannot work; `warning`: not as it should."""
    id: str
    what: str
    why: str
    to_do: str


def findings(facts: Facts) -> tuple[Finding, ...]:
    """All that is found, in the order in which the parts of a site follow each other."""
    found = [*_of_settings(facts), *_of_framework(facts), *_of_store(facts)]
    if facts.gunicorn is not None:
        found += _of_gunicorn(facts.gunicorn, facts)
    return (*found, *_of_proxies(facts))


def report(found: Iterable[Finding]) -> str:
    """Findings as lines for a terminal."""
    texts = [
        f"{one.level} {one.id}: {one.what}\n  why: {one.why}\n  do:  {one.to_do}" for one in found
    ]
    return "\n".join(texts) or "Nothing found that keeps replies from streaming."


def _warning(id: str, what: str, why: str, to_do: str) -> Finding:
    return Finding("warning", id, what, why, to_do)


def _of_settings(facts: Facts) -> Iterator[Finding]:
    for fault in facts.faults:
        yield Finding(
            "error",
            "E001",
            fault,
            "what needs the settings raises ConfigurationError",
            "correct it",
        )
    if facts.no_client:
        why = "the first request that asks the model will fail of it"
        yield _warning("W001", facts.no_client, why, "set it where the server runs")


def _of_framework(facts: Facts) -> Iterator[Finding]:
    for path in facts.packing:
        yield _warning(
            "W002",
            f"the middleware {path} packs replies, or keeps them until they are whole",
            "text arrives in few large pieces, or all at the end",
            "have it leave responses alone that have a Content-Encoding, as those sent here do",
        )
    if facts.is_asgi:
        yield _warning(
            "W003",
            "the site is set up for ASGI",
            "there Django reads a reply to its end before it sends the first byte",
            "serve it by WSGI: gunicorn --worker-class gthread --threads 64",
        )


def _of_store(facts: Facts) -> Iterator[Finding]:
    workers = facts.gunicorn.workers if facts.gunicorn is not None else 1
    if not facts.faults and facts.settings.store_kind == "memory" and workers > 1:
        yield _warning(
            "W201",
            f"conversations are kept in memory, and there are {workers} processes",
            "each has its own: a conversation is known to the process alone that had its last turn",
            "set the store, to sqlite:///chats.db say, which all processes of a machine may share",
        )


def _of_gunicorn(server: Gunicorn, facts: Facts) -> Iterator[Finding]:
    if server.unread:
        yield _warning(
            "W105",
            f"gunicorn's settings are not all known: {server.unread}",
            "whether it streams is not known either",
            "correct it, or look it up: docs/web.md says what gunicorn needs",
        )
    elif server.is_sync:
        yield from _of_sync_workers(server, facts)
    elif any(word in server.worker_class.lower() for word in _COLLECTING):
        yield _warning(
            "W104",
            f"gunicorn's worker class is {server.worker_class}",
            "it hands a reply of a synchronous view on when it is whole",
            "use --worker-class gthread --threads 64",
        )
    elif server.is_threaded:
        at_once = server.workers * server.threads
        if facts.streams is not None and facts.streams > at_once:
            threads = math.ceil(facts.streams * _SPARE / server.workers)
            yield _warning(
                "W103",
                f"gunicorn has {at_once} threads, and {facts.streams} replies are wanted at once",
                "each reply has a thread as long as it lasts, and the other requests wait for one",
                f"use --threads {threads}, or more workers",
            )


def _of_sync_workers(server: Gunicorn, facts: Facts) -> Iterator[Finding]:
    yield _warning(
        "W101",
        "gunicorn has sync workers",
        f"each serves one browser as long as its reply lasts: {server.workers} at once",
        "use --worker-class gthread --threads 64",
    )
    longest_s = facts.settings.timeouts.total_s or math.inf
    if 0 < server.timeout_s < longest_s:
        limit = "has no limit" if longest_s == math.inf else f"may take {longest_s:g} s"
        yield _warning(
            "W102",
            f"gunicorn kills a sync worker after {server.timeout_s:g} s in one request",
            f"a reply {limit} (Timeouts.total_s), and is cut off",
            "use --worker-class gthread, whose time-out is not about replies",
        )


def _of_proxies(facts: Facts) -> Iterator[Finding]:
    for block in facts.proxies:
        if block.ignores_header and block.buffers:
            yield _warning(
                "W401",
                f"{block.where} buffers, and ignores X-Accel-Buffering",
                "text arrives in few large pieces, or all at the end",
                "turn buffering off there, or take X-Accel-Buffering out of ..._ignore_headers",
            )
        yield from _of_patience(facts, "W402", block.where, block.read_timeout_s)
    if not facts.proxies:
        yield from _of_patience(facts, "W301", "a proxy usually", _USUAL_PATIENCE_S)


def _of_patience(facts: Facts, id: str, who: str, patience_s: float) -> Iterator[Finding]:
    """Whether a proxy that waits so long for the next byte hangs up on a model that thinks."""
    settings = facts.settings
    hangs_up = f"{who} hangs up after {patience_s:g} s without a byte"
    if settings.protocol != "text":
        if settings.heartbeat_s >= patience_s:
            what = f"heartbeats come every {settings.heartbeat_s:g} s"
            why = f"{hangs_up}, while a model may think longer"
            yield _warning(id, what, why, f"set it below {patience_s:g} s; 15 s is usual")
        return
    clocks = (settings.timeouts.first_chunk_s, settings.timeouts.idle_s)
    silence_s = math.inf if None in clocks else max(clock or 0.0 for clock in clocks)
    if silence_s >= patience_s:
        what = "the protocol 'text' has no heartbeats"
        thinks = "without a limit" if silence_s == math.inf else f"for {silence_s:g} s"
        why = f"{hangs_up}, and a model may think {thinks} (Timeouts.first_chunk_s, idle_s)"
        yield _warning(id, what, why, "use another protocol")
