"""The same job on Celery, past one machine: tasks in Redis, answered by workers anywhere.

This starts one worker, hands it the prompts, and prints replies as they come. It needs
`pip install "cloudllm-sync[celery]"` and a redis-server: python celery_batch.py --redis
redis://localhost:6379/0

On other machines: REDIS_URL=... celery --app celery_batch worker
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
from pathlib import Path

from celery import Celery, group

from cloudllm_sync import (
    Client,
    CloudLLMError,
    OpenAIClient,
    OpenAICompatibleClient,
    RateLimitError,
    ServerError,
    TransportError,
)
from cloudllm_sync.testing import FakeServer
from cloudllm_sync.testing.demo import demo_model

CITIES = ("Cologne", "Lisbon", "Oslo", "Ulm", "Riga", "Porto", "Turin", "Gdansk")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = Celery("celery_batch", broker=REDIS_URL, backend=REDIS_URL)
app.conf.task_acks_late = True  # a prompt of a worker that was killed goes to another one
app.conf.result_expires = 3600
app.conf.broker_connection_retry_on_startup = True


@functools.cache
def client() -> Client:
    """One client for all tasks of a worker, whose connections they share."""
    base_url = os.environ.get("EXAMPLE_BASE_URL")
    if base_url:
        return OpenAICompatibleClient("demo-model", base_url=base_url)
    return OpenAIClient("gpt-5.4-mini")


# The client has retried already; what still fails is tried again when others have had their turn.
@app.task(
    autoretry_for=(RateLimitError, ServerError, TransportError),
    retry_backoff=True,
    max_retries=3,
)
def answer(prompt: str) -> str:
    """The reply to one prompt."""
    return client().send_message(prompt).content


def ask_all() -> None:
    """Hand in all prompts, print the replies as they come."""
    job = group(answer.s(f"One sentence about {city}.") for city in CITIES)()
    for city, result in zip(CITIES, job.results):
        try:
            print(f"{city}: {result.get(timeout=30)}")
        except CloudLLMError as error:
            print(f"[{city}: {type(error).__name__}: {error}]")
    job.forget()


def main() -> None:
    """Start a worker, give it work, end it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", metavar="URL", default=REDIS_URL)
    arguments = parser.parse_args()
    app.conf.update(broker_url=arguments.redis, result_backend=arguments.redis)
    command = ("--quiet", "worker", "--pool", "threads", "--concurrency", "4", "-l", "WARNING")
    with FakeServer(default=demo_model) as server:
        environment = {**os.environ, "REDIS_URL": arguments.redis}
        if not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPEN_AI_SECRET")):
            print("No key: the worker asks the embedded server.")
            environment["EXAMPLE_BASE_URL"] = server.base_url
        worker = subprocess.Popen(  # noqa: S603 (all of it is written here)
            [sys.executable, "-m", "celery", "--app", "celery_batch", *command],
            cwd=Path(__file__).parent,
            env=environment,
        )
        try:
            ask_all()
        finally:
            worker.terminate()
            worker.wait()


if __name__ == "__main__":
    main()
