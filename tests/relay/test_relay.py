"""A relay: what is published is what is followed, over memory and over Redis."""

from __future__ import annotations

import threading
import time

import pytest

from cloudllm_sync import (
    AuthenticationError,
    ChatStream,
    ConfigurationError,
    MessageChunk,
    RateLimitError,
    StoreError,
    StreamCancelled,
    StreamInterrupted,
)
from cloudllm_sync.relay import RelayKeyError, open_relay
from cloudllm_sync.relay.entries import chunks_of, data_of_chunks, data_of_end, end_of
from cloudllm_sync.relay.log import Addition
from cloudllm_sync.testing import Raw, Reply, Stall, WaitFor, openai_events
from cloudllm_sync.values import Message, Role, TokenUsage, ToolCall, ToolCallDelta

EVENTS = openai_events(Reply("one two three", usage=None))
CHUNKS = [
    MessageChunk("Hel"),
    MessageChunk("lo \u2028 \U0001f600"),
    MessageChunk("", "Hm"),
    MessageChunk("a", "b", "c"),
    MessageChunk(tool_call_delta=ToolCallDelta(0, "1", "f", "")),
    MessageChunk(tool_call_delta=ToolCallDelta(0, None, None, '{"a": 1}')),
    MessageChunk(finish_reason="tool_calls", raw_finish_reason="tool_use"),
    MessageChunk(usage=TokenUsage(1, 2, 3, cached_input_tokens=1)),
]


@pytest.fixture(params=["memory", "redis"])
def relay(request):
    """Keys of its own in a server that other tests use, too."""
    options = {"lease_s": 1.0, "batch_s": 0.01, "prefix": f"{request.node.name}:"}
    url = "memory:" if request.param == "memory" else request.getfixturevalue("redis_server")
    with open_relay(url, **options) as opened:
        yield opened


def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread


@pytest.fixture
def held(relay, serve, make_client):
    """A reply that is published up to its first word; the gate lets it go on."""
    gate = threading.Event()
    outcome = []
    client = make_client(serve(Raw(*EVENTS[:2], WaitFor(gate), *EVENTS[2:])))

    def publish():
        try:
            outcome.append(relay.publish(client.send_message_stream("hi"), "key"))
        except Exception as error:
            outcome.append(error)

    thread = in_thread(publish)
    yield gate, outcome, thread
    gate.set()
    thread.join(10)


def test_chunks_and_their_borders_arrive(relay):
    """Everything of them, for as many followers as there are, also afterwards."""
    message = relay.publish(ChatStream.of(CHUNKS), "key")
    followed = [relay.follow("key") for _ in range(3)]
    seen = [list(one) for one in followed]

    assert seen == [CHUNKS] * 3
    assert [one.result() for one in followed] == [message] * 3
    assert followed[0].partial == message


def test_first_chunk_comes_while_the_model_still_thinks(relay, held):
    """And the rest follows, batch by batch."""
    gate, outcome, thread = held
    followed = relay.follow("key", wait_s=10)
    first = next(followed)
    gate.set()
    rest = list(followed)
    thread.join(10)

    assert first == MessageChunk("one")
    assert "".join(chunk.content for chunk in rest) == " two three"
    assert followed.result() == outcome[0]


def test_follower_goes_on_behind_any_chunk(relay):
    """Wherever a browser left: nothing is lost, nothing comes twice."""
    relay.publish(ChatStream.of(CHUNKS), "key")
    ids = []
    with relay.follow("key") as whole:
        for _ in whole:
            ids.append(whole.last_event_id)
    rests = [list(relay.follow("key", after=event_id)) for event_id in ids]

    assert rests == [CHUNKS[at + 1 :] for at in range(len(CHUNKS))]
    assert len(set(ids)) == len(CHUNKS)


def test_follower_goes_on_from_the_middle_of_a_resumed_entry(relay):
    """Ids of what was resumed are as good as the first ones."""
    relay.publish(ChatStream.of(CHUNKS), "key")
    seen, after = [], None
    while len(seen) < len(CHUNKS):
        one = relay.follow("key", after=after)
        seen.append(next(one))
        after = one.last_event_id

    assert seen == CHUNKS
    assert list(relay.follow("key", after=after)) == []


@pytest.mark.parametrize("after", ["5", "x:1", "1-0", "99999-0:1", "1-0:0", "1-0:-1", 5, "1-0:1 "])
def test_id_that_was_never_sent_is_refused(relay, after):
    """With a reason: it is a browser's word."""
    relay.publish(ChatStream.of(CHUNKS), "key")

    with pytest.raises(ConfigurationError, match="event"):
        relay.follow("key", after=after)


def test_id_behind_the_chunks_of_its_entry_is_refused(relay):
    """Nobody was given it."""
    relay.publish(ChatStream.of(CHUNKS), "key")
    one = relay.follow("key")
    next(one)
    entry = one.last_event_id.partition(":")[0]

    with pytest.raises(ConfigurationError, match="was sent"):
        relay.follow("key", after=f"{entry}:{len(CHUNKS) + 1}")


def test_unknown_key_is_told(relay):
    """At once; or, if it is to be waited for, by the first chunk: a view has begun by then."""
    with pytest.raises(RelayKeyError):
        relay.follow("nobody")
    waiting = relay.follow("nobody", wait_s=0.05)

    with pytest.raises(RelayKeyError):
        next(waiting)


def test_reply_that_has_expired_is_told():
    """To whoever comes too late."""
    relay = open_relay("memory:", expire_s=0.05)
    relay.publish(ChatStream.of(CHUNKS), "key")
    time.sleep(0.1)

    with pytest.raises(RelayKeyError):
        relay.follow("key")


def test_expired_keys_leave_redis(redis_server):
    """All of them."""
    import redis

    with open_relay(redis_server, expire_s=0.2, prefix="gone:") as relay:
        relay.publish(ChatStream.of(CHUNKS), "key")
        client = redis.Redis.from_url(redis_server)
        before = client.keys("gone:*")
        deadline = time.monotonic() + 10
        while client.keys("gone:*") and time.monotonic() < deadline:
            time.sleep(0.05)  # Redis's clock
        after = client.keys("gone:*")
        client.close()

    assert len(before) == 1
    assert after == []


def test_error_is_told_to_all(relay, serve, make_client):
    """Of its own class, with its fields, and with what had arrived."""
    failing = Raw(
        *EVENTS[:2], b'data: {"error": {"message": "slow down", "code": 429, "type": "busy"}}\n\n'
    )
    client = make_client(serve(failing), max_retries=0)
    with pytest.raises(RateLimitError) as published:
        relay.publish(client.send_message_stream("hi"), "key")
    followed = relay.follow("key")
    with pytest.raises(RateLimitError) as told:
        followed.result()

    assert str(told.value) == str(published.value)
    assert told.value.type == "busy"
    assert told.value.partial.content == "one"
    with pytest.raises(RateLimitError):
        next(followed)


def test_cancel_reaches_the_publisher(relay, held):
    """And followers get what had arrived."""
    _, outcome, thread = held
    followed = relay.follow("key", wait_s=10)
    next(followed)
    known = relay.cancel("key")
    with pytest.raises(StreamCancelled) as told:
        list(followed)
    thread.join(10)

    assert known is True
    assert isinstance(outcome[0], StreamCancelled)
    assert told.value.partial.content == "one"
    assert relay.cancel("key") is False


def test_cancel_of_nothing_says_so(relay):
    """Nobody publishes there."""
    assert relay.cancel("nobody") is False


def test_key_is_used_once(relay, serve, make_client):
    """While it is published and afterwards: somebody may be following."""
    relay.publish(ChatStream.of(CHUNKS), "key")
    server = serve(Raw(*EVENTS[:2], Stall()))
    stream = make_client(server).send_message_stream("hi")
    with pytest.raises(ConfigurationError, match="in use"):
        relay.publish(stream, "key")

    assert server.wait_until_idle(5)
    assert list(relay.follow("key")) == CHUNKS


@pytest.mark.parametrize("key", ["", 5, None, "a\nb", "x" * 256, "\ud800"])
def test_key_that_is_no_name_is_refused(relay, key):
    """By all that take one."""
    for use in (relay.follow, relay.cancel, lambda key: relay.publish(ChatStream.of([]), key)):
        with pytest.raises(ConfigurationError, match="key must be"):
            use(key)


def test_follower_ends_itself_and_nobody_else(relay, held):
    """From any thread, while it waits for a word."""
    gate, outcome, thread = held
    followed = relay.follow("key", wait_s=10)
    next(followed)
    ended = []

    def follow():
        try:
            list(followed)
        except StreamCancelled as error:
            ended.append(error)

    reader = in_thread(follow)
    followed.cancel()
    reader.join(5)
    gate.set()
    thread.join(10)

    assert len(ended) == 1
    assert outcome[0].content == "one two three"


def test_publisher_that_is_gone_is_noticed(relay):
    """Its lease runs out; and should it come back, it is refused."""
    relay._log.begin("key", "dead")
    relay._log.add([Addition("key", "dead", 1, data_of_chunks(CHUNKS[:1]))])
    followed = relay.follow("key")
    with pytest.raises(StreamInterrupted, match="gone") as told:
        list(followed)

    assert told.value.partial.content == "Hel"
    assert told.value.retryable
    assert relay._log.add([Addition("key", "dead", 2, b"[]")]) == [None]


def test_what_is_said_twice_is_written_once(redis_server):
    """An answer that was lost on its way does not tell whether it was written."""
    with open_relay(redis_server, prefix="twice:") as relay:
        relay._log.begin("key", "token")
        first = Addition("key", "token", 1, data_of_chunks(CHUNKS[:1]))
        end = Addition("key", "token", 2, data_of_end(Message(Role.ASSISTANT, "Hel")), True)
        answers = [relay._log.add([one]) for one in (first, first, end, end)]

        assert [[False]] * 4 == answers
        assert CHUNKS[:1] == list(relay.follow("key"))


def test_connections_that_are_cut_lose_nothing(redis_server, serve, make_client):
    """Publisher and followers go on where they were, and nothing comes twice."""
    import redis

    words = [f"word{n} " for n in range(60)]
    server = serve(Reply(words, token_delay_s=0.02))
    killer = redis.Redis.from_url(redis_server)
    with open_relay(redis_server, prefix="cut:", batch_s=0.01) as relay:
        stream = make_client(server).send_message_stream("hi")
        thread = in_thread(relay.publish, stream, "key")
        followed = relay.follow("key", wait_s=5)
        seen = []
        for chunk in followed:
            seen.append(chunk.content)
            if len(seen) % 15 == 1:
                killer.client_kill_filter(_type="normal", skipme=True)
        thread.join(10)

        assert "".join(words) == "".join(seen) == followed.result().content
    killer.close()


def test_what_was_skipped_can_be_asked_for(relay):
    """Whoever goes on with a reply may need what came before."""
    relay.publish(ChatStream.of(CHUNKS), "key")
    followed = relay.follow("key")
    ids = [followed.last_event_id for _ in followed]

    assert [] == relay.follow("key").skipped()
    for number, event_id in enumerate(ids, 1):
        assert CHUNKS[:number] == relay.follow("key", after=event_id).skipped()


def test_interrupted_publisher_tells(relay):
    """Ctrl-C in a worker."""

    def chunks():
        yield MessageChunk("one")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        relay.publish(ChatStream.of(chunks()), "key")

    with pytest.raises(StreamCancelled, match="KeyboardInterrupt"):
        relay.follow("key").result()


def test_handle_is_published(relay, serve, make_client):
    """Its worker reads, and the publisher follows that."""
    handle = make_client(serve("one two three")).start_message_stream("hi")
    message = relay.publish(handle, "key")

    assert relay.follow("key").result() == message
    assert message.content == "one two three"


def test_session_keeps_the_turn(relay, serve, make_client):
    """Publishing is reading."""
    from cloudllm_sync import LLMSession

    session = LLMSession(make_client(serve("one two three")))
    relay.publish(session.stream("hi"), "key")

    assert session.history[-1].content == "one two three"


@pytest.mark.parametrize("failure", [StoreError("no"), TypeError("a mistake of ours")])
def test_relay_that_fails_does_not_lose_the_reply(serve, make_client, failure):
    """It is read to its end, and comes with the error."""
    relay = open_relay("memory:", lease_s=30)

    def add(additions):
        raise failure

    relay._log.add = add
    with pytest.raises(StoreError) as caught:
        relay.publish(make_client(serve("one two three")).send_message_stream("hi"), "key")

    assert caught.value.reply.content == "one two three"


def test_redis_that_is_not_there_is_a_typed_error():
    """Never redis-py's own."""
    relay = open_relay("redis://127.0.0.1:1/0")
    for use in (relay.follow, relay.cancel, lambda key: relay.publish(ChatStream.of([]), key)):
        with pytest.raises(StoreError, match="Redis"):
            use("key")


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://host", {}),
        ("", {}),
        (5, {}),
        ("redis://:x:y", {}),
        ("memory:", {"lease_s": 0}),
        ("memory:", {"expire_s": float("inf")}),
        ("memory:", {"batch_s": -1}),
        ("memory:", {"batch_s": True}),
        ("memory:", {"prefix": 5}),
    ],
)
def test_relay_that_cannot_be_is_refused(url, options):
    """Before anything is sent."""
    with pytest.raises(ConfigurationError):
        open_relay(url, **options)


def test_fast_model_is_written_in_few_entries(relay):
    """However many tokens come while an entry is written."""
    count = 5_000
    chunks = [MessageChunk("x")] * count + [MessageChunk(finish_reason="stop")]
    relay.publish(ChatStream.of(chunks), "key")
    followed = relay.follow("key")
    seen = [followed.last_event_id.partition(":")[0] for _ in followed]

    assert len(seen) == count + 1
    assert len(set(seen)) < count / 10


def test_entries_keep_all_of_chunks_and_ends():
    """Also halves of characters, which no JSON has: they become U+FFFD."""
    message = Message(
        Role.ASSISTANT,
        "hi",
        tool_calls=(ToolCall("1", "f", "{}"),),
        usage=TokenUsage(1, 2, 3),
        provider_state={"a": [1]},
    )
    error = AuthenticationError("no", status_code=401, code="bad", request_id="r", partial=message)
    told = end_of(data_of_end(error))

    assert chunks_of(data_of_chunks(CHUNKS)) == CHUNKS
    assert chunks_of(data_of_chunks([MessageChunk("\ud83d")])) == [MessageChunk("\ufffd")]
    assert end_of(data_of_end(message)) == message
    assert type(told) is AuthenticationError
    assert (told.status_code, told.code, told.request_id, told.partial) == (
        401,
        "bad",
        "r",
        message,
    )


@pytest.mark.parametrize("read", [chunks_of, end_of])
@pytest.mark.parametrize("data", [b"", b"{", b"[5]", b"5", b'{"error": 5}', b'{"message": 5}'])
def test_entry_of_others_is_a_typed_error(read, data):
    """Somebody else's program wrote into the log."""
    with pytest.raises(StoreError, match="cannot be read"):
        read(data)
