"""A reply by callbacks: a progress line until the first token, Ctrl-C to stop the reply.

The callbacks run on a worker thread. They only put things into a queue, so that everything is
printed by the main thread, as an event loop would do.
"""

from __future__ import annotations

import queue
import sys
import time
from typing import Union

from client_from_args import argument_parser, chosen_client

from cloudllm_sync import CloudLLMError, LLMSession, Message, MessageChunk, StreamCancelled

Event = Union[MessageChunk, Message, CloudLLMError]


def show(events: queue.SimpleQueue[Event]) -> Message:
    """Print what comes, until the last event. Gives the whole reply, or raises its error."""
    asked = time.monotonic()
    progress = ""
    silent = True
    while True:
        try:
            event = events.get(timeout=0.1)
        except queue.Empty:
            if silent:
                progress = f"waiting ... {time.monotonic() - asked:.1f} s"
                print(f"\r{progress}", end="", flush=True)
            continue
        if silent:
            silent = False
            print("\r" + " " * len(progress) + "\r", end="")
        if isinstance(event, CloudLLMError):
            raise event
        if isinstance(event, Message):
            return event
        print(event.content, end="", flush=True)


def main() -> None:
    """Ask one question and wait for the end of its reply."""
    parser = argument_parser("A reply by callbacks; Ctrl-C stops it.")
    parser.add_argument("question", nargs="?", default="Why do people stream replies?")
    arguments = parser.parse_args()
    with chosen_client(arguments) as client:
        session = LLMSession(client, "You are a helpful assistant.")
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        handle = session.submit(
            arguments.question, on_chunk=events.put, on_finish=events.put, on_error=events.put
        )
        try:
            try:
                reply = show(events)
            except KeyboardInterrupt:
                handle.cancel()  # returns at once; the worker gets StreamCancelled
                reply = handle.result()  # a reply that was whole already is not lost
        except StreamCancelled:
            print("\n[stopped by Ctrl-C]")
            print(f"[partial reply: {handle.partial.content!r}]")
            print(f"[messages in the history: {len(session.history)}]")
            sys.exit(130)
        print(f"\n[finished: {reply.finish_reason}]")
        print(f"[messages in the history: {len(session.history)}]")


if __name__ == "__main__":
    main()
