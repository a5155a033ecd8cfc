"""What is refused before any request shows neither key nor prompt: not in words, not in frames."""

from __future__ import annotations

import copy
import pickle

import pytest

from cloudllm_sync import (
    Attachment,
    AzureOpenAIClient,
    ChatOptions,
    ClaudeClient,
    ConfigurationError,
    ContextLengthError,
    FallbackClient,
    GeminiClient,
    GrokClient,
    LLMSession,
    Message,
    OpenAIClient,
    OpenAICompatibleClient,
    OpenAIResponsesClient,
    Role,
    ToolCall,
    open_client,
)

PROMPT = "my-private-prompt"
PASSWORD = "hunter2-of-the-proxy"
ADDRESS = "https://api.example.com/v1"


def opened(model, *, base_url=ADDRESS, **options):
    return open_client(f"custom:{model}@{base_url}", **options)


KINDS = [
    AzureOpenAIClient,
    ClaudeClient,
    GeminiClient,
    GrokClient,
    OpenAIClient,
    OpenAICompatibleClient,
    OpenAIResponsesClient,
    opened,
]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
# Of those kinds, one for each codec: what they send is made by nothing else.
CODECS = [ClaudeClient, GeminiClient, OpenAIClient, OpenAIResponsesClient]

MISTAKES = {
    "address": {"base_url": "https://host:99999"},
    "plain http": {"base_url": "http://host/v1"},
    "options": {"options": 5},
    "timeouts": {"timeouts": 5},
    "limits": {"limits": 5},
    "retries": {"max_retries": -1},
    "observers": {"observers": 5},
    "header": {"headers": {"X-Token": f"{PASSWORD}\n"}},
    "header's name": {"headers": {"X Token": PASSWORD}},
    "header's type": {"headers": {"X-Token": PASSWORD.encode()}},
    "headers": {"headers": [("X-Token", PASSWORD)]},
    "proxies": {"proxies": f"http://me:{PASSWORD}@proxy"},
    "SOCKS": {"proxies": {"https": f"socks5://me:{PASSWORD}@proxy"}},
    "verify": {"verify": "/no/such/file"},
    "cert": {"cert": "/no/such/file"},
    "unknown": {"no_such_argument": 1},
}


@kinds
@pytest.mark.parametrize("mistake", MISTAKES)
def test_client_that_cannot_be_made_shows_no_secret(kind, mistake, key, report_of):
    """The key is right, something else is wrong: reports show the arguments of every frame."""
    options = {"base_url": ADDRESS, **MISTAKES[mistake]}

    with pytest.raises((ConfigurationError, TypeError)) as caught:
        kind("m", api_key=key, **options)

    shown = report_of(caught.value)
    assert key not in shown
    assert PASSWORD not in shown


@kinds
@pytest.mark.parametrize("bad", ["“{}”", "{}\r\nX-Evil: 1", '"{}"', "{} {}", "{}\0", "{}é"])
def test_refused_key_is_shown_nowhere(kind, bad, key, report_of):
    """Typographic quotes, line ends, control characters: the message names, and does not show."""
    with pytest.raises(ConfigurationError) as caught:
        kind("m", api_key=bad.format(key, key), base_url=ADDRESS)

    assert "api_key" in str(caught.value)
    assert key not in report_of(caught.value)


def test_refused_key_of_the_environment_is_shown_nowhere(monkeypatch, key, report_of):
    """The variable is named."""
    monkeypatch.setenv("OPENAI_API_KEY", f"“{key}”")

    with pytest.raises(ConfigurationError, match=r"OPENAI_API_KEY holds U\+201C") as caught:
        OpenAIClient("m")

    assert key not in report_of(caught.value)


def test_key_that_is_no_text_is_shown_nowhere(key, report_of):
    """Read from a file in binary mode, or a list of one."""
    for value in (key.encode(), [key], {"key": key}):
        with pytest.raises(ConfigurationError, match="api_key must be a string") as caught:
            OpenAIClient("m", api_key=value)

        assert key not in report_of(caught.value)


@pytest.mark.parametrize(
    "base_url",
    [
        f"https://me:{PASSWORD}@host/v1",
        f"https://me:{PASSWORD}@host:99999/v1",
        f"https://me:{PASSWORD}@ho st/v1",
        f"https://me:x@{PASSWORD}@host/v 1",
        f"https://me:a/{PASSWORD}@host:port/v1",
        f"https://me:a?{PASSWORD}@[host/v1",
        f"me:{PASSWORD}@host/v1",
        f"https://host/v1?key={PASSWORD}",
        f"https://host/v1#{PASSWORD}",
        f"http://host/v1?key={PASSWORD}",
        f"https://host:99999/v1?key={PASSWORD}",
        "{key}",
        "https://{key} /v1",
        "https://host:99999/{key}/v1",
        "http://host/{key}/v1",
    ],
)
@pytest.mark.parametrize("make", [OpenAICompatibleClient, opened], ids=lambda make: make.__name__)
def test_secret_in_a_refused_address_is_shown_nowhere(make, base_url, key, report_of):
    """Passwords, queries, and the key itself in the wrong place."""
    with pytest.raises(ConfigurationError) as caught:
        make("m", base_url=base_url.replace("{key}", key), api_key=key)

    shown = report_of(caught.value)
    assert PASSWORD not in shown
    assert key not in shown


@pytest.mark.parametrize("spec", ["{}", "{}:m", "custom:{}", "azure:{}", "custom:@{}"])
def test_key_in_place_of_a_client_s_name_is_shown_nowhere(spec, key, report_of):
    """The arguments in the wrong order."""
    with pytest.raises(ConfigurationError) as caught:
        open_client(spec.format(key))

    assert key not in report_of(caught.value)


def test_cause_that_says_which_file_is_kept():
    """It holds no secret, and whoever looks for a certificate needs it."""
    with pytest.raises(ConfigurationError, match="no/such/file") as caught:
        OpenAIClient("m", api_key="k", verify="/no/such/file")

    assert isinstance(caught.value.__cause__, OSError)


def user(text=PROMPT, **more):
    return Message(Role.USER, text, **more)


REFUSED = {
    "no message": lambda: [user(), PROMPT],
    "order": lambda: [user(), Message(Role.TOOL, PROMPT, tool_call_id="none")],
    "open call": lambda: [
        user(),
        Message(Role.ASSISTANT, "", tool_calls=(ToolCall("c", "look", f'{{"at": "{PROMPT}"'),)),
    ],
    "no JSON in a call": lambda: [
        user(),
        Message(Role.ASSISTANT, "", tool_calls=(ToolCall("c", "look", f'{{"at": "{PROMPT}"'),)),
        Message(Role.TOOL, PROMPT, tool_call_id="c"),
    ],
    "attachment": lambda: [
        user(
            attachments=(Attachment.from_bytes(b"\xff" + PROMPT.encode(), media_type="text/plain"),)
        )
    ],
    "attachment's kind": lambda: [
        user(attachments=(Attachment.from_bytes(b"x", media_type="video/mp4"),))
    ],
}
WAYS = ["send_message", "send_message_stream", "start_message_stream"]


def behind_another(model, **options):
    return FallbackClient([OpenAIClient(model, **options)])


@pytest.mark.parametrize("kind", [*CODECS, behind_another], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("way", WAYS)
def test_refused_conversation_is_shown_nowhere(kind, refused, way, key, report_of, things_in):
    """Neither in the frames that looked at it, nor in what JSON and UTF-8 raised."""
    client = kind("m", api_key=key, base_url=ADDRESS, max_retries=0)
    messages = REFUSED[refused]()
    try:
        getattr(client, way)(messages, options=ChatOptions(extra_body={"a": object()})).result()
    except ConfigurationError as error:
        shown = report_of(error)
        texts = [thing for thing in things_in(error).values() if isinstance(thing, (str, bytes))]
    except AttributeError:  # a whole reply has no result()
        pytest.fail("it was sent")

    assert PROMPT not in shown
    assert key not in shown
    assert not [text for text in texts if PROMPT in str(text)]


@kinds
@pytest.mark.parametrize("way", WAYS)
def test_wrong_options_of_a_call_show_no_prompt(kind, way, key, report_of):
    """The mistake is elsewhere."""
    client = kind("m", api_key=key, base_url=ADDRESS)
    for wrong in ({"options": 5}, {"timeouts": 5}, {"tools": PROMPT}, {"options": {"stop": 1}}):
        with pytest.raises(ConfigurationError) as caught:
            getattr(client, way)(PROMPT, **wrong)

        shown = report_of(caught.value)
        assert PROMPT not in shown
        assert key not in shown


@kinds
@pytest.mark.parametrize("take", [pickle.dumps, copy.deepcopy])
def test_client_says_why_it_does_not_pickle(kind, take, key, report_of):
    """And what to do, without a word of what it holds."""
    client = kind("m", api_key=key, base_url=ADDRESS)

    with pytest.raises(
        TypeError, match=r"holds a key and connections, .*: make one where"
    ) as caught:
        take(client)

    assert key not in report_of(caught.value)


def test_refusal_of_a_clients_own_keeps_its_frames():
    """Whoever wrote it looks for its line; and for its cause."""

    class Own:
        model_name = provider_name = "own"

        def send_message(self, messages, tools=None):
            raise ConfigurationError("not today") from KeyError("why")

    with pytest.raises(ConfigurationError) as caught:
        LLMSession(Own()).ask("hi")

    assert "send_message" in [entry.name for entry in caught.traceback]
    assert caught.traceback[-1].path.name == "test_secret_arguments.py"
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("way", ["ask", "stream", "submit"])
def test_message_that_is_too_long_is_shown_nowhere(way, key, report_of):
    """The session's own limit; history and system prompt are in those frames, too."""
    session = LLMSession(OpenAIClient("m", api_key=key), f"system: {PROMPT}", max_tokens=9)
    session.inject_message("user", PROMPT)

    with pytest.raises(ContextLengthError) as caught:
        getattr(session, way)(PROMPT * 10).result()

    shown = report_of(caught.value)
    assert PROMPT not in shown
    assert key not in shown
