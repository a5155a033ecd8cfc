"""FallbackClient: who answers when somebody cannot."""

import concurrent.futures
import tracemalloc

import pytest

from cloudllm_sync import (
    ChatStream,
    ClaudeClient,
    ConfigurationError,
    LLMSession,
    Message,
    MessageChunk,
    Role,
    StreamingNotSupportedError,
    StreamInterrupted,
    ToolCall,
    ToolDefinition,
)
from cloudllm_sync.clients.fallback import FallbackClient
from cloudllm_sync.testing import Cut, Raw, Reply, Stall, error_reply

OVERLOADED = {"message": "Overloaded", "type": "overloaded_error"}
TOO_LONG = error_reply(400, "too long", code="context_length_exceeded")


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
        TOO_LONG,
    ],
    ids=["key", "rate", "down", "cut", "empty", "error event", "context length"],
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


class Mute:
    """A user's own client that answers at once only."""

    model_name = "mute-1"
    provider_name = "mute"

    def send_message(self, messages, tools=None):
        return Message(Role.ASSISTANT, "Hello")

    def send_message_stream(self, messages, tools=None):
        return None


class Talker(Mute):
    """A user's own client that streams what it was given."""

    def __init__(self, stream):
        self.stream = stream

    def send_message_stream(self, messages, tools=None):
        return self.stream


HELLO = (MessageChunk("Hel"), MessageChunk("lo"), MessageChunk(finish_reason="stop"))


def test_clients_that_cannot_stream_are_passed_over():
    """None from a user's own client means: ask the next."""
    client = FallbackClient([Mute(), Talker(ChatStream.of(HELLO))])

    assert "Hello" == client.send_message_stream("hi").result().content


def test_client_without_send_message_stream_is_passed_over():
    """As a session does: no such method is no stream."""

    class Whole:
        model_name = provider_name = "whole"

        def send_message(self, messages, tools=None):
            return Message(Role.ASSISTANT, "Hello")

    client = FallbackClient([Whole(), Talker(ChatStream.of(HELLO))])

    assert "Hello" == client.send_message("hi").content
    assert "Hello" == client.send_message_stream("hi").result().content


def test_chunks_of_a_user_s_own_client_are_a_stream():
    """A client may return the chunks themselves, as it may to a session."""
    client = FallbackClient([Talker(iter(HELLO))])

    assert "Hello" == client.send_message_stream("hi").result().content


def test_none_that_can_stream_is_said():
    """With the way out."""
    with pytest.raises(StreamingNotSupportedError, match=r"mute cannot stream: use send_message"):
        FallbackClient([Mute(), Mute()]).send_message_stream("hi")


def test_reply_without_a_model_gets_the_client_s():
    """A user's own client need not say who answered."""
    client = FallbackClient([Talker(ChatStream.of(HELLO))])
    half = FallbackClient([Talker(ChatStream.of(HELLO[:1]))])

    assert "mute-1" == client.send_message("hi").model
    assert "mute-1" == client.send_message_stream("hi").result().model
    with pytest.raises(StreamInterrupted) as caught:
        half.send_message_stream("hi").result()
    assert ("Hel", "mute-1") == (caught.value.partial.content, caught.value.partial.model)


@pytest.mark.parametrize("way", ["whole", "stream", "callbacks"])
def test_what_can_be_read_once_is_read_for_all_clients(pair, read, way):
    """Tools and messages from generators reach the second client, too."""
    first, second, client = pair
    first.add(error_reply(503, "down"))
    second.add("Hello")
    tools = (ToolDefinition(name, "", {"type": "object"}) for name in ("one", "two"))

    read(client, way, (message for message in [Message(Role.USER, "hi")]), tools)

    asked = second.requests[0].json
    assert ["hi"] == [message["content"] for message in asked["messages"]]
    assert ["one", "two"] == [tool["function"]["name"] for tool in asked["tools"]]


def test_looking_at_a_stream_builds_no_text(pair):
    """Usage and finish reason cost the same at every length of the reply."""
    first, _, client = pair
    first.add(Reply(["x" * 10_000] * 100))
    stream = client.send_message_stream("hi")
    for _ in range(100):
        next(stream)

    tracemalloc.start()
    seen = (stream.usage, stream.finish_reason, stream.request_id)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    stream.result()

    assert (None, None) == seen[:2]
    assert peak_bytes < 50_000


def test_observers_hear_of_their_own_client(pair, make):
    """Each call of each client is one story with one end."""
    first, second, _ = pair
    first.add(error_reply(503, "down"))
    second.add("Hello")
    told = []

    class Recorder:
        def __init__(self, name):
            self.name = name

        def __getattr__(self, notice):
            return lambda call, *_: told.append((self.name, notice))

    client = FallbackClient(
        [make(server, observers=[Recorder(name)]) for name, server in zip("ab", (first, second))]
    )
    client.send_message_stream("hi").result()

    first_story = [("a", "on_start"), ("a", "on_error")]
    second_story = [("b", "on_start"), ("b", "on_first_chunk"), ("b", "on_finish")]
    assert first_story + second_story == told


def test_clients_may_be_fallback_clients(pair, make, serve):
    """The last of the inner one's clients is followed by the outer one's next."""
    first, second, inner = pair
    first.add(error_reply(503, "down"), error_reply(503, "down"))
    second.add(error_reply(503, "down"), Raw(b"", content_type="text/event-stream"))
    client = FallbackClient([inner, make(serve("Hello", "Hello again"), model="third")])

    assert "Hello" == client.send_message("hi").content
    message = client.send_message_stream("hi").result()

    assert ("Hello again", "third") == (message.content, message.model)
    assert "first, second, OpenAI" == client.provider_name


def test_tool_loop_goes_on_with_another_provider(serve, make):
    """What Claude wants back is not sent to OpenAI; the call and its result are."""
    claude, openai = serve(), serve()
    call = ToolCall("toolu_1", "look", "{}")
    claude.add(Reply("", reasoning="Let me look.", tool_calls=[call]), error_reply(529, "busy"))
    openai.add("Rain")
    client = FallbackClient(
        [make(kind=ClaudeClient, base_url=claude.url), make(openai, model="gpt-5")]
    )
    session = LLMSession(client)
    tools = [ToolDefinition("look", "", {"type": "object"})]
    first = session.stream("Weather?", tools).result()
    session.inject_message(Role.TOOL, "rain", tool_call_id="toolu_1")

    last = session.send_current_history(tools)

    assert first.provider_state is not None
    assert ("Rain", "gpt-5") == (last.content, last.model)
    _, said, result = openai.requests[0].json["messages"]
    function = {"name": "look", "arguments": "{}"}
    calls = [{"id": "toolu_1", "type": "function", "function": function}]
    assert {"role": "assistant", "content": None, "tool_calls": calls} == said
    assert {"role": "tool", "tool_call_id": "toolu_1", "content": "rain"} == result


def test_threads_may_share_one(pair):
    """It keeps nothing of a call."""
    first, second, client = pair
    first.add(*[error_reply(503, "down")] * 32)
    second.add(*["Hello"] * 32)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(lambda n: client.send_message_stream(str(n)).result().content, range(32))
        )

    assert ["Hello"] * 32 == replies
    asked = [request.json["messages"][0]["content"] for request in second.requests]
    assert sorted(map(str, range(32))) == sorted(asked)


def test_turn_left_after_its_finish_reason_is_kept(pair):
    """As with any client: the text was whole."""
    first, second, client = pair
    first.add(error_reply(503, "down"))
    second.add(Reply("Hello", usage=None))
    session = LLMSession(client)

    with session.stream("hi") as stream:
        for chunk in stream:
            if chunk.finish_reason:
                break

    assert ["hi", "Hello"] == [message.content for message in session.history]


def test_stream_that_is_dropped_ends_the_reply(pair):
    """One warning, and the provider is no longer listened to."""
    first, second, client = pair
    first.add(error_reply(503, "down"))
    second.add(Reply("Never whole", after={2: Stall()}))
    stream = client.send_message_stream("hi")
    next(stream)

    with pytest.warns(ResourceWarning) as caught:
        del stream

    assert 1 == len(caught)
    assert second.wait_until_idle()


def test_closing_it_closes_its_clients(serve, make):
    """All of them, whatever one of them has to say about that."""

    class Stuck(Mute):
        def close(self):
            raise OSError("stuck")

    first, last = make(serve()), make(serve())

    with pytest.raises(OSError, match="stuck"):
        with FallbackClient([first, Mute(), Stuck(), last]):
            pass

    for client in (first, last):
        with pytest.raises(ConfigurationError, match="closed"):
            client.send_message("hi")


@pytest.mark.parametrize(
    ("clients", "said"),
    [
        ([], "at least one"),
        ("openai:gpt-5", "not str"),
        (["openai:gpt-5"], "open_client"),
        (Mute(), "sequence of clients, not Mute"),
        ([Mute(), None], "not NoneType"),
    ],
)
def test_what_is_no_sequence_of_clients_is_refused(clients, said):
    """At once, not when the first one is down."""
    with pytest.raises(ConfigurationError, match=said):
        FallbackClient(clients)


def test_repr_names_the_clients(pair):
    """In their order."""
    expected = "FallbackClient([OpenAICompatibleClient('first'), OpenAICompatibleClient('second')])"

    assert expected == repr(pair[2])
