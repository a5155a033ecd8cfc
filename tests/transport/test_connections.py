"""Connections: kept, shared, owned by one call at a time."""

from __future__ import annotations

import socket
import threading

import pytest

from cloudllm_sync import ConnectError, OpenAICompatibleClient, StreamCancelled, Timeouts
from cloudllm_sync.testing import Raw, Reply, Stall, Wait, openai_events
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.transport.clocks import Clocks
from cloudllm_sync.transport.connections import Claim
from cloudllm_sync.transport.sockets import CallSocket

EVENTS = openai_events(Reply("one two", usage=None))


def echo(request):
    """Says what it was asked, in pieces."""
    prompt = request.json["messages"][-1]["content"]
    return Reply([prompt, "-", prompt], token_delay_s=0.001)


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("split", [None, 0, 1])
def test_streams_in_a_row_use_one_connection(read, serve, make_client, split, gzip):
    """Ten of them, however the end of the body comes."""
    server = serve(default=Reply("one two", split=split, gzip=gzip))
    client = make_client(server)
    texts = {read(client).text for _ in range(10)}

    assert texts == {"one two"}
    assert server.connections == 1


def test_connection_is_kept_where_the_end_of_the_body_comes_late(read, serve, make_client):
    """The last HTTP chunk follows the end mark in a segment of its own."""
    server = serve(default=Raw(*EVENTS, b"\n"))
    client = make_client(server)
    for _ in range(5):
        read(client)

    assert server.connections == 1


def test_streams_with_a_length_in_a_row_use_one_connection(read, serve, make_client):
    """What follows the end mark is read, as the length says that it comes."""
    server = serve(default=Raw(*EVENTS, Wait(0.01), b": the end\n\n", framing="length"))
    client = make_client(server)
    for _ in range(5):
        read(client)

    assert 1 == server.connections


def test_whole_replies_in_a_row_use_one_connection(serve, make_client):
    """Bodies with a length."""
    server = serve(default=Reply("one two", framing="length"))
    client = make_client(server)
    texts = {client.send_message("hi").content for _ in range(10)}

    assert texts == {"one two"}
    assert server.connections == 1


def test_refusals_in_a_row_use_one_connection(read, serve, make_client):
    """A short error body is read to its end."""
    server = serve(default=Raw(b"{}", status=400, framing="length"))
    client = make_client(server)
    for _ in range(5):
        read(client)

    assert server.connections == 1


def test_fifty_threads_on_one_client(serve, make_client):
    """Every reply is the right one; at most one connection for each thread, all used again."""
    server = serve(default=echo)
    client = make_client(server, timeouts=Timeouts())
    start = threading.Barrier(50)
    wrong = []

    def work(number):
        start.wait(10)
        for n in range(4):
            prompt = f"{number}.{n}"
            text = client.send_message_stream(prompt).result().content
            if text != f"{prompt}-{prompt}":
                wrong.append((prompt, text))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    used = [request.connection for request in server.requests]

    assert wrong == []
    assert len(used) == 200
    assert server.connections == len(set(used)) <= 50
    assert server.open_connections == server.connections


def test_fifty_handles_on_one_client(serve, make_client):
    """The same by callbacks."""
    server = serve(default=echo)
    client = make_client(server)
    handles = [client.start_message_stream(str(number)) for number in range(50)]
    texts = [handle.result(20).content for handle in handles]

    assert texts == [f"{number}-{number}" for number in range(50)]
    assert server.connections <= 50


def test_closed_client_closes_idle_connections_and_lets_streams_go_on(serve, make_client):
    """What is running is read to its end."""
    server = serve(default="one two")
    client = make_client(server)
    running = client.send_message_stream("hi")
    next(running)
    client.close()

    assert running.result().content == "one two"
    assert server.wait_until_idle(2)


def test_tls_connection_is_kept(read, serve, make_client, server_tls, certificate):
    """One handshake for five streams."""
    server = serve(default="secret", ssl_context=server_tls)
    client = make_client(server, verify=certificate)
    texts = {read(client).text for _ in range(5)}

    assert texts == {"secret"}
    assert server.connections == 1


def test_certificate_that_nobody_vouches_for_is_refused(read, serve, make_client, server_tls):
    """Once: it will not be better the next time."""
    server = serve(default="secret", ssl_context=server_tls)
    error = read(make_client(server)).error

    assert type(error) is ConnectError
    assert "certificate" in str(error)
    assert error.attempts == 1
    assert server.requests == ()


def test_certificate_of_another_host_is_refused(
    read, serve, make_client, server_tls, certificate, monkeypatch
):
    """The name counts, not the address that it resolves to."""
    server = serve(default="secret", ssl_context=server_tls)
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest: resolve("127.0.0.1", *rest))
    base_url = server.base_url.replace("127.0.0.1", "other.localhost")
    error = read(make_client(base_url, verify=certificate)).error

    assert type(error) is ConnectError
    assert server.requests == ()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verification_can_be_turned_off(read, serve, make_client, server_tls):
    """By the client's own argument only; urllib3 warns, as users of requests know."""
    server = serve(default="secret", ssl_context=server_tls)

    assert read(make_client(server, verify=False)).text == "secret"


def test_bundle_of_the_environment_is_used(
    read, serve, make_client, server_tls, certificate, monkeypatch
):
    """As users of requests expect."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
    server = serve(default="secret", ssl_context=server_tls)

    assert read(make_client(server)).text == "secret"


def test_server_that_speaks_no_tls_is_refused(read, make_client, silent_port):
    """Once: it will not have learned it the next time."""

    def answer_plainly():
        sock, _ = silent_port.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=answer_plainly)
    thread.start()
    base_url = f"https://127.0.0.1:{silent_port.getsockname()[1]}/v1"
    error = read(make_client(base_url)).error
    thread.join()

    assert type(error) is ConnectError
    assert error.attempts == 1


def test_second_address_is_tried(read, serve, make_client, monkeypatch):
    """A name with an address that refuses, and one that answers."""
    server = serve(default="one")
    port = int(server.url.rpartition(":")[2])
    addresses = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: addresses)

    assert read(make_client(server)).text == "one"


def test_address_that_swallows_packets_leaves_time_for_the_next(
    read, serve, make_client, full_backlog, monkeypatch
):
    """Half of the connect clock each."""
    server = serve(default="one")
    ports = [
        int(url.partition("1:")[2].partition("/")[0]) for url in (full_backlog, server.base_url)
    ]
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: addresses)
    outcome = read(make_client(server, timeouts=Timeouts(0.2, 5, 5)))

    assert outcome.text == "one"
    assert 0.1 <= outcome.seconds + 0.005 < 0.6


def test_proxy_that_was_given_is_used_except_for_loopback(read, serve):
    """The request line has the whole address then."""
    proxy = serve(default="by proxy")
    proxies = {"http": proxy.url}
    options = {"proxies": proxies, "max_retries": 0}
    with OpenAICompatibleClient(
        "m", base_url="http://model.example/v1", allow_http=True, **options
    ) as client:
        outcome = read(client)
    with OpenAICompatibleClient("m", base_url=serve(default="direct").base_url, **options) as local:
        direct = read(local)

    assert outcome.text == "by proxy"
    assert proxy.requests[0].path == "http://model.example/v1/chat/completions"
    assert direct.text == "direct"


def test_proxy_of_the_environment_is_used(read, serve, monkeypatch):
    """And NO_PROXY is obeyed."""
    proxy = serve(default="by proxy")
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "direct.example")
    with OpenAICompatibleClient("m", base_url="http://model.example/v1", allow_http=True) as client:
        outcome = read(client)

    assert outcome.text == "by proxy"


def test_netrc_does_not_replace_the_key(read, serve, make_client, tmp_path, monkeypatch):
    """requests would send its password."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve("one")
    read(make_client(server))

    assert server.requests[0].headers["authorization"] == "Bearer sk-test-0123456789abcdef"


@pytest.mark.parametrize(("size", "sent"), [(10, 1), (70_000, 2)])
def test_short_request_leaves_in_one_piece(serve, make_client, monkeypatch, size, sent):
    """Headers and body in two would be two packets, and wake the server twice."""
    pieces = []
    send = socket.socket.sendall
    monkeypatch.setattr(
        CallSocket, "sendall", lambda sock, data, *more: pieces.append(data) or send(sock, data)
    )
    prompt = "x" * size
    server = serve(default=Reply("one"))
    make_client(server).send_message(prompt)

    assert server.requests[0].json["messages"][-1]["content"] == prompt
    assert len(pieces) == sent


def test_late_cancel_does_not_touch_the_next_calls_connection(serve, make_client):
    """The connection has gone back to the pool, and out of it again."""
    server = serve("first", Raw(*EVENTS[:2], Stall()))
    client = make_client(server)
    first = client.send_message_stream("hi")
    first.result()
    second = client.send_message_stream("hi")
    first.cancel()
    chunk = next(second)
    second.cancel()

    assert chunk.content == "one"
    with pytest.raises(StreamCancelled):
        next(second)
    assert [request.connection for request in server.requests] == [1, 1]


class Taken(socket.socket):
    """A socket that a claim can take."""

    claim = None


@pytest.mark.parametrize("when", ["before", "after", "given back"])
def test_claim_shuts_what_it_owns_and_nothing_else(when):
    """Cancelled before it took the socket, while it has it, after it gave it back."""
    cancellation = Cancellation()
    claim = Claim(Clocks(Timeouts()), cancellation)
    ours, theirs = socket.socketpair()
    with theirs, Taken(fileno=ours.detach()) as sock:
        theirs.settimeout(0.05)
        if when == "before":
            cancellation.cancel()
        claim.take(sock)
        if when == "given back":
            claim.give_back()
        if when != "before":
            claim.wake()

        if when == "given back":
            assert sock.claim is None
            with pytest.raises(OSError, match="timed out"):
                theirs.recv(1)
        else:
            assert sock.claim is claim
            assert theirs.recv(1) == b""
