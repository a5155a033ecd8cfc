"""The pytest plugin: what fake_llm does for an application that knows nothing of it."""

from __future__ import annotations

import configparser
import os
import pathlib
import subprocess
import sys

import pytest

# Modules that a run inside of this one is the first to import are forgotten behind it.
import cloudllm_sync.testing.detour
import cloudllm_sync.testing.pytest_plugin  # noqa: F401
from cloudllm_sync import known_providers, open_client
from cloudllm_sync.testing import FakeServer  # noqa: F401
from cloudllm_sync.transport.http import Transport

pytest_plugins = ["pytester"]

ROOT = pathlib.Path(__file__).parents[2]
PLUGIN = "cloudllm_sync.testing.pytest_plugin"
APP = """
from cloudllm_sync import CloudLLMError, OpenAIClient

def answer(question):
    with OpenAIClient("gpt-5.4-mini") as client:
        return client.send_message_stream(question).result().content

def careful_answer(question):
    try:
        return answer(question)
    except CloudLLMError:
        return "sorry"
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs a test file beside an application; there is no key in the environment."""
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_SECRET", "_TOKEN")):
            monkeypatch.delenv(name)
    for name in known_providers():
        if name not in ("azure", "custom"):
            open_client(f"{name}:m", api_key="k").close()
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # some are slow
    pytester.makepyfile(app=APP)

    def run_file(source, *arguments):
        pytester.makepyfile(test_app=source)
        return pytester.runpytest_inprocess("-p", PLUGIN, "-p", "no:cacheprovider", *arguments)

    return run_file


def test_application_is_answered(run):
    """Neither a key nor an address has to be given; what was asked can be looked at."""
    result = run("""
        from app import answer

        def test_answer(fake_llm):
            fake_llm.add("Hello there")
            assert answer("Hi") == "Hello there"
            (asked,) = fake_llm.requests
            assert asked.path == "/v1/chat/completions"
            assert asked.headers["host"] == "api.openai.com"
            assert asked.json["messages"] == [{"role": "user", "content": "Hi"}]
    """)

    result.assert_outcomes(passed=1)


def test_every_provider_is_played(run):
    """Each on its own wire, with the key that its client found."""
    result = run("""
        import pytest
        from cloudllm_sync import known_providers, open_client

        OTHERS = {
            "azure": "azure:m@https://shop.openai.azure.com",
            "custom": "custom:m@https://llm.example/v1",
            "github": None,  # these two have other readers: a test gives them keys itself
            "huggingface": None,
        }
        SPECS = [OTHERS.get(name, f"{name}:m") for name in known_providers()]

        @pytest.mark.parametrize("spec", [spec for spec in SPECS if spec])
        def test_answer(fake_llm, spec):
            fake_llm.add("Hello there")
            with open_client(spec) as client:
                assert client.send_message_stream("Hi").result().content == "Hello there"
    """)

    result.assert_outcomes(passed=len(known_providers()) - 2)


def test_client_that_was_there_before_is_answered_and_freed(run):
    """A client of a module, and one that has been used: its next request goes its old way."""
    result = run("""
        import pytest
        from cloudllm_sync import OpenAIClient
        from cloudllm_sync.testing import FakeServer

        @pytest.fixture(scope="module")
        def provider():
            with FakeServer(default="real") as server:
                yield server

        @pytest.fixture(scope="module")
        def client(provider):
            with OpenAIClient("m", api_key="sk-real", base_url=provider.base_url) as made:
                yield made

        def test_before(client):
            assert client.send_message("Hi").content == "real"

        def test_meanwhile(client, provider, fake_llm):
            fake_llm.add("fake")
            assert client.send_message("Hi").content == "fake"
            assert fake_llm.requests[0].headers["authorization"] == "Bearer sk-real"
            assert len(provider.requests) == 1

        def test_behind(client):
            assert client.send_message("Hi").content == "real"
    """)

    result.assert_outcomes(passed=3)


def test_threads_that_begin_together_are_answered(run):
    """A client's first requests may come from many threads at once."""
    result = run("""
        from cloudllm_sync import OpenAIClient

        def test_answers(fake_llm):
            fake_llm.add(*["Hello"] * 20)
            with OpenAIClient("m") as client:
                handles = [client.start_message_stream("Hi") for _ in range(20)]
                assert {handle.result(10).content for handle in handles} == {"Hello"}
    """)

    result.assert_outcomes(passed=1)


def test_closed_client_stays_closed(run):
    """A request that would fail in production must not be answered in a test."""
    result = run("""
        import pytest
        from cloudllm_sync import ConfigurationError, OpenAIClient

        def test_closed(fake_llm):
            client = OpenAIClient("m")
            client.close()
            with pytest.raises(ConfigurationError, match="closed"):
                client.send_message("Hi")
    """)

    result.assert_outcomes(passed=1)


def test_environment_is_as_it_was(run):
    """Keys are there for the test only; one that is set stays what it is; shared ones stay away."""
    result = run("""
        import os
        import pytest

        @pytest.fixture(scope="module", autouse=True)
        def environment():
            os.environ["XAI_API_KEY"] = "xai-own"
            os.environ["GROQ_API_KEY"] = ""
            before = {**os.environ, "PYTEST_CURRENT_TEST": ""}
            yield
            assert {**os.environ, "PYTEST_CURRENT_TEST": ""} == before
            del os.environ["XAI_API_KEY"], os.environ["GROQ_API_KEY"]

        def test_keys(fake_llm):
            assert os.environ["XAI_API_KEY"] == "xai-own"
            assert os.environ["OPENAI_API_KEY"]
            assert os.environ["GROQ_API_KEY"]
            assert "GITHUB_TOKEN" not in os.environ
    """)

    result.assert_outcomes(passed=1)


def test_request_without_a_reply_fails_a_test_that_passed(run):
    """The application handles errors, and the test looks at nothing else."""
    result = run("""
        from app import careful_answer

        def test_answer(fake_llm):
            assert careful_answer("Hi") == "sorry"
    """)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["fake_llm could not answer:", "the script is used up: there is no entry for request 1"]
    )


def test_request_without_a_reply_is_shown_beside_another_failure(run):
    """What the application made of the error need not say why."""
    result = run("""
        from app import careful_answer

        def test_answer(fake_llm):
            assert careful_answer("Hi") == "Hello"
    """)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*'sorry'*", "*What the language model was asked*", "*no entry for request 1"]
    )


def test_replies_that_nobody_asked_for_are_shown_beside_a_failure_only(run):
    """They may be the cause of a failure, and are none by themselves."""
    result = run("""
        def test_passes(fake_llm):
            fake_llm.add("Hello")

        def test_fails(fake_llm):
            fake_llm.add("Hello", "Bye")
            assert len(fake_llm.requests) == 1
    """)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["fake_llm: 2 of the replies were not asked for"])


def test_fixture_that_fails_leaves_nothing_behind(run):
    """The tests that follow send their requests themselves."""
    send = Transport.send
    result = run("""
        import pytest

        @pytest.fixture
        def broken(fake_llm):
            raise RuntimeError("broken")

        def test_one(broken):
            pass
    """)

    result.assert_outcomes(errors=1)
    assert Transport.send is send


def test_plugin_may_be_named_twice(pytester, run):
    """By its entry point, and by a conftest.py that cannot count on that."""
    pytester.makeconftest(f"pytest_plugins = [{PLUGIN!r}]")

    result = run("def test_it(fake_llm): pass")

    result.assert_outcomes(passed=1)


def test_entry_point_is_named_like_its_module():
    """So pytest knows that both ways of naming the plugin mean the same."""
    setup = configparser.ConfigParser(delimiters="=")
    setup.read(ROOT / "setup.cfg")

    points = setup["options.entry_points"]["pytest11"].split("\n")

    assert ["", f"{PLUGIN} = {PLUGIN}"] == points


def test_start_of_pytest_loads_the_plugin_alone():
    """Whoever has this package, and tests something else, does not pay for requests."""
    code = f"import pytest, sys; before = set(sys.modules); import {PLUGIN}; "
    ran = subprocess.run(
        [sys.executable, "-c", code + "print(*set(sys.modules) - before)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert {"cloudllm_sync", "cloudllm_sync.testing", PLUGIN} == set(ran.stdout.split())
