"""The worker's side: a task reads a reply, and publishes it for whoever follows.

CHAT_MODEL=openai:gpt-5.4-mini celery --app tasks worker --pool threads --concurrency 32
"""

from __future__ import annotations

import functools
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "chat_page"))

from celery import Celery
from chats import Chats
from running import open_running

from cloudllm_sync import open_client, open_store
from cloudllm_sync.relay import open_relay

REDIS_URL = os.environ.get("CHAT_REDIS", "redis://127.0.0.1:6379/0")

app = Celery("celery_chat", broker=REDIS_URL)
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True


@functools.cache
def chats() -> Chats:
    """One for all tasks of a worker, which share its connections."""
    return Chats(
        open_client(os.environ["CHAT_MODEL"]),
        open_store(os.environ.get("CHAT_STORE", "sqlite:///chats.db")),
        open_relay(REDIS_URL),
        open_running(REDIS_URL),
    )


# A task whose worker was killed is not done again: the page says so, and has a button for that.
@app.task
def answer(chat: str, asked: dict[str, str]) -> None:
    """Read one reply to its end."""
    chats().answer(chat, asked)
