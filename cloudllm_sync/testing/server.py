"""A scripted LLM server on loopback: real HTTP for tests and demos, no network, no key."""

from __future__ import annotations

import collections
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Union

from cloudllm_sync.testing.connection import serve
from cloudllm_sync.testing.delivery import deliver
from cloudllm_sync.testing.openai_wire import error_reply
from cloudllm_sync.testing.peer import Gone, Peer
from cloudllm_sync.testing.recorded import RecordedRequest
from cloudllm_sync.testing.reply import Reply
from cloudllm_sync.testing.steps import Raw

__all__ = ["FakeServer"]

Answer = Union[Reply, Raw, str]
Entry = Union[Answer, Callable[[RecordedRequest], Answer]]

_logger = logging.getLogger("cloudllm_sync.testing")

# Clients connect in bursts; Linux lets those that find the queue full try again after a second.
_BACKLOG = 1024
# A callable of the test's that blocks cannot be ended from outside.
_JOIN_S = 5.0


class FakeServer:
    """A server that answers with what the test wrote down, one entry for each request.

    It listens from construction on, at a free port of 127.0.0.1, until `close()` or the end of
    `with`. An entry is a `Reply`, a `Raw`, a string (the text of a `Reply`), or a callable that
    gets the `RecordedRequest` and returns one of these, on the connection's thread. Requests are
    served first come, first served, whatever their path. So::

        with FakeServer("Hello there", Reply("Bye", token_delay_s=0.1)) as server:
            client = OpenAIClient("gpt-5", api_key="test", base_url=server.base_url)

    The path tells in which format a `Reply` is said: `.../v1/messages` is Anthropic's,
    `.../models/M:generateContent` and `:streamGenerateContent` are Gemini's, `.../api/chat` is
    Ollama's, `.../responses` is OpenAI's Responses API, and all else is Chat Completions. One
    server serves all of them::

        ClaudeClient("claude-sonnet-5", api_key="test", base_url=server.url)
        GeminiClient("gemini-3.7-flash", api_key="test", base_url=server.url)
        OllamaClient("llama3.2", base_url=server.url)
        OpenAIResponsesClient("gpt-5", api_key="test", base_url=server.base_url)

    Args:
        script: The first entries; `add()` appends more.
        default: The entry for every request after the script. Without one such a request gets
            status 500, and `x-should-retry: false`. So it does if a callable raises.
        port: Where to listen; 0 is a free one.
        ssl_context: For HTTPS; its certificate must be good for 127.0.0.1.
        max_body_bytes: A request with a longer body is answered once its head is there, as servers
            with a limit do. Its body is recorded as empty; what still comes of it is read and
            thrown away, then the connection closes.
    """

    def __init__(
        self,
        *script: Entry,
        default: Entry | None = None,
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        max_body_bytes: int | None = None,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._default = None if default is None else _checked(default)
        self._ssl_context = ssl_context
        self._changed = threading.Condition()
        # All of these are guarded by _changed.
        self._script = collections.deque(_checked(entry) for entry in script)
        self._requests: list[RecordedRequest] = []
        self._refusals: list[str] = []
        self._accepted = 0
        self._open: dict[Peer, threading.Thread] = {}
        self._ended: list[threading.Thread] = []
        self._closing = False

        self._listener = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        self._address: tuple[str, int] = self._listener.getsockname()
        self._acceptor = threading.Thread(
            target=self._accept_all, name=f"FakeServer:{self._address[1]}", daemon=True
        )
        self._acceptor.start()

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash at the end: for Claude, Gemini and Ollama."""
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://127.0.0.1:{self._address[1]}"

    @property
    def base_url(self) -> str:
        """What to give to a client of the OpenAI family: `url` and `/v1`."""
        return f"{self.url}/v1"

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The requests so far, in the order in which they took entries from the script."""
        with self._changed:
            return tuple(self._requests)

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why requests so far had no answer of the script's, a sentence each."""
        with self._changed:
            return tuple(self._refusals)

    @property
    def entries_left(self) -> int:
        """How many entries of the script no request has taken yet."""
        with self._changed:
            return len(self._script)

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        with self._changed:
            return self._accepted

    @property
    def open_connections(self) -> int:
        """How many connections are open now, idle ones included."""
        with self._changed:
            return len(self._open)

    def add(self, *entries: Entry) -> None:
        """Append to the script.

        Raises:
            TypeError: An entry of none of the kinds.
        """
        checked = [_checked(entry) for entry in entries]
        with self._changed:
            self._script.extend(checked)

    def wait_for_requests(self, n: int, timeout: float = 10.0) -> bool:
        """Wait until `n` requests have come in; False if they did not within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._requests) >= n, timeout)

    def wait_until_idle(self, timeout: float = 10.0) -> bool:
        """Wait until no connection is open; False if one still is after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout)

    def close(self) -> None:
        """End all connections and threads at once and free the port; idempotent.

        Only a script's callable that does not return is waited for, for 5 s.
        """
        with self._changed:
            if self._closing:
                return
            self._closing = True
        self._wake_acceptor()
        self._acceptor.join(_JOIN_S)
        self._listener.close()
        with self._changed:
            open_now = dict(self._open)
            threads = [*open_now.values(), *self._ended]
        for peer in open_now:
            peer.wake()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_S)

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _wake_acceptor(self) -> None:
        # Closing or shutting down a listening socket ends accept() on some systems only.
        try:
            socket.create_connection(self._address, timeout=_JOIN_S).close()
        except OSError as error:
            _logger.debug("%s could not be woken: %s", self._acceptor.name, error)

    def _accept_all(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                _logger.warning("%s could not accept: %s", self._acceptor.name, error)
                with self._changed:
                    if self._changed.wait_for(lambda: self._closing, 0.01):
                        return
                continue
            if not self._start(sock):
                sock.close()
                return

    def _start(self, sock: socket.socket) -> bool:
        """Serve the connection on a thread of its own; False if the server is closing."""
        peer = Peer(sock)
        with self._changed:
            if self._closing:
                return False
            self._accepted += 1
            thread = threading.Thread(
                target=self._serve,
                args=(peer, self._accepted),
                name=f"{self._acceptor.name}#{self._accepted}",
                daemon=True,
            )
            self._open[peer] = thread
            ended, self._ended = self._ended, []
        for other in ended:
            other.join()
        thread.start()
        return True

    def _serve(self, peer: Peer, connection: int) -> None:
        try:
            if self._ssl_context is not None:
                peer.secure(self._ssl_context)
            serve(peer, connection, self._answer, self._max_body_bytes)
        except Gone as error:
            _logger.debug("connection %d: no TLS: %s", connection, error.__cause__)
        finally:
            peer.close()
            with self._changed:
                self._ended.append(self._open.pop(peer))
                self._changed.notify_all()

    def _answer(self, request: RecordedRequest) -> Raw:
        with self._changed:
            self._requests.append(request)
            number = len(self._requests)
            entry = self._script.popleft() if self._script else self._default
            self._changed.notify_all()
        if entry is None:
            return self._refuse(f"the script is used up: there is no entry for request {number}")
        try:
            return _raw(entry, request)
        except Exception as error:
            _logger.warning("the entry for request %d failed", number, exc_info=True)
            return self._refuse(f"the entry for request {number} failed: {error!r}")

    def _refuse(self, why: str) -> Raw:
        with self._changed:
            self._refusals.append(why)
        # Retrying would take more of the script and hide which request was too many.
        headers = {"x-should-retry": "false"}
        return error_reply(500, why, type="fake_server_error", headers=headers)


def _checked(entry: Entry) -> Entry:
    if not isinstance(entry, (Reply, Raw, str)) and not callable(entry):
        raise TypeError(f"{entry!r} is no script entry: pass a Reply, a Raw, a str or a callable")
    return entry


def _raw(entry: Entry, request: RecordedRequest) -> Raw:
    answer = entry if isinstance(entry, (Reply, Raw, str)) else entry(request)
    if isinstance(answer, Raw):
        return answer
    if isinstance(answer, str):
        answer = Reply(answer)
    if not isinstance(answer, Reply):
        raise TypeError(f"the script's callable returned {answer!r}: return a Reply, Raw or str")
    return deliver(answer, request)
