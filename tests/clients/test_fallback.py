"""FallbackClient: who answers when somebody cannot."""

import pytest

from cloudllm_sync import (
    AuthenticationError,
    ConfigurationError,
    LLMSession,
    MessageChunk,
    OpenAICompatibleClient,
    RequestTimeoutError,
    ServerError,
    StreamCancelled,
    StreamInterrupted,
    Timeouts,
)
from cloudllm_sync.clients.fallback import FallbackClient
from cloudllm_sync.testing import Cut, FakeServer, Raw, Reply, Stall, error_reply

OVERLOADED = {"message": "Overloaded", "type": "overloaded_error"}


@pytest.fixture
def pair():
    """Two servers with a client for each, and a FallbackClient of the two."""
    with FakeServer() as first, FakeServer() as second:
        clients = [
            OpenAICompatibleClient(
                model,
                base_url=server.base_url,
                provider_name=model,
                max_retries=0,
                timeouts=Timeouts(5, 5, 5),
            )
            for model, server in (("first", first), ("second", second))
        ]
        yield first, second, FallbackClient(clients)
        for client in clients:
            client.close()


def test_first_client_answers_when_it_can(pair):
    """The second client is not asked."""
    first, second, client = pair
    first.add("Hello")

    message = client.send_message_stream("hi").result()

    assert ("Hello", "first") == (message.content, message.model)
    assert () == second.requests


@pytest.mark.parametrize(
    "failure",
    [
        error_reply(401, "wrong key"),
        error_reply(429, "slow down"),
        error_reply(500, "down"),
        Raw(before_headers=(Cut(),)),
        Raw(b"", content_type="text/event-stream"),
        Reply(error=OVERLOADED),
    ],
    ids=["key", "rate", "down", "cut", "empty", "error event"],
)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_second_client_takes_over_before_the_first_chunk(pair, failure, stream):
    """A refusal, a cut and an error event are all the same to the caller."""
    first, second, client = pair
    first.add(failure)
    second.add("Hello")

    if stream:
        message = client.send_message_stream("hi").result()
    else:
        message = client.send_message("hi")

    assert ("Hello", "second") == (message.content, message.model)
    assert [1, 1] == [len(first.requests), len(second.requests)]


def test_nobody_takes_over_after_the_first_chunk(pair):
    """Half a reply of one model is not continued by another."""
    first, second, client = pair
    first.add(Reply("Never whole", after={2: Cut()}))
    stream = client.send_message_stream("hi")

    with pytest.raises(StreamInterrupted) as caught:
        stream.result()

    assert "Never" == caught.value.partial.content
    assert () == second.requests


def test_last_error_is_raised_when_nobody_answers(pair):
    """The caller sees the error of the client that was asked last."""
    first, second, client = pair
    first.add(error_reply(500, "down"), error_reply(500, "down"))
    second.add(error_reply(401, "wrong key"), Reply(error=OVERLOADED))

    with pytest.raises(AuthenticationError):
        client.send_message("hi")
    with pytest.raises(ServerError, match="Overloaded"):
        client.send_message_stream("hi").result()


def test_cancel_does_not_move_on(pair):
    """A cancelled reply is not asked for again elsewhere."""
    first, second, client = pair
    first.add(Raw(before_headers=(Stall(),)))
    handle = client.start_message_stream("hi")
    assert first.wait_for_requests(1)

    handle.cancel()

    assert isinstance(handle.exception(10), StreamCancelled)
    assert () == second.requests
    assert first.wait_until_idle()


def test_time_out_before_the_first_chunk_moves_on(pair):
    """A provider that accepts and says nothing is one that cannot be reached."""
    first, second, client = pair
    first.add(Raw(Stall()), Raw(Stall()))
    second.add("Hello", Raw(Stall()))
    clocks = Timeouts(first_chunk_s=0.1)

    assert "Hello" == client.send_message_stream("hi", timeouts=clocks).result().content
    with pytest.raises(RequestTimeoutError):
        client.send_message_stream("hi", timeouts=clocks).result()


def test_session_on_a_fallback_client_commits_who_answered(pair):
    """A FallbackClient is a ClientWrapper as any other."""
    first, second, client = pair
    first.add(error_reply(503, "down"))
    second.add("Hello")
    session = LLMSession(client)

    with session.stream("hi") as stream:
        assert ["Hello"] == list(stream.text())

    assert ["hi", "Hello"] == [message.content for message in session.history]
    assert "second" == session.history[-1].model
    assert "first" == session.model_name
    assert "first, second" == client.provider_name


def test_clients_that_cannot_stream_are_passed_over():
    """None from a user's own client means: ask the next."""

    class Mute:
        model_name = "mute"
        provider_name = "mute"

        def send_message_stream(self, messages, tools=None):
            return None

    class Talker(Mute):
        def send_message_stream(self, messages, tools=None):
            from cloudllm_sync import ChatStream

            return ChatStream.of([MessageChunk("Hello"), MessageChunk(finish_reason="stop")])

    assert "Hello" == FallbackClient([Mute(), Talker()]).send_message_stream("hi").result().content
    with pytest.raises(ConfigurationError, match="can stream"):
        FallbackClient([Mute()]).send_message_stream("hi")


def test_no_clients_are_refused():
    """There is nobody to ask."""
    with pytest.raises(ConfigurationError, match="at least one"):
        FallbackClient([])
