"""A Flask application for tests: what a user's views look like, with the options in the query."""

from __future__ import annotations

import os
import resource
import threading
import time

from flask import Flask, request

from cloudllm_sync import LLMSession, OpenAICompatibleClient, open_store
from cloudllm_sync.web.flask import stream_response

client = OpenAICompatibleClient("m", base_url=os.environ["UPSTREAM"])
store = open_store(os.environ["STORE"])
app = Flask(__name__)


def options():
    given = request.args.to_dict()
    for name in ("heartbeat_s", "min_interval_s"):
        if name in given:
            given[name] = float(given[name])
    return {name: value for name, value in given.items() if name not in ("q", "session")}


@app.get("/chat")
def chat():
    return stream_response(client.send_message_stream(request.args["q"]), **options())


@app.get("/turn")
def turn():
    session = LLMSession(client, session_id=request.args["session"], store=store, partial="keep")
    return stream_response(session.stream(request.args["q"]), **options())


@app.get("/handle")
def handle():
    return stream_response(client.start_message_stream(request.args["q"]), **options())


@app.get("/plain")
def plain():
    return app.response_class(client.send_message_stream(request.args["q"]).text())


@app.get("/history")
def history():
    session = LLMSession(client, session_id=request.args["session"], store=store)
    return [[message.role.value, message.content] for message in session.history]


@app.get("/peak")
def peak():
    """The most memory that this process has taken, in KB."""
    return str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


@app.get("/cpu")
def cpu():
    """Seconds of CPU that this process has taken."""
    return str(time.process_time())


@app.get("/threads")
def threads():
    return [thread.name for thread in threading.enumerate()]
