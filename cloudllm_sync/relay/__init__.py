"""A reply that one process reads and any number of others follow::

    relay = open_relay("redis://127.0.0.1:6379/0")

    relay.publish(session.stream("Hi"), key)          # in a task of Celery or RQ, or in a thread

    for chunk in relay.follow(key):                   # in a view, as often as one likes
        ...
    relay.cancel(key)                                 # from anywhere

A follower that comes late, or comes back, misses nothing.
"""

from __future__ import annotations

from cloudllm_sync.relay.following import Followed
from cloudllm_sync.relay.log import RelayKeyError
from cloudllm_sync.relay.relay import Relay, open_relay

__all__ = ["Followed", "Relay", "RelayKeyError", "open_relay"]
