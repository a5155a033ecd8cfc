"""What a client is made of: refused at once, and by name, where it cannot work."""

from __future__ import annotations

import enum
import logging

import pytest

from cloudllm_sync import (
    AzureOpenAIClient,
    ChatOptions,
    ConfigurationError,
    GrokClient,
    OpenAIClient,
    OpenAICompatibleClient,
    Timeouts,
)
from cloudllm_sync.clients.grok import Model as GrokModel
from cloudllm_sync.clients.openai import Model as OpenAIModel

LOCAL = "http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    ("api_key", "said"),
    [
        ("", "api_key is empty"),
        (" \n\t", "api_key is empty"),
        ("sk-one\nsk-two", r"U\+000A"),
        ("sk-“quoted”", r"U\+201C"),
        ("sk-ключ", r"U\+043A"),
        ("sk one", r"U\+0020"),
        ("sk-\x00", r"U\+0000"),
        (b"sk-bytes", "must be a string, not bytes"),
        (12345678, "must be a string, not int"),
        (["sk-list"], "must be a string, not list"),
    ],
    ids=repr,
)
def test_key_that_no_header_can_carry_is_refused(api_key, said):
    """The message says what is wrong, and does not repeat the key."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        OpenAIClient("gpt-5", api_key=api_key)

    shown = str(caught.value)
    assert "api_key" in shown
    assert not any(part in shown for part in ("sk-", "quoted", "ключ", "12345678"))


def test_white_space_around_a_key_is_ignored(make, serve):
    """As it comes from a file."""
    server = serve("Hello")

    make(server, api_key=" sk-padded\r\n").send_message("hi")

    assert server.requests[0].headers["authorization"] == "Bearer sk-padded"


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (OpenAIClient, {}, "OPENAI_API_KEY or OPEN_AI_SECRET"),
        (GrokClient, {}, "XAI_API_KEY"),
        (AzureOpenAIClient, {"base_url": "https://r.openai.azure.com"}, "AZURE_OPENAI_API_KEY"),
    ],
)
def test_missing_key_names_the_variables(kind, options, said):
    """What to do is in the message."""
    with pytest.raises(ConfigurationError, match=f"pass api_key or set .*{said}"):
        kind("m", **options)


@pytest.mark.parametrize(
    ("kind", "variable", "header", "value"),
    [
        (OpenAIClient, "OPENAI_API_KEY", "authorization", "Bearer from-env"),
        (OpenAIClient, "OPEN_AI_SECRET", "authorization", "Bearer from-env"),
        (GrokClient, "XAI_API_KEY", "authorization", "Bearer from-env"),
        (AzureOpenAIClient, "AZURE_OPENAI_API_KEY", "api-key", "from-env"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else value.__name__,
)
def test_key_is_read_from_the_environment(make, serve, monkeypatch, kind, variable, header, value):
    """Each client has its variables."""
    server = serve("Hello")
    monkeypatch.setenv(variable, " from-env\n")

    make(server, kind, api_key=None).send_message("hi")

    assert server.requests[0].headers[header] == value


def test_first_variable_that_is_set_wins(make, serve, monkeypatch):
    """OPENAI_API_KEY over OPEN_AI_SECRET, but an empty one is as good as none."""
    server = serve("Hello", "Hello")
    monkeypatch.setenv("OPEN_AI_SECRET", "second")

    monkeypatch.setenv("OPENAI_API_KEY", "first")
    make(server, api_key=None).send_message("hi")
    monkeypatch.setenv("OPENAI_API_KEY", "  ")
    make(server, api_key=None).send_message("hi")

    keys = [request.headers["authorization"] for request in server.requests]
    assert keys == ["Bearer first", "Bearer second"]


def test_given_key_wins_over_the_environment(make, serve, monkeypatch):
    """Also where the variable holds nonsense."""
    server = serve("Hello")
    monkeypatch.setenv("OPENAI_API_KEY", "broken\nkey")

    make(server, api_key="given").send_message("hi")

    assert server.requests[0].headers["authorization"] == "Bearer given"


def test_broken_variable_is_named(monkeypatch):
    """The user has to know which one to mend."""
    monkeypatch.setenv("OPENAI_API_KEY", "broken\nkey")

    with pytest.raises(ConfigurationError, match=r"OPENAI_API_KEY holds U\+000A"):
        OpenAIClient("gpt-5")


def test_compatible_server_needs_no_key(make, serve, monkeypatch):
    """Ollama wants none; and no other provider's key is sent to it."""
    server = serve("Hello")
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-you")

    make(server, OpenAICompatibleClient, api_key=None).send_message("hi")

    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize("model", [None, "", "  ", 5, b"gpt-5", ["gpt-5"], OpenAIModel], ids=repr)
def test_model_that_is_no_name_is_refused(kind, model):
    """Before a key is even looked for."""
    with pytest.raises(ConfigurationError, match="model must be"):
        kind(model, **({} if kind in (OpenAIClient, GrokClient) else {"base_url": LOCAL}))


class Mine(enum.Enum):
    """Models of a user's own."""

    FAST = "my-fast-model"
    NUMBER = 5


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("anything-goes", "anything-goes"),
        (" padded ", "padded"),
        (OpenAIModel.GPT_5_MINI, "gpt-5-mini"),
        (GrokModel.GROK_4_3, "grok-4.3"),
        (Mine.FAST, "my-fast-model"),
    ],
    ids=str,
)
def test_model_is_a_name_or_a_member_of_an_enum(make, serve, model, name):
    """It goes over the wire as it is."""
    server = serve("Hello")
    client = make(server, model=model)

    client.send_message("hi")

    assert client.model_name == name
    assert server.requests[0].json["model"] == name


def test_enum_member_that_is_no_name_is_refused():
    """Its value must be a string."""
    with pytest.raises(ConfigurationError, match="model must be"):
        OpenAIClient(Mine.NUMBER, api_key="k")


@pytest.mark.parametrize("model", [*OpenAIModel, *GrokModel], ids=str)
def test_model_names_are_lower_case_words(model):
    """As the providers write them."""
    assert model.value == model.value.lower()
    assert model.name == model.value.upper().replace("-", "_").replace(".", "_")


@pytest.mark.parametrize(
    ("base_url", "said"),
    [
        ("", "no address"),
        ("api.openai.com/v1", "no address"),
        ("ftp://api.openai.com/v1", "no address"),
        ("https://", "no address"),
        ("https:///v1", "no address"),
        ("https://[::1", "no address"),
        ("https://host:port/v1", "no address"),
        ("https://host:99999/v1", "no address"),
        ("https://host:0/v1", "no address"),
        ("https://ho st/v1", "no address"),
        ("https://host/v1\r\nX-Evil: 1", "no address"),
        ("https://user:hunter2@host/v1", "user name or password"),
        ("https://hunter2@host/v1", "user name or password"),
        ("https://host/v1?key=1", "query or fragment"),
        ("https://host/v1#top", "query or fragment"),
        ("http://api.example.com/v1", "allow_http"),
        ("http://10.0.0.5:8000/v1", "allow_http"),
        ("http://localhost.evil.example/v1", "allow_http"),
        ("HTTP://api.example.com/v1", "allow_http"),
    ],
)
def test_base_url_that_cannot_be_used_is_refused(kind, base_url, said):
    """The password in it is not repeated."""
    expected = said
    if kind is AzureOpenAIClient and base_url == "":
        expected = "base_url is missing"
    with pytest.raises(ConfigurationError, match=expected) as caught:
        kind("m", api_key="k", base_url=base_url)

    assert "hunter2" not in str(caught.value)


def test_name_that_looks_like_loopback_is_not(make):
    """127.evil.example is somebody's server; the key would go there unencrypted."""
    with pytest.raises(ConfigurationError, match="allow_http"):
        make(base_url="http://127.evil.example/v1")


@pytest.mark.parametrize("base_url", [5, b"https://host/v1", ["https://host/v1"]], ids=repr)
def test_base_url_must_be_text(kind, base_url):
    """A likely mistake is to pass a parsed one."""
    with pytest.raises(ConfigurationError, match="base_url"):
        kind("m", api_key="k", base_url=base_url)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://localhost:11434/v1",
        "http://127.0.0.1:8000/v1/",
        "http://127.8.9.1/v1",
        "http://[::1]:8000/v1",
        "http://ollama.localhost/v1",
        "https://host/v1",
        "  https://host/v1/ ",
        "HTTPS://HOST/v1",
    ],
)
def test_base_url_of_loopback_or_with_tls_is_taken(make, base_url):
    """Plain HTTP to this machine harms nobody."""
    assert make(base_url=base_url)


def test_plain_http_to_another_machine_can_be_asked_for(make):
    """allow_http: a server in one's own network."""
    assert make(base_url="http://10.0.0.5:8000/v1", allow_http=True)


@pytest.mark.parametrize("clock", ["connect_s", "first_chunk_s", "idle_s", "total_s"])
@pytest.mark.parametrize("seconds", [-1, 0, float("nan"), "5", True])
def test_clock_that_cannot_run_is_refused(clock, seconds):
    """By the value itself, so before there is a client."""
    with pytest.raises(ValueError, match=clock):
        Timeouts(**{clock: seconds})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeouts": 5}, "timeouts must be Timeouts"),
        ({"timeouts": (5, 5)}, "timeouts must be Timeouts"),
        ({"options": {"temperature": 0}}, "options must be ChatOptions"),
        ({"limits": 5}, "limits must be Limits"),
        ({"max_retries": -1}, "max_retries must be 0 or more"),
        ({"max_retries": 1.5}, "max_retries must be 0 or more"),
        ({"max_retries": True}, "max_retries must be 0 or more"),
        ({"max_retries": None}, "max_retries must be 0 or more"),
        ({"headers": {"X-A": "1\r\nX-Evil: 2"}}, "'X-A' cannot be sent"),
        ({"headers": {"X-A": "1\n"}}, "'X-A' cannot be sent"),
        ({"headers": {"X-A": "\0"}}, "'X-A' cannot be sent"),
        ({"headers": {"X-A": "snow ☃"}}, "'X-A' cannot be sent"),
        ({"headers": {"X-A\r\nX-Evil": "1"}}, "no header name"),
        ({"headers": {"X A": "1"}}, "no header name"),
        ({"headers": {"X:A": "1"}}, "no header name"),
        ({"headers": {"Ä": "1"}}, "no header name"),
        ({"headers": {"X-A": 1}}, "'X-A' and its value must be strings"),
        ({"headers": {"X-A": b"1"}}, "must be strings"),
        ({"headers": {b"X-A": "1"}}, "must be strings"),
        ({"headers": {"X-A": None}}, "must be strings"),
        ({"headers": [("X-A", "1")]}, "headers must be a mapping"),
        ({"headers": "X-A: 1"}, "headers must be a mapping"),
        ({"proxies": "http://proxy:3128"}, "proxies must be a mapping"),
        ({"base_url": "https://host", "verify": "/no/such/file.pem"}, "verify="),
        ({"base_url": "https://host", "verify": None}, "verify="),
        ({"base_url": "https://host", "cert": "/no/such/file.pem"}, "cert="),
        ({"base_url": "https://host", "cert": 5}, "cert="),
    ],
    ids=str,
)
def test_argument_that_cannot_work_is_named(kind, options, said):
    """Where it is passed, not where it would fail."""
    with pytest.raises(ConfigurationError, match=said):
        kind("m", **{"api_key": "k", "base_url": LOCAL, **options})


@pytest.mark.parametrize("name", [None, "", " ", 5])
def test_provider_name_must_be_a_name(name):
    """It names the server in every error."""
    with pytest.raises(ConfigurationError, match="provider_name"):
        OpenAICompatibleClient("m", base_url=LOCAL, provider_name=name)


def test_api_version_must_be_text():
    """A date without quotes is a number."""
    with pytest.raises(ConfigurationError, match="api_version"):
        AzureOpenAIClient("m", api_key="k", base_url=LOCAL, api_version=2024)


@pytest.mark.parametrize("base_url", [None, "", " ", 5])
def test_azure_needs_its_resource(base_url):
    """There is no default address."""
    with pytest.raises(ConfigurationError, match=r"RESOURCE\.openai\.azure\.com"):
        AzureOpenAIClient("m", api_key="k", base_url=base_url)


def test_compatible_server_needs_an_address():
    """There is no default one; None would otherwise be somebody's."""
    with pytest.raises(ConfigurationError, match="base_url"):
        OpenAICompatibleClient("m", base_url=None)


@pytest.mark.parametrize("given", [None, Timeouts(), ChatOptions()])
def test_nothing_given_is_the_default(make, given):
    """None is as good as leaving it out."""
    name = "options" if isinstance(given, ChatOptions) else "timeouts"

    assert make(base_url=LOCAL, **{name: given})


def test_header_of_the_key_cannot_be_replaced(make, serve, kind, key, caplog):
    """It is left out, with a warning that does not show it; whatever its case."""
    server = serve("Hello")
    header = "api-key" if kind is AzureOpenAIClient else "Authorization"

    with caplog.at_level(logging.WARNING, "cloudllm_sync.clients"):
        client = make(server, kind, headers={header.upper(): "hunter2", "X-Team": "blue"})
    client.send_message("hi")

    headers = server.requests[0].headers
    assert key in headers[header]
    assert headers["x-team"] == "blue"
    assert header.upper() in caplog.text
    assert "hunter2" not in caplog.text


def test_header_of_the_key_is_not_sent_without_a_key_either(make, serve):
    """A key comes in as api_key, where it is checked and masked, or not at all."""
    server = serve("Hello")

    make(
        server, OpenAICompatibleClient, api_key=None, headers={"authorization": "Bearer hunter2"}
    ).send_message("hi")

    assert "authorization" not in server.requests[0].headers


def test_unknown_argument_is_refused(kind):
    """A slip of the pen is no silent default."""
    with pytest.raises(TypeError, match="temprature"):
        kind("m", api_key="k", base_url=LOCAL, temprature=1)
