"""Several processes on one place: they share conversations, and are killed in the middle."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
import traceback

import pytest

from cloudllm_sync import Message, Role, TokenUsage

USAGE = TokenUsage(1, 2, 3)


@pytest.fixture
def start(lasting_place):
    """Forks a child that does something with a store of its own, and writes to a pipe."""
    children, told = {}, {}

    def fork(act):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            status = 1
            try:
                os.close(reader)
                with contextlib.closing(lasting_place.open()) as store:
                    act(store, writer)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writer)
        children[pid] = reader
        told[pid] = b""
        return pid

    def first_word(pid):
        """Waits until it has written something."""
        told[pid] += os.read(children[pid], 65536)

    def wait(pid):
        """What it has written, and how it ended."""
        while block := os.read(children[pid], 65536):
            told[pid] += block
        os.close(children.pop(pid))
        return told[pid], os.waitpid(pid, 0)[1]

    fork.wait, fork.first_word = wait, first_word
    yield fork
    for pid in list(children):
        os.kill(pid, signal.SIGKILL)
        wait(pid)


def turn(label):
    return [Message(Role.USER, f"ask {label}"), Message(Role.ASSISTANT, f"say {label}")]


def test_killed_at_any_moment_it_leaves_whole_turns(lasting_place, open_store_on, start, request):
    """All that append() returned from, at most one more, and the next process goes on."""
    embedded = request.node.callspec.params["lasting_place"] in ("sqlite", "redis")
    times = 50 if embedded else 10  # databases have transactions of their own, and start slowly
    moments = random.Random(50)
    faults = []

    def talk(store, writer):
        number = store.load("chat", newest=0).version
        while True:
            store.append("chat", number, turn(number), USAGE, notes={"number": number})
            os.write(writer, b".")
            number += 1

    before = 0
    for _ in range(times):
        pid = start(talk)
        if moments.random() < 0.8:  # else while it opens the place
            start.first_word(pid)
        time.sleep(moments.uniform(0.0, 0.03))
        os.kill(pid, signal.SIGKILL)
        answered = len(start.wait(pid)[0])
        stored = open_store_on(lasting_place).load("chat")
        wanted = [message for number in range(stored.version) for message in turn(number)]
        if list(stored.messages) != wanted or not answered <= stored.version - before <= (
            answered + 1
        ):
            faults.append((before, answered, stored.version, len(stored.messages)))
        before = stored.version

    assert faults == []
    assert before >= times // 2
    assert stored.usage == TokenUsage(before, 2 * before, 3 * before)


def test_no_turn_is_lost_or_doubled_by_processes_that_share_sessions(
    lasting_place, open_store_on, start
):
    """Four processes of four threads, five sessions; whoever has the lease is never refused."""

    def work(store, number, faults):
        choices = random.Random(number)
        for round_number in range(6):
            name = f"chat {choices.randrange(5)}"
            owner = f"{number}"
            while (wait := store.lease(name, owner, 30.0)) > 0:
                time.sleep(min(wait, choices.uniform(0.001, 0.01)))
            try:
                stored = store.load(name, newest=2)
                store.append(name, stored.version, turn(f"{number}.{round_number}"), USAGE)
            except BaseException as error:
                faults.append(repr(error))
            store.release(name, owner)

    def process(number):
        def act(store, writer):
            faults = []
            threads = [
                threading.Thread(target=work, args=(store, 4 * number + thread, faults))
                for thread in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            os.write(writer, "\n".join(faults).encode())

        return act

    pids = [start(process(number)) for number in range(4)]
    ended = [start.wait(pid) for pid in pids]

    store = open_store_on(lasting_place)
    asked, said = [], []
    for info in store.sessions():
        messages = store.load(info.session_id).messages
        asked += [message.content for message in messages[::2]]
        said += [message.content for message in messages[1::2]]
    labels = [f"{number}.{turns}" for number in range(16) for turns in range(6)]
    assert [(b"", 0)] * 4 == ended
    assert sorted(f"ask {label}" for label in labels) == sorted(asked)
    assert [text.replace("ask", "say") for text in asked] == said


def test_lease_of_a_killed_process_ends_by_itself(lasting_place, open_store_on, start):
    """Nobody has to clean up after it."""

    def hold(store, writer):
        store.lease("chat", "killed", 0.3)
        os.write(writer, b".")
        os.kill(os.getpid(), signal.SIGKILL)

    told, _ = start.wait(start(hold))
    store = open_store_on(lasting_place)
    deadline = time.monotonic() + 20
    while (wait := store.lease("chat", "mine", 60)) > 0 and time.monotonic() < deadline:
        threading.Event().wait(wait)

    assert (b".", 0.0) == (told, wait)
