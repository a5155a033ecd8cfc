"""`cloudllm chat` in a real terminal, tmux's."""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import threading
import time

import pytest

from cloudllm_sync.testing import Raw, Reply, WaitFor, error_reply, openai_events

if shutil.which("tmux") is None:
    pytest.skip("needs tmux", allow_module_level=True)

PATIENCE_S = 30.0
ROOT = pathlib.Path(__file__).parents[2]
WORDS = openai_events(Reply("One two three"))
KEPT = ("PATH", "HOME", "PYTHONPATH", "PYTHONIOENCODING", "CLOUDLLM_DATA", "OLLAMA_HOST")
MARKDOWN = """\
## Steps

1. *first*
2. second

```python
x = 1
```

| a | b |
|---|---|
| 1 | 2 |

Done."""


class Terminal:
    """What is typed in, and what is seen."""

    def __init__(self, socket, command, columns, rows, environment):
        self._tmux = ["tmux", "-f", "/dev/null", "-S", str(socket)]
        given = {name: os.environ[name] for name in KEPT if name in os.environ}
        words = [f"{name}={value}" for name, value in {**given, **environment}.items()]
        line = shlex.join(["env", "-i", "TERM=screen-256color", "LANG=C.UTF-8", *words, *command])
        # The shell keeps the last screen there, and says how it ended.
        line = f'{line}; echo "ended with $?"; sleep {PATIENCE_S}'
        size = ["-x", str(columns), "-y", str(rows)]
        self._run("new-session", "-d", *size, "sh", "-c", line)

    def _run(self, *words):
        return subprocess.run(
            [*self._tmux, *words], check=True, capture_output=True, encoding="utf-8"
        ).stdout

    def type(self, text):
        self._run("send-keys", "-l", text)
        self._run("send-keys", "Enter")

    def press(self, key):
        self._run("send-keys", key)

    def paste(self, text):
        self._run("set-buffer", text)
        self._run("paste-buffer", "-p")

    def screen(self, *options):
        return self._run("capture-pane", "-p", *options)

    def wait_for(self, text, *options):
        """The screen, once the text is on it."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in (screen := self.screen(*options)):
            assert time.monotonic() < deadline, f"{text!r} did not come:\n{screen}"
            time.sleep(0.02)  # another program draws
        return screen

    def close(self):
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def open_terminal(*arguments, columns=80, rows=30, **environment):
        command = [sys.executable, "-m", "cloudllm_sync.cli", *arguments]
        socket = tmp_path / f"tmux-{len(opened)}"
        opened.append(Terminal(socket, command, columns, rows, environment))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


def test_markdown_is_drawn(terminal, server, model):
    """Reasoning before it, dim; nothing twice."""
    server.add(Reply(MARKDOWN, reasoning="I think."))
    chat = terminal("chat", "-m", model)
    chat.wait_for("you>")
    chat.type("Hi")
    chat.wait_for("Done.")
    chat.press("C-d")
    seen = chat.wait_for("ended with 0")
    colours = chat.screen("-e")

    assert 1 == seen.count("Steps") == seen.count("x = 1") == seen.count("Done.")
    assert "1 first" in seen
    assert "*" not in seen
    assert "──" in seen.replace("━", "─")
    assert "\x1b[2mI think." in colours


def test_text_is_drawn_while_it_is_written(terminal, server, model):
    """Also the paragraph that is not finished."""
    gate = threading.Event()
    server.add(Raw(*WORDS[:3], WaitFor(gate), *WORDS[3:]))
    chat = terminal("chat", "-m", model)
    chat.wait_for("you>")
    chat.type("Hi")
    chat.wait_for("One two")
    gate.set()

    assert 1 == chat.wait_for("One two three").count("One")


@pytest.mark.parametrize("columns", [40, 100])
def test_ctrl_c_stops_the_reply_and_keeps_the_chat(terminal, server, model, columns):
    """What had come stays, and is sent with the next question."""
    server.add(Raw(*WORDS[:3], WaitFor(threading.Event())), Reply("Fine."))
    chat = terminal("chat", "-m", model, columns=columns)
    chat.wait_for("you>")
    chat.type("Hi")
    chat.wait_for("One two")
    chat.press("C-c")
    stopped = chat.wait_for("what had come is kept")
    chat.type("Again")
    chat.wait_for("Fine.")

    assert 1 == stopped.count("One two")
    assert ["Hi", "One two", "Again"] == [
        message["content"] for message in server.requests[1].json["messages"]
    ]


@pytest.mark.parametrize("columns", [40, 80])
def test_what_is_printed_fits(terminal, server, model, columns):
    """No word is cut at the edge: help, notes and replies."""
    server.add(Reply("word " * 60 + "end"))
    chat = terminal("chat", "-m", model, columns=columns, rows=50)
    chat.wait_for("you>")
    chat.type("/help")
    chat.wait_for("three quotes")
    chat.type("Hi")
    lines = chat.wait_for("end\n").splitlines()

    assert columns > max(map(len, lines)) > 30
    assert {"word", "end"} == set(" ".join(line for line in lines if "word" in line).split())


def test_no_color_has_no_colours(terminal, server, model):
    """Source: https://no-color.org."""
    server.add(Reply(MARKDOWN))
    chat = terminal("chat", "-m", model, NO_COLOR="1")
    chat.wait_for("you>")
    chat.type("Hi")
    chat.wait_for("Done.")
    codes = chat.screen("-e").split("\x1b[")[1:]

    # 39 and 49 are the terminal's own; others of 30 to 49 would be colours.
    assert not [code for code in codes if code.startswith(("3", "4")) and code[1:2] not in "9m;"]


def test_several_lines_are_one_message(terminal, server, model):
    """By a backslash, or between quotes."""
    chat = terminal("chat", "-m", model)
    chat.wait_for("you>")
    for line in ("one\\", "two"):
        chat.type(line)
    chat.wait_for("Hello there.")
    for line in ('"""', "three", "", "four", '"""'):
        chat.type(line)
    deadline = time.monotonic() + PATIENCE_S
    while len(server.requests) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)  # another program reads

    assert ["one\ntwo", "three\n\nfour"] == [
        request.json["messages"][-1]["content"] for request in server.requests
    ]


def test_paste_is_one_message(terminal, server, model):
    """It waits for Enter."""
    chat = terminal("chat", "-m", model)
    chat.wait_for("you>")
    chat.paste("one\n\ntwo\n")
    chat.wait_for("two")
    chat.press("Enter")
    chat.wait_for("Hello there.")

    assert ["one\n\ntwo\n"] == [
        request.json["messages"][-1]["content"] for request in server.requests
    ]


def test_commands_of_a_chat(terminal, server, model):
    """Kept, retried, counted, answered by another model, and gone on with."""
    server.add(Reply("First."), Reply("Second."), Reply("Third."))
    chat = terminal("chat", "-m", model)
    chat.wait_for("you>")
    chat.type("Hi")
    chat.wait_for("First.")
    chat.type("/retry")
    chat.wait_for("Second.")
    chat.type("/save trip")
    chat.wait_for("chat -s trip")
    chat.type("/usage")
    chat.wait_for("all turns: 20 read, 2 written")
    chat.type(f"/model {model.replace(':m@', ':other@')}")
    chat.wait_for("[custom:other]")
    chat.type("More")
    chat.wait_for("Third.")
    chat.type("/quit")
    chat.wait_for("ended with 0")
    again = terminal("chat", "-m", model, "-s", "trip")

    assert "model: Third." in again.wait_for("you>")
    assert "other" == server.requests[2].json["model"]
    assert ["Hi", "Second.", "More"] == [
        message["content"] for message in server.requests[2].json["messages"]
    ]


def test_error_leaves_the_chat_open(terminal, server, model):
    """/retry asks again."""
    server.add(error_reply(400, "no such thing"), Reply("Fine."))
    chat = terminal("chat", "-m", model)
    chat.wait_for("you>")
    chat.type("Hi")
    chat.wait_for("/retry asks again")
    chat.type("/retry")
    chat.wait_for("Fine.")

    assert "Hi" == server.requests[1].json["messages"][-1]["content"]


def test_what_a_terminal_would_obey_is_not_printed(terminal, server, model):
    """A model that was talked into it cannot set the title, or clear the screen."""
    server.add(Reply("be\x1b[2Jfore \x1b]0;title\x07after"))
    chat = terminal("chat", "-m", model)
    chat.wait_for("you>")
    chat.type("Hi")

    assert "be[2Jfore ]0;titleafter" in chat.wait_for("after")


def test_newcomer_without_a_key_is_offered_the_embedded_server(terminal):
    """One Enter, and it chats."""
    chat = terminal("chat", columns=60)
    chat.wait_for("[Y/n]")
    chat.press("Enter")
    chat.wait_for("you>")
    chat.type("Write a haiku")

    assert "Green tokens arrive," in chat.wait_for("reads them all.")
