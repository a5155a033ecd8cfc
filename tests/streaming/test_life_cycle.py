"""What callbacks, observers and owners do at odd moments: cancel, wait, close, raise, begin."""

from __future__ import annotations

import gc
import logging
import os
import threading

import pytest

from cloudllm_sync import (
    CloudLLMError,
    ConfigurationError,
    LLMSession,
    StreamCancelled,
    StreamProtocolError,
)
from cloudllm_sync.streaming.observer import Observer
from cloudllm_sync.testing import Raw, Reply, Stall, WaitFor, openai_events

PATIENCE_S = 10.0
EVENTS = openai_events(Reply("one two three", usage=None))
BROKEN = Raw(*EVENTS[:2], b"data: {no\n\n")
RAISED = [KeyError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration]


@pytest.fixture
def echo():
    """A reply that repeats the prompt."""
    return lambda request: f"re: {request.json['messages'][-1]['content']}"


@pytest.fixture
def held():
    """A reply that stops after its first word, and the event that lets it go on."""
    gate = threading.Event()
    return Raw(*EVENTS[:2], WaitFor(gate), *EVENTS[2:]), gate


def eventually(is_true):
    """Whether it comes true within a second; the server hears of a closed connection by itself."""
    pause = threading.Event()
    return any(is_true() or pause.wait(0.01) for _ in range(100))


# --- callbacks that raise ---


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("callback", ["on_chunk", "on_finish", "on_error"])
def test_whatever_a_callback_raises_ends_on_its_worker(serve, make_client, caplog, callback, kind):
    """Exits and interrupts, too: the handle is done, the session free, no thread is left."""
    server = serve(BROKEN if callback == "on_error" else "one two", default="again")
    session = LLMSession(make_client(server), turn_timeout=0)
    ends = []

    def spoil(value):
        raise kind("mine")

    callbacks = {"on_finish": ends.append, "on_error": ends.append, callback: spoil}
    with caplog.at_level(logging.CRITICAL, "cloudllm_sync.callbacks"):
        handle = session.submit("hi", **callbacks)
        assert handle.join(PATIENCE_S)

    if callback == "on_chunk":
        (error,) = ends
        assert isinstance(error, StreamCancelled)
        assert type(error.__cause__) is kind
        assert handle.exception() is error
    else:
        assert ends == []
        assert type(handle.exception()) is kind
    assert session.ask("next").content == "again"
    assert len(session.history) == (4 if callback == "on_finish" else 2)


def test_on_chunk_and_on_error_that_both_raise(serve, make_client, caplog):
    """on_error is called once, with the first; the second is what exception() gives."""
    client = make_client(serve("one two three"))
    causes = []

    def on_chunk(chunk):
        raise KeyError("first")

    def on_error(error):
        causes.append(error.__cause__)
        raise SystemExit("second")

    with caplog.at_level(logging.CRITICAL, "cloudllm_sync.callbacks"):
        handle = client.start_message_stream("hi", on_chunk=on_chunk, on_error=on_error)
        assert handle.join(PATIENCE_S)

    assert [type(cause) for cause in causes] == [KeyError]
    assert isinstance(handle.exception(), SystemExit)
    with pytest.raises(StreamCancelled):
        handle.result()


# --- callbacks that call ---


@pytest.mark.parametrize("callback", ["on_chunk", "on_finish", "on_error"])
def test_callback_may_begin_the_next_stream(serve, make_client, callback):
    """On the same client, and wait for its end."""
    client = make_client(serve(BROKEN if callback == "on_error" else "one", default="next"))
    texts, began = [], threading.Event()

    def go_on(value):
        if not began.is_set():
            began.set()
            texts.append(client.start_message_stream("b").result(PATIENCE_S).content)
            texts.append(client.send_message_stream("c").result().content)

    handle = client.start_message_stream("a", **{callback: go_on})

    assert handle.join(PATIENCE_S)
    assert texts == ["next", "next"]


@pytest.fixture
def cancels_itself(serve, make_client):
    """Runs a reply whose `callback` cancels it; gives the chunks and the end."""

    def run(callback, reply):
        client = make_client(serve(reply))
        handles, ready, chunks, ends = [], threading.Event(), [], []

        def called(name, kept, value):
            kept.append(value)
            if callback in (name, f"{name}: {value.finish_reason}"):
                assert ready.wait(PATIENCE_S)
                handles[0].cancel()

        handles.append(
            client.start_message_stream(
                "hi",
                on_chunk=lambda chunk: called("on_chunk", chunks, chunk),
                on_finish=lambda message: called("on_finish", ends, message),
                on_error=lambda error: called("on_error", ends, error.partial),
            )
        )
        ready.set()
        assert handles[0].join(PATIENCE_S)
        assert len(ends) == 1
        return [chunk.content for chunk in chunks], handles[0].exception()

    return run


def test_last_callback_may_cancel_its_own_handle(cancels_itself):
    """It has ended: nothing happens."""
    _, finished = cancels_itself("on_finish", "one two three")
    _, failed = cancels_itself("on_error", BROKEN)

    assert finished is None
    assert type(failed) is StreamProtocolError


@pytest.mark.parametrize("moment", ["on_chunk", "on_chunk: stop"])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_on_chunk_may_cancel_its_own_handle(cancels_itself, moment, framing):
    """At once: no further chunk, though all of them may have arrived; no on_finish."""
    chunks, error = cancels_itself(moment, Reply("one two three", framing=framing, split=0))

    assert isinstance(error, StreamCancelled)
    assert len(chunks) == (1 if moment == "on_chunk" else 4)


def test_reader_may_cancel_its_own_stream(serve, make_client):
    """The same from inside of a loop; a session's turn is not kept."""
    session = LLMSession(make_client(serve(Reply("one two three", split=0), "fine")))
    texts = []

    def read():
        with session.stream("hi") as stream:
            for chunk in stream:
                texts.append(chunk.content)
                stream.cancel()

    with pytest.raises(StreamCancelled):
        read()
    assert texts == ["one"]
    assert session.history == ()
    assert session.ask("again").content == "fine"


def test_callbacks_that_wait_for_their_own_end(serve, make_client):
    """on_chunk is told that it cannot, and the reply is cancelled by that; the last one can."""
    client = make_client(serve("one", "two", BROKEN))
    handles, ready, ends, told = [], threading.Event(), [], []

    def ask_for_the_end(value):
        assert ready.wait(PATIENCE_S)
        told.append(handles[-1].exception())
        assert handles[-1].join() is False

    def start(**callbacks):
        ready.clear()
        handles.append(client.start_message_stream("hi", **callbacks))
        ready.set()
        assert handles[-1].join(PATIENCE_S)

    start(on_chunk=ask_for_the_end, on_error=ends.append)
    start(on_finish=ask_for_the_end)
    start(on_error=ask_for_the_end)

    assert isinstance(ends[0], StreamCancelled)
    assert isinstance(ends[0].__cause__, RuntimeError)
    assert told == [None, handles[2].exception()]


@pytest.mark.parametrize("callback", ["on_chunk", "on_finish", "on_error"])
def test_callback_may_close_the_client(serve, make_client, callback):
    """The reply goes on to its end; the next one is refused."""
    server = serve(BROKEN if callback == "on_error" else "one two three")
    client = make_client(server)
    ends = []

    def close(value):
        client.close()

    callbacks = {"on_finish": ends.append, "on_error": ends.append}
    last = callbacks.get(callback)

    def close_and_keep(value):
        close(value)
        if last is not None:
            last(value)

    handle = client.start_message_stream("hi", **{**callbacks, callback: close_and_keep})

    assert handle.join(PATIENCE_S)
    (end,) = ends
    assert getattr(end, "content", "one two three") == "one two three"
    assert isinstance(end, StreamProtocolError) == (callback == "on_error")
    assert server.wait_until_idle(PATIENCE_S)
    with pytest.raises(ConfigurationError, match="closed"):
        client.send_message("hi")


# --- clients that are closed ---


def test_closed_client_lets_running_streams_end(serve, make_client, held):
    """Pulled and pushed; their connections are closed after them, new calls are refused."""
    reply, gate = held
    server = serve(default=reply)
    client = make_client(server)
    handles = [client.start_message_stream("hi") for _ in range(4)]
    streams = [client.send_message_stream("hi") for _ in range(4)]
    assert server.wait_for_requests(8)

    client.close()
    client.close()
    gate.set()

    assert {handle.result(PATIENCE_S).content for handle in handles} == {"one two three"}
    assert {stream.result().content for stream in streams} == {"one two three"}
    assert server.wait_until_idle(PATIENCE_S)
    handle = client.start_message_stream("hi")
    assert isinstance(handle.exception(PATIENCE_S), ConfigurationError)


def test_closed_client_can_still_be_cancelled(serve, make_client):
    """close() waits for nobody, and takes no stream's cancel away."""
    server = serve(default=Raw(*EVENTS[:2], Stall()))
    client = make_client(server)
    stream = client.send_message_stream("hi")
    assert next(stream).content == "one"
    client.close()
    canceller = threading.Timer(0.02, stream.cancel)
    canceller.start()

    with pytest.raises(StreamCancelled):
        next(stream)
    canceller.join()
    assert server.wait_until_idle(PATIENCE_S)


@pytest.mark.parametrize("first", ["failed", "closed", "running"])
def test_closed_client_has_no_idle_connection(serve, make_client, held, first):
    """Whatever the program still holds of replies: errors, streams, half-read ones."""
    reply, _ = held
    server = serve({"failed": BROKEN, "closed": "a b", "running": reply}[first], "fine")
    client = make_client(server)
    with client.send_message_stream("hi") as stream:
        next(stream)
        if first == "failed":
            with pytest.raises(StreamProtocolError):
                stream.result()
        elif first == "closed":
            stream.close()
        assert client.send_message("again").content == "fine"

        client.close()

        left = 1 if first == "running" else 0
        assert eventually(lambda: server.open_connections == left)


# --- streams and handles that nobody looks after ---


def test_thousand_handles_started_and_never_joined(serve, make_client, echo):
    """All of them end by themselves; no thread and no descriptor is left."""
    server = serve(default=echo)
    client = make_client(server)
    client.send_message("warm")
    threads, files = set(threading.enumerate()), len(os.listdir("/dev/fd"))
    ended = threading.Semaphore(0)
    texts, errors = [], []

    def note(kept):
        def end(value):
            kept.append(value)
            ended.release()

        return end

    for number in range(1000):
        client.start_message_stream(
            f"number {number}", on_finish=note(texts), on_error=note(errors)
        )
    for _ in range(1000):
        assert ended.acquire(timeout=60)
    client.close()
    gc.collect()

    assert errors == []
    assert {f"re: number {n}" for n in range(1000)} == {message.content for message in texts}
    assert server.wait_until_idle(PATIENCE_S)
    for thread in set(threading.enumerate()) - threads:
        thread.join(PATIENCE_S)
    assert {"cloudllm-stream"}.isdisjoint(thread.name for thread in threading.enumerate())
    assert len(os.listdir("/dev/fd")) <= files


@pytest.mark.parametrize("kept", ["nothing", "its text()"])
def test_dropped_stream_closes_its_connection(serve, make_client, kept):
    """With a ResourceWarning, as a file does."""
    server = serve(Raw(*EVENTS[:2], Stall()), "fine")
    client = make_client(server)

    def drop():
        stream = client.send_message_stream("hi")
        if kept == "its text()":
            assert next(stream.text()) == "one"
        else:
            next(stream)

    with pytest.warns(ResourceWarning, match="dropped before its end"):
        drop()

    assert server.wait_until_idle(PATIENCE_S)
    assert client.send_message("hi").content == "fine"


# --- observers ---


class Nosy(Observer):
    """Calls the client from whatever notice it gets, once for each kind."""

    def __init__(self):
        self.client = None
        self.texts = {}

    def _call(self, name):
        if name not in self.texts:
            self.texts[name] = None
            self.texts[name] = self.client.send_message(name).content

    def on_start(self, call):
        self._call("on_start")

    def on_retry(self, call, error, delay_s):
        self._call("on_retry")

    def on_first_chunk(self, call):
        self._call("on_first_chunk")

    def on_finish(self, call, message):
        self._call("on_finish")

    def on_error(self, call, error):
        self._call("on_error")


def test_observer_that_calls_the_client(read, serve, make_client, no_backoff):
    """Each notice may make a call of its own, in the middle of the one that it is told of."""
    tries = {}

    def answer(request):
        prompt = request.json["messages"][-1]["content"]
        tries[prompt] = tries.get(prompt, 0) + 1
        if prompt == "outer" and tries[prompt] == 1:
            return Raw(b"{}", status=503, framing="length")
        return BROKEN if prompt == "broken" else f"re: {prompt}"

    nosy = Nosy()
    nosy.client = make_client(serve(default=answer), observers=[nosy])

    outer = read(nosy.client, "outer")
    broken = read(nosy.client, "broken")

    assert outer.message.content == "re: outer"
    assert type(broken.error) is StreamProtocolError
    names = {"on_start", "on_retry", "on_first_chunk", "on_finish", "on_error"}
    assert {name: f"re: {name}" for name in names} == nosy.texts


def test_observer_that_always_calls_the_client(serve, make_client, caplog):
    """A mistake without an end: it is the observer's error, and the calls are answered."""

    class Endless(Observer):
        calls = 0

        def on_finish(self, call, message):
            self.calls += 1
            client.send_message("again")

    endless = Endless()
    client = make_client(serve(default="fine"), observers=[endless])
    with caplog.at_level(logging.CRITICAL, "cloudllm_sync"):
        handle = client.start_message_stream("hi")

        assert handle.result(60).content == "fine"
    assert endless.calls > 5


def test_observer_that_calls_the_session_is_told_that_it_cannot_wait(serve, make_client):
    """The turn that it is told of is its own thread's: it would wait for itself."""
    refused = []

    class Asking(Observer):
        def on_first_chunk(self, call):
            try:
                session.ask("me too")
            except CloudLLMError as error:
                refused.append(type(error).__name__)

    client = make_client(serve("one two"), observers=[Asking()])
    session = LLMSession(client)

    assert session.stream("hi").result().content == "one two"
    assert refused == ["SessionBusyError"]
