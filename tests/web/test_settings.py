"""What a site sets: read, checked, and complained of by name; no framework is needed."""

from __future__ import annotations

import pytest

from cloudllm_sync import (
    ConfigurationError,
    MemoryStore,
    RequestTimeoutError,
    SQLiteStore,
    Timeouts,
)
from cloudllm_sync.testing import FakeServer, Reply, Stall, error_reply
from cloudllm_sync.web.settings import NAMES, Settings, faults_of, make_client, read_settings
from cloudllm_sync.web.site import Site

FLASK = "CLOUDLLM_{}"
DJANGO = 'CLOUDLLM["{}"]'
KEY = "sk-0123456789abcdef"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    """Whoever runs the tests has none."""
    for name in ("OPENAI_API_KEY", "OPEN_AI_SECRET", "AZURE_OPENAI_API_KEY", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_set_is_what_is_usual():
    """All settings have a value, or are not needed."""
    assert Settings() == read_settings({}, form=FLASK)


def test_settings_are_read():
    """Each under its name; a dict of clocks is Timeouts."""
    given = {
        "MODEL": "openai:gpt-5",
        "API_KEY": KEY,
        "BASE_URL": "http://llm:8000/v1",
        "ALLOW_HTTP": True,
        "TIMEOUTS": {"idle_s": 30, "total_s": None},
        "MAX_RETRIES": 0,
        "STORE": "sqlite:///chats.db",
        "SYSTEM_PROMPT": "Be brief.",
        "MAX_TOKENS": 1000,
        "HEARTBEAT_S": 5,
        "ON_DISCONNECT": "finish",
        "MIN_INTERVAL_S": 0.05,
        "PROTOCOL": "ai-sdk",
    }

    settings = read_settings(given, form=FLASK)

    assert set(NAMES) == set(given)
    assert Settings(
        model="openai:gpt-5",
        api_key=KEY,
        base_url="http://llm:8000/v1",
        allow_http=True,
        timeouts=Timeouts(idle_s=30),
        max_retries=0,
        store="sqlite:///chats.db",
        system_prompt="Be brief.",
        max_tokens=1000,
        heartbeat_s=5,
        on_disconnect="finish",
        min_interval_s=0.05,
        protocol="ai-sdk",
    ) == (settings)


def test_time_outs_may_be_what_clients_take():
    """As in Python."""
    clocks = Timeouts(total_s=5)

    assert Settings(timeouts=clocks) == read_settings({"TIMEOUTS": clocks}, form=FLASK)


@pytest.mark.parametrize("name", NAMES)
def test_none_is_not_set(name):
    """As os.environ.get() says what is not there."""
    assert Settings() == read_settings({name: None}, form=FLASK)


REFUSED = [
    ("MODEL", 5, "CLOUDLLM_MODEL: must be a string, 'provider:model', not int"),
    ("MODEL", "gpt-5", "CLOUDLLM_MODEL: expected 'provider:model': known are"),
    ("MODEL", "opnai:gpt-5", "CLOUDLLM_MODEL: no provider 'opnai': did you mean 'openai'?"),
    ("MODEL", "openai:", "CLOUDLLM_MODEL: 'openai' names no model"),
    ("MODEL", "custom:m", "CLOUDLLM_MODEL: 'custom' needs an address"),
    (
        "MODEL",
        "custom:m@http://llm/v1",
        "CLOUDLLM_MODEL: base_url 'http://llm/v1' would send key and prompts unencrypted",
    ),
    ("API_KEY", "", "CLOUDLLM_API_KEY is empty"),
    ("API_KEY", f"'{KEY}'", "CLOUDLLM_API_KEY begins or ends with a quote"),
    ("API_KEY", 5, "CLOUDLLM_API_KEY must be a string, not int"),
    ("BASE_URL", "llm:8000", "CLOUDLLM_BASE_URL 'llm:8000' is no address"),
    ("BASE_URL", 5, "CLOUDLLM_BASE_URL must be a string, not int"),
    ("BASE_URL", "http://llm/v1", "CLOUDLLM_BASE_URL 'http://llm/v1' would send key"),
    ("BASE_URL", "https://a:b@h", "a user name or password: pass CLOUDLLM_API_KEY instead"),
    ("ALLOW_HTTP", "yes", "CLOUDLLM_ALLOW_HTTP: must be True or False, not 'yes'"),
    ("TIMEOUTS", 30, "CLOUDLLM_TIMEOUTS: must be a dict, as {'idle_s': 30}"),
    ("TIMEOUTS", {"idle": 30}, "CLOUDLLM_TIMEOUTS: 'idle' is not an option of Timeouts: did you"),
    ("TIMEOUTS", {"idle_s": 0}, "CLOUDLLM_TIMEOUTS: idle_s must be above 0, not 0"),
    ("TIMEOUTS", {"idle_s": "30"}, "CLOUDLLM_TIMEOUTS: idle_s must be a number, not '30'"),
    ("TIMEOUTS", {5: 30}, "CLOUDLLM_TIMEOUTS: "),
    ("MAX_RETRIES", -1, "CLOUDLLM_MAX_RETRIES must be 0 or more, not -1"),
    ("MAX_RETRIES", "2", "CLOUDLLM_MAX_RETRIES must be 0 or more, not '2'"),
    ("STORE", "chats.db", "CLOUDLLM_STORE: no store has such a URL: there are memory:"),
    ("STORE", "sqlite://chats.db", "CLOUDLLM_STORE: write sqlite:///chats.db"),
    ("STORE", MemoryStore(), "CLOUDLLM_STORE: a store's URL must be a string, not MemoryStore"),
    ("SYSTEM_PROMPT", 5, "CLOUDLLM_SYSTEM_PROMPT"),
    ("MAX_TOKENS", 0, "CLOUDLLM_MAX_TOKENS must be a positive number, not 0"),
    ("HEARTBEAT_S", "15", "CLOUDLLM_HEARTBEAT_S must be seconds above 0, not '15'"),
    ("ON_DISCONNECT", "stop", "CLOUDLLM_ON_DISCONNECT must be 'cancel' or 'finish', not 'stop'"),
    ("PROTOCOL", "ws", "CLOUDLLM_PROTOCOL 'ws' is none of sse, ai-sdk, openai, text"),
    ("MODLE", "openai:gpt-5", "CLOUDLLM_MODLE is no setting: did you mean CLOUDLLM_MODEL?"),
    ("COLOUR", "red", "CLOUDLLM_COLOUR is no setting: known are MODEL, API_KEY, "),
]


@pytest.mark.parametrize(("name", "value", "said"), REFUSED, ids=range(len(REFUSED)))
def test_setting_that_cannot_be_is_refused_by_name(name, value, said):
    """The error begins with, or holds, the setting as the user has written it."""
    with pytest.raises(ConfigurationError) as caught:
        read_settings({name: value}, form=FLASK)

    assert said in str(caught.value)
    assert f"CLOUDLLM_{name}" in str(caught.value)
    assert KEY not in str(caught.value)


def test_settings_of_django_are_named_as_it_writes_them():
    """Also the ones that an error points to, and names in the wrong case."""
    given = {"BASE_URL": "http://llm/v1", "model": "openai:gpt-5"}

    faults = faults_of(given, form=DJANGO)

    assert faults[0] == 'CLOUDLLM["model"] is no setting: did you mean CLOUDLLM["MODEL"]?'
    assert faults[1].startswith("CLOUDLLM[\"BASE_URL\"] 'http://llm/v1' would send")
    assert faults[1].endswith('use https, or pass CLOUDLLM["ALLOW_HTTP"]=True')


def test_names_that_are_no_text_are_unknown():
    """A dict of Django's may hold anything."""
    assert faults_of({5: 6}, form=DJANGO)[0].startswith('CLOUDLLM["5"] is no setting: known are')


@pytest.mark.parametrize("given", [None, "openai:gpt-5", ["MODEL"]])
def test_settings_that_are_no_dict_are_refused(given):
    """By the name of the whole."""
    faults = faults_of(given, form=DJANGO)

    assert faults == (f"CLOUDLLM must be a dict, not {type(given).__name__}",)


def test_all_faults_are_told_at_once():
    """Nobody has to start a site once for each."""
    given = {"MODLE": "x", "MAX_TOKENS": 0, "BASE_URL": "nowhere", "MODEL": "openai:gpt-5"}

    with pytest.raises(ConfigurationError) as caught:
        read_settings(given, form=FLASK)

    assert 3 == len(faults_of(given, form=FLASK))
    assert "; ".join(faults_of(given, form=FLASK)) == str(caught.value)


def test_two_addresses_are_refused():
    """Neither wins over the other unseen."""
    given = {"MODEL": "custom:m@https://a/v1", "BASE_URL": "https://b/v1"}

    assert faults_of(given, form=FLASK) == (
        "CLOUDLLM_BASE_URL: the model has an address already: leave one of them out",
    )


def test_secrets_are_not_shown(report_of, things_in):
    """Neither by the settings' repr nor by what an error holds."""
    given = {"API_KEY": f"{KEY} ", "STORE": "redis://:hunter2secret@h/0", "MAX_TOKENS": 0}

    with pytest.raises(ConfigurationError) as caught:
        read_settings(given, form=FLASK)
    settings = read_settings({**given, "MAX_TOKENS": 9}, form=FLASK)

    assert KEY not in report_of(caught.value)
    assert "hunter2secret" not in report_of(caught.value)
    assert KEY not in repr(settings)
    assert "hunter2secret" not in repr(settings)


@pytest.mark.parametrize(
    "form",
    [
        {"MODEL": "openai:gpt-5@{}"},
        {"MODEL": "openai:gpt-5", "BASE_URL": "{}"},
        {"MODEL": "custom:gpt-5", "BASE_URL": "{}"},
    ],
)
def test_client_asks_the_server_and_the_model_that_are_set(form):
    """With the key that is set."""
    with FakeServer("Hello") as server:
        given = {name: value.format(server.base_url) for name, value in form.items()}
        settings = read_settings({**given, "API_KEY": KEY, "MAX_RETRIES": 0}, form=FLASK)
        with make_client(settings, form=FLASK) as client:
            client.send_message("hi")

    (request,) = server.requests
    assert "gpt-5" == request.json["model"]
    assert f"Bearer {KEY}" == request.headers["Authorization"]


def test_client_has_the_time_outs_and_retries_that_are_set(no_backoff):
    """Two requests for one retry; the clock that ran out is the one that was set."""
    with FakeServer(error_reply(500, "busy"), Reply("x", after={0: Stall()})) as server:
        given = {"MODEL": "openai:m", "API_KEY": KEY, "BASE_URL": server.base_url}
        clocks = {"first_chunk_s": 0.1}
        settings = read_settings({**given, "MAX_RETRIES": 1, "TIMEOUTS": clocks}, form=FLASK)
        with make_client(settings, form=FLASK) as client:
            with pytest.raises(RequestTimeoutError) as caught:
                client.send_message_stream("hi").result()

    assert "first_chunk" == caught.value.clock
    assert 2 == len(server.requests)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no model: set CLOUDLLM_MODEL to 'provider:model'"),
        (
            {"MODEL": "openai:gpt-5"},
            "CLOUDLLM_MODEL: no API key for OpenAI: pass CLOUDLLM_API_KEY or set OPENAI_API_KEY",
        ),
    ],
)
def test_what_is_missing_is_told_when_it_is_needed(given, said):
    """A build, or a migration, has no keys: settings without one are read all the same."""
    settings = read_settings(given, form=FLASK)

    with pytest.raises(ConfigurationError) as caught:
        make_client(settings, form=FLASK)

    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("url", "kind"),
    [(None, MemoryStore), ("memory:", MemoryStore), ("sqlite:///chats.db", SQLiteStore)],
)
def test_store_is_the_one_that_is_set(monkeypatch, tmp_path, url, kind):
    """One for the whole site, opened when it is asked for."""
    monkeypatch.chdir(tmp_path)
    site = Site(read_settings({"STORE": url}, form=FLASK), form=FLASK)
    before = list(tmp_path.iterdir())

    store = site.store

    assert [] == before
    assert kind is type(store)
    assert store is site.store
    site.close()


def test_threads_that_come_first_together_share_what_is_made(no_keys):
    """Whoever makes the second client or store closes it, and takes the first."""
    site = Site(Settings(), form=FLASK)
    first, second = MemoryStore(), MemoryStore()
    closed = []
    second.close = lambda: closed.append(second)

    def slow():
        site._one("store", lambda: first)  # what another thread does meanwhile
        return second

    assert first is site._one("store", slow)
    assert [second] == closed
    assert first is site.store


def test_what_is_closed_is_made_anew(monkeypatch):
    """A site that was closed goes on."""
    site = Site(read_settings({"MODEL": "openai:m", "API_KEY": KEY}, form=FLASK), form=FLASK)
    first = site.client

    site.close()

    assert first is not site.client
    site.close()
