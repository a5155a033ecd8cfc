"""Publishers and followers for test_processes.py, in processes of their own.

followers.py publish REDIS_URL LLM_URL KEY...     # prints each key's text, once all have ended
followers.py follow REDIS_URL SEED KEY...         # prints each follower's text
followers.py tell REDIS_URL AFTER KEY             # prints each chunk and its id, to be killed
"""

from __future__ import annotations

import json
import random
import sys
import threading

from cloudllm_sync import CloudLLMError, OpenAICompatibleClient
from cloudllm_sync.relay import open_relay

LEASE_S = 2.0


def publish(relay, client, key, texts):
    texts[key] = relay.publish(client.send_message_stream(key), key).content


def follow(relay, key, chance, texts, name):
    """Reads, drops what it follows at random, and goes on behind what it was given last."""
    text, after = "", None
    while True:
        followed = relay.follow(key, after=after, wait_s=20)
        leaves_after = chance.choice([1, 2, 5, 10, 1000])
        for count, chunk in enumerate(followed, 1):
            text += chunk.content
            if count == leaves_after:
                break
        else:
            texts[name] = text
            return
        after = followed.last_event_id
        followed.close()


def tell(redis_url, after, key):
    with open_relay(redis_url, lease_s=LEASE_S) as relay:
        followed = relay.follow(key, after=after, wait_s=20)
        for chunk in followed:
            print(json.dumps([chunk.content, followed.last_event_id]), flush=True)
    print("null", flush=True)


def main():
    role, redis_url, given, *keys = sys.argv[1:]
    if role == "tell":
        tell(redis_url, given, *keys)
        return
    texts = {}
    with open_relay(redis_url, lease_s=LEASE_S) as relay:
        if role == "publish":
            client = OpenAICompatibleClient("m", base_url=given)
            jobs = [(publish, relay, client, key, texts) for key in keys]
        else:
            jobs = [
                (follow, relay, key, random.Random(f"{given}{number}"), texts, f"{key} {number}")
                for number, key in enumerate(keys)
            ]
        print("ready", flush=True)
        threads = [threading.Thread(target=job[0], args=job[1:]) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(json.dumps(texts), flush=True)


if __name__ == "__main__":
    try:
        main()
    except CloudLLMError as error:
        sys.exit(f"{type(error).__name__}: {error}")
