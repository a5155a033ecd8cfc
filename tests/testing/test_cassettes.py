"""Cassettes: recorded from a server that plays the provider, replayed without it."""

from __future__ import annotations

import itertools
import json
import os
import threading

import pytest

# Modules that a run inside of this one is the first to import are forgotten behind it.
import cloudllm_sync.testing.playing
import cloudllm_sync.testing.pytest_plugin
import cloudllm_sync.testing.taping  # noqa: F401
from cloudllm_sync import ClaudeClient, GeminiClient, OllamaClient, OpenAIClient  # noqa: F401
from cloudllm_sync.testing import (
    Cut,
    FakeServer,
    Raw,
    Reply,
    Reset,
    Wait,
    WaitFor,
    error_reply,
    openai_events,
)
from cloudllm_sync.transport.http import Transport

pytest_plugins = ["pytester"]

PLUGIN = "cloudllm_sync.testing.pytest_plugin"
KEY = "sk-0123456789abcdefghij"
APP = """
import os

from cloudllm_sync import CloudLLMError, OpenAIClient

def answer(question, **options):
    with OpenAIClient("gpt-5", base_url=os.environ["PROVIDER"] + "/v1", **options) as client:
        return client.send_message_stream(question).result().content

def careful_answer(question):
    try:
        return answer(question)
    except CloudLLMError:
        return "sorry"
"""
ASKS = """
import pytest
from app import answer

@pytest.mark.cassette
def test_it():
    assert answer("Hi") == "Hello there"
"""


@pytest.fixture
def folder(pytester, monkeypatch):
    """The folder of an application and its tests."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # some are slow
    pytester.makepyfile(app=APP)
    return pytester


@pytest.fixture
def record(folder, monkeypatch):
    """Runs a test file against a provider of this script, with a key; gives result and provider."""

    def run(source, *script):
        folder.makepyfile(test_app=source)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        with FakeServer(*script) as provider:
            monkeypatch.setenv("PROVIDER", provider.url)
            result = folder.runpytest_inprocess("-p", PLUGIN, "--cassettes=record")
        return result, provider

    return run


@pytest.fixture
def replay(folder, monkeypatch):
    """Runs a test file, or the last one again, with neither key nor provider."""

    def run(source=None, *arguments):
        if source is not None:
            folder.makepyfile(test_app=source)
        for name in list(os.environ):
            if name.endswith(("_API_KEY", "_SECRET")):
                monkeypatch.delenv(name)
        monkeypatch.setenv("PROVIDER", "https://llm.example")
        return folder.runpytest_inprocess("-p", PLUGIN, *arguments)

    return run


@pytest.fixture
def cassette(folder):
    """The text of a cassette; the only one unless a name is given."""

    def read(name="*"):
        (path,) = (folder.path / "cassettes").glob(f"{name}.json")
        return path.read_text(encoding="utf-8")

    return read


def test_recorded_reply_is_replayed_without_the_provider(record, replay, folder):
    """The file stands beside the test, and is all that is needed."""
    recorded, provider = record(ASKS, "Hello there")
    replayed = replay()

    recorded.assert_outcomes(passed=1)
    replayed.assert_outcomes(passed=1)
    assert f"Bearer {KEY}" == provider.requests[0].headers["authorization"]
    assert (folder.path / "cassettes" / "test_app.test_it.json").is_file()


def test_bytes_are_replayed_as_they_came(record, replay, cassette):
    """Odd line ends, comments and bytes that are no UTF-8 are what the test is about."""
    opening, text, *closing = openai_events(Reply("Hello"))
    text = text.replace(b"Hello", b"Hel\xfflo").replace(b"\n", b"\r\n")
    source = ASKS.replace("Hello there", "Hel\\ufffdlo")

    recorded, _ = record(source, Raw(opening, b": wait\n\n", text, *closing))
    replayed = replay()

    recorded.assert_outcomes(passed=1)
    replayed.assert_outcomes(passed=1)
    reply = "".join(piece for _, piece in json.loads(cassette())["exchanges"][0]["reply"])
    assert (
        b"".join([opening, b": wait\n\n", text, *closing]).decode("utf-8", "surrogateescape")
        == reply
    )


@pytest.mark.parametrize(
    ("spec", "reply"),
    [
        ("claude:m", "Hello there"),
        ("gemini:m", "Hello there"),
        ("ollama:m", "Hello there"),
        ("responses:m", "Hello there"),
        ("openai:m", Reply("Hello there", framing="close")),
        ("openai:m", Reply("Hello there", gzip=True)),
        ("openai:m", Reply("Hello there", framing="length", split=0)),
    ],
)
def test_every_wire_and_framing_is_recorded(record, replay, monkeypatch, spec, reply):
    """Streamed, and whole."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    source = f"""
        import os
        import pytest
        from cloudllm_sync import open_client

        @pytest.mark.cassette
        def test_it():
            with open_client({spec!r} + "@" + os.environ["PROVIDER"]) as client:
                assert client.send_message_stream("Hi").result().content == "Hello there"
                assert client.send_message("Hi").content == "Hello there"
    """

    recorded, _ = record(source, reply, reply)
    replayed = replay()

    recorded.assert_outcomes(passed=1)
    replayed.assert_outcomes(passed=1)


def test_times_are_recorded(record, cassette):
    """Those between the request and the headers, and before each event that had to be awaited."""
    events = openai_events(Reply("Hello there"))
    waits = (Wait(0.05), *events[:1], Wait(0.05), *events[1:])

    record(ASKS, Raw(*waits, before_headers=(Wait(0.05),)))

    (exchange,) = json.loads(cassette())["exchanges"]
    times = [seconds for seconds, _ in exchange["reply"]]
    until = list(itertools.accumulate([exchange["after_s"], *times]))
    early = [n for n in range(3) if until[n] < 0.05 * (n + 1) - 0.01]  # what rounding takes
    assert [] == early
    assert len(events) == len(times)


@pytest.mark.parametrize("where", ["headers", "reply"])
def test_replay_is_timed_only_if_the_mark_says_so(record, replay, cassette, folder, where):
    """At once, a reply that took an hour is there; as it came, it is not."""
    record(ASKS, "Hello there")
    slow = json.loads(cassette())
    (exchange,) = slow["exchanges"]
    if where == "headers":
        exchange["after_s"] = 3600.0
    else:
        exchange["reply"][1][0] = 3600.0
    (folder.path / "cassettes" / "test_app.test_it.json").write_text(json.dumps(slow))

    at_once = replay()
    timed = replay(
        ASKS.replace("mark.cassette", "mark.cassette(timed=True)")
        .replace('Hi")', 'Hi", timeouts=Timeouts(first_chunk_s=0.1))')
        .replace("import pytest", "import pytest\nfrom cloudllm_sync import Timeouts")
    )

    at_once.assert_outcomes(passed=1)
    timed.assert_outcomes(failed=1)
    timed.stdout.fnmatch_lines(["*RequestTimeoutError*"])


def test_key_is_not_in_the_file(record, cassette):
    """Nor where the provider echoes it, or the prompt holds it."""
    refusal = error_reply(
        401,
        f"Incorrect API key provided: {KEY}",
        headers={"x-request-id": f"req-{KEY}", "Set-Cookie": "a=b", "openai-organization": "acme"},
    )
    source = ASKS.replace('"Hi"', f'"my key is {KEY}"').replace("import a", "import careful_a")
    source = source.replace("assert a", "assert careful_a").replace("Hello there", "sorry")

    recorded, _ = record(source, refusal)

    recorded.assert_outcomes(passed=1)
    assert [] == [secret for secret in (KEY, "Bearer", "acme", "a=b") if secret in cassette()]
    assert "Incorrect API key provided: ***" in cassette()
    assert "my key is ***" in cassette()


def test_masked_prompt_is_found_by_whoever_has_the_key(record, folder, monkeypatch):
    """What was masked in the file is masked in the request, too, before they are compared."""
    source = ASKS.replace('"Hi"', f'"my key is {KEY}"')
    record(source, "Hello there")

    result = folder.runpytest_inprocess("-p", PLUGIN)

    result.assert_outcomes(passed=1)


def test_attempts_that_failed_are_replayed(record, replay, cassette):
    """A refusal and what followed it."""
    refusal = error_reply(503, "busy", headers={"retry-after-ms": "1"})

    recorded, _ = record(ASKS, refusal, "Hello there")
    replayed = replay()

    recorded.assert_outcomes(passed=1)
    replayed.assert_outcomes(passed=1)
    assert [503, 200] == [exchange["status"] for exchange in json.loads(cassette())["exchanges"]]


def test_attempt_without_an_answer_is_no_exchange(record, replay, cassette):
    """There is nothing to replay of a connection that broke."""
    recorded, _ = record(ASKS, Raw(Reset(), framing="none"), "Hello there")
    replayed = replay()

    recorded.assert_outcomes(passed=1)
    replayed.assert_outcomes(passed=1)
    assert 1 == len(json.loads(cassette())["exchanges"])


def test_reply_that_was_cut_is_cut_again(record, replay):
    """It must not become a whole one, nor one that never ends."""
    source = """
        import pytest
        from app import answer
        from cloudllm_sync import StreamInterrupted

        @pytest.mark.cassette
        def test_it():
            with pytest.raises(StreamInterrupted) as caught:
                answer("Hi")
            assert caught.value.partial.content == "Hello"
            assert caught.value.__cause__ is not None  # no proper end of the body
    """

    recorded, _ = record(source, Reply("Hello there", after={2: Cut()}))
    replayed = replay()

    recorded.assert_outcomes(passed=1)
    replayed.assert_outcomes(passed=1)


def test_reply_that_the_client_left_is_recorded_as_far_as_it_came(record, replay):
    """A test of the stop button."""
    source = """
        import os
        import pytest
        from cloudllm_sync import OpenAIClient

        @pytest.mark.cassette
        def test_it():
            with OpenAIClient("gpt-5", base_url=os.environ["PROVIDER"] + "/v1") as client:
                with client.send_message_stream("Hi") as stream:
                    assert next(stream.text()) == "Hello"
    """

    recorded, _ = record(source, Reply("Hello there", after={2: WaitFor(threading.Event())}))
    replayed = replay()

    recorded.assert_outcomes(passed=1)
    replayed.assert_outcomes(passed=1)


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_reply_that_was_cancelled_waits_for_the_cancel(record, replay, framing):
    """The stop button of a page: its request comes when the provider has said what it will say."""
    source = """
        import os
        import threading
        import pytest
        from cloudllm_sync import OpenAIClient, StreamCancelled

        @pytest.mark.cassette
        def test_it():
            with OpenAIClient("gpt-5", base_url=os.environ["PROVIDER"] + "/v1") as client:
                began = threading.Event()
                handle = client.start_message_stream("Hi", on_chunk=lambda chunk: began.set())
                assert began.wait(5)
                assert not handle.join(0.1)
                handle.cancel()
                assert isinstance(handle.exception(5), StreamCancelled)
    """
    silent = Reply("Hello there", after={2: WaitFor(threading.Event())}, framing=framing)

    recorded, _ = record(source, silent)
    replayed = replay()

    recorded.assert_outcomes(passed=1)
    replayed.assert_outcomes(passed=1)


def test_reply_that_fell_silent_is_silent_again(record, replay):
    """What the application does about it is the test."""
    source = """
        import pytest
        from app import answer
        from cloudllm_sync import RequestTimeoutError, Timeouts

        @pytest.mark.cassette
        def test_it():
            with pytest.raises(RequestTimeoutError) as caught:
                answer("Hi", timeouts=Timeouts(idle_s=0.1))
            assert caught.value.partial.content == "Hello"
    """

    recorded, _ = record(source, Reply("Hello there", after={2: WaitFor(threading.Event())}))
    replayed = replay()

    recorded.assert_outcomes(passed=1)
    replayed.assert_outcomes(passed=1)


def test_changed_request_fails_with_what_changed(record, replay):
    """Although the application hides the error, and the test looks at nothing else."""
    source = """
        import pytest
        from app import careful_answer

        @pytest.mark.cassette
        def test_it():
            careful_answer("Hi")
    """
    record(source, "Hello there")

    result = replay(source.replace("Hi", "Hey"))

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*test_app.test_it.json:",
            "a request is not the one that was recorded:",
            "-*Hi*",
            "+*Hey*",
            "*pytest --cassettes=record 'test_app.py::test_it'",
        ]
    )


def test_changed_request_is_shown_beside_another_failure(record, replay):
    """The application's error says less."""
    record(ASKS, "Hello there")

    result = replay(ASKS.replace("Hi", "Hey"))

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*ServerError*no such request*", "*What the language model was asked*", "+*Hey*"]
    )


def test_request_more_than_were_recorded_fails(record, replay):
    """There is nothing to answer it by."""
    record(ASKS, "Hello there")

    result = replay(ASKS + '    answer("Hi")\n')

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["a request is one more than were recorded:"])


def test_request_that_is_not_sent_any_more_fails(record, replay):
    """The cassette says that the application asks more than it does."""
    record(ASKS + '    answer("Bye")\n', "Hello there", "Bye")

    result = replay(ASKS)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["requests that were recorded were not sent:", "POST /chat/completions to OpenAI"]
    )


def test_test_that_fails_of_itself_is_not_blamed_for_the_rest(record, replay):
    """What it did not come to is no change."""
    record(ASKS, "Hello there")

    result = replay(ASKS.replace("    assert", "    assert False\n    assert"))

    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*were not sent*")


def test_order_of_threads_does_not_matter(record, replay):
    """Requests that go out together come in any order; each gets its own reply."""
    source = """
        import pytest
        from app import answer

        @pytest.mark.cassette
        def test_it():
            assert [answer(question) for question in "abc"] == ["a", "b", "c"]
    """
    record(source, "a", "b", "c")

    result = replay(source.replace("abc", "cab").replace('["a", "b", "c"]', '["c", "a", "b"]'))

    result.assert_outcomes(passed=1)


def test_cassette_may_have_a_name(record, replay, cassette):
    """Several tests can share what they do in the same way."""
    source = """
        import pytest
        from app import answer

        @pytest.mark.cassette("greeting")
        @pytest.mark.parametrize("n", [1, 2])
        def test_it(n):
            assert answer("Hi") == "Hello there"
    """

    recorded, _ = record(source, "Hello there", "Hello there")
    replayed = replay()

    recorded.assert_outcomes(passed=2)
    replayed.assert_outcomes(passed=2)
    assert 1 == len(json.loads(cassette("greeting"))["exchanges"])


def test_fixtures_ask_within_the_cassette(record, replay):
    """Those that are made for the test."""
    source = """
        import pytest
        from app import answer

        @pytest.fixture
        def greeting():
            return answer("Hi")

        @pytest.mark.cassette
        def test_it(greeting):
            assert greeting == "Hello there"
    """

    recorded, _ = record(source, "Hello there")
    replayed = replay()

    recorded.assert_outcomes(passed=1)
    replayed.assert_outcomes(passed=1)


@pytest.mark.parametrize("content", [None, "{}", "nonsense"])
def test_missing_cassette_says_how_to_record_it(replay, folder, content):
    """Also one that cannot be read."""
    if content is not None:
        path = folder.mkdir("cassettes") / "test_app.test_it.json"
        path.write_text(content)

    result = replay(ASKS)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_app.test_it.json*", "to record it*--cassettes=record*"])


def test_recording_of_nothing_fails(record, folder):
    """The application asks from another process, say; an old cassette stays what it is."""
    record(ASKS, "Hello there")
    path = folder.path / "cassettes" / "test_app.test_it.json"
    before = path.read_text()

    result, _ = record("import pytest\n\n@pytest.mark.cassette\ndef test_it():\n    pass\n")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["nothing was recorded*"])
    assert before == path.read_text()


def test_recording_is_written_once_it_is_whole(record, folder):
    """Nothing lies beside it that would be committed, too."""
    record(ASKS, "Hello there")

    assert ["test_app.test_it.json"] == os.listdir(folder.path / "cassettes")


def test_skipped_test_needs_no_cassette(replay):
    """Nobody wants to be told how to record it."""
    result = replay(
        ASKS.replace("@pytest.mark.cassette", "@pytest.mark.skip\n@pytest.mark.cassette")
    )

    result.assert_outcomes(skipped=1)


def test_requests_go_their_own_way_behind_the_test(record, replay):
    """Whatever became of the test."""
    send = Transport.send
    record(ASKS + "    assert False\n", "Hello there")
    replay()
    replay(ASKS.replace("def test_it", "@pytest.mark.usefixtures('missing')\ndef test_it"))

    assert Transport.send is send
