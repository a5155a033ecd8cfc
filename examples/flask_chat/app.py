"""A chat page on Flask: typing effect, Stop, several conversations, replies that survive a reload.

make chat                                    # against the embedded server, no key needed
python examples/flask_chat/app.py --provider claude --model claude-sonnet-5
"""

from __future__ import annotations

import pathlib
import sys

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(EXAMPLES), str(EXAMPLES / "chat_page")]

from chats import Chats, Conversations, refusal, text_of  # noqa: E402
from client_from_args import argument_parser, chosen_client  # noqa: E402
from running import open_running  # noqa: E402

from cloudllm_sync import CloudLLMError, open_store  # noqa: E402
from cloudllm_sync.relay import open_relay  # noqa: E402

try:
    from flask import Flask, Response, jsonify, request

    from cloudllm_sync.web.flask import stream_response
except ImportError:
    sys.exit("this example needs Flask: pip install flask")


def make_app(chats: Conversations) -> Flask:
    """The application; its threads share what `chats` holds."""
    app = Flask(__name__, static_folder=str(EXAMPLES / "chat_page"), static_url_path="/static")

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("index.html")

    @app.get("/chats")
    def list_chats() -> Response:
        return jsonify(chats.all())

    @app.get("/chats/<chat>")
    def one_chat(chat: str) -> Response:
        return jsonify(chats.one(chat))

    @app.delete("/chats/<chat>")
    def delete_chat(chat: str) -> Response:
        chats.delete(chat)
        return jsonify({})

    @app.post("/chats/<chat>/messages")
    def ask(chat: str) -> Response:
        return jsonify({"key": chats.begin(chat, text_of(request.get_data()))})

    @app.get("/replies/<key>")
    def follow(key: str) -> Response:
        return stream_response(chats.follow(key, request.headers.get("Last-Event-ID")))

    @app.post("/replies/<key>/stop")
    def stop(key: str) -> Response:
        return jsonify({"stopped": chats.stop(key)})

    @app.errorhandler(CloudLLMError)
    def refused(error: CloudLLMError) -> tuple[Response, int]:
        words, status = refusal(error)
        return jsonify({"error": words}), status

    return app


def main() -> None:
    """Serve on loopback."""
    parser = argument_parser("A chat page on Flask.")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument(
        "--store", default="sqlite:///chats.db", help="where conversations are kept"
    )
    parser.add_argument("--relay", default="memory:", help="or redis://127.0.0.1:6379/0")
    arguments = parser.parse_args()
    with chosen_client(arguments) as client, open_relay(arguments.relay) as relay:
        running = open_running(arguments.relay)
        chats = Chats(client, open_store(arguments.store), relay, running)
        make_app(chats).run(port=arguments.port, threaded=True)


if __name__ == "__main__":
    main()
