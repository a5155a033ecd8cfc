"""Several processes on the sessions of one store."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
from collections import Counter

import pytest

from cloudllm_sync import open_store

IDS = [f"shared {n}" for n in range(5)]
PROGRAM = pathlib.Path(__file__).with_name("turns_of_a_process.py")
PROCESSES, THREADS, TURNS = 4, 4, 208
EACH = TURNS // PROCESSES // THREADS


def lease_is_free(store, session_id):
    """Whether nobody holds the session any more."""
    left_s = store.lease(session_id, "test", 1.0)
    store.release(session_id, "test")
    return left_s <= 0


@pytest.fixture
def url(request, tmp_path):
    """Of an empty place that other processes reach."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/chats.db"
    if request.param == "redis":
        return request.getfixturevalue("redis_server")
    return request.getfixturevalue(f"{request.param}_server").url()


@pytest.mark.parametrize("url", ["sqlite", "redis", "postgresql", "mariadb"], indirect=True)
def test_no_turn_of_four_processes_is_lost_or_doubled(url, serve, echo):
    """Refused turns are refused before their request; all others are in one history, in pairs."""
    server = serve(default=echo)

    running = [
        subprocess.Popen(
            [sys.executable, PROGRAM, f"p{n}", url, server.base_url, str(EACH)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(PROCESSES)
    ]
    outputs = [process.communicate(timeout=100) for process in running]

    assert [(0, "")] * PROCESSES == [
        (process.returncode, errors) for process, (_, errors) in zip(running, outputs)
    ]
    told = [json.loads(output) for output, _ in outputs]
    kept = [tuple(turn) for process in told for turn in process["kept"]]
    refused = [turn for process in told for turn in process["refused"]]
    assert len(kept) + len(refused) == TURNS
    assert len(server.requests) == len(kept)
    with contextlib.closing(open_store(url)) as store:
        for session_id in IDS:
            assert lease_is_free(store, session_id)
        names = sorted({session_id for session_id, _ in kept})
        assert [info.session_id for info in store.sessions(prefix="shared")] == names
        found = Counter()
        for name in names:
            stored = store.load(name)
            pairs = list(zip(stored.messages[::2], stored.messages[1::2]))
            assert 2 * len(pairs) == len(stored.messages) == stored.length
            assert stored.version == len(pairs)
            for question, answer in pairs:
                assert answer.content == f"re: {question.content}"
            usage = [answer.usage.total_tokens for _, answer in pairs]
            assert stored.usage.total_tokens == sum(usage) > 0
            found.update((name, question.content) for question, _ in pairs)
    assert found == Counter(kept)
