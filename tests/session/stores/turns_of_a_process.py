"""A process of several threads that take turns on shared sessions; says what came of each turn.

Run as a program by test_processes.py: python turns_of_a_process.py NAME STORE_URL SERVER_URL
"""

from __future__ import annotations

import json
import random
import sys
import threading

from cloudllm_sync import LLMSession, OpenAIClient, SessionBusyError, open_store

THREADS = 4
SESSIONS = 5
PATIENCE_S = 60.0


def turns(thread, client, store, name, number, kept, refused):
    """Every other turn waits for the others; the rest are refused if there are any."""
    plan = random.Random(f"{name}/{thread}")
    for n in range(number):
        session_id = f"shared {plan.randrange(SESSIONS)}"
        text = f"{name}/{thread}/{n}"
        session = LLMSession(
            client, session_id=session_id, store=store, turn_timeout=PATIENCE_S * (n % 2)
        )
        try:
            reply = session.stream(text).result()
        except SessionBusyError:
            refused.append(text)
        else:
            assert reply.content == f"re: {text}"
            kept.append((session_id, text))


def main(name, store_url, server_url, number):
    """Print the turns that were kept, and those that were refused."""
    kept, refused = [], []
    with OpenAIClient("gpt-5", api_key="test", base_url=server_url, max_retries=0) as client:
        store = open_store(store_url)
        threads = [
            threading.Thread(target=turns, args=(n, client, store, name, number, kept, refused))
            for n in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.close()
    print(json.dumps({"kept": kept, "refused": refused}))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
