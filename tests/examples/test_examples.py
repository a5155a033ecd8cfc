"""Every example runs: against a server named on its command line, and with the embedded one."""

from __future__ import annotations

import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from cloudllm_sync.testing import FakeServer, Reply, Stall, WaitFor, error_reply

ROOT = pathlib.Path(__file__).parents[2]
# Far over what any of them takes; a test that meets it hangs.
PATIENCE_S = 30.0


@pytest.fixture
def environment(monkeypatch):
    """A user's environment without keys; the package is this checkout's."""
    for name in ("OPENAI_API_KEY", "OPEN_AI_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")


@pytest.fixture
def start(environment, tmp_path):
    """Starts an example from another folder; what still runs after the test is ended."""
    started = []
    # A shell starts background jobs with SIGINT ignored, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def begin(name, *arguments):
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "examples" / name), *arguments],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        started.append(process)
        return process

    yield begin
    signal.signal(signal.SIGINT, before)
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def run(start):
    """Runs an example to its end; gives its status, what it printed, and what it complained of."""

    def to_the_end(name, *arguments, typed=""):
        process = start(name, *arguments)
        printed, complaint = process.communicate(typed, timeout=PATIENCE_S)
        return process.returncode, printed, complaint

    return to_the_end


def at(server: FakeServer) -> tuple[str, ...]:
    return "--base-url", server.base_url, "--model", "test-model"


def read_until(stream, words: str) -> str:
    """Everything up to the words; fails if the stream ends before."""
    seen = ""
    while not seen.endswith(words):
        character = stream.read(1)
        assert character, f"the end came before {words!r}: {seen!r}"
        seen += character
    return seen


def last_words(request) -> str:
    return request.json["messages"][-1]["content"]


# streaming_example.py


def test_streaming_example_alone(run):
    """Without a key it says so, and its second turn remembers the first."""
    status, printed, complaint = run("streaming_example.py")

    assert (status, complaint) == (0, "")
    assert "No OPENAI_API_KEY" in printed
    assert printed.count("[finished: stop]") == 2
    assert len(re.findall(r"\[first token after \d+\.\d\d s\]", printed)) == 2
    assert printed.count("[tokens used: ") == 2
    assert "Your name is Ada." in printed


def test_streaming_example_with_a_server(run):
    """With --base-url it talks to that server, and sends the first turn with the second."""
    with FakeServer("Nice to meet you", "Ada") as server:
        status, printed, complaint = run("streaming_example.py", *at(server))
        first, second = [request.json for request in server.requests]

    assert (status, complaint) == (0, "")
    assert "test-model: Nice to meet you\n[finished: stop]" in printed
    assert "[tokens used: 14, 10 in + 4 out]" in printed
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert second["messages"][:3] == [
        *first["messages"],
        {"role": "assistant", "content": "Nice to meet you"},
    ]


def test_streaming_example_of_a_server_without_usage(run):
    """A server that reports no usage does not stop it."""
    with FakeServer(default=Reply("Hello", usage=None)) as server:
        status, printed, _ = run("streaming_example.py", *at(server))

    assert status == 0
    assert "[tokens used: not reported]" in printed


def test_wrong_key_is_one_line(run, monkeypatch):
    """A key that the server refuses ends in one line that says so, without a traceback."""
    monkeypatch.setenv("MY_KEY", "sk-wrong")
    with FakeServer(error_reply(401, "Incorrect API key provided")) as server:
        status, _, complaint = run("streaming_example.py", *at(server), "--key-variable", "MY_KEY")

    assert status == 1
    assert re.fullmatch(r"\nAuthenticationError: .*Incorrect API key provided.*\n", complaint)
    assert server.requests[0].headers["authorization"] == "Bearer sk-wrong"


def test_refused_connection_is_one_line(run):
    """No server at the address ends in one line that says so, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"

    status, _, complaint = run("streaming_example.py", "--base-url", url, "--model", "m")

    assert status == 1
    assert re.fullmatch(r"\nConnectError: .*refused.*\n", complaint)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--base-url", "http://127.0.0.1:9/v1"], "needs --model"),
        (["--base-url", "localhost", "--model", "m"], "is no address"),
        (["--base-url", "http://10.0.0.1/v1", "--model", "m"], "allow_http"),
        (["--base-url", "http://x/v1", "--model", "m", "--key-variable", "NO"], "NO is not set"),
    ],
)
def test_wrong_arguments_are_one_line(run, arguments, complaint):
    """Arguments that cannot work end in a line that names them, without a traceback."""
    status, _, said = run("streaming_example.py", *arguments)

    assert status == 1
    assert complaint in said
    assert "Traceback" not in said


# streaming_session_example.py


def test_session_example_alone(run):
    """It streams, then shows the same with a client that cannot."""
    status, printed, complaint = run("streaming_session_example.py")

    assert (status, complaint) == (0, "")
    assert "[finished: stop]\nReceived 73 characters\n" in printed
    assert "Streaming not available, so all at once:\nGreen tokens arrive,\n" in printed
    assert printed.count("assistant: 'Green tokens") == 2


def test_session_example_with_a_server(run):
    """The first request asks for a stream, the second for a whole reply."""
    with FakeServer(default="Snow on the rails") as server:
        status, printed, complaint = run("streaming_session_example.py", *at(server))
        streamed = [request.json.get("stream", False) for request in server.requests]

    assert (status, complaint) == (0, "")
    assert printed.count("assistant: 'Snow on the rails'") == 2
    assert streamed == [True, False]


def test_session_example_reports_an_error_in_the_stream(run):
    """A reply that breaks off is reported, and the history stays empty."""
    broken = Reply("Half of", error={"message": "overloaded", "type": "server_error"})
    with FakeServer(broken, "Whole") as server:
        status, printed, complaint = run("streaming_session_example.py", *at(server))

    assert status == 0
    assert "Error in stream: ServerError: " in complaint
    assert "overloaded" in complaint
    assert "[7 characters had arrived]" in printed
    assert "empty: a turn that fails leaves nothing behind" in printed


def test_session_example_reports_an_error_at_the_opening(run):
    """A request that is refused ends in one line."""
    with FakeServer(error_reply(404, "no such model")) as server:
        status, _, complaint = run("streaming_session_example.py", *at(server))

    assert status == 1
    assert re.fullmatch(r"Error: BadRequestError: .*no such model.*\n", complaint)


# long_conversation.py


def test_long_conversation_alone(run):
    """What was said first is known at the end, though it is not sent any more."""
    status, printed, complaint = run("long_conversation.py")

    assert (status, complaint) == (0, "")
    assert "> What is my name?\nYour name is Ada." in printed
    sent = printed.split("of which these are sent:\n")[1]
    assert "user: Summary of this conversation" in sent
    assert "My name is Ada" not in sent


def test_long_conversation_of_a_server_that_cannot_sum_up(run):
    """The oldest exchanges are left out, which the log says."""
    replies = ("Hello " * 60, error_reply(500, "no"))
    with FakeServer(
        default=lambda request: replies["Messages:\n" in last_words(request)]
    ) as server:
        status, printed, complaint = run("long_conversation.py", *at(server))

    assert status == 0
    assert "no summary: the oldest exchanges are left out" in complaint
    assert "Summary" not in printed.split("of which these are sent:\n")[1]


# callbacks_example.py


def test_callbacks_example_alone(run):
    """A progress line until the first token, then the reply."""
    status, printed, complaint = run("callbacks_example.py")

    assert (status, complaint) == (0, "")
    assert "\rwaiting ... 0." in printed or "\nwaiting ... 0." in printed
    assert printed.endswith("[finished: stop]\n[messages in the history: 2]\n")


def test_callbacks_example_shows_progress_until_a_token_comes(start):
    """The progress line counts while the server is silent, and the first token replaces it."""
    go = threading.Event()
    with FakeServer(Reply("At last", after={0: WaitFor(go)})) as server:
        process = start("callbacks_example.py", *at(server), "Are you there?")
        read_until(process.stdout, "waiting ... 0.2 s")
        go.set()
        printed, complaint = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, complaint) == (0, "")
    assert printed.endswith("At last\n[finished: stop]\n[messages in the history: 2]\n")
    assert last_words(server.requests[0]) == "Are you there?"


def test_ctrl_c_stops_the_reply_and_shows_what_had_come(start):
    """Ctrl-C cancels a reply that stalls half-way; nothing enters the history."""
    with FakeServer(Reply("Half a reply", after={3: Stall()})) as server:
        process = start("callbacks_example.py", *at(server))
        read_until(process.stdout, "Half a")
        process.send_signal(signal.SIGINT)
        printed, complaint = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, complaint) == (130, "")
    assert printed == (
        "\n[stopped by Ctrl-C]\n[partial reply: 'Half a']\n[messages in the history: 0]\n"
    )


def test_ctrl_c_stops_a_request_that_is_not_answered(start):
    """Ctrl-C also ends the wait for a reply that has not begun."""
    with FakeServer(Reply("Never", after={0: Stall()})) as server:
        process = start("callbacks_example.py", *at(server))
        assert server.wait_for_requests(1, PATIENCE_S)
        read_until(process.stdout, "waiting ...")
        process.send_signal(signal.SIGINT)
        printed, complaint = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, complaint) == (130, "")
    assert "[partial reply: '']" in printed


def test_callbacks_example_reports_an_error(run):
    """An error that on_error gets ends in one line."""
    with FakeServer(error_reply(401, "Incorrect API key provided")) as server:
        status, _, complaint = run("callbacks_example.py", *at(server))

    assert status == 1
    assert re.fullmatch(r"\nAuthenticationError: .*\n", complaint)


# interactive_session.py


def test_interactive_session_alone(run):
    """A chat that remembers, with messages of many lines, ended by an empty line or \\end."""
    typed = "My name is Ada\nand I type\n\nWhat is my name?\n\\end\n"

    status, printed, complaint = run("interactive_session.py", typed=typed)

    assert (status, complaint) == (0, "")
    assert r"You said 'My name is Ada\nand I type'" in printed
    assert "Your name is Ada." in printed
    assert printed.endswith("Bye.\n")


def test_interactive_session_shows_usage_after_every_turn(run):
    """What a turn used, and all turns so far; a last message without an end is sent too."""
    with FakeServer("One", "Two words") as server:
        status, printed, complaint = run("interactive_session.py", *at(server), typed="a\n\nb")
        sent = [last_words(request) for request in server.requests]

    assert (status, complaint) == (0, "")
    assert "One\n[tokens used: 10 in + 1 out, 11 so far]" in printed
    assert "Two words\n[tokens used: 10 in + 2 out, 23 so far]" in printed
    assert sent == ["a", "b"]


def test_interactive_session_goes_on_with_a_kept_chat(run):
    """The second program shows where the first one left, and sends what it had."""
    with FakeServer("Hello Ada", "You are Ada") as server:
        kept = (*at(server), "--session", "ada")
        first = run("interactive_session.py", *kept, typed="I am Ada\n\n")
        second = run("interactive_session.py", *kept, typed="Who am I?\n\n")

    assert [(0, ""), (0, "")] == [(status, complaint) for status, _, complaint in (first, second)]
    assert "user: I am Ada\n\nassistant: Hello Ada" in second[1]
    sent = [message["content"] for message in server.requests[1].json["messages"]]
    assert sent[1:] == ["I am Ada", "Hello Ada", "Who am I?"]


def test_interactive_session_sends_nothing_for_empty_lines(run):
    """Empty lines and \\end alone are no messages."""
    with FakeServer() as server:
        status, _, complaint = run("interactive_session.py", *at(server), typed="\n\n\\end\n")

    assert (status, complaint) == (0, "")
    assert server.requests == ()


def test_interactive_session_goes_on_after_an_error(run):
    """An error is told, and the next message is sent."""
    refusal = error_reply(400, "too hot")
    with FakeServer(refusal, "Better") as server:
        status, printed, _ = run("interactive_session.py", *at(server), typed="a\n\nb\n\n")

    assert status == 0
    assert "[BadRequestError: " in printed
    assert "Better\n[tokens used: " in printed


def test_ctrl_c_during_a_reply_keeps_the_chat(start):
    """Ctrl-C stops the reply; the next turn is sent with what had come of it."""
    with FakeServer(Reply("Half a reply", after={3: Stall()}), "Whole") as server:
        process = start("interactive_session.py", *at(server))
        process.stdin.write("one\n\n")
        process.stdin.flush()
        read_until(process.stdout, "Half a")
        process.send_signal(signal.SIGINT)
        read_until(process.stdout, "[stopped]")
        printed, complaint = process.communicate("two\n\n", timeout=PATIENCE_S)
        told = [message["content"] for message in server.requests[1].json["messages"][1:]]

    assert (process.returncode, complaint) == (0, "")
    assert "Whole\n[tokens used: " in printed
    assert told == ["one", "Half a", "two"]


def test_interactive_session_without_an_input_says_so(environment):
    """Started by a service, say, which gives it none."""
    command = [sys.executable, str(ROOT / "examples" / "interactive_session.py")]
    closed = ["sh", "-c", 'exec "$@" <&-', "sh", *command]

    ended = subprocess.run(closed, capture_output=True, encoding="utf-8", timeout=PATIENCE_S)

    assert (ended.returncode, ended.stderr) == (1, "a chat needs an input: it is closed\n")


# any_provider.py


def test_ctrl_c_ends_any_provider(start):
    """With what had come, and without a traceback."""
    with FakeServer(Reply("Half a reply", after={3: Stall()})) as server:
        process = start("any_provider.py", f"custom:m@{server.base_url}")
        read_until(process.stdout, "Half a")
        process.send_signal(signal.SIGINT)
        printed, complaint = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, printed, complaint) == (130, "", "\n[interrupted]\n")


# flask_view.py


@pytest.fixture
def flask_url(start):
    """Starts the Flask example on a free port; gives its address."""

    def begin(*arguments):
        process = start("flask_view.py", "--port", "0", *arguments)
        said = read_until(process.stderr, "Press CTRL+C")
        return re.search(r"http://127\.0\.0\.1:\d+", said)[0]

    return begin


def asking(url: str) -> urllib.request.Request:
    body = json.dumps({"question": "Why stream?"}).encode()
    headers = {"Content-Type": "application/json"}
    return urllib.request.Request(f"{url}/chat", body, headers)


def test_flask_view_alone(flask_url):
    """The view answers with the embedded server's reply."""
    with urllib.request.urlopen(asking(flask_url()), timeout=PATIENCE_S) as answer:
        assert answer.read().startswith(b"A model writes one token after the other")


def test_flask_view_streams(flask_url):
    """The first words are there before the reply is whole."""
    go = threading.Event()
    with FakeServer(Reply("First last", after={2: WaitFor(go)})) as server:
        with urllib.request.urlopen(asking(flask_url(*at(server))), timeout=PATIENCE_S) as answer:
            first = answer.read1(100)
            go.set()
            rest = answer.read()

    assert (first, rest) == (b"First", b" last")


def test_flask_view_reports_an_error(flask_url):
    """An error before the reply is a 502 that names it."""
    with FakeServer(error_reply(401, "Incorrect API key provided")) as server:
        url = flask_url(*at(server))
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(asking(url), timeout=PATIENCE_S)

    with caught.value as answer:
        assert answer.code == 502
        assert answer.read().startswith(b"AuthenticationError: ")


def test_browser_that_leaves_ends_the_reply(flask_url):
    """The request to the model ends when nobody reads the view's answer any more."""
    # More than the buffers between view and browser take, which are 10 MB.
    endless = Reply(["word " * 400] * 20_000)
    with FakeServer(endless) as server:
        with urllib.request.urlopen(asking(flask_url(*at(server))), timeout=PATIENCE_S) as answer:
            assert answer.read(5) == b"word "
        assert server.wait_until_idle(PATIENCE_S)


# many_at_once.py, celery_batch.py


def test_many_at_once_goes_on_where_it_was(run):
    """The second run reads what the first one was told, and asks for what failed."""
    with FakeServer(error_reply(400, "not now"), default="Nice.") as server:
        status, printed, complaint = run("many_at_once.py", *at(server))
        assert (status, complaint) == (0, "")
        assert printed.count(": Nice.\n") == 7
        assert re.search(r"\[\w+: BadRequestError: .*not now", printed)
        status, printed, complaint = run("many_at_once.py", *at(server))

        assert len(server.requests) == 8 + 1
    assert (status, complaint) == (0, "")
    assert printed.count(" (kept): Nice.\n") == 7
    assert printed.count(": Nice.\n") == 8


def test_celery_batch_answers_by_a_worker(run, redis_server, monkeypatch):
    """A real worker, a real broker."""
    monkeypatch.delenv("PYTHONWARNINGS")  # of celery's own

    status, printed, _ = run("celery_batch.py", "--redis", redis_server)

    assert status == 0
    assert "Cologne: You said 'One sentence about Cologne.'" in printed
    assert printed.count("One sentence about") == 8
