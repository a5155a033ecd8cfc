"""The Django app: what `settings.CLOUDLLM` makes, system checks, and the doctor's command.

Django's settings are one for each process: they are made once here, and changed by
override_settings.
"""

from __future__ import annotations

import asyncio
import io
import os
import pathlib
import re
import subprocess
import sys
import threading

import pytest

pytest.importorskip("django")

import django
from django.conf import settings
from django.core import checks
from django.core.management import CommandError, call_command
from django.http import HttpResponse, JsonResponse
from django.test import RequestFactory
from django.test.utils import override_settings
from django.urls import path

import cloudllm_sync.web.django as web
from cloudllm_sync import (
    ConfigurationError,
    MemoryStore,
    OpenAIClient,
    SessionBusyError,
    SQLiteStore,
)
from cloudllm_sync.testing import FakeServer, Reply, WaitFor

ROOT = pathlib.Path(__file__).parents[2]
KEY = "sk-0123456789abcdef"
GZIP = "django.middleware.gzip.GZipMiddleware"
PATIENCE_S = 20.0


def chat(request, conversation):
    if request.method == "POST":
        return web.stream_response(web.session(conversation).stream(request.body.decode()))
    found = [message.content for message in web.session(conversation).history]
    return JsonResponse(found, safe=False)


class GzipAll:
    """Middleware that reads a response to its end."""

    def __init__(self, get_response):
        self._get_response = get_response

    def __call__(self, request):
        response = self._get_response(request)
        return HttpResponse(b"".join(response.streaming_content), headers=response.headers)


class BrotliAnyway:
    """Middleware that packs what asks to be left alone."""

    def __init__(self, get_response):
        self._get_response = get_response

    def __call__(self, request):
        response = self._get_response(request)
        response.headers["Content-Encoding"] = "br"
        return response


class CompressNothing:
    """Middleware that fails of a request that no browser sent."""

    def __init__(self, get_response):
        pass

    def __call__(self, request):
        raise ValueError(request.session)


@pytest.fixture(scope="session")
def site():
    """A site with the app, and a URL for the view."""
    settings.configure(
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["cloudllm_sync.web.django"],
        LOGGING_CONFIG=None,
        MIDDLEWARE=[GZIP],
        ROOT_URLCONF=(path("chat/<conversation>", chat),),
        SECRET_KEY="test",
    )
    django.setup()


@pytest.fixture(autouse=True)
def elsewhere(site, monkeypatch, tmp_path):
    """A folder and an environment that say nothing; what is made is forgotten afterwards."""
    for name in ("OPENAI_API_KEY", "OPEN_AI_SECRET", "GUNICORN_CMD_ARGS", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    with override_settings(CLOUDLLM={}):  # which closes what the test has left
        pass


@pytest.fixture
def served(site):
    """Has CLOUDLLM name a server; more settings win."""

    def over(server, **more):
        given = {"MODEL": "openai:gpt-5", "API_KEY": KEY, "BASE_URL": server.base_url}
        return override_settings(CLOUDLLM={**given, **more})

    return over


@pytest.fixture
def browser(site):
    """Django's test client."""
    from django.test import Client

    return Client()


def ids(**options):
    return [
        message.id.removeprefix("cloudllm.")
        for message in checks.run_checks(tags=["cloudllm"], **options)
    ]


# --- views ---


def test_view_streams_a_turn_and_keeps_it(served, browser):
    """What is set is all that a view needs."""
    with FakeServer("Hello there") as server, served(server, SYSTEM_PROMPT="Be brief."):
        with override_settings(CLOUDLLM={**settings.CLOUDLLM, "PROTOCOL": "text"}):
            answer = browser.post("/chat/a", "Hi", content_type="text/plain").getvalue()
            kept = browser.get("/chat/a").json()

    assert b"Hello there" == answer
    assert ["Hi", "Hello there"] == kept
    assert {"role": "system", "content": "Be brief."} == server.requests[0].json["messages"][0]
    assert f"Bearer {KEY}" == server.requests[0].headers["Authorization"]


def test_view_of_the_page_in_docs_streams(served, tmp_path):
    """docs/web.md, under "Django"."""
    page = ROOT.joinpath("docs/web.md").read_text(encoding="utf-8")
    section = page[page.index("## Django") : page.index("## What the browser gets")]
    names = {"INSTALLED_APPS": []}
    for block in re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE):
        exec(block, names)
    store = {"STORE": f"sqlite:///{tmp_path}/chats.db"}
    with FakeServer("Hello") as server, served(server, **{**names["CLOUDLLM"], **store}):
        response = names["chat"](RequestFactory().post("/", {"question": "Hi"}), "a")
        body = response.getvalue()

    assert ["cloudllm_sync.web.django"] == names["INSTALLED_APPS"]
    assert b"Hello" in body


def test_gzip_of_django_leaves_the_stream_alone(served, browser):
    """The browser accepts gzip, and the first piece is there before the reply has ended."""
    go = threading.Event()
    with FakeServer(Reply(["One ", "two"], after={2: WaitFor(go)})) as server, served(server):
        response = browser.post(
            "/chat/a", "Hi", content_type="text/plain", headers={"Accept-Encoding": "gzip"}
        )
        pieces = iter(response.streaming_content)
        first = next(pieces) + next(pieces)
        go.set()
        rest = b"".join(pieces)

    assert "identity" == response.headers["Content-Encoding"]
    assert b"One" in first
    assert b"two" in rest


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous:Warning")
def test_asgi_waits_for_the_whole_reply(served):
    """Which is why the doctor warns of it: the first piece comes when the last one is there."""

    async def first_piece(response):
        async for _ in response:
            return stream.finish_reason
        raise AssertionError("there was no piece")

    with FakeServer("One two") as server, served(server):
        stream = web.client().send_message_stream("Hi")
        finish_reason = asyncio.run(first_piece(web.stream_response(stream)))

    assert "stop" == finish_reason


def test_nothing_set_is_what_is_usual():
    """stream_response() needs no settings."""
    with FakeServer("Hello") as server, override_settings(CLOUDLLM={}):
        with OpenAIClient("gpt-5", api_key=KEY, base_url=server.base_url) as client:
            response = web.stream_response(client.send_message_stream("Hi"))
            body = response.getvalue()

    assert "text/event-stream; charset=utf-8" == response.headers["Content-Type"]
    assert b"Hello" in body
    assert MemoryStore is type(web.store())


@pytest.mark.parametrize(
    ("given", "asked", "content_type"),
    [
        ({"PROTOCOL": "text"}, {}, "text/plain; charset=utf-8"),
        ({"PROTOCOL": "text"}, {"protocol": "sse"}, "text/event-stream; charset=utf-8"),
    ],
)
def test_response_is_as_it_is_set_or_asked_for(served, given, asked, content_type):
    """What the call says wins."""
    with FakeServer("Hello") as server, served(server, **given):
        response = web.stream_response(web.client().send_message_stream("Hi"), **asked)
        response.getvalue()

    assert content_type == response.headers["Content-Type"]


def test_session_is_as_it_is_set_or_asked_for(served):
    """What the call says wins."""
    with FakeServer() as server, served(server, MAX_TOKENS=500):
        sessions = [web.session("a"), web.session("a", max_tokens=900)]

    assert [500, 900] == [session.max_tokens for session in sessions]


def test_second_question_to_a_session_that_answers_is_refused_at_once(served):
    """A thread of the server does not wait for another."""
    begun, go = threading.Event(), threading.Event()
    with FakeServer(Reply(["O", "ne"], after={2: WaitFor(go)})) as server, served(server):
        first = web.session("a").submit("Hi", on_chunk=lambda _: begun.set())
        assert begun.wait(PATIENCE_S)
        with pytest.raises(SessionBusyError) as caught:
            web.session("a").stream("And?")
        go.set()
        first.result(PATIENCE_S)

    assert caught.value.waited_s < PATIENCE_S


def test_what_is_made_is_one_for_all_requests_until_settings_change(served, tmp_path):
    """A test that overrides the settings gets what they say, and the old ones are closed."""
    with FakeServer(default="Hello") as server, served(server):
        first = (web.client(), web.store())
        again = (web.client(), web.store())
        with override_settings(CLOUDLLM={"STORE": f"sqlite:///{tmp_path}/chats.db"}):
            other = type(web.store())
        after = web.client()

    assert first[0] is again[0]
    assert first[1] is again[1]
    assert SQLiteStore is other
    assert after is not first[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"MODLE": "openai:m"},
            r'CLOUDLLM\["MODLE"\] is no setting: did you mean CLOUDLLM\["MODEL',
        ),
        ({"HEARTBEAT_S": 0}, r'CLOUDLLM\["HEARTBEAT_S"\] must be seconds above 0'),
        ("openai:m", "CLOUDLLM must be a dict, not str"),
        (None, "CLOUDLLM must be a dict, not NoneType"),
    ],
)
def test_wrong_setting_is_named_by_whoever_needs_it(given, said):
    """If the checks were not looked at."""
    with override_settings(CLOUDLLM=given), pytest.raises(ConfigurationError, match=said):
        web.client()


# --- checks ---


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, []),
        ({"CLOUDLLM": {}}, []),
        ({"CLOUDLLM": {"MODEL": "openai:m", "API_KEY": KEY}}, []),
        ({"CLOUDLLM": {"MODEL": "openai:m"}}, ["W001"]),
        ({"CLOUDLLM": {"MODLE": "openai:m", "MAX_TOKENS": 0}}, ["E001", "E001"]),
        ({"CLOUDLLM": 5}, ["E001"]),
        ({"CLOUDLLM": {"HEARTBEAT_S": 300}}, ["W301"]),
        ({"ASGI_APPLICATION": "shop.asgi.application"}, ["W003"]),
        ({"MIDDLEWARE": ["django.middleware.common.CommonMiddleware", GZIP]}, []),
        ({"MIDDLEWARE": [f"{__name__}.GzipAll"]}, ["W002"]),
        ({"MIDDLEWARE": [GZIP, f"{__name__}.BrotliAnyway"]}, ["W002"]),
        ({"MIDDLEWARE": [f"{__name__}.CompressNothing", "nowhere.Gzip"]}, []),
    ],
)
def test_checks_find(given, found):
    """Middleware is complained of only if it packs, or keeps, a response of this package."""
    with override_settings(**given):
        assert found == ids()


def test_check_says_what_and_what_to_do():
    """In Django's own way, at the level of the finding."""
    with override_settings(CLOUDLLM={"MAX_TOKENS": 0}, ASGI_APPLICATION="x"):
        error, warning = checks.run_checks(tags=["cloudllm"])

    assert isinstance(error, checks.Error)
    assert 'CLOUDLLM["MAX_TOKENS"] must be a positive number, not 0' == error.msg
    assert isinstance(warning, checks.Warning)
    assert "cloudllm.W003" == warning.id
    assert "To do: serve it by WSGI" in warning.hint


@pytest.mark.parametrize(
    ("arguments", "file", "found"),
    [
        (None, None, []),
        ("--threads 64", None, []),
        ("--bind :80", None, ["W101", "W102"]),
        (None, "worker_class = 'gthread'\nthreads = 8\nworkers = 2", ["W201"]),
    ],
)
def test_server_is_looked_at_before_it_is_deployed(monkeypatch, tmp_path, arguments, file, found):
    """By `check --deploy` only: what is found of the site itself is not told twice."""
    if arguments is not None:
        monkeypatch.setenv("GUNICORN_CMD_ARGS", arguments)
    if file is not None:
        (tmp_path / "gunicorn.conf.py").write_text(file)

    with override_settings(CLOUDLLM={"HEARTBEAT_S": 300}):
        assert ["W301"] == ids()
        assert sorted([*found, "W301"]) == sorted(ids(include_deployment_checks=True))


# --- the command ---


def test_doctor_prints_findings_and_fails(tmp_path):
    """So that a deployment can depend on it."""
    conf = tmp_path / "nginx.conf"
    conf.write_text("server { location / { proxy_pass http://a; proxy_read_timeout 5s; } }")
    printed = io.StringIO()

    with pytest.raises(CommandError, match="3 found"):
        call_command(
            "cloudllm_doctor",
            gunicorn="--threads 8 --workers 2 shop.wsgi",
            nginx=str(conf),
            streams=100,
            stdout=printed,
        )

    starts = [line.split(":")[0] for line in printed.getvalue().splitlines() if line[0] != " "]
    assert ["warning W201", "warning W103", "warning W402"] == starts


def test_doctor_is_content_where_nothing_is_found():
    """And says so."""
    printed = io.StringIO()

    call_command("cloudllm_doctor", stdout=printed)

    assert "Nothing found that keeps replies from streaming.\n" == printed.getvalue()


def test_doctor_is_given_a_file_that_is_not_there():
    """An error, not a finding."""
    with pytest.raises(CommandError, match="nginx's configuration cannot be read"):
        call_command("cloudllm_doctor", nginx="nowhere.conf")


SETTINGS = """
SECRET_KEY = "test"
INSTALLED_APPS = ["cloudllm_sync.web.django"]
CLOUDLLM = {"MODLE": "openai:gpt-5"}
"""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["check"], '(cloudllm.E001) CLOUDLLM["MODLE"] is no setting'),
        (["cloudllm_doctor", "--gunicorn", "-w 4 shop.wsgi"], "warning W101: gunicorn has sync"),
    ],
)
def test_site_of_its_own_process_is_checked(tmp_path, command, said):
    """As manage.py does it, from a settings file."""
    (tmp_path / "shop_settings.py").write_text(SETTINGS)

    ran = subprocess.run(
        [sys.executable, "-m", "django", *command, "--settings=shop_settings"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert said in ran.stdout + ran.stderr
    assert 1 == ran.returncode
