"""What a turn costs with a long history: opening the session, and reading what it sends.

    python benchmarks/history.py [--redis redis://localhost:6379/0]

The client answers at once, from memory, so that what is left is the session and its store.
Medians of process CPU, and of elapsed time, as commits wait for the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # runs in a clone, too

from cloudllm_sync import LLMSession, Message, Role, SessionStore, TokenUsage, open_store

LENGTHS = (100, 1_000, 10_000)
RUNS = 30


class Answers:
    """A client that answers at once."""

    model_name = provider_name = "here"

    def send_message(self, messages: Sequence[Message], tools: object = None) -> Message:
        """The same reply to all."""
        usage = TokenUsage(sum(len(message.content) for message in messages) // 4, 10, 20)
        return Message(Role.ASSISTANT, "word " * 40, finish_reason="stop", usage=usage)


def fill(store: SessionStore, name: str, length: int) -> None:
    """A history of so many messages."""
    messages = [
        Message((Role.USER, Role.ASSISTANT)[number % 2], f"message {number} " + "word " * 40)
        for number in range(length)
    ]
    store.append(name, 0, messages, TokenUsage(1, 1, 2))


def cost(store: SessionStore, name: str) -> tuple[float, float]:
    """Milliseconds of CPU, and elapsed, of a new session object and one turn."""
    cpu, elapsed = time.process_time(), time.perf_counter()
    LLMSession(Answers(), session_id=name, store=store, max_tokens=2_000).ask("hi")
    return (time.process_time() - cpu) * 1e3, (time.perf_counter() - elapsed) * 1e3


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", metavar="URL")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        urls = ["memory:", f"sqlite:///{folder}/chats.db"]
        urls += [arguments.redis] if arguments.redis else []
        print(f"{'':24}" + "".join(f"{length:>20,}" for length in LENGTHS))
        for url in urls:
            with contextlib.closing(open_store(url)) as store:
                names = {length: f"benchmark-{length}-{time.time()}" for length in LENGTHS}
                for length, name in names.items():
                    fill(store, name, length)
                runs = [{n: cost(store, names[n]) for n in LENGTHS} for _ in range(RUNS)]
                cells = [
                    tuple(statistics.median(run[n][part] for run in runs) for part in (0, 1))
                    for n in LENGTHS
                ]
                for name in names.values():
                    store.delete(name)
            row = "".join(f"{cpu:>9.2f} CPU {wall:>6.2f}" for cpu, wall in cells)
            print(f"{url.partition(':')[0] + ', ms':24}{row}")


if __name__ == "__main__":
    main()
