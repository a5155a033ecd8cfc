"""Observers: told of every call, in order, harmless."""

from __future__ import annotations

import logging
import socket

import pytest

from cloudllm_sync import StreamCancelled, StreamInterrupted
from cloudllm_sync.streaming.observer import Observer
from cloudllm_sync.testing import Raw, Reply, error_reply, openai_events

EVENTS = openai_events(Reply("one two", usage=None))


class Notes(Observer):
    """Notes what it is told."""

    def __init__(self):
        self.names = []
        self.calls = []
        self.values = []

    def _note(self, name, call, *values):
        self.names.append(name)
        self.calls.append(call)
        self.values.append(values)

    def on_start(self, call):
        self._note("start", call)

    def on_retry(self, call, error, delay_s):
        self._note("retry", call, error, delay_s)

    def on_first_chunk(self, call):
        self._note("first_chunk", call)

    def on_finish(self, call, message):
        self._note("finish", call, message)

    def on_error(self, call, error):
        self._note("error", call, error)


@pytest.mark.parametrize(
    ("script", "names"),
    [
        (["one"], ["start", "first_chunk", "finish"]),
        ([error_reply(503, "busy"), "one"], ["start", "retry", "first_chunk", "finish"]),
        ([error_reply(401, "no")], ["start", "error"]),
        ([Raw(*EVENTS[:2])], ["start", "first_chunk", "error"]),
        ([Raw()], ["start", "error"]),
    ],
)
def test_notices_come_in_order(read, serve, make_client, no_backoff, script, names):
    """One start, one end; the same CallInfo in all."""
    notes = Notes()
    outcome = read(make_client(serve(*script), observers=[notes]))

    assert notes.names == names
    assert set(notes.calls) == {notes.calls[0]}
    assert notes.calls[0].model_name == "gpt-5"
    assert notes.values[-1][0] is (outcome.message or outcome.error)


def test_ctrl_c_before_the_reply_is_told_as_a_cancel(serve, make_client, monkeypatch):
    """Who counts calls that run would count this one for ever."""
    notes = Notes()
    client = make_client(serve("one"), observers=[notes])

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(socket, "getaddrinfo", interrupt)
    with pytest.raises(KeyboardInterrupt):
        client.send_message_stream("hi")

    assert ["start", "error"] == notes.names
    assert StreamCancelled is type(notes.values[-1][0])


def test_end_is_told_though_keeping_the_rest_was_interrupted(serve, make_client):
    """A span that nobody ends is never seen, and is held for ever."""
    notes = Notes()
    stream = make_client(serve(Raw(*EVENTS[:2])), observers=[notes]).send_message_stream("hi")

    def interrupt(message, error):
        raise KeyboardInterrupt

    stream.settle_with(interrupt)
    with pytest.raises(KeyboardInterrupt):
        stream.result()
    stream.close()

    assert ["start", "first_chunk", "error"] == notes.names
    assert StreamInterrupted is type(notes.values[-1][0])


def test_close_is_told_as_a_cancel(serve, make_client):
    """Once."""
    notes = Notes()
    stream = make_client(serve("one two"), observers=[notes]).send_message_stream("hi")
    next(stream)
    stream.close()
    stream.close()

    assert notes.names == ["start", "first_chunk", "error"]


def test_whole_replies_are_told_of_too(serve, make_client):
    """With `streamed` False."""
    notes = Notes()
    make_client(serve("one"), observers=[notes]).send_message("hi")

    assert notes.names[0] == "start"
    assert notes.names[-1] == "finish"
    assert notes.calls[0].streamed is False


def test_observer_that_raises_is_logged_and_harms_nobody(read, serve, make_client, caplog):
    """The next one is told all the same."""

    class Broken(Observer):
        def on_start(self, call):
            raise RuntimeError("broken observer")

        on_first_chunk = on_start

        def on_finish(self, call, message):
            raise RuntimeError("broken observer")

    notes = Notes()
    with caplog.at_level(logging.ERROR, logger="cloudllm_sync.observers"):
        outcome = read(make_client(serve("one"), observers=[Broken(), notes]))

    assert outcome.text == "one"
    assert notes.names == ["start", "first_chunk", "finish"]
    assert len(caplog.records) == 3


def test_observer_may_leave_methods_out(read, serve, make_client, no_backoff):
    """The protocol's own do nothing."""

    class Silent(Observer):
        pass

    script = [error_reply(503, "busy"), Raw(*EVENTS[:2]), "one"]
    client = make_client(serve(*script), observers=[Silent()])
    outcomes = [read(client) for _ in range(2)]

    assert type(outcomes[0].error) is StreamInterrupted
    assert outcomes[1].text == "one"
