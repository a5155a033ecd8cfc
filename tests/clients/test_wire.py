"""What goes over the wire, client by client."""

from __future__ import annotations

import pytest

from cloudllm_sync import (
    AzureOpenAIClient,
    BadRequestError,
    ChatOptions,
    GrokClient,
    Message,
    OpenAIClient,
    OpenAICompatibleClient,
    Role,
    Timeouts,
    ToolCall,
    ToolDefinition,
    UnsupportedOptionError,
)
from cloudllm_sync.testing import Reply, error_reply

WEATHER = ToolDefinition("weather", "The weather", {"type": "object", "properties": {}})


@pytest.mark.parametrize(
    ("kind", "header", "prefix"),
    [
        (OpenAIClient, "authorization", "Bearer "),
        (GrokClient, "authorization", "Bearer "),
        (OpenAICompatibleClient, "authorization", "Bearer "),
        (AzureOpenAIClient, "api-key", ""),
    ],
)
def test_request_of_every_client(make, serve, key, kind, header, prefix, way, read):
    """Path, key, types, model, messages; one request."""
    server = serve("Hello there")

    reply = read(make(server, kind), way, "hi")

    assert reply.content == "Hello there"
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers[header] == prefix + key
    assert request.headers["content-type"] == "application/json"
    assert "text/event-stream" in request.headers["accept"]
    assert "cloudllm-sync" in request.headers["user-agent"]
    assert request.json["model"] == "gpt-5"
    assert request.json["messages"] == [{"role": "user", "content": "hi"}]
    assert request.json["stream"] is (way != "whole")
    assert ("stream_options" in request.json) is (way != "whole")
    assert sum(key in value for value in request.headers.values()) == 1


@pytest.mark.parametrize(
    ("path", "version", "expected"),
    [
        ("", None, "/openai/v1/chat/completions"),
        ("/", None, "/openai/v1/chat/completions"),
        ("/openai/v1", None, "/openai/v1/chat/completions"),
        ("/openai/v1/", None, "/openai/v1/chat/completions"),
        ("/openai/v1", "preview", "/openai/v1/chat/completions?api-version=preview"),
        (
            "/openai/deployments/mine",
            None,
            "/openai/deployments/mine/chat/completions?api-version=2024-10-21",
        ),
        (
            "/openai/deployments/mine/",
            "2025-01-01-preview",
            "/openai/deployments/mine/chat/completions?api-version=2025-01-01-preview",
        ),
        ("/gateway", "a b&c", "/gateway/chat/completions?api-version=a%20b%26c"),
    ],
)
def test_forms_of_azure_addresses(make, serve, path, version, expected, way, read):
    """The bare resource means /openai/v1; a deployment's path needs a version."""
    server = serve("Hello")

    read(make(base_url=server.url + path, kind=AzureOpenAIClient, api_version=version), way, "hi")

    assert server.requests[0].path == expected


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (OpenAIClient, "OpenAI"),
        (GrokClient, "xAI"),
        (AzureOpenAIClient, "Azure OpenAI"),
        (OpenAICompatibleClient, "custom"),
    ],
)
def test_provider_is_named_in_errors(make, serve, kind, name, way, read):
    """Whose fault it is."""
    client = make(serve(error_reply(400, "bad luck")), kind)

    assert client.provider_name == name
    with pytest.raises(BadRequestError, match=f"{name} answered with status 400: bad luck"):
        read(client, way, "hi")


@pytest.mark.parametrize(
    ("base_url", "kind"),
    [("https://api.openai.com/v1", OpenAIClient), ("https://api.x.ai/v1", GrokClient)],
)
def test_default_addresses(make, base_url, kind):
    """Where requests go if nothing is said."""
    assert make(kind=kind)._transport.endpoint.base_url == base_url


def test_headers_go_with_every_request(make, serve, way, read):
    """Also in place of those that the client would send."""
    server = serve("Hello", "Hello")
    client = make(
        server,
        headers={"OpenAI-Organization": "org-1", "user-agent": " mine/1.0 ", "X-Latin": "café"},
    )

    read(client, way, "hi")
    read(client, way, "hi")

    for request in server.requests:
        assert request.headers["openai-organization"] == "org-1"
        assert request.headers["user-agent"] == "mine/1.0"
        assert request.headers["x-latin"] == "café"


def test_headers_that_describe_the_body_stay_right(make, serve):
    """A wrong length would cut the request, or hang the server."""
    server = serve("Hello")

    make(server, headers={"Content-Length": "3"}).send_message("hi")

    assert server.requests[0].json["messages"][0]["content"] == "hi"


def test_no_cookies(make, serve):
    """What a server or a proxy sets is not sent back."""
    server = serve(Reply("Hello", headers={"Set-Cookie": "session=1; Path=/"}), default="Hello")
    client = make(server)

    client.send_message("hi")
    client.send_message("hi")
    client.send_message_stream("hi").result()

    assert [("cookie" in request.headers) for request in server.requests] == [False] * 3


@pytest.mark.parametrize("api_key", ["given", None], ids=["key", "no key"])
def test_netrc_does_not_matter(make, serve, monkeypatch, tmp_path, api_key):
    """requests would send its password, even in place of the key."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve("Hello")

    make(server, OpenAICompatibleClient, api_key=api_key).send_message("hi")

    expected = None if api_key is None else "Bearer given"
    assert server.requests[0].headers.get("authorization") == expected


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [("custom", "seed", 7), ("mistral", "random_seed", 7), ("Mistral", "random_seed", 7)],
)
def test_dialect_is_chosen_by_the_provider_s_name(make, serve, name, field, value):
    """Mistral has its own word for the seed."""
    server = serve("Hello")

    make(server, OpenAICompatibleClient, provider_name=name).send_message(
        "hi", options=ChatOptions(seed=7)
    )

    body = server.requests[0].json
    assert body[field] == value
    assert ("seed" in body) is (field == "seed")


def test_perplexity_takes_no_seed(make, serve, way, read):
    """Refused before any request, rather than ignored in silence."""
    server = serve("Hello")
    client = make(server, OpenAICompatibleClient, provider_name="perplexity")

    with pytest.raises(UnsupportedOptionError, match="perplexity takes no seed"):
        read(client, way, "hi", options=ChatOptions(seed=7))

    assert server.requests == ()
    read(client, way, "hi")
    assert "stream_options" not in server.requests[0].json


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (OpenAIClient, "max_completion_tokens"),
        (GrokClient, "max_completion_tokens"),
        (AzureOpenAIClient, "max_completion_tokens"),
        (OpenAICompatibleClient, "max_tokens"),
    ],
)
def test_limit_of_tokens_has_the_provider_s_name(make, serve, kind, field):
    """Models that reason refuse the old one; many small servers know no other."""
    server = serve("Hello")

    make(server, kind).send_message("hi", options=ChatOptions(max_output_tokens=5))

    body = server.requests[0].json
    assert {name: body[name] for name in body if "max" in name} == {field: 5}


@pytest.mark.parametrize("streamed_by", ["stream", "callbacks"])
def test_refused_stream_options_are_left_out_from_then_on(make, serve, streamed_by, read):
    """One more request, without counting as a retry; the next call knows."""
    server = serve(
        error_reply(400, "Unrecognized request argument supplied: stream_options"),
        "Hello",
        "Hello again",
    )
    client = make(server)

    assert read(client, streamed_by, "hi").content == "Hello"
    assert read(client, streamed_by, "hi").content == "Hello again"

    assert ["stream_options" in request.json for request in server.requests] == [
        True,
        False,
        False,
    ]
    first, second = (dict(request.json) for request in server.requests[:2])
    del first["stream_options"]
    assert first == second


def test_refused_stream_options_are_tried_once(make, serve):
    """A server that goes on refusing is believed."""
    refusal = error_reply(400, "stream_options is not permitted")
    server = serve(refusal, refusal)

    with pytest.raises(BadRequestError, match="stream_options") as caught:
        make(server).send_message_stream("hi")

    assert len(server.requests) == 2
    assert caught.value.attempts == 2


def test_other_refusals_are_not_tried_again(make, serve):
    """400 is 400."""
    server = serve(error_reply(400, "no such model"))

    with pytest.raises(BadRequestError, match="no such model"):
        make(server).send_message_stream("hi")

    assert len(server.requests) == 1


def test_options_of_a_call_win_over_the_client_s(make, serve, way, read):
    """One by one; extra_body is merged and wins over all."""
    server = serve("Hello", "Hello")
    client = make(
        server,
        options=ChatOptions(
            temperature=0.5, top_p=0.5, stop="END", extra_body={"a": 1, "b": 1, "user": "ada"}
        ),
    )

    read(
        client,
        way,
        "hi",
        options=ChatOptions(temperature=0.0, stop=("A", "B"), extra_body={"b": 2, "top_p": 0.9}),
    )
    read(client, way, "hi")

    first, second = (request.json for request in server.requests)
    assert (first["temperature"], first["top_p"], first["stop"]) == (0.0, 0.9, ["A", "B"])
    assert (first["a"], first["b"], first["user"]) == (1, 2, "ada")
    assert (second["temperature"], second["top_p"], second["stop"]) == (0.5, 0.5, ["END"])
    assert (second["a"], second["b"]) == (1, 1)


def test_clocks_of_a_call_win_over_the_client_s(make, serve, way, read):
    """The client would wait for five seconds."""
    server = serve(Reply("Hello", delay_s=60))

    with pytest.raises(Exception, match=r"0\.05 s \(first_chunk_s"):
        read(make(server), way, "hi", timeouts=Timeouts(first_chunk_s=0.05))


def test_conversation_with_tools_goes_over_the_wire(make, serve, way, read):
    """All roles in their order, tools and the choice among them."""
    server = serve("done")
    call = ToolCall("c1", "weather", "{}")

    read(
        make(server),
        way,
        [
            Message(Role.SYSTEM, "Be brief."),
            Message(Role.USER, "weather?"),
            Message(Role.ASSISTANT, "", tool_calls=(call,)),
            Message(Role.TOOL, "cold", tool_call_id="c1"),
        ],
        [WEATHER],
        options=ChatOptions(tool_choice="weather"),
    )

    body = server.requests[0].json
    assert [message["role"] for message in body["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]
    assert body["tools"][0]["function"]["name"] == "weather"
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}


def test_messages_may_be_any_iterable(make, serve):
    """A generator, say."""
    server = serve("Hello")

    make(server).send_message(Message(Role.USER, text) for text in ("a", "b"))

    assert [message["content"] for message in server.requests[0].json["messages"]] == ["a", "b"]
