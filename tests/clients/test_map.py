"""Many prompts, several at a time."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

from cloudllm_sync import (
    BadRequestError,
    CloudLLMError,
    ConfigurationError,
    FallbackClient,
    MapResult,
    Message,
    OpenAIClient,
    RateLimit,
    RateLimitError,
    Role,
    StoreError,
    StreamCancelled,
    TokenUsage,
)
from cloudllm_sync.clients.pace import Pace
from cloudllm_sync.clients.results_file import ResultsFile
from cloudllm_sync.testing import FakeServer, Reply, Stall, WaitFor, error_reply
from cloudllm_sync.transport.cancellation import Cancellation

PATIENCE_S = 20.0


def echo(request):
    return f"re: {request.json['messages'][-1]['content']}"


@pytest.fixture
def connect():
    """Makes clients of a fake server with this script; both are closed after the test."""
    opened = []

    def make(*script, default=echo, **options):
        server = FakeServer(*script, default=default)
        client = OpenAIClient(
            "gpt-5",
            **{"api_key": "test", "base_url": server.base_url, "max_retries": 0, **options},
        )
        opened.append((client, server))
        return client, server

    yield make
    for client, server in opened:
        client.close()
        server.close()


def prompts(number):
    return (f"number {n}" for n in range(number))


def workers_alive():
    return [thread for thread in threading.enumerate() if thread.name == "cloudllm-map"]


def test_results_come_in_the_order_of_the_prompts(connect):
    """However long each takes."""
    client, _ = connect(
        default=lambda request: Reply(echo(request), token_delay_s=0.001 * (len(request.body) % 7))
    )

    found = list(client.map(prompts(20), workers=4))

    assert [result.index for result in found] == list(range(20))
    assert [result.result().content for result in found] == [f"re: number {n}" for n in range(20)]
    assert workers_alive() == []


def test_results_come_as_they_are_ready_if_order_does_not_matter(connect):
    """One that is held up holds up nobody."""
    gate = threading.Event()

    def slow(request):
        text = echo(request)
        return Reply(text, after={1: WaitFor(gate)}) if text == "re: number 0" else text

    client, _ = connect(default=slow)
    order = []

    for result in client.map(prompts(30), workers=4, ordered=False):
        order.append(result.index)
        if len(order) == 29:
            gate.set()

    assert order[-1] == 0
    assert sorted(order) == list(range(30))


def test_no_more_requests_at_once_than_workers(connect):
    """The provider's limit, say."""
    lock, running, most = threading.Lock(), [0], [0]

    def counted(request):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)  # so that requests overlap; nothing waits for a thread
        with lock:
            running[0] -= 1
        return "ok"

    client, _ = connect(default=counted)

    assert len(list(client.map(prompts(40), workers=3))) == 40
    assert most[0] <= 3


@pytest.mark.parametrize("ordered", [True, False])
def test_prompts_are_read_as_they_are_needed(connect, ordered):
    """There may be a million of them."""
    client, _ = connect()
    read = []

    def endless():
        for n in range(10**6):
            read.append(n)
            yield f"number {n}"

    results = client.map(endless(), workers=2, ordered=ordered)
    for _ in range(10):
        next(results)
    results.close()

    assert len(read) <= 10 + 4 * 2
    assert workers_alive() == []


def test_failure_is_a_result_and_stops_nobody(connect):
    """Each prompt has its own end."""

    def some(request):
        return error_reply(400, "no") if "7" in echo(request) else echo(request)

    client, _ = connect(default=some)
    told = {"good": [], "bad": []}

    found = list(
        client.map(
            prompts(10),
            workers=3,
            on_result=lambda result: told["good"].append(result.index),
            on_error=lambda result: told["bad"].append(result.index),
        )
    )

    assert isinstance(found[7].error, BadRequestError)
    with pytest.raises(BadRequestError):
        found[7].result()
    assert told == {"good": [0, 1, 2, 3, 4, 5, 6, 8, 9], "bad": [7]}


def test_prompt_that_is_none_is_a_failure_of_its_own(connect):
    """The others are asked."""
    client, server = connect()

    found = list(client.map(["a", 5, [Message(Role.USER, "b")], []], workers=2))

    assert [result.error is None for result in found] == [True, False, True, False]
    assert isinstance(found[1].error, ConfigurationError)
    assert len(server.requests) == 2


def test_prompts_that_raise_are_heard_after_the_rest(connect):
    """What was asked is not lost."""
    client, _ = connect()
    found = []

    def broken():
        yield "a"
        yield "b"
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        for result in client.map(broken(), workers=2):
            found.append(result.index)

    assert found == [0, 1]


@pytest.mark.parametrize("end", ["close", "break", "callback"])
def test_leaving_the_loop_cancels_what_is_running(connect, end):
    """At once, though the others never answer."""
    client, _ = connect("first", default=Reply("never whole", after={1: Stall()}))
    results = client.map(
        prompts(10),
        workers=4,
        ordered=False,
        on_result=lambda result: 1 / 0 if end == "callback" else None,
    )
    began = time.monotonic()

    if end == "callback":
        with pytest.raises(ZeroDivisionError):
            next(results)
    else:
        next(results)
        if end == "close":
            results.close()
        else:
            del results

    assert time.monotonic() - began < PATIENCE_S
    assert workers_alive() == []


def test_error_of_a_client_of_ones_own_is_told():
    """Whatever it raises."""

    class Own:
        model_name = provider_name = "own"
        map = OpenAIClient.map

        def send_message(self, messages, tools=None):
            raise LookupError("mine")

    (result,) = Own().map(["a"])

    assert isinstance(result.error, CloudLLMError)
    assert isinstance(result.error.__cause__, LookupError)


def test_several_clients_as_one(connect):
    """Each prompt goes to the first that answers."""
    bad, _ = connect(default=error_reply(401, "no"))
    good, _ = connect()

    found = [result.result().content for result in FallbackClient([bad, good]).map(prompts(3))]

    assert found == ["re: number 0", "re: number 1", "re: number 2"]


# Another thread gets the signal, as if it had come just before the wait: nothing cuts that short.
LATE = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])"


@pytest.mark.parametrize("step", ["pass", LATE], ids=["any_time", "before_the_wait"])
def test_ctrl_c_ends_the_job(tmp_path, step):
    """Soon, with a traceback of its own, though the provider stalls."""
    program = tmp_path / "job.py"
    program.write_text(
        f"""
import signal
from cloudllm_sync import OpenAIClient
from cloudllm_sync.testing import FakeServer, Reply, Stall
with FakeServer("a", default=Reply("b", after={{0: Stall()}})) as server:
    client = OpenAIClient("m", api_key="k", base_url=server.base_url)
    for result in client.map(["x"] * 9, workers=3, ordered=False):
        {step}
        print("one", flush=True)
"""
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        job = subprocess.Popen(
            [sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with job, contextlib.ExitStack() as cleanup:
        cleanup.callback(job.kill)
        assert job.stdout.readline() == "one\n"

        job.send_signal(signal.SIGINT)
        _, complaint = job.communicate(timeout=PATIENCE_S)

    assert complaint.endswith("KeyboardInterrupt\n")


# --- the results file ---


def test_job_goes_on_where_it_was(connect, tmp_path):
    """Replies that are there are not asked for again; failures are."""
    path = tmp_path / "out.jsonl"

    def some(request):
        return error_reply(500, "later") if "2" in echo(request) else echo(request)

    client, first = connect(default=some)
    list(client.map(prompts(4), results=path, workers=1))
    again, second = connect()

    found = list(again.map(prompts(6), results=path, workers=2))

    assert len(first.requests) == 4
    assert sorted(request.json["messages"][0]["content"] for request in second.requests) == [
        "number 2",
        "number 4",
        "number 5",
    ]
    assert [result.result().content for result in found] == [f"re: number {n}" for n in range(6)]
    assert [result.was_kept for result in found] == [True, True, False, True, False, False]


def test_file_holds_replies_and_no_prompts(connect, tmp_path):
    """Prompts may be private, and are the caller's already."""
    path = tmp_path / "out.jsonl"
    client, _ = connect(default="fine")

    list(client.map(["my private prompt"], results=path))

    (line,) = path.read_text().splitlines()
    assert json.loads(line)["message"]["content"] == "fine"
    assert json.loads(line)["index"] == 0
    assert "private" not in line


def test_other_model_options_or_tools_are_other_prompts(connect, tmp_path):
    """Their replies are, too."""
    from cloudllm_sync import ChatOptions, ToolDefinition

    path = tmp_path / "out.jsonl"
    client, server = connect()
    other, other_server = connect()
    other._model = "gpt-6"

    list(client.map(["a"], results=path))
    list(client.map(["a"], results=path))
    list(client.map(["a"], results=path, options=ChatOptions(temperature=0)))
    list(client.map(["a"], [ToolDefinition("x", "", {})], results=path))
    list(other.map(["a"], results=path))

    assert (len(server.requests), len(other_server.requests)) == (3, 1)


def test_prompt_that_comes_twice_is_asked_twice(connect, tmp_path):
    """Somebody wants two answers; both are kept."""
    path = tmp_path / "out.jsonl"
    client, server = connect()

    list(client.map(["a", "a"], results=path))
    found = list(client.map(["a", "a", "a"], results=path))

    assert [result.was_kept for result in found] == [True, True, False]
    assert len(server.requests) == 3


def test_half_a_line_of_a_killed_job_is_passed_over(connect, tmp_path):
    """It was written when kill -9 came; its prompt is asked again."""
    path = tmp_path / "out.jsonl"
    client, server = connect()
    list(client.map(prompts(3), results=path, workers=1))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])

    found = list(client.map(prompts(3), results=path, workers=1))

    assert len(server.requests) == 4
    assert [result.was_kept for result in found] == [True, True, False]
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"a": 1}\n', "line 1 of .* is no result"),
        ("hello\n", "line 1 of .* is no result"),
        ('{"v": 99, "key": "x", "message": {}}\n', "format 99.*update"),
    ],
)
def test_file_of_another_kind_is_refused(connect, tmp_path, line, complaint):
    """Nothing is sent, and it stays as it was."""
    path = tmp_path / "out.jsonl"
    path.write_text(line)
    client, server = connect()

    with pytest.raises(ConfigurationError, match=complaint):
        list(client.map(["a"], results=path))

    assert path.read_text() == line
    assert server.requests == ()


def test_file_that_cannot_be_opened_is_refused(connect, tmp_path):
    """Before anything is paid for."""
    client, server = connect()

    with pytest.raises(ConfigurationError, match="No such file or directory"):
        list(client.map(["a"], results=tmp_path / "none" / "out.jsonl"))

    assert server.requests == ()


def test_file_that_another_job_writes_to_is_refused(connect, tmp_path):
    """Both would mix their lines."""
    client, _ = connect()
    path = tmp_path / "out.jsonl"
    first = client.map(prompts(50), results=path)
    next(first)

    with pytest.raises(ConfigurationError, match="another job"):
        next(client.map(["a"], results=path))

    first.close()
    assert next(client.map(["a"], results=path)).error is None


def test_reply_that_cannot_be_written_is_in_the_error(tmp_path):
    """The disk is full, say; the answer is not lost."""
    kept = ResultsFile(tmp_path / "out.jsonl")
    kept.close()

    with pytest.raises(StoreError, match="could not be kept") as caught:
        kept.keep("key", 0, Message(Role.ASSISTANT, "dear"))

    assert caught.value.reply.content == "dear"


def test_line_that_cannot_be_read_any_more_is_told(tmp_path):
    """Somebody else changed the file; its prompt has a failure of its own."""
    path = tmp_path / "out.jsonl"
    with contextlib.closing(ResultsFile(path)) as kept:
        key = kept.key(("p", "m"), [Message(Role.USER, "a")], None, None)
        kept.keep(key, 0, Message(Role.ASSISTANT, "b"))
    path.write_text(path.read_text().replace("assistant", "king"))

    with contextlib.closing(ResultsFile(path)) as kept:
        with pytest.raises(StoreError, match="cannot be read at byte 0"):
            kept.find(key)


def test_device_is_no_results_file(connect):
    """It would be read for ever."""
    client, _ = connect()

    with pytest.raises(ConfigurationError, match="no plain file"):
        next(client.map(["a"], results="/dev/zero"))


# --- how fast ---


def test_requests_a_minute_are_not_exceeded(connect):
    """In a window of one second, to be quick: five at once, the others later."""
    times = []

    def timed(request):
        times.append(time.monotonic())
        return "ok"

    client, _ = connect(default=timed)
    rate = RateLimit(requests_per_minute=5, window_s=1, name="a test of requests")

    assert len(list(client.map(prompts(12), workers=6, rate=rate))) == 12

    crowded = [late - early for early, late in zip(times, times[10:])]
    assert min(crowded) > 0.5


def test_tokens_a_minute_are_not_exceeded(connect):
    """Counted before they are used."""
    times = []

    def timed(request):
        times.append(time.monotonic())
        return Reply("ok", usage=TokenUsage(90, 10, 100))

    client, _ = connect(default=timed)
    rate = RateLimit(tokens_per_minute=200, window_s=1, name="a test of tokens")

    assert len(list(client.map(["word" * 100] * 6, workers=6, rate=rate))) == 6

    crowded = [late - early for early, late in zip(times, times[4:])]
    assert min(crowded) > 0.5


def test_request_larger_than_the_limit_goes_out_alone(connect):
    """It would wait for ever otherwise."""
    client, _ = connect()
    rate = RateLimit(tokens_per_minute=10, window_s=1, name="a test of large ones")

    (result,) = client.map(["word" * 1000], rate=rate)

    assert result.error is None


def test_retry_after_of_one_makes_all_rest():
    """The next requests would be refused, too."""
    pace = Pace(None)

    pace.slow_down(RateLimitError("slow", retry_after_s=30))
    waiting = Cancellation()
    threading.Timer(0.05, waiting.cancel).start()

    with pytest.raises(StreamCancelled):
        pace.wait(1, waiting)


def test_error_without_a_wait_makes_nobody_rest():
    """Nor does one of another kind."""
    pace = Pace(None)

    pace.slow_down(RateLimitError("slow"))
    pace.slow_down(BadRequestError("no"))

    pace.wait(1, Cancellation())


def test_estimate_follows_what_is_reported():
    """Replies are longer than the prompts tell."""
    pace = Pace(None)
    message = Message(Role.ASSISTANT, "", usage=TokenUsage(500, 500, 1000))

    for _ in range(30):
        pace.learn(100, message)
    pace.learn(100, Message(Role.ASSISTANT, ""))

    assert 9 < pace._tokens_per_estimate < 10


@pytest.mark.parametrize(
    "limit",
    [{"requests_per_minute": 0}, {"tokens_per_minute": True}, {"requests_per_minute": 1.5}],
)
def test_limits_that_are_none_are_refused(limit):
    """Where they are made."""
    with pytest.raises(ConfigurationError, match="must be a positive number"):
        RateLimit(**limit)


@pytest.mark.parametrize("where", ["redis", "memory"])
def test_jobs_of_one_name_count_together(where, request):
    """Two paces stand for two processes, which share the server, or for two jobs of one."""
    url = request.getfixturevalue("redis_server") if where == "redis" else None
    rate = RateLimit(requests_per_minute=3, redis_url=url, name="a test of sharing")
    one, two = Pace(rate), Pace(rate)

    for pace in (one, two, one):
        pace.wait(1, Cancellation())
    late = Cancellation()
    threading.Timer(0.05, late.cancel).start()

    with pytest.raises(StreamCancelled):
        two.wait(1, late)


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "redis://:secret-pw@localhost:1/0"])
def test_redis_that_cannot_be_used_is_told_without_its_password(connect, url):
    """Where it is made, or for each prompt."""
    client, server = connect()

    with pytest.raises(CloudLLMError) as caught:
        next(client.map(["a"], rate=RateLimit(requests_per_minute=1, redis_url=url))).result()

    assert "secret-pw" not in str(caught.value)
    assert server.requests == ()


def test_missing_library_is_named(connect, monkeypatch):
    """With the line that installs it."""
    monkeypatch.setitem(sys.modules, "limits", None)
    client, _ = connect()

    with pytest.raises(ImportError, match=r'pip install "cloudllm-sync\[batch\]"'):
        client.map(["a"], rate=RateLimit(requests_per_minute=1))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"prompts": "hi"}, "not one str"),
        ({"prompts": 5}, "not one int"),
        ({"workers": 0}, "workers"),
        ({"workers": True}, "workers"),
        ({"rate": 5}, "RateLimit"),
        ({"tools": [5]}, "ToolDefinition"),
    ],
)
def test_arguments_that_cannot_work_are_refused_at_once(connect, options, complaint):
    """Not at the first result."""
    client, _ = connect()

    with pytest.raises(ConfigurationError, match=complaint):
        client.map(**{"prompts": ["a"], **options})


def test_result_shows_no_text():
    """Tools that report errors show local variables."""
    assert "private" not in repr(MapResult(0, Message(Role.ASSISTANT, "private")))


def test_results_are_a_generator(connect):
    """It can be closed."""
    client, _ = connect()

    assert isinstance(client.map(["a"]), types.GeneratorType)
