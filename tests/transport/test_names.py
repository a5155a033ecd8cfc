"""Names to addresses: on a clock, cancellable, one thread for each name."""

from __future__ import annotations

import socket
import threading

import pytest

from cloudllm_sync import ConnectError, RequestTimeoutError, StreamCancelled, Timeouts
from cloudllm_sync.transport import names
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.transport.names import resolve

ANSWER = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]


class Resolver:
    """Stands in for the system's: says who asked, and answers when the test lets it."""

    def __init__(self):
        self.asked = []
        self.begun = threading.Event()
        self.may_answer = threading.Event()
        self.answer = ANSWER

    def __call__(self, host, port, *rest, **options):
        self.asked.append((host, threading.current_thread()))
        self.begun.set()
        self.may_answer.wait(20)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def resolver(monkeypatch):
    """In the system's place; whoever still waits for it is let go after the test."""
    fake = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", fake)
    yield fake
    fake.may_answer.set()
    names._lookups.renew()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%1"])
def test_number_is_asked_on_the_calling_thread(resolver, host):
    """It needs no server, and so no thread."""
    resolver.may_answer.set()

    assert ANSWER == resolve(host, 80, 5, Cancellation())
    assert [(host, threading.current_thread())] == resolver.asked


def test_name_is_asked_on_another_thread(resolver):
    """This one can be woken."""
    resolver.may_answer.set()

    assert ANSWER == resolve("a.example", 80, 5, Cancellation())
    assert threading.current_thread() is not resolver.asked[0][1]


@pytest.mark.parametrize(
    "error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")]
)
def test_resolver_s_error_is_raised(resolver, error):
    """As it came, anew for each who asked."""
    resolver.answer = error
    resolver.may_answer.set()

    with pytest.raises(type(error), match=str(error.args[-1])) as caught:
        resolve("a.example", 80, 5, Cancellation())
    assert error is not caught.value


def test_resolver_that_does_not_answer_is_left_behind(resolver):
    """After the time that the clock allows."""
    with pytest.raises(socket.timeout):
        resolve("a.example", 80, 0.01, Cancellation())


def test_calls_for_one_name_ask_once(resolver):
    """Else a resolver that hangs would cost a thread for every call."""
    answers = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(resolve("a.example", 80, 20, Cancellation()))
        )
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    assert resolver.begun.wait(5)
    with pytest.raises(socket.timeout):
        resolve("a.example", 80, 0, Cancellation())
    resolver.may_answer.set()
    for thread in threads:
        thread.join(5)

    assert [ANSWER] * 10 == answers
    assert len(resolver.asked) <= 10  # a thread that comes after the answer asks again
    assert not names._lookups._running


def test_lookup_that_hangs_is_not_waited_for_by_later_calls(resolver, monkeypatch):
    """The server that it asks may be gone; another one would answer by now."""
    time_s = [1000.0]
    monkeypatch.setattr(names, "_lookups", names._Lookups(lambda: time_s[0]))
    with pytest.raises(socket.timeout):
        resolve("a.example", 80, 0, Cancellation())
    assert resolver.begun.wait(5)
    time_s[0] += 1.9
    with pytest.raises(socket.timeout):
        resolve("a.example", 80, 0, Cancellation())
    time_s[0] += 0.2
    with pytest.raises(socket.timeout):
        resolve("a.example", 80, 0, Cancellation())
    resolver.may_answer.set()

    assert ANSWER == resolve("a.example", 80, 5, Cancellation())
    assert 2 <= len(resolver.asked) <= 3


def test_answer_that_comes_late_leaves_the_lookup_after_it_alone(resolver, monkeypatch):
    """Others wait for that one."""
    time_s = [1000.0]
    lookups = names._Lookups(lambda: time_s[0])
    first_told, second_told = threading.Event(), threading.Event()
    first = lookups.begin("a.example", 80, first_told.set)
    time_s[0] += 3
    second = names._Lookup("a.example", 80, time_s[0])
    lookups._running["a.example", 80] = second
    resolver.may_answer.set()
    assert first_told.wait(5)

    assert first.done
    assert second is lookups.begin("a.example", 80, second_told.set)


def test_every_call_after_an_answer_asks_again(resolver):
    """Nothing is cached: that is the resolver's to do."""
    resolver.may_answer.set()
    for _ in range(3):
        resolve("a.example", 80, 5, Cancellation())

    assert 3 == len(resolver.asked)


def test_cancel_wakes_who_waits_for_a_name(resolver):
    """At once, and only that one."""
    cancellation = Cancellation()
    threading.Thread(
        target=lambda: (resolver.begun.wait(5), cancellation.cancel()), daemon=True
    ).start()

    with pytest.raises(StreamCancelled):
        resolve("a.example", 80, 20, cancellation)
    assert cancellation._wakers == []


def test_without_threads_it_is_asked_all_the_same(resolver, monkeypatch):
    """At the interpreter's exit none can be started."""

    def refuse(self):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    resolver.may_answer.set()

    assert ANSWER == resolve("a.example", 80, 5, Cancellation())


def test_ctrl_c_leaves_no_question_that_nobody_asks(resolver, monkeypatch):
    """The next call would wait for it."""

    def interrupt(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(threading.Thread, "start", interrupt)
        resolve("a.example", 80, 5, Cancellation())
    resolver.may_answer.set()

    assert ANSWER == resolve("a.example", 80, 5, Cancellation())


@pytest.mark.parametrize("clock", ["connect", "total"])
def test_clocks_run_while_a_name_is_resolved(read, make_client, resolver, no_backoff, clock):
    """A resolver that hangs holds no call up."""
    limits = {"connect_s": 5, "first_chunk_s": 5, "idle_s": 5, "total_s": 5, f"{clock}_s": 0.05}
    client = make_client("https://a.example/v1", timeouts=Timeouts(**limits), max_retries=0)
    error = read(client).error

    assert type(error) is RequestTimeoutError
    assert clock == error.clock


def test_stream_can_be_cancelled_while_its_name_is_resolved(make_client, resolver):
    """From another thread, through the handle."""
    client = make_client("https://a.example/v1")
    handle = client.start_message_stream("hi")
    assert resolver.begun.wait(5)
    handle.cancel()

    assert StreamCancelled is type(handle.exception(5))


def test_name_that_nobody_knows_is_a_connect_error(read, make_client, resolver, no_backoff):
    """With the resolver's words."""
    resolver.answer = socket.gaierror(-2, "Name or service not known")
    resolver.may_answer.set()
    error = read(make_client("https://a.example/v1")).error

    assert ConnectError is type(error)
    assert "Name or service not known" in str(error)
