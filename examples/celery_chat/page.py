"""The chat page, its replies made by Celery workers: pages and models on different machines.

    python examples/celery_chat/page.py --redis redis://127.0.0.1:6379/0 --model openai:gpt-5.4-mini

This starts the page (Flask) and one worker. It needs a redis-server, and
`pip install flask "cloudllm-sync[celery]"`. Without --model the embedded server answers, and no
key is needed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

HERE = pathlib.Path(__file__).resolve().parent
EXAMPLES = HERE.parent
sys.path[:0] = [str(HERE), *(str(EXAMPLES / name) for name in ("", "chat_page", "flask_chat"))]

from app import make_app  # noqa: E402
from chats import Conversations  # noqa: E402
from running import open_running  # noqa: E402

from cloudllm_sync import ChatStream, CloudLLMError, open_client, open_store  # noqa: E402
from cloudllm_sync.relay import open_relay  # noqa: E402
from cloudllm_sync.testing import FakeServer  # noqa: E402
from cloudllm_sync.testing.demo import demo_model  # noqa: E402

try:
    import tasks
except ImportError:
    sys.exit('this example needs Celery: pip install "cloudllm-sync[celery]"')

_WORKER = ("--quiet", "worker", "--pool", "threads", "--concurrency", "32", "-l", "WARNING")


class QueuedConversations(Conversations):
    """Conversations whose replies are made by workers."""

    begins_within_s = 60.0  # a worker may be busy

    def begin(self, chat: str, text: str) -> str:
        """Have a worker ask; the key under which its reply is to be followed."""
        asked = self.new_question(chat, text)
        self.running.put(asked["key"], asked)  # whoever follows may wait for it
        self.running.put(chat, asked, if_free=True)
        tasks.answer.apply_async((chat, asked), task_id=asked["key"])
        return asked["key"]

    def stop(self, key: str) -> bool:
        """End a reply, also one that no worker has begun."""
        if self.relay.cancel(key):
            return True
        tasks.app.control.revoke(key)
        nothing = ChatStream.of(())
        nothing.cancel()
        with contextlib.suppress(CloudLLMError):  # it is over, or else followers are told now
            self.relay.publish(nothing, key)
        return False


@contextlib.contextmanager
def worker(arguments: argparse.Namespace) -> Iterator[None]:
    """One worker, for as long as the page is there."""
    with FakeServer(default=demo_model) as server:
        model = arguments.model or f"custom:demo-model@{server.base_url}"
        names = {
            "CHAT_MODEL": model,
            "CHAT_REDIS": arguments.redis,
            "CHAT_STORE": arguments.store,
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        }
        process = subprocess.Popen(  # noqa: S603 (all of it is written here)
            [sys.executable, "-m", "celery", "--app", "tasks", *_WORKER],
            env={**os.environ, **names},
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _check(arguments: argparse.Namespace) -> None:
    """Say here what is missing: a worker would only log it, while the page waits."""
    try:
        if arguments.model:
            open_client(arguments.model).close()
        open_relay(arguments.redis).cancel("nothing")
    except (CloudLLMError, ImportError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def main() -> None:
    """Serve on loopback."""
    parser = argparse.ArgumentParser(description="A chat page whose replies Celery workers make.")
    parser.add_argument("--redis", metavar="URL", default=tasks.REDIS_URL)
    parser.add_argument("--model", metavar="MODEL", help="as openai:gpt-5.4-mini")
    parser.add_argument("--store", default="sqlite:///chats.db", help="keeps conversations")
    parser.add_argument("--port", type=int, default=5000)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # as Ctrl-C: the worker is ended, too
    _check(arguments)
    tasks.app.conf.broker_url = arguments.redis
    with worker(arguments), open_relay(arguments.redis) as relay:
        running = open_running(arguments.redis)
        conversations = QueuedConversations(open_store(arguments.store), relay, running)
        make_app(conversations).run(port=arguments.port, threaded=True)


if __name__ == "__main__":
    main()
