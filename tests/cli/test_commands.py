"""The other commands: models, sessions, doctor, fake-server, chats that are piped in."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sqlite3

import click
import pytest

from cloudllm_sync.cli import chat
from cloudllm_sync.cli.choosing import DEFAULTS
from cloudllm_sync.cli.commands import cloudllm
from cloudllm_sync.cli.exits import EXIT_CODES
from cloudllm_sync.clients.registry import known_providers
from cloudllm_sync.testing import FakeServer, Raw, Reply, openai_events

PATIENCE_S = 30


def test_every_command_has_help(run):
    """And what the list says of it is there."""
    listed, code = run("--help")
    commands = cloudllm.list_commands(None)

    assert 0 == code
    assert {"ask", "chat", "demo", "doctor", "fake-server", "models", "sessions"} == set(commands)
    for name in commands:
        assert name in listed
        assert 0 == run(name, "--help")[1]


def test_version_is_printed(run):
    """The package's."""
    assert run("--version")[0].startswith("cloudllm, version 0.1.0")


def test_piped_chat_answers_line_by_line(run, server, model):
    """In one conversation."""
    printed, code = run("chat", "-m", model, input="One\n\nTwo\n")

    assert ("Hello there.\nHello there.\n", 0) == (printed, code)
    assert 3 == len(server.requests[1].json["messages"])


def test_warnings_are_words(start, run, server, model, tmp_path):
    """What is logged of a reply that cannot be kept has a traceback, for those who keep logs."""

    def break_the_file(request):
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "conversations.db")) as file:
            file.execute("DROP TABLE messages")
        return Raw(*openai_events(Reply("One two three"))[:3])

    (tmp_path / "lines").write_text("One\n")
    run("sessions")
    server.add(break_the_file)
    with open(tmp_path / "lines", "rb") as lines:
        process = start("chat", "-m", model, "-s", "trip", stdin=lines)
    out, err = process.communicate(timeout=PATIENCE_S)

    assert b"One two\n" == out
    assert b"cloudllm: the partial reply could not be kept (StoreError: " in err
    assert b"Traceback" not in err


def test_default_models_are_those_of_their_clients():
    """Their keys' variables are written down twice, so that a start need not load all clients."""
    for provider, variables, model in DEFAULTS:
        row = known_providers()[provider]
        module, _, name = row.client.partition(":")
        module = importlib.import_module(f"cloudllm_sync.clients.{module}")

        assert variables == getattr(module, name).provider.key_variables
        assert model in [known.value for known in module.Model]


def test_models_lists_providers_and_their_keys(run, monkeypatch):
    """By the variable's name, never the key."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    printed, code = run("models")

    assert 0 == code
    assert "claude       ANTHROPIC_API_KEY is set, asks claude-sonnet-5" in printed
    assert "azure        set AZURE_OPENAI_API_KEY" in printed
    assert "ollama       not running" in printed
    assert "sk-secret" not in printed
    assert len(known_providers()) == len(printed.splitlines())


def test_models_of_a_provider_can_be_given_to_ask(run):
    """As they are printed."""
    printed, code = run("models", "claude")

    assert 0 == code
    assert "claude:claude-sonnet-5" in printed.splitlines()
    assert 2 == run("models", "nobody")[1]


def test_sessions_are_listed_shown_exported_and_deleted(run, model, tmp_path):
    """And read back."""
    path = str(tmp_path / "all.jsonl")
    run("ask", "-m", model, "-s", "trip", "One")
    listed = run("sessions")[0]
    shown = run("sessions", "show", "trip")[0]
    run("sessions", "export", path)
    deleted = run("sessions", "delete", "trip")
    gone = run("sessions", "show", "trip")
    read = run("sessions", "import", path)
    again = run("sessions", "show", "trip")[0]

    assert "2 messages" in listed
    assert "trip" in listed
    assert "user: One\n\nassistant: Hello there.\n\n" == shown == again
    assert ("", 0) == deleted
    assert 1 == gone[1]
    assert ("1 read\n", 0) == read


def test_conversations_are_nobody_elses(run, model, tmp_path):
    """Neither their folder nor their file can be read by others."""
    run("ask", "-m", model, "-s", "trip", "One")
    folder = tmp_path / "data"

    assert [0o700, 0o600] == [
        path.stat().st_mode & 0o777 for path in (folder, folder / "conversations.db")
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--gunicorn", "shop:app"], "W101"),
        (["--gunicorn", "--threads 4 shop:app", "--streams", "50"], "W103"),
        (["--set", "HEARTBEAT_S=90"], "W301"),
        (["--set", "cloudllm_heartbeat=5"], "HEARTBEAT_S"),
        (["--asgi"], "W003"),
    ],
)
def test_doctor_says_what_is_wrong_and_fails(run, arguments, found):
    """As manage.py's does."""
    printed, code = run("doctor", *arguments)

    assert 1 == code
    assert found in printed


@pytest.mark.parametrize(
    "setting",
    [
        "MAX_RETRIES=2",
        "MAX_TOKENS=9000",
        "ALLOW_HTTP=True",
        "TIMEOUTS={'idle_s': 30}",
        "HEARTBEAT_S=0.5",
        "PROTOCOL=ai-sdk",
    ],
)
def test_doctor_takes_settings_of_every_kind(run, setting):
    """As they stand in the site's settings; a word needs no quotes."""
    assert ("Nothing found that keeps replies from streaming.\n", 0) == run(
        "doctor", "--set", setting
    )


def test_doctor_finds_nothing_wrong_with_threads(run):
    """Then it ends with 0."""
    printed, code = run("doctor", "--gunicorn", "--threads 64 shop:app", "--streams", "50")

    assert ("Nothing found that keeps replies from streaming.\n", 0) == (printed, code)


def test_fake_server_answers_as_it_was_told(start, run):
    """In turns, on the wires of all providers, until it is stopped."""
    process = start("fake-server", "--reply", "One.", "--reply", "Two.", "--delay", "0")
    address = process.stdout.readline().split()[-1].decode()

    assert ["One.\n", "Two.\n", "One.\n"] == [
        run("ask", "-m", f"custom:m@{address}", "Hi")[0] for _ in range(3)
    ]


def test_fake_server_says_that_its_port_is_taken(run):
    """In words."""
    with FakeServer() as server:
        port = server.url.rpartition(":")[2]
        printed, code = run("fake-server", "--port", port)

    assert 1 == code
    assert f"port {port} cannot be had" in printed


class Interrupted(io.BytesIO):
    """What is read while Ctrl-C is pressed."""

    def read1(self, size=-1):
        raise KeyboardInterrupt

    read = readinto = readline = read1


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_ctrl_c_while_input_is_read_ends_it_by_130(run, server, model, command):
    """Not only while a reply comes."""
    printed, code = run(command, "-m", model, input=io.BufferedReader(Interrupted()))

    assert 130 == code
    assert "Aborted" not in printed


def test_ctrl_c_at_a_question_ends_it_by_130(run, monkeypatch):
    """Whether to talk to the embedded server, say."""
    monkeypatch.setattr(chat, "run_chat", lambda *_, **__: click.confirm("Now?"))

    assert 130 == run("chat", input=io.BufferedReader(Interrupted()))[1]


def test_ctrl_c_at_the_start_ends_it_by_130(start, monkeypatch, tmp_path):
    """While modules are loaded."""
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    process = start("ask", "Hi")

    assert ((b"", b""), 130) == (process.communicate(timeout=PATIENCE_S), process.returncode)


@pytest.mark.parametrize("arguments", [["doctor", "--asgi"], ["fake-server"], ["models"]])
def test_nobody_who_reads_ends_every_command(start, arguments):
    """As ask does: by 141, so that it is not taken for what doctor has found."""
    reads, writes = os.pipe()
    os.close(reads)
    process = start(*arguments, stdout=writes)
    os.close(writes)

    assert (141, b"") == (process.wait(PATIENCE_S), process.stderr.read())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is full")
@pytest.mark.parametrize("arguments", [["ask", "Hi"], ["ask", "--json", "Hi"], ["models"]])
def test_output_that_cannot_be_written_is_said_in_words(start, monkeypatch, model, arguments):
    """As on a disk that is full."""
    monkeypatch.setenv("CLOUDLLM_MODEL", model)
    with open("/dev/full", "wb") as full:
        process = start(*arguments, stdout=full)
    said = process.stderr.read()

    assert 1 == process.wait(PATIENCE_S)
    assert b"No space left" in said
    assert b"Traceback" not in said


def test_exit_codes_are_written_down(run):
    """In --help."""
    said = " ".join(run("--help")[0].split())

    for code in {0, 7, 130, 141, *(code for _, code in EXIT_CODES)}:
        assert f" {code} " in said
