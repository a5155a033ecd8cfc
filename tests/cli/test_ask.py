"""`cloudllm ask`: what is asked, what is printed, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from cloudllm_sync.testing import Raw, Reply, WaitFor, error_reply, openai_events

PATIENCE_S = 30


def asked(server):
    return [
        (message["role"], message["content"]) for message in server.requests[-1].json["messages"]
    ]


def test_reply_is_printed_as_text(run, model):
    """With the newline that everything in a pipe ends with."""
    assert ("Hello there.\n", 0) == run("ask", "-m", model, "Hi")


@pytest.mark.parametrize(
    ("words", "piped", "question"),
    [
        (["Why", "blue?"], "", "Why blue?"),
        ([], "Why?\n", "Why?"),
        (["Write a commit message"], "-a\n+b\n", "Write a commit message\n\n-a\n+b"),
    ],
)
def test_question_is_what_was_typed_and_what_was_piped(run, server, model, words, piped, question):
    """In this order, so that a diff follows what is to be done with it."""
    run("ask", "-m", model, *words, input=piped)

    assert [("user", question)] == asked(server)


def test_no_question_is_wrong_usage(run, model):
    """It says how to ask."""
    printed, code = run("ask", "-m", model)

    assert 2 == code
    assert 'cloudllm ask "Why is the sky blue?"' in printed


def test_system_options_and_pictures_go_with_it(run, server, model, tmp_path):
    """Options are checked before anything is sent."""
    picture = tmp_path / "dot.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    run(
        "ask", "-m", model, "--system", "Be brief.", "-o", "temperature=0", "-a", str(picture), "Hi"
    )
    sent = server.requests[-1].json

    assert 0 == sent["temperature"]
    assert ["system", "user"] == [message["role"] for message in sent["messages"]]
    assert ["image_url", "text"] == sorted(part["type"] for part in sent["messages"][1]["content"])


@pytest.mark.parametrize(
    "wrong", [["-o", "temperature"], ["-o", "warmth=1"], ["-a", "no/such/file.png"]]
)
def test_wrong_arguments_are_wrong_usage(run, server, model, wrong):
    """Nothing is sent."""
    printed, code = run("ask", "-m", model, *wrong, "Hi")

    assert 2 == code
    assert wrong[-1].partition("=")[0] in printed
    assert () == server.requests


def test_json_lines_hold_chunks_and_the_end(run, model, server):
    """Each as soon as it comes; reasoning is there, too."""
    server.add(Reply("One two", reasoning="Hm"))
    printed, code = run("ask", "-m", model, "--json", "Hi")
    *chunks, end = map(json.loads, printed.splitlines())

    assert 0 == code
    assert [{"reasoning": "Hm"}, {"content": "One"}, {"content": " two"}] == chunks
    assert "stop" == end["finish_reason"]
    assert 10 == end["usage"]["input_tokens"]


WORDS = openai_events(Reply("One two three"))


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (error_reply(401, "no"), 3, "AuthenticationError"),
        (error_reply(429, "slow down", headers={"x-should-retry": "false"}), 4, "RateLimitError"),
        (error_reply(400, "no"), 1, "BadRequestError"),
        (Raw(*WORDS[:3]), 6, "StreamInterrupted"),
        (Reply("no", finish_reason="content_filter"), 7, "filter"),
        (Reply("no", finish_reason="length"), 0, "cut"),
    ],
    ids=["key", "rate", "refused", "cut", "filter", "length"],
)
def test_exit_code_tells_how_it_ended(run, server, model, answer, code, said):
    """And standard error says it in words."""
    server.add(answer)
    printed, ended = run("ask", "-m", model, "Hi")

    assert code == ended
    assert said in printed
    assert "Traceback" not in printed


def test_what_a_terminal_would_obey_is_not_in_errors(run, server, model):
    """A server's words are as strange as a model's."""
    server.add(error_reply(400, "be\x1b[2Jfore \x1b]0;title\x07after"))

    assert "be[2Jfore ]0;titleafter\n" in run("ask", "-m", model, "Hi")[0]


def test_server_that_is_not_there_is_5(run):
    """The retries take a second or two."""
    printed, code = run("ask", "-m", "custom:m@http://127.0.0.1:9/v1", "Hi")

    assert 5 == code
    assert "ConnectError" in printed


def test_what_had_come_of_a_cut_reply_is_printed(run, server, model):
    """It was paid for."""
    server.add(Raw(*WORDS[:3]))

    assert run("ask", "-m", model, "Hi")[0].startswith("One two\n")


def test_error_is_a_json_line_too(run, server, model):
    """The last one."""
    server.add(Raw(*WORDS[:3]))
    lines = run("ask", "-m", model, "--json", "Hi")[0].splitlines()

    assert {"content": " two"} == json.loads(lines[1])
    assert "StreamInterrupted" == json.loads(lines[2])["error"]["type"]


def test_refusal_is_a_json_line_too(run, server, model):
    """What reads the lines need not read standard error."""
    server.add(error_reply(400, "no"))
    line = run("ask", "-m", model, "--json", "Hi")[0].splitlines()[0]

    assert "BadRequestError" == json.loads(line)["error"]["type"]


def test_without_a_model_it_says_how_to_get_one(run):
    """All four ways."""
    printed, code = run("ask", "Hi")

    assert 2 == code
    for way in ("-m PROVIDER:MODEL", "OPENAI_API_KEY", "ollama pull", "cloudllm demo"):
        assert way in printed


def test_ollama_is_found(run, server, monkeypatch):
    """Whoever has it running needs no key and names no model."""
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    tags = b'{"models": [{"name": "llama3.2:3b"}, {"name": "other"}]}'
    server.add(Raw(tags, content_type="application/json", framing="length"), Reply("From Ollama."))
    printed, code = run("ask", "Hi")

    assert ("From Ollama.\n", 0) == (printed, code)
    assert "llama3.2:3b" == server.requests[1].json["model"]
    assert ["/api/tags", "/api/chat"] == [request.path for request in server.requests]


def test_ollama_at_no_address_is_not_found(run, monkeypatch):
    """A word that is wrong in a variable is no reason for a traceback."""
    monkeypatch.setenv("OLLAMA_HOST", "http://[bad")
    printed, code = run("ask", "Hi")

    assert 2 == code
    assert "no model" in printed


def test_demo_needs_nothing(run):
    """The embedded server answers."""
    printed, code = run("ask", "-m", "demo", "Write a haiku")

    assert 0 == code
    assert "Green tokens arrive," in printed


def test_session_goes_on(run, server, model):
    """The second question is sent with the first and its reply."""
    run("ask", "-m", model, "-s", "trip", "One")
    run("ask", "-m", model, "-s", "trip", "Two")

    assert [("user", "One"), ("assistant", "Hello there."), ("user", "Two")] == asked(server)


def test_session_holds_as_much_as_a_chat_does(run, server, model):
    """Half of it is a diff, say; and more can be asked for."""
    diff = "+word\n" * 15_000
    piped = run("ask", "-m", model, "-s", "trip", input=diff)
    refused = run("ask", "-m", model, "-s", "trip", input=2 * diff)
    raised = run("ask", "-m", model, "-s", "trip", "--max-tokens", "100000", input=2 * diff)

    assert [0, 1, 0] == [piped[1], refused[1], raised[1]]
    assert "max_tokens" in refused[0]


def test_what_is_piped_in_may_be_any_bytes(start, server, model, tmp_path):
    """As a diff of a file in Latin-1 has them."""
    (tmp_path / "diff").write_bytes(b"-caf\xe9\n")
    with open(tmp_path / "diff", "rb") as piped:
        process = start("ask", "-m", model, "Hi", stdin=piped)

    assert 0 == process.wait(PATIENCE_S)
    assert [("user", "Hi\n\n-caf\ufffd")] == asked(server)


@pytest.mark.parametrize(
    ("given", "printed"),
    [([], b"caf? ?\n"), (["--json"], b'{"content": "caf\\u00e9 \\ud83d\\ude00"}\n')],
    ids=["text", "json"],
)
def test_output_need_not_be_utf_8(start, server, model, monkeypatch, given, printed):
    """As in a pipe on Windows: what it cannot hold is a question mark, in JSON an escape."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    server.add(Reply(["caf\xe9 \U0001f600"]))
    process = start("ask", "-m", model, *given, "Hi")

    assert printed == process.stdout.readline()
    assert 0 == process.wait(PATIENCE_S)


def test_closed_output_is_no_error(start, server, model):
    """As `cloudllm ask ... >&-` has it, for the sake of `-s`."""
    process = start("ask", "-m", model, "Hi", preexec_fn=lambda: os.close(1))

    assert (0, b"") == (process.wait(PATIENCE_S), process.stderr.read())


def test_ctrl_c_ends_it(start, server, model):
    """By 130, as shells have it, with what had come."""
    server.add(Raw(*WORDS[:3], WaitFor(threading.Event())))
    process = start("ask", "-m", model, "Hi")
    came = process.stdout.read(7)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)

    assert (b"One two", b"\n", 130) == (came, out, process.returncode)
    assert b"Traceback" not in err


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_end_it_in_order(start, run, server, model, name):
    """As `timeout` sends them: the line ends, and others may go on with the session at once."""
    server.add(Raw(*WORDS[:3], WaitFor(threading.Event())))
    process = start("ask", "-m", model, "-s", "trip", "Hi")
    process.stdout.read(7)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=PATIENCE_S)

    assert (b"\n", b"", 128 + getattr(signal, name)) == (out, err, process.returncode)
    assert 0 == run("ask", "-m", model, "-s", "trip", "Hi")[1]


def test_nobody_who_reads_ends_it(start, server, model):
    """As when `head` has enough: quietly, and the provider's stream is closed."""
    server.add(Reply(["word "] * 100_000))
    process = start("ask", "-m", model, "Hi")
    process.stdout.read(5)
    process.stdout.close()

    assert 141 == process.wait(PATIENCE_S)
    assert b"" == process.stderr.read()
    assert server.wait_until_idle(PATIENCE_S)


@pytest.mark.parametrize("missing", ["click", "platformdirs"])
def test_command_line_without_its_extra_says_so(start, monkeypatch, tmp_path, model, missing):
    """What to install, in a line; also where Flask, say, has brought click alone."""
    (tmp_path / f"{missing}.py").write_text(f"raise ModuleNotFoundError(name={missing!r})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    process = start("ask", "-m", model, "-s", "trip", "Hi")
    _, err = process.communicate(timeout=PATIENCE_S)

    assert b'pip install "cloudllm-sync[cli]"' in err
    assert b"Traceback" not in err
