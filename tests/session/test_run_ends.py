"""How a run ends: once, whatever calls, stores, callbacks and threads do."""

from __future__ import annotations

import json
import os
import threading
import warnings

import pytest

from cloudllm_sync import (
    ChatOptions,
    ChatStream,
    ClaudeClient,
    CloudLLMError,
    GeminiClient,
    LLMSession,
    MemoryStore,
    Message,
    MessageChunk,
    OllamaClient,
    OpenAICompatibleClient,
    OpenAIResponsesClient,
    Role,
    StoreError,
    StreamCancelled,
    ToolCall,
    tool,
)
from cloudllm_sync.session.tool_calls import ToolCalls
from cloudllm_sync.testing import Cut, Raw, Reply, Stall, WaitFor, error_reply
from cloudllm_sync.transport.cancellation import Cancellation

WIRES = {
    "chat": lambda server: OpenAICompatibleClient("m", base_url=server.base_url),
    "claude": lambda server: ClaudeClient("m", base_url=server.url, api_key="k"),
    "gemini": lambda server: GeminiClient("m", base_url=server.url, api_key="k"),
    "ollama": lambda server: OllamaClient("m", base_url=server.url),
    "responses": lambda server: OpenAIResponsesClient("m", base_url=server.base_url, api_key="k"),
}
PROMPT, SYSTEM = "my-private-prompt", "my-private-system"
ANSWER, RESULT, ARGUMENT = "private-answer", "private-result", "private-argument"
SECRETS = (PROMPT, SYSTEM, ANSWER, RESULT, ARGUMENT)


@tool
def look(where: str) -> str:
    """Look."""
    return f"{RESULT} {where}"


@pytest.fixture
def session_on(serve, closing):
    """Makes a session on a wire, and its server."""

    def make(wire, *script, **options):
        server = serve(*script)
        return LLMSession(closing.enter_context(WIRES[wire](server)), **options), server

    return make


def calling(*wheres, ids=None, **options):
    """A reply that looks."""
    ids = ids or [f"call_{number}" for number, _ in enumerate(wheres)]
    made = [ToolCall(given, "look", json.dumps({"where": at})) for given, at in zip(ids, wheres)]
    return Reply(ANSWER, tool_calls=made, **options)


class Full(MemoryStore):
    """Fails to keep what was said."""

    def append(self, *said, **notes):
        raise OSError("disk full")


def refuse(*_):
    raise StreamCancelled("no more")


FAILURES = {
    "refused": (error_reply(500, "sorry"), {}, {}),
    "cut": (Raw(b"data: {", Cut()), {}, {}),
    "rounds": (calling(ARGUMENT), {}, {}),
    "long": ("never asked", {"max_tokens": 25}, {}),
    "store": (ANSWER, {"store": Full()}, {}),
    "tool": (ANSWER, {}, {"on_tool": refuse}),
    "chunk": (ANSWER, {}, {"on_chunk": refuse}),
}


@pytest.mark.parametrize("way", ["run", "run_stream"])
@pytest.mark.parametrize("fault", FAILURES)
def test_failed_run_shows_no_conversation(talk, report_of, fault, way):
    """Neither what was asked nor what was called, in any frame."""
    second, options, callbacks = FAILURES[fault]
    session, _ = talk(calling(ARGUMENT), default=second, system_prompt=SYSTEM, **options)

    def to_the_end():
        if way == "run":
            session.run("user", PROMPT, [look], max_rounds=2, **callbacks)
        else:
            on_chunk = callbacks.get("on_chunk", lambda chunk: None)
            on_tool = callbacks.get("on_tool")
            with session.run_stream("user", PROMPT, [look], max_rounds=2, on_tool=on_tool) as run:
                for chunk in run:
                    on_chunk(chunk)

    with pytest.raises(CloudLLMError) as caught:
        to_the_end()

    error = caught.value
    error.partial = error.reply = None
    hidden = [said for said in SECRETS if fault != "store" or said != ANSWER]  # it has the reply
    shown = report_of(error).splitlines()
    assert [] == [line for line in shown if any(said in line for said in hidden)]
    assert session.history == ()


def test_answered_call_shows_neither_call_nor_result():
    """Frames that hold it are shown by tools that report errors."""

    @tool
    def fail(where: str) -> None:
        raise ValueError(RESULT)

    calls = [ToolCall("c1", "fail", json.dumps({"where": ARGUMENT}))]
    running = ToolCalls(calls, {"fail": fail}, Cancellation())
    shown = repr(running) + repr(list(running.results()))

    assert "ValueError" in shown
    assert RESULT not in shown
    assert ARGUMENT not in shown


def test_last_reply_that_could_not_be_kept_fails_the_run(talk):
    """Also if the loop was left after its finish reason, and however often it is asked for."""
    session, _ = talk(Reply("Sun.", after={3: Stall()}), store=Full())

    run = session.run_stream("user", "hi", [look])
    with pytest.raises(StoreError) as caught, run:
        for chunk in run:
            if chunk.finish_reason == "stop":
                break
    run.close()

    assert caught.value.reply.content == "Sun."
    with pytest.raises(StoreError):
        run.result()
    assert session.history == ()


def test_run_that_is_closed_unread_is_cancelled(talk):
    """Nothing is kept of it, and the next turn may begin."""
    session, _ = talk(Reply("Sun.", after={2: Stall()}), "Hello", turn_timeout=0)

    run = session.run_stream("user", "hi", [look])
    run.close()

    with pytest.raises(StreamCancelled, match="closed before its end"):
        next(run)
    assert session.history == ()
    assert session.ask("hi").content == "Hello"


def test_run_that_is_dropped_after_its_last_finish_is_whole(talk):
    """Nothing was lost: there is nothing to warn of."""
    session, _ = talk(Reply("Sun.", after={3: Stall()}))

    run = session.run_stream("user", "hi", [look])
    for chunk in run:
        if chunk.finish_reason == "stop":
            break
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del run

    assert [message.content for message in session.history] == ["hi", "Sun."]


def test_second_reader_is_refused_and_the_first_goes_on(talk, elsewhere, patience_s):
    """Its own mistake only."""
    asked, let_go = threading.Event(), threading.Event()

    @tool
    def wait() -> str:
        asked.set()
        let_go.wait(patience_s)
        return "waited"

    session, _ = talk(Reply(tool_calls=[ToolCall("c1", "wait", "{}")]), "Done.")
    with session.run_stream("user", "hi", [wait]) as run:
        first = elsewhere(run.result)
        assert asked.wait(patience_s)
        with pytest.raises(ValueError, match="already executing"):
            next(run)
        let_go.set()
        reply = first.result(patience_s)

    assert reply.content == "Done."
    assert len(session.history) == 4


@pytest.mark.parametrize("how", ["close", "cancel"])
def test_callback_may_end_the_run(talk, how):
    """Nothing is asked or called any more; the reader hears of it."""
    session, server = talk(calling("here", "there"), "never", "Hello", turn_timeout=0)
    called = []

    with session.run_stream(
        "user", "hi", [look], on_tool=lambda *call: (called.append(call), getattr(run, how)())
    ) as run:
        with pytest.raises(StreamCancelled):
            run.result()

    assert len(server.requests) == 1
    assert len(called) == 1
    assert session.history == ()
    assert session.ask("hi").content == "never"


def test_cancel_while_tools_run_ends_the_run_at_once(talk, patience_s):
    """Without them; with partial="keep" what the model had said is kept, its calls are not."""
    let_go = threading.Event()

    @tool
    def wait() -> str:
        run.cancel()
        let_go.wait(patience_s)
        return "too late"

    session, server = talk(
        calling("Ulm"),
        Reply("I wait.", tool_calls=[ToolCall("c1", "wait", "{}")]),
        partial="keep",
    )
    with session.run_stream("user", "hi", [look, wait]) as run:
        with pytest.raises(StreamCancelled) as caught:
            run.result()
    let_go.set()

    assert caught.value.partial.content == "I wait."
    assert len(server.requests) == 2
    kept = session.history
    assert [message.role.value for message in kept] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert (kept[-1].content, kept[-1].tool_calls) == ("I wait.", ())
    assert kept[-1].finish_reason == "cancelled"


@pytest.mark.parametrize("reason", ["length", "content_filter"])
@pytest.mark.parametrize("wire", WIRES)
def test_calls_of_a_reply_that_was_cut_reach_nobody(session_on, wire, reason):
    """Neither the tools, nor the provider in the next turn."""
    session, server = session_on(
        wire, calling("Ulm", ids=["call_of_old"], finish_reason=reason), "Hello"
    )
    called = []

    reply = session.run("user", "hi", [look], on_tool=lambda *call: called.append(call))
    session.ask("Go on")

    assert reply.finish_reason == reason
    assert called == []
    assert len(server.requests) == 2
    assert "call_of_old" not in server.requests[1].body.decode()


@pytest.mark.parametrize("wire", WIRES)
def test_calls_of_one_id_are_answered_one_by_one(session_on, wire):
    """Some servers give all calls the same."""
    session, server = session_on(wire, calling("Ulm", "Bonn", ids=["c", "c"]), "Done.")

    session.run("user", "hi", [look])

    _, asked, *results, _ = session.history
    assert [one.content for one in results] == [f"{RESULT} Ulm", f"{RESULT} Bonn"]
    assert [call.id for call in asked.tool_calls] == [one.tool_call_id for one in results]
    assert server.requests[1].body.decode().count(RESULT) == 2


STATES = {
    "claude": ("signature", "ZmFrZSBzaWduYXR1cmU="),
    "gemini": ("thoughtSignature", "ZmFrZSBzaWduYXR1cmU="),
    "responses": ("encrypted_content", "ZmFrZSByZWFzb25pbmc="),
}


@pytest.mark.parametrize("wire", STATES)
def test_what_a_provider_wants_back_goes_back(session_on, wire):
    """In the same run, and as it came."""
    session, server = session_on(wire, calling("Ulm", reasoning="Hm."), "Done.")

    session.run("user", "hi", [look])

    name, value = STATES[wire]
    sent = server.requests[1].body.decode().replace(" ", "")
    assert f'"{name}":"{value}"' in sent


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("required", ["required", "auto"]),
        ("look", [{"type": "function", "function": {"name": "look"}}, "auto"]),
        ("none", ["none", "none"]),
        (None, [None, None]),
    ],
)
def test_call_is_forced_only_once(talk, choice, sent):
    """A model that always has to call would never answer."""
    session, server = talk(calling("Ulm"), "Done.")

    session.run("user", "hi", [look], options=ChatOptions(tool_choice=choice, temperature=0.5))

    assert sent == [request.json.get("tool_choice") for request in server.requests]
    assert [0.5, 0.5] == [request.json["temperature"] for request in server.requests]


def test_whole_replies_and_streams_may_take_turns():
    """A client that streams only sometimes: every round is read, and shown once."""
    call = ToolCall("c1", "look", '{"where": "Ulm"}')

    class Moody:
        model_name = provider_name = "mine"

        def send_message(self, messages, tools=None):
            return Message(Role.ASSISTANT, "I look.", tool_calls=[call])

        def send_message_stream(self, messages, tools=None):
            if messages[-1].role is Role.USER:
                return None
            return ChatStream.of([MessageChunk("Sun."), MessageChunk(finish_reason="stop")])

    session = LLMSession(Moody())

    with session.run_stream("user", "hi", [look]) as run:
        texts = [chunk.content for chunk in run]

    assert texts == ["I look.", "Sun.", ""]
    assert session.history[-1].content == "Sun."


@pytest.mark.parametrize(("calls", "kept"), [((), 2), ((ToolCall("c1", "look", "{}"),), 0)])
def test_run_of_whole_replies_may_be_closed(calls, kept):
    """A last reply that is there is kept; calls that nobody ran are not."""

    class Whole:
        model_name = provider_name = "mine"

        def send_message(self, messages, tools=None):
            return Message(Role.ASSISTANT, "Sun.", tool_calls=calls)

    session = LLMSession(Whole())

    with session.run_stream("user", "hi", [look]) as run:
        next(run)

    assert len(session.history) == kept
    assert run.partial.content == "Sun."


def test_cancel_before_the_tools_of_a_whole_reply_runs_none():
    """Somebody reads what the model wants to do, and says no."""
    called = []

    @tool
    def send() -> None:
        called.append(1)

    class Whole:
        model_name = provider_name = "mine"

        def send_message(self, messages, tools=None):
            return Message(Role.ASSISTANT, "I send.", tool_calls=[ToolCall("c1", "send", "{}")])

    session = LLMSession(Whole())

    with session.run_stream("user", "hi", [send]) as run, pytest.raises(StreamCancelled):
        for _ in run:
            run.cancel()

    assert called == []
    assert session.history == ()


def test_interrupted_save_is_not_done_again(talk):
    """Ctrl-C in a store: whether the run was kept is the store's to say."""

    class Slow(MemoryStore):
        saves = 0

        def append(self, *said, **notes):
            self.saves += 1
            raise KeyboardInterrupt

    store = Slow()
    session, _ = talk("Hello", store=store, partial="keep")

    run = session.run_stream("user", "hi", [look])
    with pytest.raises(KeyboardInterrupt):
        run.result()
    with pytest.raises(StreamCancelled, match="while it was being kept"):
        run.result()

    assert store.saves == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_has_no_part_in_its_parents_run(talk, tmp_path):
    """It may drop what it has got of it: nothing is read, nor kept, twice."""
    kept = tmp_path / "kept"

    class Noting(MemoryStore):
        def append(self, *said, **notes):
            with kept.open("a") as file:
                file.write("once")
            super().append(*said, **notes)

    dropped = threading.Event()
    session, _ = talk(
        Reply("Sun and rain", after={2: WaitFor(dropped)}), store=Noting(), partial="keep"
    )

    run = session.run_stream("user", "hi", [look])
    while not next(run).content:
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            run.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    dropped.set()

    assert run.result().content == "Sun and rain"
    assert kept.read_text() == "once"
