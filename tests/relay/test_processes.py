"""Publishers and followers in different processes, over a real redis-server."""

from __future__ import annotations

import json
import os
import pathlib
import random
import subprocess
import sys
import threading

import pytest

from cloudllm_sync import CloudLLMError, StreamInterrupted
from cloudllm_sync.relay import open_relay
from cloudllm_sync.testing import FakeServer, Raw, Reply, Stall, WaitFor, openai_events

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATIENCE_S = 60.0
STREAMS, FOLLOWERS, PROCESSES = 20, 100, 4


def started(*arguments):
    return subprocess.Popen(
        [sys.executable, str(HERE / "followers.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process):
    """What it prints at its end."""
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def test_every_follower_ends_with_the_same_text(redis_server):
    """100 of 20 streams, who leave at random and come back behind what they had."""

    def speak(request):
        prompt = request.json["messages"][-1]["content"]
        return Reply([f"{prompt}:{number} " for number in range(60)], token_delay_s=0.005)

    keys = [f"stream-{number}" for number in range(STREAMS)]
    per_process = FOLLOWERS // PROCESSES
    with FakeServer(default=speak) as server:
        followers = [
            started(
                "follow",
                redis_server,
                str(seed),
                *(keys[(seed * per_process + at) % STREAMS] for at in range(per_process)),
            )
            for seed in range(PROCESSES)
        ]
        publisher = started("publish", redis_server, server.base_url, *keys)
        texts = said(publisher)
        followed = [said(process) for process in followers]

    wanted = {key: "".join(f"{key}:{number} " for number in range(60)) for key in keys}
    assert texts == wanted
    assert sum(map(len, followed)) == FOLLOWERS
    for found in followed:
        assert {name: wanted[name.partition(" ")[0]] for name in found} == found


def followed_by_processes_that_are_killed(redis_server, key, chance):
    """The text that processes tell one after the other, each killed after some chunks."""
    text, after, killed = "", "", 0
    while True:
        process = started("tell", redis_server, after, key)
        lives = chance.choice([10, 30, 50])
        told = [json.loads(line) for line, _ in zip(process.stdout, range(lives))]
        process.kill()
        process.communicate(timeout=PATIENCE_S)
        for chunk in told:
            if chunk is None:
                return text, killed
            text, after = text + chunk[0], chunk[1]
        killed += 1


def test_followers_that_are_killed_are_gone_on_for(redis_server):
    """By kill -9, at random: nothing is missing and nothing is there twice."""
    words = [f"{number} " for number in range(80)]
    with FakeServer(Reply(words, token_delay_s=0.03)) as server:
        publisher = started("publish", redis_server, server.base_url, "killed followers")
        followers = [
            followed_by_processes_that_are_killed(
                redis_server, "killed followers", random.Random(seed)
            )
            for seed in range(2)
        ]
        said(publisher)

    assert ["".join(words)] * 2 == [text for text, _ in followers]
    assert 2 <= sum(killed for _, killed in followers)


def test_followers_are_told_of_a_publisher_that_was_killed(redis_server):
    """With what had arrived, though it could not say a word."""
    events = openai_events(Reply("one two three"))
    with FakeServer(default=Raw(*events[:3], Stall())) as server:
        publisher = started("publish", redis_server, server.base_url, "killed")
        with open_relay(redis_server, lease_s=2.0) as relay:
            followed = relay.follow("killed", wait_s=PATIENCE_S)
            seen = next(followed).content
            while seen != "one two":
                seen += next(followed).content
            publisher.kill()
            publisher.communicate()
            with pytest.raises(StreamInterrupted, match="gone") as told:
                next(followed)

    assert told.value.partial.content == "one two"


def test_cancel_reaches_another_process(redis_server):
    """Which ends the provider's stream."""
    events = openai_events(Reply("one two three"))
    with FakeServer(default=Raw(*events[:2], Stall())) as server:
        publisher = started("publish", redis_server, server.base_url, "stopped")
        with open_relay(redis_server, lease_s=2.0) as relay:
            followed = relay.follow("stopped", wait_s=PATIENCE_S)
            next(followed)
            relay.cancel("stopped")
            with pytest.raises(CloudLLMError, match="cancelled") as told:
                list(followed)
            assert server.wait_until_idle(PATIENCE_S)
            publisher.communicate(timeout=PATIENCE_S)

    assert told.value.partial.content == "one"


def test_redis_that_dies_is_told_to_publisher_and_followers(serve, make_client):
    """The publisher has the reply all the same."""
    from servers import RedisServer

    from cloudllm_sync import StoreError

    gate = threading.Event()
    events = openai_events(Reply("one two three"))
    client = make_client(serve(Raw(*events[:2], WaitFor(gate), *events[2:])))
    server = RedisServer()
    server.start()
    outcome = []
    try:
        with open_relay(server.url(), lease_s=2.0) as relay:

            def publish():
                try:
                    relay.publish(client.send_message_stream("hi"), "key")
                except StoreError as error:
                    outcome.append(error)

            thread = threading.Thread(target=publish)
            thread.start()
            followed = relay.follow("key", wait_s=PATIENCE_S)
            next(followed)
            server.kill()
            gate.set()
            with pytest.raises(StoreError, match="Redis"):
                list(followed)
            thread.join(PATIENCE_S)
    finally:
        server.remove()

    assert outcome[0].reply.content == "one two three"
