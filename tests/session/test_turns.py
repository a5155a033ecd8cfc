"""Tickets: who runs, who waits, who has left."""

from __future__ import annotations

import gc
import threading

import pytest

from cloudllm_sync import ConfigurationError, SessionBusyError, StreamCancelled
from cloudllm_sync.session.turns import TicketQueue, checked_timeout
from cloudllm_sync.transport.cancellation import Cancellation


@pytest.fixture
def queue():
    return TicketQueue()


@pytest.fixture
def nobody_cancels():
    return Cancellation()


def test_first_ticket_runs_and_the_next_one_after_it(queue):
    """release() lets the next one run."""
    first, second = queue.enter(), queue.enter()
    assert first.is_running()

    first.release()

    assert second.is_running()


def test_waiting_ticket_may_leave(queue):
    """It is passed over."""
    first, second, third = queue.enter(), queue.enter(), queue.enter()

    second.release()
    first.release()

    assert third.is_running()


def test_release_counts_once(queue):
    """A second release() of one ticket does not end somebody else's turn."""
    first, second = queue.enter(), queue.enter()

    first.release()
    first.release()

    assert second.is_running()


def test_ticket_for_another_thread_is_not_this_thread_s(queue, nobody_cancels, elsewhere):
    """Who takes a ticket for a worker may wait behind it: the worker will give it back."""
    first, second = queue.enter(), queue.enter()
    waiting = threading.Event()

    class Watched(Cancellation):
        def on_cancel(self, wake):
            super().on_cancel(wake)
            waiting.set()

    def work():
        waiting.wait(5)
        first.wait(0, nobody_cancels)
        first.release()

    done = elsewhere(work)
    try:
        second.wait(5, Watched())
    finally:
        waiting.set()
        done.result(5)

    assert second.is_running()


def test_new_thread_with_an_old_thread_s_number_is_not_refused(queue, nobody_cancels):
    """Most systems give numbers out again: the reader of a stream may end before the stream."""
    first = queue.enter()
    said = []

    def wait():
        with pytest.raises(SessionBusyError) as caught:
            queue.enter().wait(0.01, nobody_cancels)
        said.append(str(caught.value))

    for target in (lambda: first.wait(0, nobody_cancels), wait):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()

    assert "still running" in said[0]


def test_ctrl_c_while_waiting_leaves_the_queue(queue, nobody_cancels):
    """The one behind is not held up by one that has gone."""
    first, second, third = queue.enter(), queue.enter(), queue.enter()

    class Interrupted:
        def locked(self):
            return True

        def acquire(self, timeout):
            raise KeyboardInterrupt

    second._place.gate = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        second.wait(5, nobody_cancels)
    first.release()

    assert third.is_running()


@pytest.mark.parametrize("place", [0, 1])
def test_ticket_that_nobody_holds_has_left_the_queue(queue, place):
    """A Ctrl-C may come right after enter(), before anybody could give the ticket back."""
    tickets = [queue.enter(), queue.enter(), queue.enter()]
    del tickets[place]
    gc.collect()

    tickets[0].release()

    assert tickets[1].is_running()


def test_forked_child_begins_with_an_empty_queue(queue):
    """The turn that runs is that of a thread which the child does not have."""
    running, waiting = queue.enter(), queue.enter()

    queue.renew()
    ticket = queue.enter()
    begins = ticket.is_running()
    running.release()
    waiting.release()

    assert (True, True) == (begins, ticket.is_running())


def test_cancelled_wait_leaves_the_queue(queue):
    """At once, with the cause of the cancel."""
    first, second, third = queue.enter(), queue.enter(), queue.enter()
    cancellation = Cancellation()
    cancellation.cancel(KeyError("why"))

    with pytest.raises(StreamCancelled) as caught:
        second.wait(5, cancellation)
    first.release()

    assert isinstance(caught.value.__cause__, KeyError)
    assert third.is_running()


def test_cancelled_turn_that_had_come_is_given_back(queue):
    """Granted and cancelled at the same moment: the turn does not begin."""
    first, second = queue.enter(), queue.enter()
    cancellation = Cancellation()
    cancellation.cancel()

    with pytest.raises(StreamCancelled):
        first.wait(5, cancellation)

    assert second.is_running()


def test_wait_leaves_nothing_behind_in_the_cancellation(queue):
    """A later cancel is for the reply, not for the queue."""
    cancellation = Cancellation()

    queue.enter().wait(0, cancellation)

    assert cancellation._wakers == []


def test_refusal_does_not_enter_the_queue(queue):
    """Nobody waits after a refusal."""
    first = queue.enter()
    with pytest.raises(SessionBusyError):
        queue.enter(refuse=True)
    first.release()

    assert queue.enter(refuse=True)


@pytest.mark.parametrize("seconds", [0, 1, 0.5, 300.0])
def test_time_out_is_any_number_of_seconds(seconds):
    """0 refuses at once."""
    assert checked_timeout(seconds) == seconds


@pytest.mark.parametrize(
    "seconds", [-1, float("nan"), float("inf"), 1e100, "1", None, True, 1j], ids=repr
)
def test_time_out_that_is_none_is_refused(seconds):
    """What a lock could not wait for."""
    with pytest.raises(ConfigurationError, match="turn_timeout"):
        checked_timeout(seconds)
