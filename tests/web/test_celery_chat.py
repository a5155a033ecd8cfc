"""What the chat page of Celery does that needs no worker, or loses one."""

from __future__ import annotations

import importlib
import json
import sys
import threading

import pytest
from sites import ROOT

from cloudllm_sync import StreamCancelled, open_client
from cloudllm_sync.relay import open_relay
from cloudllm_sync.session.stores.memory import MemoryStore
from cloudllm_sync.testing import FakeServer

pytest.importorskip("celery")
pytest.importorskip("flask")

MODULES = ("app", "chats", "client_from_args", "page", "running", "tasks")


@pytest.fixture
def conversations(redis_server, monkeypatch):
    """With a queue that no worker looks into."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples" / "celery_chat"), *sys.path])
    page = importlib.import_module("page")
    url = redis_server.rpartition("/")[0] + "/9"  # no worker of another test is to find its tasks
    page.tasks.app.conf.broker_url = url
    running = page.open_running(url)
    with open_relay(url) as relay:
        yield page.QueuedConversations(MemoryStore(), relay, running)
    for name in MODULES:
        sys.modules.pop(name, None)


def test_reply_that_waits_for_a_worker_is_shown_as_running(conversations):
    """So that a page that is loaded again follows it; another question does not take its place."""
    key = conversations.begin("queued", "Hello")
    conversations.begin("queued", "Hello again")

    assert {"key": key, "text": "Hello", "behind": "0"} == conversations.one("queued")["running"]


def test_stop_ends_a_reply_that_waits_for_a_worker(conversations):
    """Followers are told, and the worker that comes to it later asks nobody."""
    key = conversations.begin("stopped", "Hello")
    stopped = conversations.stop(key)
    with FakeServer() as server:
        client = open_client(f"custom:m@{server.base_url}")
        worker = sys.modules["chats"].Chats(
            client, MemoryStore(), conversations.relay, conversations.running
        )
        worker.answer("stopped", {"key": key, "text": "Hello", "behind": "0"})

        assert () == server.requests
    assert not stopped
    with pytest.raises(StreamCancelled):
        conversations.follow(key, None).result()
    assert conversations.one("stopped")["running"] is None


def test_page_may_follow_before_the_reply_is_published(conversations):
    """The thread that publishes it may begin later than the page that was told its key."""
    with FakeServer("Hello") as server:
        client = open_client(f"custom:m@{server.base_url}")
        chats = sys.modules["chats"].Chats(
            client,
            MemoryStore(),
            open_relay("memory:"),
            sys.modules["running"].open_running("memory:"),
        )
        gate, publish = threading.Event(), chats.relay.publish
        chats.relay.publish = lambda *args: gate.wait(5) and publish(*args)
        followed = chats.follow(chats.begin("early", "Hi"), None)
        gate.set()

        assert "Hello" == followed.result().content


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b'{"text": 1}', b'{"text": " "}'])
def test_page_that_sends_nonsense_is_told_what_was_wanted(conversations, body):
    """By status 400, in JSON, as all that the page is told."""
    app = sys.modules["app"].make_app(conversations).test_client()

    answer = app.post("/chats/nonsense/messages", data=body)

    assert 400 == answer.status_code
    assert '{"text": "Hello"}' in json.loads(answer.data)["error"]


@pytest.mark.parametrize(
    ("key", "after", "status"),
    [
        ("published", None, 200),
        ("published", "1-1:1", 400),
        ("published", "yesterday", 400),
        ("unknown", None, 404),
        ("unknown", "1-1:1", 404),
    ],
)
def test_follower_that_cannot_be_served_is_told_why(conversations, key, after, status):
    """An id that was never issued is theirs to mend; a reply that is not there is not there."""
    page = sys.modules["page"]
    if key == "published":
        key = conversations.begin(f"{after}", "Hello")
        conversations.stop(key)
    app = page.make_app(conversations).test_client()

    answer = app.get(f"/replies/{key}", headers={"Last-Event-ID": after} if after else {})

    assert status == answer.status_code
    assert status == 200 or json.loads(answer.data)["error"]
