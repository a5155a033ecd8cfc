"""ChatStream: one pump, one end."""

from __future__ import annotations

import gc
import socket
import threading
import warnings

import pytest

from cloudllm_sync import (
    ChatStream,
    CloudLLMError,
    MessageChunk,
    ServerError,
    StreamCancelled,
    StreamInterrupted,
    Timeouts,
    TokenUsage,
)
from cloudllm_sync.streaming.observer import Observer
from cloudllm_sync.testing import Cut, Raw, Reply, Reset, Stall, Wait, WaitFor, openai_events
from cloudllm_sync.transport import clocks

EVENTS = openai_events(Reply("one two three", usage=None))
OPENING, ONE, TWO, THREE, FINISH, DONE = EVENTS


@pytest.fixture
def open_stream(serve, make_client):
    """Opens a stream whose server answers with this; gives both."""

    def start(*script, **options):
        server = serve(*script)
        return make_client(server, **options).send_message_stream("hi"), server

    return start


def test_chunks_join_to_the_message(open_stream):
    """Everything that was handed on, and nothing else."""
    stream, _ = open_stream(Reply("one two", reasoning="hm so"))
    chunks = list(stream)
    message = stream.result()

    assert "".join(chunk.content for chunk in chunks) == message.content == "one two"
    assert "".join(chunk.reasoning for chunk in chunks) == message.reasoning == "hm so"
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert stream.finish_reason == "stop"
    assert stream.usage == message.usage == TokenUsage(10, 4, 14, 0, None, 2)


def test_text_is_the_visible_part(open_stream):
    """No reasoning, no empty pieces."""
    stream, _ = open_stream(Reply("one two", reasoning="hm"))

    assert list(stream.text()) == ["one", " two"]
    assert stream.result().reasoning == "hm"


def test_closing_the_text_closes_the_stream(open_stream):
    """A web server closes the body of a response whose browser has left."""
    stream, server = open_stream(Reply("one two", after={2: Stall()}))
    text = stream.text()
    first = next(text)
    text.close()

    assert first == "one"
    assert server.wait_until_idle()
    with pytest.raises(StreamCancelled):
        next(text)


def test_dropping_the_text_leaves_the_stream_open(open_stream):
    """What has begun by text can go on by chunks."""
    stream, _ = open_stream("one two")
    first = next(stream.text())

    assert first == "one"
    assert stream.result().content == "one two"


def test_result_reads_to_the_end_and_stays_the_same(open_stream):
    """From the beginning, from the middle, and again."""
    stream, _ = open_stream("one two three")
    next(stream)
    message = stream.result()

    assert message.content == "one two three"
    assert stream.result() is message
    assert stream.partial is message
    assert list(stream) == []


def test_error_is_raised_again(open_stream):
    """By next(), by result(), by text(): always the same one."""
    stream, _ = open_stream(Raw(OPENING, ONE))
    seen = []
    for read in (list, next, ChatStream.result, lambda stream: list(stream.text())):
        with pytest.raises(StreamInterrupted) as caught:
            read(stream)
        seen.append(caught.value)

    assert set(seen) == {seen[0]}
    assert seen[0].partial.content == stream.partial.content == "one"


def test_partial_grows_and_may_be_asked_from_any_thread(open_stream):
    """Without waiting for the reader."""
    gate, reading = threading.Event(), threading.Event()
    stream, _ = open_stream(Raw(OPENING, ONE, WaitFor(gate), TWO, THREE, FINISH, DONE))
    next(stream)
    reader = threading.Thread(target=lambda: (reading.set(), stream.result()))
    reader.start()
    assert reading.wait(5)
    partial = stream.partial
    gate.set()
    reader.join(5)

    assert partial.content == "one"
    assert stream.partial.content == "one two three"


def test_close_after_the_finish_chunk_counts_as_whole(open_stream):
    """Usage may be unknown then; the connection is not kept."""
    stream, server = open_stream(Raw(OPENING, ONE, FINISH, Stall()))
    with stream:
        for chunk in stream:
            if chunk.finish_reason:
                break
    message = stream.result()

    assert message.content == "one"
    assert message.finish_reason == "stop"
    assert message.usage is None
    assert server.wait_until_idle(2)


def test_close_before_the_finish_chunk_is_a_cancel(open_stream):
    """Idempotent; what had come is in the error."""
    stream, server = open_stream(Raw(OPENING, ONE, Stall()))
    next(stream)
    stream.close()
    stream.close()
    with pytest.raises(StreamCancelled) as caught:
        next(stream)

    assert caught.value.partial.content == "one"
    assert server.wait_until_idle(2)


def test_close_of_an_unread_stream_is_a_cancel(open_stream):
    """There is no partial text."""
    stream, server = open_stream(Raw(OPENING, Stall()))
    stream.close()
    with pytest.raises(StreamCancelled) as caught:
        stream.result()

    assert caught.value.partial is None
    assert server.wait_until_idle(2)


def test_cancel_by_the_reader_itself_is_heard_by_its_next_read(open_stream):
    """In the same thread, from inside the loop."""
    stream, _ = open_stream(Raw(OPENING, ONE, Stall()))
    with pytest.raises(StreamCancelled):
        for _ in stream:
            stream.cancel()

    assert stream.partial.content == "one"


def test_with_block_closes_whatever_is_raised_inside(open_stream):
    """The connection does not outlive it."""
    stream, server = open_stream(Raw(OPENING, ONE, Stall()))
    with pytest.raises(KeyError), stream:
        next(stream)
        raise KeyError

    assert server.wait_until_idle(2)


def test_dropped_stream_is_closed_with_a_warning(open_stream):
    """As a file is."""
    stream, server = open_stream(Raw(OPENING, ONE, Stall()))
    next(stream)
    with pytest.warns(ResourceWarning, match="dropped"):
        del stream

    gc.collect()
    assert server.wait_until_idle(2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_dropped_stream_is_closed_even_if_warnings_are_errors(open_stream):
    """The connection goes first."""
    stream, server = open_stream(Raw(OPENING, ONE, Stall()))
    next(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del stream
        gc.collect()

    assert server.wait_until_idle(2)


@pytest.mark.parametrize("end", ["result", "close", "finish seen"])
def test_stream_that_was_ended_is_dropped_silently(open_stream, recwarn, end):
    """Read to the end, closed, or left after its finish reason."""
    stream, _ = open_stream("one two")
    if end == "result":
        stream.result()
    elif end == "close":
        stream.close()
    else:
        next(chunk for chunk in stream if chunk.finish_reason)
    del stream
    gc.collect()

    assert [str(warning.message) for warning in recwarn] == []


def test_second_reader_is_told_and_the_first_goes_on(open_stream):
    """Two threads that iterate one stream: no chunk is lost or doubled."""
    gate, inside = threading.Event(), threading.Event()

    def chunks():
        yield MessageChunk("one")
        inside.set()
        gate.wait(5)
        yield MessageChunk("two", finish_reason="stop")

    stream = ChatStream.of(chunks())
    texts = []
    reader = threading.Thread(target=lambda: texts.extend(stream.text()))
    reader.start()
    assert inside.wait(5)
    with pytest.raises(ValueError, match="already executing"):
        next(stream)
    gate.set()
    reader.join(5)

    assert texts == ["one", "two"]
    assert stream.result().content == "onetwo"


def test_two_threads_racing_on_one_stream_lose_nothing(open_stream):
    """Each chunk goes to one of them."""
    words = [f"{n} " for n in range(200)]
    stream, _ = open_stream(Reply(words, token_delay_s=0.0005))
    pause = threading.Event()
    texts = []

    def read():
        while True:
            try:
                texts.append(next(stream).content)
            except StopIteration:
                return
            except ValueError:
                pause.wait(0.0005)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(filter(None, texts)) == sorted(words)


def test_foreign_exception_in_the_chunks_ends_the_stream():
    """It gets out as it is; later reads say that the reader was interrupted."""

    def chunks():
        yield MessageChunk("one")
        raise KeyError("their bug")

    stream = ChatStream.of(chunks())
    with pytest.raises(KeyError):
        list(stream)
    with pytest.raises(StreamCancelled) as caught:
        next(stream)

    assert type(caught.value.__cause__) is KeyError
    assert caught.value.partial.content == "one"


def test_stream_of_chunks_made_elsewhere():
    """Whole with a finish reason."""
    stream = ChatStream.of([MessageChunk("one"), MessageChunk("two", finish_reason="stop")])

    assert stream.result().content == "onetwo"
    assert stream.finish_reason == "stop"
    assert stream.request_id is None
    assert stream.usage is None


def test_chunks_made_elsewhere_without_a_finish_reason_are_interrupted():
    """The same measure for everybody."""
    stream = ChatStream.of([MessageChunk("one")])
    with pytest.raises(StreamInterrupted) as caught:
        stream.result()

    assert caught.value.partial.content == "one"


def test_close_closes_the_maker_of_the_chunks():
    """A generator gets its GeneratorExit."""
    closed = []

    def chunks():
        try:
            yield MessageChunk("one")
            yield MessageChunk("two")
        finally:
            closed.append(True)

    stream = ChatStream.of(chunks())
    next(stream)
    stream.close()

    assert closed == [True]


def test_request_id_is_the_headers_or_the_replys(open_stream):
    """For the provider's support."""
    named, _ = open_stream(Reply("one", headers={"x-request-id": "req_1"}))
    unnamed, _ = open_stream("one")
    named.result()
    unnamed.result()

    assert named.request_id == "req_1"
    assert unnamed.request_id == "chatcmpl-fake"


def test_settlers_are_told_once_before_the_reader():
    """The message or the error; what one raises, the reader gets."""
    told = []
    stream = ChatStream.of([MessageChunk("one", finish_reason="stop")])
    stream.settle_with(lambda message, error: told.append((message, error)))
    message = stream.result()
    stream.close()

    assert told == [(message, None)]


def test_settler_that_fails_takes_the_end_away():
    """A store that cannot save: no normal end."""
    failure = CloudLLMError("cannot save")

    def settle(message, error):
        raise failure

    stream = ChatStream.of([MessageChunk("one", finish_reason="stop")])
    stream.settle_with(settle)
    for _ in range(2):
        with pytest.raises(CloudLLMError) as caught:
            stream.result()
        assert caught.value is failure


def test_reply_with_its_finish_reason_is_not_held_back(make_client, serve, monkeypatch):
    """No end mark, no end of the body: what may still come, its usage, is waited for shortly."""
    monkeypatch.setattr(clocks, "_AFTER_FINISH_S", 0.05)
    server = serve(Raw(*openai_events(Reply("one two", done=False)), Stall()))
    client = make_client(server, timeouts=Timeouts(idle_s=60))

    assert "one two" == client.start_message_stream("hi").result(20).content


def test_text_behind_the_finish_reason_has_the_idle_clock_again(make_client, serve, monkeypatch):
    """What goes on after it is no end that is late."""
    monkeypatch.setattr(clocks, "_AFTER_FINISH_S", 0.05)
    *reply, end = openai_events(Reply("one", usage=None))
    text = next(event for event in reply if b"one" in event)
    server = serve(Raw(*reply, text, Wait(0.3), text, end))

    assert "oneoneone" == make_client(server).start_message_stream("hi").result(20).content


def test_whole_reply_needs_no_idle_clock(make_client, serve, monkeypatch):
    """None is no limit; the wait after the finish reason is short all the same."""
    monkeypatch.setattr(clocks, "_AFTER_FINISH_S", 0.05)
    server = serve(Raw(*openai_events(Reply("one two", done=False)), Stall()))
    client = make_client(server, timeouts=Timeouts(idle_s=None))

    assert "one two" == client.start_message_stream("hi").result(20).content


@pytest.mark.parametrize("end", [Reset(), Cut()])
def test_finish_reason_error_is_heard_though_the_connection_is_lost(open_stream, end):
    """The provider has said what went wrong; what happens then says less."""
    failed = FINISH.replace(b'"stop"', b'"error"')
    stream, _ = open_stream(Raw(OPENING, ONE, failed, Wait(0.02), end))

    with pytest.raises(ServerError):
        stream.result()


def test_interrupt_while_connecting_gets_out(make_client, serve, monkeypatch):
    """Nothing is sent, and the client goes on."""
    server = serve("fine")
    client = make_client(server)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(socket, "getaddrinfo", interrupted)
        client.send_message_stream("hi")

    assert client.send_message_stream("hi").result().content == "fine"
    assert len(server.requests) == 1


def test_interrupt_between_two_attempts_ends_the_stream(make_client, serve):
    """An error event before any content, then Ctrl-C instead of the second request."""

    class Interrupting(Observer):
        on_retry = interrupted

    overload = b'data: {"error": {"message": "x", "type": "overloaded_error"}}\n\n'
    server = serve(Raw(overload))
    stream = make_client(server, observers=[Interrupting()]).send_message_stream("hi")
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    with pytest.raises(StreamCancelled) as caught:
        next(stream)

    assert type(caught.value.__cause__) is KeyboardInterrupt
    assert len(server.requests) == 1


def interrupted(*args, **options):
    """Ctrl-C."""
    raise KeyboardInterrupt
