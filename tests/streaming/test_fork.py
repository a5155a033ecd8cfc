"""fork(): what was made and used before it works in every process after it, each on its own."""

from __future__ import annotations

import collections
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.parse

import pytest
import requests

from cloudllm_sync.testing import FakeServer, Reply

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

FORKED = """
def forked(work):
    # Runs work() in a child; whether it was true, within 3 s.
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        try:
            os._exit(0 if work() else 1)
        except BaseException as error:
            sys.stderr.write(repr(error) + "\\n")
            os._exit(2)
    return pid

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

APP = """
import os
from cloudllm_sync import LLMSession, OpenAIClient

client = OpenAIClient("gpt-5", api_key="test", base_url=os.environ["FAKE_URL"])
session = LLMSession(client, turn_timeout=30)
session.ask("before " + str(os.getpid()))

def app(environ, start_response):
    prompt = environ["QUERY_STRING"] + " " + str(os.getpid())
    ways = [
        lambda: client.send_message(prompt).content,
        lambda: "".join(client.send_message_stream(prompt).text()),
        lambda: client.start_message_stream(prompt).result(10).content,
        lambda: session.ask(prompt).content,
    ]
    text = ways[int(environ["PATH_INFO"].strip("/"))]()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"""


@pytest.fixture
def run_forked(run):
    """Runs a script that knows `forked(work)` and `ended(pid)`."""
    return lambda script: run(f"exec({FORKED!r})\n{_unindented(script)}")


def _unindented(script):
    lines = script.strip("\n").split("\n")
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines)


def processes_by_connection(server):
    """Which processes used each connection; a prompt ends with its process."""
    used = collections.defaultdict(set)
    for request in server.requests:
        used[request.connection].add(request.json["messages"][-1]["content"].split()[-1])
    return used


def test_four_children_and_the_parent_at_once(run_forked):
    """As gunicorn with --preload does: right replies, no connection in two processes."""
    lines, _, _ = run_forked(
        """
        with FakeServer(default=echo) as server, client_of(server) as client:
            session = LLMSession(client)

            def talk():
                me = os.getpid()
                for n in range(20):
                    prompt = f"{n} {me}"
                    right = [
                        client.send_message(prompt).content,
                        client.send_message_stream(prompt).result().content,
                        client.start_message_stream(prompt).result(5).content,
                        session.ask(prompt).content,
                        session.submit(prompt).result(5).content,
                    ] == [prompt + "!"] * 5
                    if not right:
                        return False
                asked = [message.content for message in session.history[::2]]
                return asked == [before, *(f"{n} {me}" for n in range(20) for _ in range(2))]

            before = f"before {os.getpid()}"
            session.ask(before)
            client.send_message_stream(before).result()
            children = [forked(talk) for _ in range(4)]
            print("parent", talk())
            print("children", [ended(pid) for pid in children])
            used = {}
            for request in server.requests:
                asker = request.json["messages"][-1]["content"].split()[-1]
                used.setdefault(request.connection, set()).add(asker)
            print("shared", [pids for pids in used.values() if len(pids) > 1])
            print("processes", len(set.union(*used.values())))
        """
    )

    assert lines == ["parent True", "children [0, 0, 0, 0]", "shared []", "processes 5"]


@pytest.mark.parametrize(
    ("call", "way"),
    [(call, "callbacks") for call in ("ask", "stream", "submit", "inject", "clear")]
    + [("ask", "generator of another thread")],
)
def test_child_may_use_its_copy_of_a_busy_session_at_once(run_forked, call, way):
    """The running turn is the parent's: in the child no thread is there to end it."""
    lines, _, _ = run_forked(
        f"""
        gate, began = threading.Event(), threading.Event()
        held = Raw(*EVENTS[:2], WaitFor(gate), *EVENTS[2:])
        with FakeServer("zero", held, default=echo) as server, client_of(server) as client:
            session = LLMSession(client, turn_timeout=2)
            session.ask("first")

            def pull():
                with session.stream("held") as stream:
                    for chunk in stream:
                        began.set()

            if {way == "callbacks"}:
                session.submit("held", on_chunk=lambda chunk: began.set())
            else:
                threading.Thread(target=pull).start()
            began.wait(5)

            def work():
                began = time.monotonic()
                dict(
                    ask=lambda: session.ask("mine"),
                    stream=lambda: session.stream("mine").result(),
                    submit=lambda: session.submit("mine").result(5),
                    inject=lambda: session.inject_message("user", "mine"),
                    clear=session.clear_history,
                )[{call!r}]()
                asked = [said.content for said in session.history if said.role.value == "user"]
                expected = [] if {call == "clear"} else ["first", "mine"]
                return asked == expected and time.monotonic() - began < 1

            print("child", ended(forked(work)))
            gate.set()
            session.inject_message("user", "after")
            print([message.content for message in session.history])
        """
    )

    assert lines == ["child 0", "['first', 'zero', 'held', 'one two three', 'after']"]


def test_child_of_a_callback_may_use_its_copy_of_the_session(run_forked):
    """on_chunk forks: in the child the worker is the main thread, with the turn half read."""
    lines, _, _ = run_forked(
        """
        with FakeServer("one two", default=echo) as server, client_of(server) as client:
            session = LLMSession(client, turn_timeout=1)
            children = []

            def on_chunk(chunk):
                if not children:
                    children.append(forked(lambda: session.ask("mine").content == "mine!"))

            session.submit("held", on_chunk=on_chunk).result(5)
            print("child", ended(children[0]))
        """
    )

    assert lines == ["child 0"]


LOCKS = [
    "session._conversation.queue._lock",
    "session._conversation._lock",
    "session._conversation.ledger._lock",
    "session._conversation.ledger.store._lock",
    "client._transport._lock",
    "client._transport._mine[1].poolmanager.pools.lock",
    "handle.live_replies._lock",
]


@pytest.mark.parametrize("lock", LOCKS)
def test_fork_while_another_thread_holds_a_lock(run_forked, lock):
    """The child has the lock, taken, and not the thread that would give it back."""
    lines, _, _ = run_forked(
        f"""
        from cloudllm_sync.streaming import handle

        with FakeServer(default=echo) as server, client_of(server) as client:
            session = LLMSession(client)
            session.ask("before")
            held, forks = threading.Event(), threading.Event()

            def hold():
                with {lock}:
                    held.set()
                    forks.wait(10)

            holder = threading.Thread(target=hold)
            holder.start()
            print("held", held.wait(5))

            def work():
                return session.ask("a").content + session.submit("b").result(2).content == "a!b!"

            pid = forked(work)
            forks.set()
            print("child", ended(pid))
            holder.join()
        """
    )

    assert lines == ["held True", "child 0"]


CLIENTS = [
    "OpenAIClient('m', api_key='test', base_url=server.base_url)",
    "OpenAIResponsesClient('m', api_key='test', base_url=server.base_url)",
    "ClaudeClient('m', api_key='test', base_url=server.url)",
    "GeminiClient('m', api_key='test', base_url=server.url)",
    "OllamaClient('m', base_url=server.url)",
]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.partition("(")[0])
def test_calls_import_nothing(run_forked, client):
    """A module that a thread of the parent is importing at the fork stays locked in the child."""
    lines, _, _ = run_forked(
        f"""
        from cloudllm_sync import *

        ways = ["send_message('a')", "send_message_stream('a').result()",
                "start_message_stream('a').result(5)"]
        with FakeServer(default="Grüße, \U0001f600") as server, {client} as client:
            known = set(sys.modules)
            for way in ways:
                eval("client." + way)
            LLMSession(client).ask("a")
            print(sorted(set(sys.modules) - known))
        """
    )

    assert lines == ["[]"]


def test_forks_at_random_moments_of_a_busy_client(run_forked):
    """Eight threads at work on one client: a child's calls never wait for them."""
    lines, _, _ = run_forked(
        """
        with FakeServer(default=echo) as server, client_of(server) as client:
            over = threading.Event()

            def keep_busy():
                while not over.is_set():
                    client.start_message_stream("busy").result(5)

            threads = [threading.Thread(target=keep_busy) for _ in range(8)]
            for thread in threads:
                thread.start()

            def work():
                pulled = client.send_message_stream("a").result().content
                return pulled + client.start_message_stream("b").result(2).content == "a!b!"

            print("children", {ended(forked(work)) for _ in range(10)})
            over.set()
            for thread in threads:
                thread.join()
        """
    )

    assert lines == ["children {0}"]


@pytest.fixture
def gunicorn(tmp_path):
    """Starts gunicorn with an application that is loaded before it forks; gives its address."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    (tmp_path / "forked_app.py").write_text(APP)
    started = []

    def start(server, *options):
        command = [sys.executable, "-m", "gunicorn", "--preload", "--graceful-timeout", "5"]
        command += ["-b", "127.0.0.1:0", *options]
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        path = os.pathsep.join([root, str(tmp_path)])
        process = subprocess.Popen(
            [*command, "forked_app:app"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "FAKE_URL": server.base_url},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        log = []
        for line in process.stderr:
            log.append(line)
            found = re.search(r"Listening at: (http://\S+)", line)
            if found:
                drain = threading.Thread(target=lambda: log.extend(process.stderr), daemon=True)
                drain.start()
                return found[1], process, log
        raise AssertionError("".join(log))

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize(
    "options", [("-w", "4"), ("-w", "2", "--threads", "4"), ("-w", "2", "-k", "gevent")], ids=str
)
def test_gunicorn(gunicorn, options):
    """Client and session are made and used before the workers are forked; all answer rightly."""
    if "gevent" in options:
        pytest.importorskip("gevent", reason="gevent is not installed")

    def echo(request):
        return Reply([request.json["messages"][-1]["content"], "!"])

    with FakeServer(default=echo) as server:
        address, process, log = gunicorn(server, *options)
        questions = [f"{way}?{way}-{n}" for n in range(20) for way in range(4)]

        def ask(question):
            return requests.get(f"{address}/{question}", timeout=20).text

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, questions))
        process.send_signal(signal.SIGTERM)
        status = process.wait(20)
        used = processes_by_connection(server)

    said = [urllib.parse.unquote(answer).split(" ")[0] for answer in answers]
    assert [question.split("?")[1] for question in questions] == said, "".join(log)
    assert {1} == {len(processes) for processes in used.values()}
    assert len(set.union(*used.values())) >= 2
    assert status == 0
