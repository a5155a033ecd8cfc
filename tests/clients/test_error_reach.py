"""What an error keeps alive: no request, no response, no socket, however long it is kept."""

from __future__ import annotations

import copy
import gc
import os
import pathlib
import pickle
import types

import pytest
import requests
import urllib3

import cloudllm_sync
from cloudllm_sync import CloudLLMError, OpenAIClient, StreamCancelled, Timeouts
from cloudllm_sync.testing import Cut, Raw, Reply, Reset, Stall, error_reply
from cloudllm_sync.transport.http import Endpoint, Transport

PROMPT = "my-private-prompt"
PACKAGE = str(pathlib.Path(cloudllm_sync.__file__).parent)
A_CHUNK = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
FAULTS = {
    "status": error_reply(500, "sorry"),
    "redirect": Raw(status=307, headers={"Location": "http://127.0.0.1:1/"}, framing="length"),
    "no HTTP": Raw(b"garbage\r\n\r\n", framing="none"),
    "reset": Raw(before_headers=(Reset(),)),
    "silence": Raw(before_headers=(Stall(),)),
    "cut": Raw(A_CHUNK, Cut()),
    "silence later": Raw(b": hold on\n\n", Stall()),
    "broken event": Raw(b"data: {\n\n", Stall()),
    "bad chunk": Raw(b"xyz\r\n", framing="none"),
    "error event": Reply("Hello", error={"message": "sorry"}),
    "no stream": Raw(b"<html>", content_type="text/html"),
}


def ask_whole(client):
    client.send_message(PROMPT)


def ask_streamed(client):
    client.send_message_stream(PROMPT).result()


def ask_by_callbacks(client):
    client.start_message_stream(PROMPT).result(10)


@pytest.fixture(params=[ask_whole, ask_streamed, ask_by_callbacks], ids=lambda way: way.__name__)
def ask(request):
    """One of the three ways to ask."""
    return request.param


@pytest.fixture(params=FAULTS)
def failing(request, make, serve):
    """A client whose every request fails."""
    soon = Timeouts(first_chunk_s=0.1, idle_s=0.1)
    return make(serve(default=FAULTS[request.param]), timeouts=soon)


def failure_of(ask, client):
    with pytest.raises(CloudLLMError) as caught:
        ask(client)
    return caught.value


def reached_from(error):
    """All that the garbage collector sees from an error on, by the frames of the SDK, too.

    Not by frames of the caller's own, nor by what is there without the error: modules, classes,
    and the client, which its owner holds.
    """
    seen, todo = {}, [error]
    leave = (types.ModuleType, type, OpenAIClient, Endpoint, Transport, types.BuiltinFunctionType)
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, leave):
            continue
        if isinstance(thing, types.FrameType) and PACKAGE not in thing.f_code.co_filename:
            continue
        seen[id(thing)] = thing
        if isinstance(thing, types.FunctionType):
            todo += [cell.cell_contents for cell in thing.__closure__ or ()]
        elif isinstance(thing, types.FrameType):
            todo += [value for name, value in thing.f_locals.items()]
        elif isinstance(thing, types.TracebackType):
            todo += [thing.tb_next, thing.tb_frame]
        elif isinstance(thing, dict) and "__builtins__" in thing:
            continue
        else:
            todo += gc.get_referents(thing)
    return list(seen.values())


KINDS = (
    requests.PreparedRequest,
    requests.Request,
    requests.Response,
    requests.RequestException,
    urllib3.HTTPConnectionPool,
    urllib3.connection.HTTPConnection,
    urllib3.BaseHTTPResponse,
    urllib3.exceptions.HTTPError,
)


def test_no_request_and_no_response_is_reached_from_an_error(failing, ask):
    """By causes, contexts, fields, nor by the local variables of the SDK's frames."""
    reached = reached_from(failure_of(ask, failing))

    assert len(reached) > 10
    assert [thing for thing in reached if isinstance(thing, KINDS)] == []


def test_no_key_is_reached_from_an_error(failing, ask, key):
    """Other than by the client itself."""
    texts = [
        thing
        for thing in reached_from(failure_of(ask, failing))
        if isinstance(thing, (str, bytes, bytearray))
    ]

    found = [text for text in texts if key in (text if isinstance(text, str) else str(text))]
    assert found == []


def test_cancelled_reply_reaches_no_request(make, serve, key, report_of):
    """Cancelled by a callback, with the error of the callback's own as cause."""
    client = make(serve(default=Raw(A_CHUNK, Stall())))

    def on_chunk(chunk):
        raise KeyError("mine")

    error = client.start_message_stream(PROMPT, on_chunk=on_chunk).exception(10)

    assert isinstance(error, StreamCancelled)
    assert isinstance(error.__cause__, KeyError)
    error.__cause__ = None  # the caller's own frames, and those that called it
    assert [thing for thing in reached_from(error) if isinstance(thing, KINDS)] == []
    assert key not in report_of(error)


def sockets():
    """How many sockets this process has open."""
    names = []
    for number in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return [name for name in names if name.startswith("socket:")]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux")
@pytest.mark.parametrize("fault", FAULTS)
def test_kept_errors_keep_no_socket(fault, make, serve, ask):
    """A hundred failures in a list of things to look at later."""
    client = make(serve(default=FAULTS[fault]), timeouts=Timeouts(first_chunk_s=0.02, idle_s=0.02))
    kept = [failure_of(ask, client)]
    before = len(sockets())
    kept += [failure_of(ask, client) for _ in range(10)]
    client.close()

    # The server's side of one that is just being closed may be among them.
    assert len(kept) == 11
    assert len(sockets()) <= before + 2


@pytest.mark.parametrize("take", [pickle.dumps, copy.deepcopy, copy.copy])
def test_streams_and_handles_say_why_they_do_not_pickle(make, serve, take):
    """And what to do."""
    client = make(serve("Hello", "Hello"))
    with client.send_message_stream("hi") as stream:
        with pytest.raises(TypeError, match=r"ChatStream holds .*: pickle its result"):
            take(stream)
    handle = client.start_message_stream("hi")
    handle.join(10)
    with pytest.raises(TypeError, match=r"StreamHandle holds .*: pickle its result"):
        take(handle)
