"""The server itself: script, recorded requests, connections, waits, its end."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time

import pytest
from bare_http import STREAM, answer_bytes, asked, connected, post, read_until, request_bytes, said

from cloudllm_sync.testing import (
    FakeServer,
    Raw,
    RecordedRequest,
    Reply,
    Stall,
    Wait,
    WaitFor,
)


def address(server: FakeServer) -> tuple[str, int]:
    return "127.0.0.1", int(server.url.rpartition(":")[2])


def threads_of(server: FakeServer) -> list[str]:
    name = f"FakeServer:{address(server)[1]}"
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]


def test_urls_name_the_loopback_port():
    """The base URL is the URL with the version's path."""
    with FakeServer() as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.base_url == server.url + "/v1"


def test_entries_are_used_one_for_each_request():
    """Strings and replies are consumed in the order of the script."""
    with FakeServer("one", Reply("two")) as server, connected(server) as connection:
        texts = [said(post(connection)[1]) for _ in range(2)]

    assert texts == ["one", "two"]


def test_added_entries_come_after_the_script():
    """add() appends."""
    with FakeServer("one") as server, connected(server) as connection:
        server.add("two", "three")
        texts = [said(post(connection)[1]) for _ in range(3)]

    assert texts == ["one", "two", "three"]


@pytest.mark.parametrize("answer", ["yes", Reply("yes"), Raw(b"yes")])
def test_callable_gets_the_request_and_answers(answer):
    """A callable returns any of the other kinds."""
    asked_for = []

    def entry(request: RecordedRequest) -> Reply | Raw | str:
        asked_for.append(request.json["stream"])
        return answer

    with FakeServer(entry) as server, connected(server) as connection:
        _, body = post(connection)

    assert b"yes" in body
    assert asked_for == [True]


def test_callable_that_raises_is_a_500_that_names_the_error(caplog):
    """The test sees what went wrong in its own callable."""
    with FakeServer(lambda request: 1 / 0) as server, connected(server) as connection:
        response, body = post(connection)

    assert response.status == 500
    assert "ZeroDivisionError" in json.loads(body)["error"]["message"]
    assert "entry for request 1 failed" in caplog.text


def test_callable_that_returns_no_answer_is_a_500(caplog):
    """Returning None is a mistake that is told."""
    with FakeServer(lambda request: None) as server, connected(server) as connection:
        response, body = post(connection)

    assert response.status == 500
    assert "returned None" in json.loads(body)["error"]["message"]


def test_used_up_script_is_a_500_that_names_the_request():
    """One request too many is told, and clients are asked not to retry it."""
    with FakeServer("one") as server, connected(server) as connection:
        post(connection)
        response, body = post(connection)

    assert response.status == 500
    assert response.headers["x-should-retry"] == "false"
    assert "no entry for request 2" in json.loads(body)["error"]["message"]


def test_what_was_refused_and_what_is_left_can_be_looked_at(caplog):
    """Requests without an answer, in words; entries that no request has taken."""
    with FakeServer("one", lambda request: 1 / 0) as server, connected(server) as connection:
        post(connection)
        before = server.entries_left, server.refusals
        post(connection)
        post(connection)

        refusals = server.refusals

    assert (1, ()) == before
    assert 0 == server.entries_left
    assert ("ZeroDivisionError" in refusals[0], len(refusals)) == (True, 2)
    assert "the script is used up: there is no entry for request 3" == refusals[1]


def test_default_answers_after_the_script():
    """The default is used as often as needed."""
    with FakeServer("one", default="more") as server, connected(server) as connection:
        texts = [said(post(connection)[1]) for _ in range(3)]

    assert texts == ["one", "more", "more"]


@pytest.mark.parametrize("entry", [None, 7, b"bytes"])
def test_entry_of_no_kind_is_refused(entry):
    """A mistake in a script is raised where it is written."""
    with FakeServer() as server, pytest.raises(TypeError, match="no script entry"):
        server.add(entry)


def test_requests_are_recorded_as_they_came():
    """Method, path, headers of any case, body and connection."""
    with FakeServer("one") as server, connected(server) as connection:
        post(connection, {"model": "m"})
        (request,) = server.requests

    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["X-CASE"] == request.headers["x-case"] == "Kept"
    assert "x-case" in set(request.headers)
    assert request.json == {"model": "m"}
    assert request.connection == 1


@pytest.mark.parametrize("name", ["Authorization", "api-key", "X-Gateway-Token", "Cookie"])
def test_recorded_keys_are_not_shown(name):
    """A failed assertion prints requests; the key in them may be a real one."""
    with FakeServer("one") as server, connected(server) as connection:
        connection.request("POST", "/", "{}", {name: "Bearer secret", "x-case": "Kept"})
        connection.getresponse().read()
        (request,) = server.requests

    assert request.headers[name] == "Bearer secret"
    assert "secret" not in repr(request)
    assert "Kept" in repr(request)


def test_repeated_header_is_joined():
    """A field that came twice keeps both values."""
    with FakeServer("one") as server, asked(server) as sock:
        read_until(sock, b"[DONE]\n\n")
        sock.sendall(request_bytes({}, "X-A: 1", "x-a: 2"))
        assert server.wait_for_requests(2)

    assert server.requests[1].headers["X-A"] == "1, 2"


def test_body_of_64_mb_is_read():
    """Requests with attachments are large."""
    body = b"x" * 64_000_000
    with FakeServer(Raw(b"ok")) as server, connected(server) as connection:
        connection.request("POST", "/", body)
        connection.getresponse().read()

    assert len(server.requests[0].body) == len(body)


@pytest.mark.parametrize(
    "request_head",
    [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
     b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
     b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"],
)  # fmt: skip
def test_request_that_is_none_is_a_400(request_head):
    """What cannot be read uses up no entry and ends the connection."""
    with FakeServer("one") as server, socket.create_connection(address(server), 5) as sock:
        sock.sendall(request_head)
        answer = read_until(sock, b"never")

        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert server.requests == ()


def test_connection_is_used_again():
    """Streams and whole replies leave the connection open."""
    with FakeServer(default="hi") as server, connected(server) as connection:
        for fields in (STREAM, {}, STREAM):
            post(connection, fields)

        assert server.connections == server.open_connections == 1
        assert {request.connection for request in server.requests} == {1}


def test_connections_are_numbered():
    """A request tells over which connection it came."""
    with FakeServer(default="hi") as server:
        for _ in range(2):
            with connected(server) as connection:
                post(connection)

        assert [request.connection for request in server.requests] == [1, 2]
        assert server.connections == 2


def test_connection_close_of_the_client_is_obeyed():
    """The body ends properly, then the connection does."""
    with FakeServer("hi") as server:
        _, body = answer_bytes(server)

        assert body.endswith(b"0\r\n\r\n")
        assert server.wait_until_idle()


def test_pipelined_request_is_kept_for_later():
    """What the client sends during a reply is its next request."""
    with FakeServer("one", "two") as server, asked(server) as sock:
        sock.sendall(request_bytes(STREAM))
        answer = b""
        while answer.count(b"[DONE]") < 2:
            answer += sock.recv(65536)

    assert b'"one"' in answer
    assert b'"two"' in answer


def test_idle_connection_that_the_client_closes_is_gone():
    """Between requests the server notices, too."""
    with FakeServer("hi") as server:
        with connected(server) as connection:
            post(connection)
            assert server.open_connections == 1

        assert server.wait_until_idle()
        assert server.open_connections == 0


def test_waiting_for_idle_gives_up():
    """An open connection makes it False after the time given."""
    with FakeServer(Raw(Stall())) as server, asked(server):
        assert server.wait_for_requests(1)
        assert not server.wait_until_idle(0.01)


def test_waiting_for_requests_is_woken_by_the_request():
    """It returns as soon as the n-th request is in."""
    with FakeServer(default="hi") as server:
        seen: list[bool] = []
        waiter = threading.Thread(target=lambda: seen.append(server.wait_for_requests(2)))
        waiter.start()
        with asked(server), asked(server):
            waiter.join(5)

    assert seen == [True]


def test_waiting_for_requests_gives_up():
    """Too few requests make it False."""
    with FakeServer() as server:
        assert not server.wait_for_requests(1, timeout=0.01)


@pytest.mark.parametrize(
    "answer",
    [
        Raw(before_headers=(Stall(),)),
        Raw(Stall()),
        Raw(b"data: 1\n\n", Wait(60)),
        Raw(b"data: 1\n\n", WaitFor(threading.Event())),
        Reply("a b c", delay_s=60),
        Reply("a b c", token_delay_s=60),
        Reply("a b c", after={2: Stall()}),
    ],
    ids=["before headers", "after headers", "wait", "event", "delay", "token delay", "after"],
)
@pytest.mark.parametrize("leaving", ["close", "reset"])
def test_leaving_client_is_noticed_in_a_wait(answer, leaving):
    """Whatever the server waits for, the connection is gone when the client is."""
    with FakeServer(answer) as server:
        with asked(server) as sock:
            assert server.wait_for_requests(1)
            if leaving == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left = time.monotonic()

        assert server.wait_until_idle()
        assert time.monotonic() - left < 0.5


def test_leaving_client_is_noticed_behind_data_it_sent():
    """A request sent during a stall does not hide the client's end."""
    with FakeServer(Raw(Stall())) as server:
        with asked(server) as sock:
            assert server.wait_for_requests(1)
            sock.sendall(request_bytes({}))

        assert server.wait_until_idle()


@pytest.mark.parametrize(
    "answer",
    [
        "hi",
        Raw(Stall()),
        Raw(before_headers=(Wait(60),)),
        Raw(WaitFor(threading.Event())),
        Raw(b"x" * 50_000_000),
    ],
    ids=["idle", "stall", "wait", "event", "client that does not read"],
)
def test_close_ends_connections_at_once(answer):
    """Whatever a connection is busy with, its thread is ended and joined, the port free."""
    server = FakeServer(answer)
    with asked(server):
        assert server.wait_for_requests(1)
        began = time.monotonic()
        server.close()

        assert time.monotonic() - began < 5
        assert threads_of(server) == []
        assert server.open_connections == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address(server), 5)


def test_close_ends_connections_that_sent_nothing():
    """A client that only connected is let go as well."""
    server = FakeServer()
    with socket.create_connection(address(server), 5) as sock:
        server.close()

        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
        assert threads_of(server) == []


def test_close_is_idempotent():
    """with, and close() inside it, and once more."""
    with FakeServer() as server:
        server.close()
    server.close()

    assert threads_of(server) == []


def test_close_from_a_callable_does_not_wait_for_itself():
    """A scripted callable may end the server."""
    with FakeServer(lambda request: server.close() or "too late") as server:
        with asked(server) as sock:
            assert read_until(sock, b"never") == b""
        assert server.wait_until_idle()


def test_recorded_requests_outlive_the_server():
    """Assertions may come after the with block."""
    with FakeServer("hi") as server, connected(server) as connection:
        post(connection)

    assert len(server.requests) == 1
    assert server.connections == 1


def test_hundred_servers_are_quick():
    """A server for each test costs next to nothing."""
    began = time.monotonic()
    for _ in range(100):
        FakeServer("hi").close()

    assert time.monotonic() - began < 2


def test_two_hundred_connections_at_once_are_served():
    """All of them are open before the first is answered, with one entry for all."""
    go = threading.Event()
    with FakeServer(default=Raw(WaitFor(go), b"data: hi\n\n")) as server:
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(asked(server)) for _ in range(200)]
            assert server.wait_for_requests(200)
            assert server.open_connections == 200
            go.set()
            answers = [read_until(sock, b"\r\n0\r\n\r\n") for sock in socks]

        assert all(b"data: hi\n\n" in answer for answer in answers)
        assert server.wait_until_idle()
        assert sorted(request.connection for request in server.requests) == [*range(1, 201)]


def test_each_entry_is_used_once_by_concurrent_requests():
    """The script is shared fairly: no entry twice, none lost."""
    script = [Raw(b"<%d>" % n) for n in range(50)]
    with FakeServer(*script) as server, contextlib.ExitStack() as stack:
        socks = [stack.enter_context(asked(server)) for _ in range(50)]
        answers = [read_until(sock, b"\r\n0\r\n\r\n") for sock in socks]

    numbers = {int(answer.partition(b"<")[2].partition(b">")[0]) for answer in answers}
    assert numbers == set(range(50))
