"""A request to stop, and who hears it."""

from __future__ import annotations

import threading

import pytest

from cloudllm_sync import StreamCancelled
from cloudllm_sync.transport.cancellation import Cancellation, current_cancellation, using


def test_wakers_are_called_once():
    """Only the first cancel counts, its cause too."""
    cancellation, calls = Cancellation(), []
    first, second = RuntimeError("first"), RuntimeError("second")
    cancellation.on_cancel(lambda: calls.append(1))
    cancellation.cancel(first)
    cancellation.cancel(second)

    assert calls == [1]
    assert cancellation.error().__cause__ is first


def test_late_waker_is_called_at_once():
    """Who comes after the cancel must not wait for it."""
    cancellation, calls = Cancellation(), []
    cancellation.cancel()
    cancellation.on_cancel(lambda: calls.append(1))

    assert calls == [1]


def test_forgotten_waker_is_not_called():
    """Forgetting twice is nothing."""
    cancellation, calls = Cancellation(), []

    def wake():
        calls.append(1)

    cancellation.on_cancel(wake)
    cancellation.forget(wake)
    cancellation.forget(wake)
    cancellation.cancel()

    assert calls == []


def test_check_raises_once_asked():
    """Each time an error of its own."""
    cancellation = Cancellation()
    cancellation.check()
    cancellation.cancel()
    with pytest.raises(StreamCancelled):
        cancellation.check()

    assert cancellation.requested
    assert cancellation.error() is not cancellation.error()


def test_wait_ends_with_the_cancel():
    """Or with its time."""
    cancellation = Cancellation()
    in_time = cancellation.wait(0.01)
    canceller = threading.Timer(0.01, cancellation.cancel)
    canceller.start()
    asked = cancellation.wait(10)
    canceller.join()

    assert (in_time, asked, cancellation.wait(10)) == (False, True, True)


def test_waker_may_cancel_again():
    """The lock is not held while wakers run, and is re-entrant besides."""
    cancellation = Cancellation()
    cancellation.on_cancel(cancellation.cancel)
    cancellation.on_cancel(lambda: cancellation.forget(cancellation.cancel))
    cancellation.cancel()

    assert cancellation.requested


def test_streams_opened_inside_obey_the_one_in_use():
    """Outside, each has its own."""
    mine = Cancellation()
    with using(mine):
        inside = current_cancellation()

    assert inside is mine
    assert current_cancellation() is not mine
    assert current_cancellation() is not current_cancellation()


def test_use_is_for_this_thread_only():
    """Other threads' streams are their own."""
    mine, seen = Cancellation(), []
    with using(mine):
        thread = threading.Thread(target=lambda: seen.append(current_cancellation()))
        thread.start()
        thread.join()

    assert seen[0] is not mine
