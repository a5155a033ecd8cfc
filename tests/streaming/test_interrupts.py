"""Ctrl-C and SIGTERM, wherever the main thread is: it gets out, and what it used goes on."""

from __future__ import annotations

import contextlib
import gc
import linecache
import pathlib
import sys
import threading

import pytest

import cloudllm_sync
from cloudllm_sync import (
    ChatStream,
    LLMSession,
    MessageChunk,
    OpenAIClient,
    SessionBusyError,
    StreamInterrupted,
    ToolCall,
    tool,
)
from cloudllm_sync.testing import FakeServer, Reply

PACKAGE = pathlib.Path(cloudllm_sync.__file__).parent

INTERRUPTED = """
# A shell starts background jobs with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupted(work, *, once):
    # Does work(); Ctrl-C comes 0.1 s after once() has returned. Says how long it took to get out.
    struck = []

    def strike():
        once()
        threading.Event().wait(0.1)
        struck.append(time.monotonic())
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    striker = threading.Thread(target=strike)
    striker.start()
    try:
        print("not interrupted", work())
    except KeyboardInterrupt:
        print("out", time.monotonic() - struck[0] < 1)
    striker.join()

def said(session):
    return [message.content for message in session.history]
"""


@pytest.fixture
def run_interrupted(run):
    """Runs a script that knows `interrupted(work, once=...)`."""

    def go(script, **options):
        lines = script.strip("\n").split("\n")
        indent = len(lines[0]) - len(lines[0].lstrip())
        body = "\n".join(line[indent:] for line in lines)
        return run(f"exec({INTERRUPTED!r})\n{body}", **options)

    return go


@pytest.mark.parametrize("wait", ["result", "exception", "join"])
def test_ctrl_c_while_waiting_for_a_handle(run_interrupted, wait):
    """The wait ends, the reply does not: it is the worker's."""
    lines, _, _ = run_interrupted(
        f"""
        gate = threading.Event()
        held = Raw(*EVENTS[:2], WaitFor(gate), *EVENTS[2:])
        with FakeServer(held) as server, client_of(server) as client:
            session = LLMSession(client)
            handle = session.submit("hi")
            interrupted(handle.{wait}, once=lambda: server.wait_for_requests(1))
            gate.set()
            print(handle.result(5).content, said(session))
        """
    )

    assert lines == ["out True", "one two three ['hi', 'one two three']"]


def test_ctrl_c_just_before_a_handle_is_waited_for(run_interrupted):
    """Nothing cuts the wait short then: another thread gets the signal here."""
    lines, _, _ = run_interrupted(
        """
        def strike():
            server.wait_for_requests(1)
            threading.Event().wait(0.1)
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)

        with FakeServer(Raw(*EVENTS[:2], Stall())) as server, client_of(server) as client:
            handle = client.start_message_stream("hi")
            striker = threading.Thread(target=strike)
            striker.start()
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                handle.result(20)
            except BaseException as error:
                print(type(error).__name__)
            striker.join()
            handle.cancel()
        """
    )

    assert lines == ["KeyboardInterrupt"]


@pytest.mark.parametrize("way", ["ask", "stream"])
def test_ctrl_c_before_the_headers_of_a_turn(run_interrupted, way):
    """The turn is over, the history as it was, the connection gone."""
    lines, _, _ = run_interrupted(
        f"""
        stall = Raw(before_headers=(Stall(),))
        with FakeServer(stall, default=echo) as server, client_of(server) as client:
            session = LLMSession(client, turn_timeout=0)
            interrupted(lambda: session.{way}("a"), once=lambda: server.wait_for_requests(1))
            print("gone", server.wait_until_idle(2))
            session.ask("b")
            print(said(session))
        """
    )

    assert lines == ["out True", "gone True", "['b', 'b!']"]


def test_ctrl_c_in_the_middle_of_a_turn(run_interrupted):
    """Before the loop is left nothing has to be closed for the session to be free."""
    lines, _, _ = run_interrupted(
        """
        with FakeServer(Raw(*EVENTS[:2], Stall()), default=echo) as server:
            client = client_of(server)
            session = LLMSession(client, turn_timeout=0)
            stream = session.stream("a")
            next(stream)
            interrupted(lambda: next(stream), once=lambda: None)
            print("gone", server.wait_until_idle(2))
            session.ask("b")
            print(said(session))
        """
    )

    assert lines == ["out True", "gone True", "['b', 'b!']"]


@pytest.mark.parametrize("way", ["ask", "stream"])
def test_ctrl_c_in_a_back_off_wait(run_interrupted, way):
    """No further attempt is made."""
    lines, _, _ = run_interrupted(
        f"""
        from cloudllm_sync.testing import error_reply

        busy = error_reply(503, "busy", headers={{"Retry-After": "30"}})
        with FakeServer(busy, default=echo) as server, client_of(server) as client:
            session = LLMSession(client, turn_timeout=0)
            interrupted(lambda: session.{way}("a"), once=lambda: server.wait_for_requests(1))
            print("requests", len(server.requests))
            session.ask("b")
            print(said(session))
        """
    )

    assert lines == ["out True", "requests 1", "['b', 'b!']"]


@pytest.mark.parametrize("way", ["ask", "stream", "inject", "clear"])
def test_ctrl_c_while_waiting_for_the_turn(run_interrupted, way):
    """It leaves the queue: the next turn does not wait for it."""
    ways = {
        "ask": 'session.ask("b")',
        "stream": 'session.stream("b")',
        "inject": 'session.inject_message("user", "b")',
        "clear": "session.clear_history()",
    }
    lines, _, _ = run_interrupted(
        f"""
        gate = threading.Event()
        held = Raw(*EVENTS[:2], WaitFor(gate), *EVENTS[2:])
        with FakeServer(held, default=echo) as server, client_of(server) as client:
            session = LLMSession(client)
            handle = session.submit("a")
            interrupted(lambda: {ways[way]}, once=lambda: server.wait_for_requests(1))
            gate.set()
            handle.result(5)
            session.ask("c", turn_timeout=0)
            print(said(session))
        """
    )

    assert lines == ["out True", "['a', 'one two three', 'c', 'c!']"]


@pytest.mark.parametrize("way", ["ask", "stream().result", "inject"])
@pytest.mark.parametrize("saved", [False, True])
def test_ctrl_c_in_a_stores_append(run_interrupted, way, saved):
    """What the store has is what counts: nothing is doubled, and the session is free."""
    ways = {
        "ask": 'session.ask("a")',
        "stream().result": 'session.stream("a").result()',
        "inject": 'session.inject_message("user", "a")',
    }
    lines, _, _ = run_interrupted(
        f"""
        from cloudllm_sync.session.stores.memory import MemoryStore

        class SlowStore(MemoryStore):
            inside = threading.Event()

            def append(self, *args):
                if self.inside.is_set():
                    return super().append(*args)
                if {saved}:
                    super().append(*args)
                self.inside.set()
                threading.Event().wait(10)

        with FakeServer(default=echo) as server, client_of(server) as client:
            session = LLMSession(client, store=SlowStore(), turn_timeout=0)
            interrupted(lambda: {ways[way]}, once=lambda: SlowStore.inside.wait(5))
            session.ask("b")
            print(said(session))
        """
    )
    first = [] if not saved else ["a"] if way == "inject" else ["a", "a!"]

    assert lines == ["out True", str([*first, "b", "b!"])]


def _drop(session):
    with session.stream("hi") as stream:
        next(stream)


@tool
def find() -> str:
    """Find."""
    return "found"


def _answer(request):
    """A call for whoever has tools, once; then two words."""
    asks = "tools" in request.json and request.json["messages"][-1]["role"] == "user"
    return Reply(tool_calls=[ToolCall("c1", "find", "{}")]) if asks else "one two"


# What each does, and what it leaves in the history if it was done.
WAYS = {
    "ask": (lambda session: session.ask("hi"), ["hi", "one two"]),
    "stream": (lambda session: session.stream("hi").result(), ["hi", "one two"]),
    "break": (_drop, []),
    "run": (lambda session: session.run("user", "hi", [find]), ["hi", "", "found", "one two"]),
    "submit": (lambda session: session.submit("hi"), ["hi", "one two"]),
    "inject": (lambda session: session.inject_message("user", "hi"), ["hi"]),
    "clear": (lambda session: session.clear_history(), []),
}
ROOMS = [(way, "session") for way in WAYS] + [("stream", "streaming,transport,clients")]


def _is_with(frame):
    """Python names the line of a `with` again where it leaves it: no signal comes in before that
    call, whose lock would stay taken."""
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    return line.lstrip().startswith("with ")


class CtrlC:
    """A trace function that raises KeyboardInterrupt at the n-th line of the package's `rooms`.

    Python lets a signal in between any two calls; a line is the nearest that can be counted. In
    `__del__`, and where a generator is closed, Python itself swallows it.
    """

    def __init__(self, line, rooms):
        self._left = line
        self._rooms = tuple(str(PACKAGE / room) for room in rooms)
        self.where = None

    def __call__(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(self._rooms):
            return None
        if frame.f_code.co_name in ("__del__", "events"):
            return None
        if event == "line" and self.where is None and not _is_with(frame):
            self._left -= 1
            if self._left == 0:
                self.where = f"{frame.f_code.co_name}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return self

    def strike(self, work):
        """Do the work; whether it was interrupted."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            work()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


def _end_workers():
    for thread in threading.enumerate():
        if thread.name == "cloudllm-stream":
            thread.join(5)


@pytest.mark.parametrize(("way", "rooms"), ROOMS)
@pytest.mark.filterwarnings("ignore:a (Chat|Run)Stream was dropped:ResourceWarning")
# Where Python calls back by itself, in __del__ and in generators, it swallows what is raised.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_line_leaves_the_session_free(way, rooms):
    """Wherever it strikes: the next turn is served at once, and question and reply stay a pair."""
    work, left = WAYS[way]
    whole = (["again", "one two"], [*left, "again", "one two"])
    wrong = []
    with (
        FakeServer(default=_answer) as server,
        OpenAIClient("gpt-5", api_key="test", base_url=server.base_url) as client,
    ):
        for line in range(1, 2000):
            session = LLMSession(client)
            ctrl_c = CtrlC(line, rooms.split(","))
            ctrl_c.strike(lambda session=session: work(session))
            if ctrl_c.where is None:
                break
            gc.collect(1)  # a stream that the exception held is dropped with it
            _end_workers()
            try:
                session.ask("again", turn_timeout=0)
            except SessionBusyError:
                wrong.append((ctrl_c.where, "busy"))
                continue
            texts = [message.content for message in session.history]
            if texts not in whole:
                wrong.append((ctrl_c.where, texts))

    assert line > 20
    assert wrong == []


@pytest.mark.parametrize("ends", ["whole", "cut"])
@pytest.mark.filterwarnings("ignore:a ChatStream was dropped:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_line_settles_a_stream_once(ends):
    """Neither twice, though the stream is dropped then, nor never."""
    chunks = [MessageChunk("one"), MessageChunk(finish_reason="stop")]
    wrong = []
    for line in range(1, 2000):
        stream, settled = ChatStream.of(chunks[: 2 if ends == "whole" else 1]), []
        stream.settle_with(lambda *end, settled=settled: settled.append(end))
        ctrl_c = CtrlC(line, ["streaming"])
        with contextlib.suppress(StreamInterrupted):
            ctrl_c.strike(stream.result)
        del stream
        gc.collect(1)
        if ctrl_c.where is None:
            break
        if len(settled) != 1:
            wrong.append((ctrl_c.where, settled))

    assert line > 20
    assert wrong == []
