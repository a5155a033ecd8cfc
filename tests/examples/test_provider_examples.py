"""The examples of single providers and features run: without keys, and against a named server."""

from __future__ import annotations

import base64
import os
import pathlib
import re
import subprocess
import sys

import pytest

from cloudllm_sync.testing import FakeServer, Reply
from cloudllm_sync.values import ToolCall

ROOT = pathlib.Path(__file__).parents[2]
# Far over what any of them takes; a test that meets it hangs.
PATIENCE_S = 30.0
PRIVATE = re.compile("KEY|SECRET|TOKEN|PROXY", re.IGNORECASE)


@pytest.fixture
def run(tmp_path):
    """Runs an example in an environment without keys; gives status, output and complaints."""
    environment = {name: text for name, text in os.environ.items() if not PRIVATE.search(name)}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "PYTHONIOENCODING": "utf-8",
    }

    def to_the_end(name, *arguments, **variables):
        ran = subprocess.run(
            [sys.executable, str(ROOT / "examples" / name), *arguments],
            cwd=tmp_path,
            env={**environment, **variables},
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE_S,
        )
        return ran.returncode, ran.stdout, ran.stderr

    return to_the_end


PROGRAMS = sorted(
    path.name for path in (ROOT / "examples").glob("*.py") if "__main__" in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_fits_a_terminal(run, name):
    """It says what the program does, in lines of 80 columns."""
    status, printed, complaint = run(name, "--help", COLUMNS="80")

    assert (status, complaint) == (0, "")
    assert printed.startswith(f"usage: {name} ")
    assert [line for line in printed.splitlines() if len(line) > 80] == []


def at(server: FakeServer) -> tuple[str, ...]:
    return "--base-url", server.base_url, "--model", "test-model"


def test_claude_alone(run):
    """Thoughts and text are told apart."""
    status, printed, complaint = run("claude.py")

    assert (status, complaint) == (0, "")
    assert "No ANTHROPIC_API_KEY" in printed
    assert "\n[thinks] A prime is wanted." in printed
    assert "\n[says] Seven: " in printed
    assert printed.endswith("[finished: stop]\n")


def test_gemini_alone(run):
    """The sources follow the text."""
    status, printed, complaint = run("gemini.py")

    assert (status, complaint) == (0, "")
    assert "No GEMINI_API_KEY" in printed
    assert "the Nile, at about 6,650 km.\n[source: https://example.org/nile]\n" in printed
    assert printed.endswith("[finished: stop]\n")


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("claude.py", "ANTHROPIC_API_KEY"),
        ("claude.py", "CLAUDE_API_KEY"),
        ("gemini.py", "GEMINI_API_KEY"),
        ("gemini.py", "GOOGLE_API_KEY"),
    ],
)
def test_key_selects_the_provider(run, name, variable):
    """With one the embedded server is not used: the error is the one that a broken key gives."""
    status, printed, complaint = run(name, **{variable: "no\x01key"})

    assert (status, printed) == (1, "")
    assert complaint.startswith("\nConfigurationError: ")


def test_tools_example_alone(run):
    """Both calls are shown with their results, and the answer knows both."""
    status, printed, complaint = run("tools_example.py")

    assert (status, complaint) == (0, "")
    assert "No OPENAI_API_KEY" in printed
    assert "I ask both stations.\n[asks for tools]\n[get_weather" in printed
    assert '[get_weather {"city": "Cologne"}: rain, 14 °C]\n' in printed
    assert '[get_weather {"city": "Lisbon"}: sun, 26 °C]\n' in printed
    assert printed.endswith("\nThe stations say: rain, 14 °C / sun, 26 °C.\n")


def test_tools_example_answers_every_call(run):
    """Also those that cannot be run; what the model then says is the end."""
    calls = (
        ToolCall("a", "get_weather", '{"city": "Cologne"}'),
        ToolCall("b", "get_weather", '{"ci'),
        ToolCall("c", "get_weather", '{"city": "Atlantis"}'),
        ToolCall("d", "get_wether", '{"city": "Cologne"}'),
    )
    with FakeServer(Reply(tool_calls=calls), "Only Cologne.") as server:
        status, printed, complaint = run("tools_example.py", *at(server))
        _, asked, *results = server.requests[1].json["messages"][1:]

    assert (status, complaint) == (0, "")
    assert [call["id"] for call in asked["tool_calls"]] == ["a", "b", "c", "d"]
    assert [result["tool_call_id"] for result in results] == ["a", "b", "c", "d"]
    failed = [result["content"].startswith("Error: ") for result in results]
    assert failed == [False, True, True, True]
    assert printed.endswith("Only Cologne.\n")


def test_tools_example_does_not_go_on_forever(run):
    """A model that only calls is stopped."""
    with FakeServer(default=Reply(tool_calls=[ToolCall("a", "get_weather", "{}")])) as server:
        status, printed, _ = run("tools_example.py", *at(server))

        assert len(server.requests) == 8
    assert status == 0
    assert "[the model wanted more after 8 rounds: raise max_rounds" in printed


def test_vision_example_alone(run):
    """The painted picture arrives."""
    status, printed, complaint = run("vision_example.py")

    assert (status, complaint) == (0, "")
    assert "No OPENAI_API_KEY" in printed
    assert re.search(r"\nI got image/png of \d+ bytes\.", printed)
    assert printed.endswith("[finished: stop]\n")


def test_vision_example_with_a_file(run, tmp_path):
    """The bytes of the file are sent, with the question."""
    picture = b"\x89PNG\r\n\x1a\n and so on"
    tmp_path.joinpath("mine.png").write_bytes(picture)
    with FakeServer("A cat") as server:
        status, printed, _ = run("vision_example.py", "mine.png", "--question", "Who?", *at(server))
        (message,) = server.requests[0].json["messages"]

    assert status == 0
    assert printed.startswith("A cat\n")
    text, image = message["content"]
    assert text["text"] == "Who?"
    assert base64.b64decode(image["image_url"]["url"].partition(",")[2]) == picture


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.png", "No such file or directory"),
        (".", "Is a directory"),
        ("empty.png", "'empty.png' is empty: there is nothing to send"),
        ("mine.pdf", "application/pdf is no image"),
    ],
)
def test_vision_example_without_a_picture(run, tmp_path, name, said):
    """One line says which file, and why."""
    tmp_path.joinpath("empty.png").touch()
    tmp_path.joinpath("mine.pdf").write_bytes(b"%PDF-1.7")

    status, printed, complaint = run("vision_example.py", name)

    assert (status, printed, complaint) == (1, "", f"{name}: {said}\n")


def test_structured_example_alone(run):
    """The object is shown as it arrives, and then whole."""
    status, printed, complaint = run("structured_example.py")

    assert (status, complaint) == (0, "")
    assert "No OPENAI_API_KEY" in printed
    assert "\n... Ada, None, 0 deeds\n... Ada Lovelace, None, 0 deeds\n" in printed
    assert printed.endswith("born:      1815\nknown for: the first program\n")


def test_structured_example_sends_its_schema(run):
    """And does not take half a reply for one."""
    with FakeServer(Reply('{"name": "Ad', finish_reason="length")) as server:
        status, _, complaint = run("structured_example.py", *at(server))
        wanted = server.requests[0].json["response_format"]["json_schema"]

    assert status == 1
    assert "it was cut (finish_reason 'length')" in complaint
    assert wanted["schema"]["required"] == ["name", "born", "known_for"]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("Sure! Here she is.", "JSON is malformed"),
        ('{"name": "Ada", "born": 1815}', "missing required field `known_for`"),
        ("[1]", "Expected `object`, got `array`"),
    ],
)
def test_structured_example_of_a_server_that_knows_no_schema(run, reply, why):
    """One line says what does not fit."""
    with FakeServer(reply) as server:
        status, _, complaint = run("structured_example.py", *at(server))

    assert status == 1
    assert complaint.startswith("no answer: the reply is no Person: ")
    assert why in complaint


@pytest.mark.parametrize(
    ("spec", "variable"),
    [
        ("claude:claude-sonnet-5", "ANTHROPIC_API_KEY"),
        ("gemini:gemini-3.7-flash", "GEMINI_API_KEY"),
        ("responses:gpt-5.4-mini", "OPENAI_API_KEY"),
        ("openai:gpt-5.4-mini", "OPENAI_API_KEY"),
        ("grok:grok-4.6", "XAI_API_KEY"),
        ("groq:llama", "GROQ_API_KEY"),
    ],
)
def test_any_provider_alone(run, spec, variable):
    """Without its key every provider is played by the embedded server."""
    status, printed, complaint = run("any_provider.py", spec, "Hello?")

    assert (status, complaint) == (0, "")
    assert variable in printed.splitlines()[0]
    assert f", {spec.partition(':')[2]}:\nHello from the embedded server" in printed
    assert printed.endswith("[finished: stop]\n")


def test_any_provider_at_an_address(run):
    """What stands behind the @ is asked."""
    with FakeServer("Hi there") as server:
        status, printed, _ = run("any_provider.py", f"custom:m@{server.base_url}", "Hello?")

        assert server.requests[0].json["messages"][-1]["content"] == "Hello?"
    assert (status, printed) == (0, "custom, m:\nHi there\n[finished: stop]\n")


def test_any_provider_s_notice_fits_a_terminal(run):
    """The one about the key that is missing."""
    _, printed, _ = run("any_provider.py")

    assert printed.startswith("no API key for Anthropic: ")
    assert [line for line in printed.splitlines() if len(line) > 79] == []


def test_any_provider_lists_them(run):
    """One a line, with the address if the table has it."""
    status, printed, _ = run("any_provider.py", "--list")

    assert status == 0
    assert "\nclaude " in printed
    assert "\nopenrouter   https://openrouter.ai/api/v1\n" in printed


@pytest.mark.parametrize("spec", ["clode:x", "claude", "claude:m@http://127.0.0.1:9"])
def test_any_provider_that_cannot_be_is_one_line(run, spec):
    """The embedded server does not cover up a slip."""
    status, printed, complaint = run("any_provider.py", spec)

    assert (status, printed) == (1, "")
    assert re.fullmatch(r"\nConfigurationError: .+\n", complaint)
