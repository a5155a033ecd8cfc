"""FallbackClient: clocks, cancels and errors, and who is not asked."""

import concurrent.futures
import gc
import pathlib
import pickle
import threading
import weakref
from traceback import TracebackException

import pytest

import cloudllm_sync
from cloudllm_sync import (
    AuthenticationError,
    ChatOptions,
    ChatStream,
    ClaudeClient,
    CloudLLMError,
    ConfigurationError,
    ConnectError,
    Message,
    MessageChunk,
    RequestTimeoutError,
    Role,
    ServerError,
    StreamCancelled,
    StreamError,
    StreamInterrupted,
    Timeouts,
    UnsupportedOptionError,
)
from cloudllm_sync.clients.fallback import FallbackClient
from cloudllm_sync.testing import Cut, Raw, Reply, Stall, error_reply

DOWN = error_reply(503, "down")
WRONG_KEY = error_reply(401, "wrong key")
PACKAGE = str(pathlib.Path(cloudllm_sync.__file__).parent)
PATIENCE_S = 10
WAYS = ["whole", "stream", "callbacks"]


class Own:
    """A user's own client; it does what its function does."""

    model_name = "own-1"
    provider_name = "own"

    def __init__(self, answer):
        self.answer = answer

    def send_message(self, messages, tools=None, **wishes):
        return self.answer(**wishes)

    def send_message_stream(self, messages, tools=None, **wishes):
        return self.answer(**wishes)


def raising(error):
    def answer(**wishes):
        raise error

    return Own(answer)


def links_of(error):
    """The error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__


# The clocks


@pytest.mark.parametrize("way", WAYS)
def test_total_deadline_is_for_all_clients_together(pair, read, way):
    """Nobody is asked after it."""
    first, second, client = pair
    first.add(Raw(Stall()))

    with pytest.raises(RequestTimeoutError) as caught:
        read(client, way, "hi", timeouts=Timeouts(total_s=0.2))

    assert "total" == caught.value.clock
    assert () == second.requests


def test_second_client_gets_the_time_that_is_left(pair, make):
    """The other clocks as they are."""
    first, _, _ = pair
    first.add(Reply("", error={"message": "down"}, delay_s=0.2))
    given = []

    def answer(timeouts):
        given.append(timeouts)
        return Message(Role.ASSISTANT, "Hello")

    client = FallbackClient([make(first), Own(answer)])

    client.send_message("hi", timeouts=Timeouts(connect_s=7, total_s=5))

    assert 7 == given[0].connect_s
    assert given[0].total_s <= 4.8


@pytest.mark.parametrize("way", WAYS)
def test_late_second_client_is_named_with_the_whole_deadline(pair, read, way):
    """The caller reads the seconds that it gave, and what took the first of them."""
    first, second, client = pair
    first.add(DOWN)
    second.add(Raw(Stall()))

    with pytest.raises(RequestTimeoutError) as caught:
        read(client, way, "hi", timeouts=Timeouts(total_s=0.3))

    assert "total" == caught.value.clock
    assert str(caught.value).startswith("no client answered within 0.3 s (total_s of Timeouts); ")
    assert "first answered with status 503: down" in str(caught.value)
    assert 2 == caught.value.attempts


def test_deadline_of_a_single_client_is_told_in_its_words(serve, make):
    """Nothing is added where there is nothing to add."""
    client = FallbackClient([make(serve(Raw(Stall())))])

    with pytest.raises(RequestTimeoutError, match=r"^OpenAI .* within 0.2 s \(total_s"):
        client.send_message("hi", timeouts=Timeouts(total_s=0.2))


def test_total_deadline_that_no_call_gave_is_each_client_s_own(serve, make):
    """A client's total_s says how long that client may take."""
    stalling = make(serve(Raw(Stall())), timeouts=Timeouts(total_s=0.2))
    client = FallbackClient([stalling, make(serve("Hello"))])

    assert "Hello" == client.send_message("hi").content


def test_time_out_before_the_first_chunk_moves_on(pair):
    """A provider that accepts and says nothing is one that cannot be reached."""
    first, second, client = pair
    first.add(Raw(Stall()), Raw(Stall()))
    second.add("Hello", Raw(Stall()))
    clocks = Timeouts(first_chunk_s=0.1)

    assert "Hello" == client.send_message_stream("hi", timeouts=clocks).result().content
    with pytest.raises(RequestTimeoutError):
        client.send_message_stream("hi", timeouts=clocks).result()


def test_clocks_that_are_none_are_refused(pair):
    """Before anybody is asked."""
    with pytest.raises(ConfigurationError, match="timeouts must be Timeouts"):
        pair[2].send_message("hi", timeouts=5)


# Cancels


def test_cancel_does_not_move_on(pair):
    """A cancelled reply is not asked for again elsewhere."""
    first, second, client = pair
    first.add(Raw(before_headers=(Stall(),)))
    handle = client.start_message_stream("hi")
    assert first.wait_for_requests(1)

    handle.cancel()

    assert isinstance(handle.exception(PATIENCE_S), StreamCancelled)
    assert () == second.requests
    assert first.wait_until_idle()


def test_cancel_ends_the_second_client_s_connecting(pair, make, full_backlog):
    """As it does with the first."""
    first, _, _ = pair
    first.add(DOWN)
    connecting = threading.Event()

    class Telltale:
        def __getattr__(self, notice):
            return lambda *_: connecting.set()

    stuck = make(base_url=full_backlog, observers=[Telltale()], timeouts=Timeouts())
    handle = FallbackClient([make(first), stuck]).start_message_stream("hi")
    assert connecting.wait(PATIENCE_S)

    handle.cancel()

    error = handle.exception(PATIENCE_S)
    assert (StreamCancelled, "the reply was cancelled") == (type(error), str(error))


def test_cancel_ends_the_second_client_s_wait_in_an_open_stream(pair):
    """The reader waits for the headers of another reply than the one that it was given."""
    first, second, client = pair
    first.add(Reply(error={"message": "Overloaded"}))
    second.add(Raw(before_headers=(Stall(),)))
    clocks = Timeouts(first_chunk_s=3 * PATIENCE_S)
    stream = client.send_message_stream("hi", timeouts=clocks)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reading = pool.submit(next, stream)
        assert second.wait_for_requests(1)
        stream.cancel()
        error = reading.exception(PATIENCE_S)

    assert isinstance(error, StreamCancelled)
    assert second.wait_until_idle()


@pytest.mark.parametrize("others", [0, 1])
def test_cancel_that_a_failing_client_did_not_hear_is_kept(others):
    """The next client is not asked, and the error is the cancel."""
    handles, started, asked = [], threading.Event(), []

    def cancel_and_fail():
        assert started.wait(PATIENCE_S)
        handles[0].cancel()
        raise ServerError("down")

    client = FallbackClient([Own(cancel_and_fail), Own(lambda: asked.append(1))][: 1 + others])
    handles.append(client.start_message_stream("hi"))
    started.set()

    assert isinstance(handles[0].exception(PATIENCE_S), StreamCancelled)
    assert [] == asked


def test_cancel_reaches_a_stream_that_was_made_before():
    """A client of a user's own may hand out one that knows no cancel but its own."""
    made = ChatStream.of([MessageChunk("Hel"), MessageChunk("lo")])
    stream = FallbackClient([Own(lambda: made)]).send_message_stream("hi")
    next(stream)

    stream.cancel()

    with pytest.raises(StreamCancelled):
        next(stream)


def test_reply_that_is_over_does_not_wait_for_the_garbage_collector():
    """Nor does the way to cancel it hold it back."""
    made = []

    def answer():
        stream = ChatStream.of([MessageChunk("Hello", finish_reason="stop")])
        made.append(weakref.ref(stream))
        return stream

    client = FallbackClient([Own(answer)])
    gc.disable()
    try:
        client.send_message_stream("hi").result()
        left = made[0]()
    finally:
        gc.enable()

    assert left is None


def test_close_ends_the_second_client_s_reply(pair):
    """The connection of the one that answers is the one that is closed."""
    first, second, client = pair
    first.add(DOWN)
    second.add(Reply("Never whole", after={2: Stall()}))
    stream = client.send_message_stream("hi")
    next(stream)

    stream.close()

    assert second.wait_until_idle()
    with pytest.raises(StreamCancelled):
        next(stream)


# Who is not asked


@pytest.mark.parametrize("way", ["stream", "callbacks"])
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply("Never whole", after={2: Cut()}), StreamInterrupted),
        (Reply("Never", error={"message": "Overloaded"}), ServerError),
        (Reply("Never whole", after={2: Stall()}), RequestTimeoutError),
        (Reply("Never whole", after={2: b"data: {\n\n"}), StreamError),
    ],
    ids=["cut", "error event", "stall", "no JSON"],
)
def test_nobody_takes_over_after_the_first_chunk(pair, read, way, reply, kind):
    """Half a reply of one model is not continued by another, nor begun anew."""
    first, second, client = pair
    first.add(reply)

    with pytest.raises(kind) as caught:
        read(client, way, "hi", timeouts=Timeouts(idle_s=0.2))

    assert ("Never", "first") == (caught.value.partial.content, caught.value.partial.model)
    assert () == second.requests


def test_option_that_the_first_wire_cannot_say_is_the_second_s(serve, make):
    """Nothing is sent to the first."""
    first, second = serve(), serve("Hello", "Hello")
    clients = [make(first, kind=ClaudeClient), make(second)]
    options = ChatOptions(seed=1)

    assert "Hello" == FallbackClient(clients).send_message("hi", options=options).content
    assert "Hello" == FallbackClient(clients[:0:-1]).send_message("hi", options=options).content
    assert () == first.requests


def test_provider_s_error_counts_more_than_an_option_that_another_cannot_say(serve, make):
    """Whoever is paged learns that a provider is down, not that its stand-in is none."""
    clients = [make(serve(DOWN)), make(serve(), kind=ClaudeClient)]

    with pytest.raises(ServerError, match=r"status 503: down; other clients: .*seed"):
        FallbackClient(clients).send_message("hi", options=ChatOptions(seed=1))
    with pytest.raises(UnsupportedOptionError, match="seed"):
        FallbackClient(clients[1:]).send_message("hi", options=ChatOptions(seed=1))


@pytest.mark.parametrize("way", WAYS)
def test_mistake_of_the_program_s_is_raised_at_once(pair, read, way):
    """Another provider would not help."""
    first, second, client = pair

    with pytest.raises(ConfigurationError, match="messages is empty"):
        read(client, way, [])
    with pytest.raises(ConfigurationError, match="tools must be"):
        read(client, way, "hi", "tools")
    assert ((), ()) == (first.requests, second.requests)


@pytest.mark.parametrize("way", WAYS)
def test_client_that_was_closed_is_a_mistake(serve, make, read, way):
    """It would go unnoticed for ever."""
    closed, second = make(serve()), serve("Hello")
    closed.close()

    with pytest.raises(ConfigurationError, match="is closed"):
        read(FallbackClient([closed, make(second)]), way, "hi")
    assert () == second.requests


@pytest.mark.parametrize("way", ["whole", "stream"])
def test_bug_of_a_user_s_own_client_is_raised_as_it_is(serve, make, read, way):
    """A fallback must not hide it."""
    second = serve("Hello")

    with pytest.raises(KeyError, match="choices"):
        read(FallbackClient([raising(KeyError("choices")), make(second)]), way, "hi")
    assert () == second.requests


@pytest.mark.parametrize("way", WAYS)
def test_socket_error_of_a_user_s_own_client_moves_on(serve, make, read, way):
    """What requests, urllib and sockets raise is an OSError: the provider is not there."""
    client = FallbackClient([raising(ConnectionResetError("by peer")), make(serve("Hello"))])

    assert "Hello" == read(client, way, "hi").content


def test_socket_error_before_the_first_chunk_moves_on(serve, make):
    """Also out of the stream of a user's own client."""

    def chunks():
        raise TimeoutError("slow")
        yield

    client = FallbackClient([Own(lambda: ChatStream.of(chunks())), make(serve("Hello"))])

    assert "Hello" == client.send_message_stream("hi").result().content


@pytest.mark.parametrize("way", WAYS)
def test_socket_error_of_the_last_client_is_a_connect_error(read, way):
    """Its cause is the error; passwords in addresses are masked."""
    cause = ConnectionResetError("http://me:secret@host reset")

    with pytest.raises(ConnectError) as caught:
        read(FallbackClient([raising(cause)]), way, "hi")

    expected = "no answer from own (ConnectionResetError: http://***@host reset)"
    assert (expected, cause) == (str(caught.value), caught.value.__cause__)


# What is raised when nobody answers


@pytest.mark.parametrize("way", WAYS)
def test_last_error_is_raised_and_names_the_others(pair, read, way):
    """Its class is that of the client asked last; nothing of the others is lost."""
    first, second, client = pair
    first.add(DOWN)
    second.add(WRONG_KEY)

    with pytest.raises(AuthenticationError) as caught:
        read(client, way, "hi")

    expected = (
        "second answered with status 401: wrong key (check the key and what it may use); "
        "other clients: first first (ServerError: first answered with status 503: down)"
    )
    assert expected == str(caught.value)
    assert (2, True, 401) == (
        caught.value.attempts,
        caught.value.retryable,
        caught.value.status_code,
    )
    assert [AuthenticationError, ServerError] == [type(link) for link in links_of(caught.value)]


def test_error_is_chained_to_those_before_it(pair, serve, make):
    """Down to what the first one was raised for, all of it in a traceback."""
    first, second, _ = pair
    first.add(Raw(before_headers=(Cut(),)))
    second.add(DOWN)
    servers = (first, second, serve(WRONG_KEY))
    client = FallbackClient([make(server) for server in servers])

    with pytest.raises(AuthenticationError) as caught:
        client.send_message_stream("hi")

    *ours, root = links_of(caught.value)
    assert [AuthenticationError, ServerError, ConnectError] == [type(link) for link in ours]
    assert not isinstance(root, CloudLLMError)
    assert all(link.__traceback__ is not None for link in ours)


def test_error_event_of_the_last_client_names_the_others(pair):
    """Also if it comes when the stream is open."""
    first, second, client = pair
    first.add(WRONG_KEY)
    second.add(Reply(error={"message": "Overloaded"}))
    stream = client.send_message_stream("hi")

    with pytest.raises(ServerError, match=r"Overloaded; other clients: .*wrong key"):
        stream.result()


def test_error_pickles_with_all_names(pair):
    """For whoever reports it from another process."""
    first, second, client = pair
    first.add(DOWN)
    second.add(WRONG_KEY)
    with pytest.raises(AuthenticationError) as caught:
        client.send_message("hi")

    copied = pickle.loads(pickle.dumps(caught.value))

    assert (str(caught.value), 2, 401) == (str(copied), copied.attempts, copied.status_code)


def test_error_of_a_nested_fallback_client_names_all(pair, serve, make):
    """However deep."""
    first, second, inner = pair
    first.add(DOWN)
    second.add(WRONG_KEY)
    client = FallbackClient([make(serve(error_reply(429, "slow down"))), inner])

    with pytest.raises(AuthenticationError) as caught:
        client.send_message("hi")

    assert all(said in str(caught.value) for said in ("wrong key", "503: down", "slow down"))
    assert 3 == caught.value.attempts


def test_error_that_is_raised_again_and_again_does_not_grow():
    """A client of a user's own may keep one error for all calls."""
    error = ServerError("down")
    client = FallbackClient([raising(error), raising(error), raising(ServerError("too"))])
    texts = set()

    for _ in range(3):
        with pytest.raises(ServerError) as caught:
            client.send_message("hi")
        texts.add(str(caught.value))

    assert {"too; other clients: own own-1 (ServerError: down); own own-1 (ServerError: down)"} == (
        texts
    )
    assert ("down", None) == (str(error), error.__cause__)


def test_error_of_a_single_client_is_its_own(serve, make):
    """Nothing is added to it, and it is the same object."""
    error = ServerError("down")

    with pytest.raises(ServerError) as caught:
        FallbackClient([raising(error)]).send_message("hi")

    assert error is caught.value


def test_client_that_cannot_stream_does_not_hide_why_the_other_failed(serve, make):
    """It was never asked."""
    client = FallbackClient([make(serve(DOWN)), Own(lambda: None)])

    with pytest.raises(ServerError, match="status 503: down; other clients: own own-1"):
        client.send_message_stream("hi")


@pytest.mark.parametrize("way", WAYS)
def test_errors_show_no_prompt(pair, read, way):
    """Not even to reporters that show the local variables of the SDK's frames."""
    first, second, client = pair
    first.add(DOWN)
    second.add(WRONG_KEY)
    lines = []

    with pytest.raises(AuthenticationError) as caught:
        read(client, way, "my secret diary")

    for link in links_of(caught.value):
        report = TracebackException(type(link), link, link.__traceback__, capture_locals=True)
        lines += report.format_exception_only()
        for frame in report.stack:
            if PACKAGE in frame.filename:
                lines += map(str, (frame.locals or {}).items())
    assert len(lines) > 10
    assert [] == [line for line in lines if "diary" in line]
