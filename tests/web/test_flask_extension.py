"""The Flask extension: settings of app.config become a client, a store, sessions and responses."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading

import pytest

pytest.importorskip("flask")

from flask import Flask, request

from cloudllm_sync import ConfigurationError, Message, Role, SessionBusyError
from cloudllm_sync.testing import FakeServer, Reply, WaitFor
from cloudllm_sync.web.flask import CloudLLM

ROOT = pathlib.Path(__file__).parents[2]
KEY = "sk-0123456789abcdef"
PATIENCE_S = 20.0


def application(llm, server, **settings):
    """An application with a chat and what it remembers."""
    app = Flask("chat")
    app.config.update(
        CLOUDLLM_MODEL="openai:gpt-5", CLOUDLLM_API_KEY=KEY, CLOUDLLM_BASE_URL=server.base_url
    )
    app.config.update(settings)
    llm.init_app(app)

    @app.post("/chat/<conversation>")
    def chat(conversation):
        return llm.stream_response(llm.session(conversation).stream(request.get_data(as_text=True)))

    @app.get("/chat/<conversation>")
    def history(conversation):
        return [message.content for message in llm.session(conversation).history]

    return app


@pytest.fixture
def llm():
    """An extension that no application has yet."""
    return CloudLLM()


@pytest.fixture
def make_app(llm):
    """Makes applications that share the extension; closes what they have made."""
    made = []

    def make(server, **settings):
        app = application(llm, server, **settings)
        made.append(app)
        return app

    yield make
    for app in made:
        app.extensions["cloudllm"].close()


def test_view_streams_a_turn_and_keeps_it(make_app):
    """What is set is all that a view needs."""
    with FakeServer("Hello there") as server:
        app = make_app(server, CLOUDLLM_SYSTEM_PROMPT="Be brief.", CLOUDLLM_PROTOCOL="text")
        text = app.test_client().post("/chat/a", data="Hi").text

    assert "Hello there" == text
    assert ["Hi", "Hello there"] == app.test_client().get("/chat/a").json
    assert [] == app.test_client().get("/chat/b").json
    assert {"role": "system", "content": "Be brief."} == server.requests[0].json["messages"][0]
    assert f"Bearer {KEY}" == server.requests[0].headers["Authorization"]


def test_application_may_be_given_at_once():
    """CloudLLM(app) is CloudLLM() and init_app(app)."""
    app = Flask("chat")
    app.config["CLOUDLLM_MAX_TOKENS"] = 100

    CloudLLM(app)

    assert 100 == app.extensions["cloudllm"].settings.max_tokens


def test_each_application_has_its_own(llm, make_app):
    """Whose request it is decides."""
    with FakeServer(default="One") as first, FakeServer(default="Two") as second:
        one = make_app(first, CLOUDLLM_PROTOCOL="text")
        two = make_app(second, CLOUDLLM_PROTOCOL="text", CLOUDLLM_MODEL="openai:gpt-6")
        texts = [app.test_client().post("/chat/a", data="Hi").text for app in (one, two, one)]
        with two.app_context():
            model = llm.client.model_name

    assert ["One", "Two", "One"] == texts
    assert "gpt-6" == model
    assert 4 == len(one.test_client().get("/chat/a").json)


def test_nothing_is_made_before_it_is_used(make_app, tmp_path, monkeypatch):
    """An application that is loaded, and then forked, has opened nothing."""
    monkeypatch.chdir(tmp_path)
    with FakeServer("Hello") as server:
        make_app(server, CLOUDLLM_STORE="sqlite:///chats.db")

    assert [] == list(tmp_path.iterdir())
    assert 0 == len(server.requests)


def test_conversation_goes_on_in_another_process(make_app, tmp_path):
    """Here: in another application of the same store."""
    with FakeServer("Hello", "Again") as server:
        settings = {"CLOUDLLM_STORE": f"sqlite:///{tmp_path}/chats.db", "CLOUDLLM_PROTOCOL": "text"}
        for text in ("One", "Two"):
            make_app(server, **settings).test_client().post("/chat/a", data=text).get_data()

    said = [message["content"] for message in server.requests[1].json["messages"]]
    assert ["One", "Hello", "Two"] == said


def test_client_and_store_are_one_for_all_requests(llm, make_app):
    """Connections are reused, and memory is shared."""
    with FakeServer() as server:
        app = make_app(server)
        seen = []
        for _ in range(2):
            with app.test_request_context():
                seen.append((llm.client, llm.store))

    assert seen[0][0] is seen[1][0]
    assert seen[0][1] is seen[1][1]


def test_second_question_to_a_session_that_answers_is_refused_at_once(llm, make_app):
    """A thread of the server does not wait for another; it may be told to."""
    begun, go = threading.Event(), threading.Event()
    with FakeServer(Reply(["O", "ne"], after={2: WaitFor(go)}), "Two") as server:
        app = make_app(server)
        with app.app_context():
            first = llm.session("a").submit("Hi", on_chunk=lambda _: begun.set())
            assert begun.wait(PATIENCE_S)
            with pytest.raises(SessionBusyError) as caught:
                llm.session("a").stream("And?")
            go.set()
            first.result(PATIENCE_S)
            with llm.session("a", turn_timeout=PATIENCE_S).stream("And?") as stream:
                text = stream.result().content

    assert caught.value.waited_s < PATIENCE_S
    assert "Two" == text


def test_session_is_as_it_is_set_or_asked_for(llm, make_app):
    """What the call says wins."""
    with FakeServer() as server:
        app = make_app(server, CLOUDLLM_SYSTEM_PROMPT="Be brief.", CLOUDLLM_MAX_TOKENS=500)
        with app.app_context():
            sessions = [
                llm.session("a"),
                llm.session("a", system_prompt="", max_tokens=900, partial="keep"),
            ]

    assert [500, 900] == [session.max_tokens for session in sessions]
    assert [(Message(Role.SYSTEM, "Be brief."),), ()] == [s.request_messages for s in sessions]


@pytest.mark.parametrize("session_id", [None, "", 5])
def test_session_needs_a_name(llm, make_app, session_id):
    """None would be a new conversation with each request, which nobody finds again."""
    with FakeServer() as server, make_app(server).app_context():
        with pytest.raises(ConfigurationError, match="session_id must be"):
            llm.session(session_id)


@pytest.mark.parametrize(
    ("settings", "asked", "content_type"),
    [
        ({}, {}, "text/event-stream; charset=utf-8"),
        ({"CLOUDLLM_PROTOCOL": "text"}, {}, "text/plain; charset=utf-8"),
        ({"CLOUDLLM_PROTOCOL": "text"}, {"protocol": "sse"}, "text/event-stream; charset=utf-8"),
    ],
)
def test_response_is_as_it_is_set_or_asked_for(llm, make_app, settings, asked, content_type):
    """What the call says wins."""
    with FakeServer("Hello") as server, make_app(server, **settings).test_request_context():
        response = llm.stream_response(llm.client.send_message_stream("Hi"), **asked)
        response.get_data()

    assert content_type == response.headers["Content-Type"]


def test_status_and_headers_are_the_calls(llm, make_app):
    """As those of the function of the same name."""
    with FakeServer("Hello") as server, make_app(server).test_request_context():
        stream = llm.client.send_message_stream("Hi")
        response = llm.stream_response(stream, status=201, headers={"X-Turn": "7"})
        response.get_data()

    assert 201 == response.status_code
    assert "7" == response.headers["X-Turn"]
    assert "identity" == response.headers["Content-Encoding"]


@pytest.mark.parametrize(("policy", "kept"), [("cancel", []), ("finish", ["Hi", "One two"])])
def test_browser_that_leaves_is_answered_as_it_is_set(llm, make_app, policy, kept):
    """The reply is cancelled, or read to its end and kept."""
    go = threading.Event()
    with FakeServer(Reply(["One ", "two"], after={2: WaitFor(go)})) as server:
        app = make_app(server, CLOUDLLM_ON_DISCONNECT=policy)
        with app.test_request_context():
            session = llm.session("a")
            response = llm.stream_response(session.stream("Hi"))
            next(response.response)
            response.response.close()
            go.set()
            readers = [thread for thread in threading.enumerate() if "cloudllm" in thread.name]
            for reader in readers:
                reader.join(PATIENCE_S)

    assert not any(reader.is_alive() for reader in readers)
    assert kept == [message.content for message in session.history]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"CLOUDLLM_MODEL": "opnai:m"}, "CLOUDLLM_MODEL: no provider 'opnai'"),
        ({"CLOUDLLM_HEARTBEATS": 5}, "CLOUDLLM_HEARTBEATS is no setting: did you mean"),
        ({"CLOUDLLM_HEARTBEAT_S": -5}, "CLOUDLLM_HEARTBEAT_S must be"),
    ],
)
def test_wrong_setting_is_told_when_the_application_is_given(llm, settings, said):
    """Not by the first user's request."""
    app = Flask("chat")
    app.config.update(settings)

    with pytest.raises(ConfigurationError, match=said):
        llm.init_app(app)

    assert "cloudllm" not in app.extensions


def test_missing_key_is_told_when_the_model_is_used(llm, monkeypatch):
    """A build, or a migration, runs without."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPEN_AI_SECRET", raising=False)
    app = Flask("chat")
    app.config["CLOUDLLM_MODEL"] = "openai:gpt-5"
    llm.init_app(app)

    with app.app_context(), pytest.raises(ConfigurationError, match="pass CLOUDLLM_API_KEY or set"):
        _ = llm.client


def test_application_is_given_once(llm):
    """What the first call has made would be lost."""
    app = Flask("chat")
    llm.init_app(app)

    with pytest.raises(ConfigurationError, match="call init_app\\(\\) once"):
        llm.init_app(app)


def test_application_that_was_not_given_is_named(llm):
    """And what to do."""
    with Flask("shop").app_context(), pytest.raises(ConfigurationError, match="'shop' has no"):
        _ = llm.store


PRELOADED = """
import os, sys
from flask import Flask
from cloudllm_sync.web.flask import CloudLLM

app = Flask("chat")
app.config.from_prefixed_env()
llm = CloudLLM(app)
if "early" in sys.argv:
    with app.app_context():
        llm.session("before").ask("before")
children = []
for number in range(3):
    pid = os.fork()
    if pid == 0:
        with app.app_context():
            text = llm.session(f"chat-{number}").ask(f"child {os.getpid()}").content
        os._exit(0 if text == "Hello" else 1)
    children.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("when", ["lazy", "early"])
def test_application_loaded_before_a_fork_works_in_each_child(tmp_path, when):
    """As gunicorn --preload does it: no two processes share a connection to the provider."""
    with FakeServer(default="Hello") as server:
        settings = {
            "FLASK_CLOUDLLM_MODEL": "openai:gpt-5",
            "FLASK_CLOUDLLM_API_KEY": KEY,
            "FLASK_CLOUDLLM_BASE_URL": server.base_url,
            "FLASK_CLOUDLLM_STORE": f"sqlite:///{tmp_path}/chats.db",
            "FLASK_CLOUDLLM_TIMEOUTS": '{"total_s": 15}',
        }
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", PRELOADED, when],
            env={**os.environ, **settings},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    said = [(r.connection, r.json["messages"][-1]["content"]) for r in server.requests]
    assert "[0, 0, 0]" == ran.stdout.strip()
    assert len(said) == len({connection for connection, _ in said})
    assert (4 if when == "early" else 3) == len(said)
