"""Ctrl-C, the interpreter's exit, and fork: each in a process of its own."""

from __future__ import annotations

import os

import pytest


@pytest.mark.parametrize("stage", ["headers", "body"])
def test_ctrl_c_in_a_read(run, stage):
    """KeyboardInterrupt gets out at once, the connection goes, the client goes on."""
    lines, _, _ = run(
        f"""
        # A shell starts background jobs with SIGINT ignored, and children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stall = Raw(*EVENTS[:2], Stall())
        if {stage == "headers"}:
            stall = Raw(before_headers=(Stall(),))
        with FakeServer(stall, "fine") as server, client_of(server) as client:
            def interrupt():
                server.wait_for_requests(1)
                threading.Event().wait(0.1)
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

            threading.Thread(target=interrupt).start()
            began = time.monotonic()
            stream = None
            try:
                stream = client.send_message_stream("hi")
                stream.result()
            except KeyboardInterrupt:
                print("interrupted", time.monotonic() - began < 2)
            if stream is not None:
                try:
                    next(stream)
                except StreamCancelled as error:
                    print("then", error.partial.content, type(error.__cause__).__name__)
            print("gone", server.wait_until_idle(2))
            print(client.send_message_stream("hi").result().content)
        """
    )
    then = ["then one KeyboardInterrupt"] if stage == "body" else []

    assert lines == ["interrupted True", *then, "gone True", "fine"]


@pytest.mark.parametrize("stage", ["before the headers", "in a stall", "many"])
def test_exit_with_live_workers(run, stage):
    """It does not hang, and every on_error is called."""
    workers = 20 if stage == "many" else 1
    lines, _, seconds = run(
        f"""
        stall = Raw(*EVENTS[:2], Stall())
        if {stage == "before the headers"}:
            stall = Raw(before_headers=(Stall(),))
        server = FakeServer(default=stall)
        client = client_of(server)

        def report(error):
            sys.stdout.write(type(error).__name__ + "\\n")

        for _ in range({workers}):
            client.start_message_stream("hi", on_error=report)
        server.wait_for_requests({workers})
        print("bye")
        """
    )

    assert lines == ["bye"] + ["StreamCancelled"] * workers
    assert seconds < 3


def test_exit_while_a_servers_thread_reads(run):
    """A daemon thread that sends a body: the turn is kept as far as it came."""
    lines, _, seconds = run(
        """
        from cloudllm_sync import LLMSession, MemoryStore
        from cloudllm_sync.web.response import response_parts

        class Store(MemoryStore):
            def append(self, *args, **options):
                sys.stdout.write("kept\\n")
                return super().append(*args, **options)

        server = FakeServer(Raw(*EVENTS[:2], Stall()))
        session = LLMSession(client_of(server), session_id="s", store=Store(), partial="keep")
        body = response_parts(session.stream("hi"), heartbeat_s=0.05).body
        handed_over = threading.Event()

        def send():
            while b"one" not in next(body):
                pass
            next(body)
            handed_over.set()
            for _ in body:
                pass

        threading.Thread(target=send, daemon=True).start()
        handed_over.wait(5)
        print("bye")
        """
    )

    assert lines == ["bye", "kept"]
    assert seconds < 3


def test_exit_with_a_callback_that_never_returns(run):
    """The exit does not wait for ever."""
    lines, _, seconds = run(
        """
        server = FakeServer(default="one")
        client = client_of(server)
        inside = threading.Event()

        def on_chunk(chunk):
            inside.set()
            threading.Event().wait()

        client.start_message_stream("hi", on_chunk=on_chunk)
        inside.wait(5)
        print("bye")
        """
    )

    assert lines == ["bye"]
    assert seconds < 4


def test_exit_while_another_thread_reads_a_generator(run):
    """A daemon thread in next() does not hold the exit up."""
    lines, _, seconds = run(
        """
        server = FakeServer(default=Raw(*EVENTS[:2], Stall()))
        stream = client_of(server).send_message_stream("hi")
        next(stream)
        threading.Thread(target=lambda: list(stream), daemon=True).start()
        print("bye")
        """
    )

    assert lines[0] == "bye"
    assert seconds < 3


def test_exit_with_a_half_read_stream_in_a_global(run):
    """Nothing reads it: the exit takes no time, and the module's end drops it without an error."""
    lines, errors, seconds = run(
        """
        server = FakeServer(default=Raw(*EVENTS[:2], Stall()))
        stream = LLMSession(client_of(server)).stream("hi")
        next(stream)
        warnings.simplefilter("ignore", ResourceWarning)
        print("bye")
        """
    )

    assert lines == ["bye"]
    assert errors == ""
    assert seconds < 3


def test_exit_by_an_exception_with_live_workers(run):
    """A traceback, on_error, and the exit."""
    lines, errors, seconds = run(
        """
        server = FakeServer(default=Raw(*EVENTS[:2], Stall()))
        session = LLMSession(client_of(server))
        began = threading.Event()
        session.submit(
            "hi",
            on_chunk=lambda chunk: began.set(),
            on_error=lambda error: print(type(error).__name__, error.partial.content),
        )
        began.wait(5)
        print("bye")
        raise KeyError("mine")
        """,
        expect=1,
    )

    assert lines == ["bye", "StreamCancelled one"]
    assert "KeyError: 'mine'" in errors
    assert seconds < 3


def test_exit_with_turns_that_wait_for_each_other(run):
    """Those that still wait for their turn are told, too."""
    lines, _, seconds = run(
        """
        server = FakeServer(default=Raw(*EVENTS[:2], Stall()))
        session = LLMSession(client_of(server))
        for _ in range(5):
            session.submit(
                "hi", on_error=lambda error: sys.stdout.write(type(error).__name__ + "\\n")
            )
        server.wait_for_requests(1)
        print("bye")
        """
    )

    assert lines == ["bye", *["StreamCancelled"] * 5]
    assert seconds < 3


@pytest.mark.parametrize("where", ["in result()", "in next()"])
def test_sigterm_with_a_handler_that_exits(run, where):
    """As a server's: sys.exit() in the main thread, wherever it waits."""
    lines, _, seconds = run(
        f"""
        def leave(*_):
            print("bye")
            sys.exit(7)

        signal.signal(signal.SIGTERM, leave)
        server = FakeServer(default=Raw(*EVENTS[:2], Stall()))
        session, other = LLMSession(client_of(server)), LLMSession(client_of(server))
        handle = session.submit("hi", on_error=lambda error: print(type(error).__name__))

        def strike():
            server.wait_for_requests({1 if where == "in result()" else 2})
            threading.Event().wait(0.1)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=strike).start()
        if {where == "in result()"}:
            handle.result()
        other.stream("hi").result()
        """,
        expect=7,
    )

    assert lines == ["bye", "StreamCancelled"]
    assert seconds < 3


def test_sigterm_without_a_handler(run):
    """The system ends the process: nothing of this package holds it."""
    lines, _, seconds = run(
        """
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        server = FakeServer(default=Raw(*EVENTS[:2], Stall()))
        handle = client_of(server).start_message_stream("hi")
        server.wait_for_requests(1)
        print("bye")
        os.kill(os.getpid(), signal.SIGTERM)
        handle.result()
        """,
        expect=-15,
    )

    assert lines == ["bye"]
    assert seconds < 3


fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@fork_only
def test_fork_after_use(run):
    """Parent and children share no connection: every reply is the right one."""
    lines, _, _ = run(
        """
        with FakeServer(default=echo) as server:
            client = client_of(server)
            assert client.send_message_stream("before").result().content == "before!"
            children = []
            for number in range(3):
                pid = os.fork()
                if pid == 0:
                    right = all(
                        client.send_message_stream(f"c{number}-{n}").result().content
                        == f"c{number}-{n}!"
                        for n in range(20)
                    )
                    os._exit(0 if right else 1)
                children.append(pid)
            right = all(
                client.send_message_stream(f"p{n}").result().content == f"p{n}!"
                for n in range(20)
            )
            print("parent", right)
            print("children", [os.waitpid(pid, 0)[1] for pid in children])
        """
    )

    assert lines == ["parent True", "children [0, 0, 0]"]


@fork_only
def test_child_that_exits_does_not_end_the_parents_streams(run):
    """Its exit cancels what it started itself; the parent's socket is not shut."""
    lines, _, _ = run(
        """
        gate, first = threading.Event(), threading.Event()
        server = FakeServer(Raw(*EVENTS[:2], WaitFor(gate), *EVENTS[2:]))
        handle = client_of(server).start_message_stream("hi", on_chunk=lambda chunk: first.set())
        first.wait(5)
        pid = os.fork()
        if pid == 0:
            sys.exit(7)
        began = time.monotonic()
        status = os.waitpid(pid, 0)[1]
        print("child", status >> 8, time.monotonic() - began < 1)
        gate.set()
        print(handle.result(5).content)
        """
    )

    assert lines == ["child 7 True", "one two three"]


@fork_only
def test_stream_dropped_in_a_child_does_not_end_the_parents(run):
    """The child's copy closes the child's descriptor only."""
    lines, _, _ = run(
        """
        gate = threading.Event()
        with FakeServer(Raw(*EVENTS[:2], WaitFor(gate), *EVENTS[2:])) as server:
            stream = client_of(server).send_message_stream("hi")
            next(stream)
            pid = os.fork()
            if pid == 0:
                stream.close()
                os._exit(0)
            os.waitpid(pid, 0)
            gate.set()
            print(stream.result().content)
        """
    )

    assert lines == ["one two three"]
