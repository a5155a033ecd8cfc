"""Redis that is stopped, frozen, full, locked, a replica or a cluster, and lines that are cut."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

import pytest
import redis
from servers import Line, RedisServer

from cloudllm_sync import (
    CommitConflictError,
    ConfigurationError,
    Message,
    RedisStore,
    Role,
    StoredSession,
    StoreError,
    TokenUsage,
)
from cloudllm_sync.session.stores import redis as redis_store

HI = Message(Role.USER, "my-private-prompt")
USAGE = TokenUsage(1, 2, 3)
PASSWORD = "pass-0123456789"


@pytest.fixture
def start():
    """Starts a server of the test's own."""
    with contextlib.ExitStack() as stack:

        def run(*options):
            server = RedisServer(*options)
            stack.callback(server.remove)
            return server.start()

        yield run


@pytest.fixture
def server(start):
    return start()


@pytest.fixture
def open_store():
    """Opens stores; closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(*given, **options):
            return stack.enter_context(contextlib.closing(RedisStore(*given, **options)))

        yield make


@pytest.fixture
def own_client():
    """Makes clients as users make them; closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(server, **options):
            client = redis.Redis(host="127.0.0.1", port=server.port, **options)
            return stack.enter_context(contextlib.closing(client))

        yield make


@pytest.fixture
def line(server):
    """A line to the server."""
    with contextlib.closing(Line(server.port)) as line:
        yield line


@pytest.mark.parametrize("decode_responses", [False, True])
def test_client_of_ones_own_is_used_and_stays_open(server, own_client, decode_responses):
    """Whether it gives bytes or text."""
    client = own_client(server, decode_responses=decode_responses)
    store = RedisStore(client, prefix="ü:")

    store.append("grüße", 0, [HI, HI], USAGE, notes={"a": "ü"})
    store.close()

    assert StoredSession(1, (HI, HI), 2, USAGE, USAGE, {"a": "ü"}) == store.load("grüße")
    assert ["grüße"] == [info.session_id for info in store.sessions()]
    assert store.lease("grüße", "me", 5) == 0.0
    assert client.ping()
    with own_client(server, decode_responses=True) as other:
        assert all(key.startswith("ü:") for key in other.keys("*"))


@pytest.mark.parametrize("url", ["", "localhost", "http://localhost", "redis://localhost:port/0"])
def test_no_url_of_a_redis_is_refused(url):
    """The error says how one is written."""
    with pytest.raises(ConfigurationError, match="write redis://"):
        RedisStore(url)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "7"])
def test_time_that_is_none_is_refused(server, seconds):
    """Before a conversation is forgotten too early."""
    with pytest.raises(ConfigurationError, match="expire_after_s must be seconds"):
        RedisStore(server.url(), expire_after_s=seconds)


def test_prefix_that_is_no_text_is_refused(server):
    """Before a key is written."""
    with pytest.raises(ConfigurationError, match="prefix must be a string"):
        RedisStore(server.url(), prefix=b"chats:")


def test_conversation_is_forgotten_after_its_time(server, open_store):
    """All of it, its line in the table too; a new one with its name starts anew."""
    store = open_store(server.url(), expire_after_s=0.05)
    keeps = open_store(server.url())
    keeps.append("b", 0, [HI], None)
    for name in ["a", "c"]:
        store.append(name, 0, [HI], None)
    deadline = time.monotonic() + 20

    while store.load("c").version and time.monotonic() < deadline:
        time.sleep(0.01)  # Redis's clock

    assert ["b"] == [info.session_id for info in store.sessions(limit=1)]
    assert ["b"] == [info.session_id for info in store.sessions()]
    assert store.load("a") == StoredSession()
    store.append("a", 0, [HI], None)


def test_conversation_is_kept_without_a_time(server, open_store, own_client):
    """No key has an end but a lease's."""
    store = open_store(server.url())
    store.append("a", 0, [HI], None)
    store.lease("a", "me", 60)

    client = own_client(server, decode_responses=True)

    ends = {key: client.pttl(key) for key in client.keys("*")}
    assert 0 < ends.pop("cloudllm:lease:a") <= 60_000
    assert set(ends.values()) == {-1}


def test_stopped_server_is_an_error_and_a_started_one_is_used_again(server, open_store):
    """By a store that had connections, and by one that had none; what was said is there."""
    stores = [open_store(server.url()) for _ in range(2)]
    stores[0].append("chat", 0, [HI], None)
    server.kill()

    for store in stores:
        for act in (
            lambda store=store: store.load("chat"),
            lambda store=store: store.append("chat", 1, [HI], None),
            lambda store=store: store.lease("chat", "me", 1),
        ):
            with pytest.raises(StoreError, match=r"^Redis: .*(refused|closed)"):
                act()

    server.start()
    for version, store in enumerate(stores, 1):
        store.append("chat", version, [HI], None)
        assert store.load("chat").length == version + 1


def test_frozen_server_is_an_error_in_time(server, open_store, monkeypatch):
    """Nobody waits for ever; what had been sent may have been done, which the error says."""
    monkeypatch.setattr(redis_store, "_ANSWER_S", 0.1)
    store = open_store(server.url())
    store.append("chat", 0, [HI], None)

    with server.frozen():
        with pytest.raises(StoreError, match=r"[Tt]ime"):
            store.load("chat")

    assert store.load("chat").length == 1


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("way", ["append", "clear", "replace"])
def test_change_whose_answer_is_lost_is_made_once(server, line, open_store, way, answered):
    """Whether the server had made it or not; nobody is told of a conflict with himself."""
    direct, store = open_store(server.url()), open_store(f"redis://127.0.0.1:{line.port}/0")
    store.append("chat", 0, [HI], USAGE)
    given = {
        "append": ([HI], USAGE),
        "clear": (),
        "replace": (StoredSession(messages=(HI,) * 2, usage=USAGE + USAGE),),
    }[way]
    line.cut_at(b"RPUSH", answered=answered)  # the script that changes

    getattr(store, way)("chat", 1, *given)

    stored = direct.load("chat")
    assert line.cuts == 1
    assert stored.version == 2
    if way == "clear":
        assert (0, USAGE) == (stored.length, stored.usage)
    else:
        assert ((HI, HI), USAGE + USAGE) == (stored.messages, stored.usage)


def test_change_whose_answer_is_lost_may_be_built_upon_at_once(server, line, open_store):
    """By somebody who was told of it before the one who made it."""
    direct, store = open_store(server.url()), open_store(f"redis://127.0.0.1:{line.port}/0")
    line.cut_at(b"RPUSH", answered=True)
    read = store._ask

    def read_late(script, *given):
        if line.cuts and direct.load("chat").version == 1:
            direct.append("chat", 1, [HI], None)
        return read(script, *given)

    store._ask = read_late

    store.append("chat", 0, [HI], None)

    assert (2, 2) == (direct.load("chat").version, direct.load("chat").length)


@pytest.mark.parametrize("others", [1, 9])
def test_change_that_was_not_made_is_no_success(server, line, open_store, others):
    """If somebody else was faster meanwhile it is a conflict, or unknown after very many."""
    direct, store = open_store(server.url()), open_store(f"redis://127.0.0.1:{line.port}/0")
    line.cut_at(b"RPUSH", answered=False)
    read = store._ask

    def read_late(script, *given):
        if line.cuts and not direct.load("chat").version:
            for version in range(others):
                direct.append("chat", version, [], None)
        return read(script, *given)

    store._ask = read_late

    with pytest.raises(StoreError) as caught:
        store.append("chat", 0, [HI], None)

    assert (others == 1) == isinstance(caught.value, CommitConflictError)
    assert direct.load("chat").length == 0


def test_change_whose_server_dies_is_unknown(server, line, open_store):
    """The error says so; who looks later finds it made or not, and whole."""
    store = open_store(f"redis://127.0.0.1:{line.port}/0")
    read = store._ask

    def read_late(script, *given):
        if line.cuts:
            server.kill()
        return read(script, *given)

    store._ask = read_late
    line.cut_at(b"RPUSH", answered=True)

    with pytest.raises(StoreError, match="whether it was is not known") as caught:
        store.append("chat", 0, [HI, HI], None)

    server.start()
    assert not isinstance(caught.value, CommitConflictError)
    assert open_store(server.url()).load("chat").length in (0, 2)


@pytest.mark.parametrize("way", ["load", "lease", "sessions", "delete"])
def test_question_whose_answer_is_lost_is_asked_again(server, line, open_store, way):
    """Asking twice changes nothing."""
    store = open_store(f"redis://127.0.0.1:{line.port}/0")
    store.append("chat", 0, [HI], None)
    given = {"lease": ("chat", "me", 60), "sessions": ()}.get(way, ("chat",))
    line.cut_at(b"EVAL", answered=True)

    answer = getattr(store, way)(*given)

    assert line.cuts == 1
    assert answer == {"load": store.load("chat"), "lease": 0.0, "delete": None}.get(
        way, store.sessions()
    )


@pytest.mark.parametrize("credentials", ["", ":wrong-0123456789@", "me:wrong-0123456789@"])
def test_server_that_wants_a_password_is_an_error(start, open_store, credentials):
    """It says what to do."""
    server = start("--requirepass", PASSWORD)

    with pytest.raises(StoreError, match="check user and password"):
        open_store(server.url(credentials)).append("chat", 0, [HI], None)

    assert open_store(server.url(f":{PASSWORD}@")).load("chat").version == 0


def test_no_secret_is_in_a_report(start, open_store, report_of, things_in):
    """Neither the password nor what was said: in words, variables, causes."""
    server = start("--requirepass", PASSWORD)
    store = open_store(server.url(f":{PASSWORD}@"))
    wrong = open_store(server.url(":wrong-0123456789@"))
    store.append("chat", 0, [HI], None)
    server.kill()
    errors = []

    for act in (
        lambda: store.append("chat", 1, [HI], None),
        lambda: store.load("chat"),
        lambda: wrong.append("chat", 1, [HI], None),
        lambda: RedisStore(f"http://:{PASSWORD}@localhost"),
        lambda: RedisStore(f"redis://:{PASSWORD}@localhost:port"),
    ):
        with pytest.raises((StoreError, ConfigurationError)) as caught:
            act()
        errors.append(report_of(caught.value) + repr(things_in(caught.value)))

    shown = [*errors, repr(store)]
    secrets = [PASSWORD, "wrong-0123456789", "my-private-prompt"]
    assert [text for text in shown if any(secret in text for secret in secrets)] == []


def test_full_server_changes_nothing(server, open_store, own_client):
    """What was said before can be read, and there is room later."""
    store = open_store(server.url())
    store.append("chat", 0, [HI], None)
    own_client(server).config_set("maxmemory", "1")

    for act in (
        lambda: store.append("chat", 1, [HI], None),
        lambda: store.replace("chat", 1, StoredSession(messages=(HI,) * 5)),
    ):
        with pytest.raises(StoreError, match="out of memory"):
            act()

    assert store.load("chat").messages == (HI,)
    own_client(server).config_set("maxmemory", "0")
    store.append("chat", 1, [HI], None)


def test_conversation_that_was_evicted_in_part_is_an_error(server, open_store, own_client):
    """Rather than a shorter one."""
    store = open_store(server.url())
    store.append("chat", 0, [HI], None)
    own_client(server).delete("cloudllm:messages:chat")

    with pytest.raises(StoreError, match="damaged or incomplete"):
        store.load("chat")


def test_replica_is_an_error(start, server, open_store):
    """It cannot be written to."""
    replica = start("--replicaof", "127.0.0.1", str(server.port))

    with pytest.raises(StoreError, match="replica, give the address of its primary"):
        open_store(replica.url()).append("chat", 0, [HI], None)


def test_server_that_is_loading_is_an_error(open_store):
    """A conversation that is not there yet is not an empty one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        store = open_store(url)
        with pytest.raises(StoreError, match="try again in a moment"):
            with answering(listener, b"-LOADING Redis is loading the dataset in memory\r\n"):
                store.load("chat")


@contextlib.contextmanager
def answering(listener, answer):
    """A server that has one answer to everything."""

    def talk():
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock:
                    while sock.recv(65536):
                        sock.sendall(answer * 10)

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    yield


def test_cluster_takes_it_with_a_hash_tag(start, open_store):
    """All keys are in one slot then; without one the error says so."""
    server = start("--cluster-enabled", "yes")
    with contextlib.closing(redis.Redis(port=server.port)) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        deadline = time.monotonic() + 20
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    with contextlib.closing(redis.RedisCluster(host="127.0.0.1", port=server.port)) as cluster:
        store = RedisStore(cluster, prefix="{chats}:")

        store.append("chat", 0, [HI], USAGE)

        assert store.load("chat").messages == (HI,)
        assert ["chat"] == [info.session_id for info in store.sessions(prefix="c")]
        assert store.lease("chat", "me", 5) == 0.0
        with pytest.raises(StoreError, match=r"prefix='\{chats\}:'"):
            RedisStore(cluster).append("chat", 0, [HI], USAGE)


def test_child_has_connections_of_its_own(server, open_store):
    """Parent and child go on with one store, and neither gets the other's answers."""
    store = open_store(server.url())
    store.append("parent", 0, [HI], None)
    pid = os.fork()
    if not pid:
        try:
            for version in range(200):
                store.append("child", version, [HI], None)
        finally:
            os._exit(0)

    lengths = {store.load("parent").length for _ in range(200)}

    os.waitpid(pid, 0)
    assert lengths == {1}
    assert store.load("child").length == 200
