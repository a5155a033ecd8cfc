"""Idle connections: kept without a lock, and without a place for each that there may be."""

from __future__ import annotations

import queue

import pytest

from cloudllm_sync.transport.connections import CallAdapter
from cloudllm_sync.transport.idle import IdleConnections


def test_last_one_in_is_the_first_one_out():
    """It has been idle for the shortest time: the server has hardly closed it."""
    idle = IdleConnections(3)
    idle.put("first", block=False)
    idle.put("last", block=False)

    assert ["last", "first"] == [idle.get(block=False), idle.get(block=False)]


def test_nothing_to_get_is_empty_at_once():
    """Whoever asks makes a new one, and does not wait."""
    with pytest.raises(queue.Empty):
        IdleConnections(3).get()


def test_more_than_there_is_room_for_is_refused_at_once():
    """Whoever brings it closes it, and does not wait."""
    idle = IdleConnections(1)
    idle.put("first")

    with pytest.raises(queue.Full):
        idle.put("second")
    assert 1 == idle.qsize()


def test_place_for_a_connection_is_not_kept():
    """urllib3 fills its queue with them when a pool is made: 512 of them."""
    with_pool = CallAdapter(None).poolmanager.connection_from_url("http://localhost/")

    assert 0 == with_pool.pool.qsize()
    assert 512 == with_pool.pool.maxsize
