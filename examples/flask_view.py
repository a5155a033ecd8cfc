"""A Flask view that streams a reply to a browser, or to curl.

curl --no-buffer --json '{"question": "Why do people stream?"}' http://127.0.0.1:5000/chat
"""

from __future__ import annotations

import sys

from client_from_args import argument_parser, chosen_client

from cloudllm_sync import Client, CloudLLMError

try:
    from flask import Flask, Response, request

    from cloudllm_sync.web.flask import stream_response
except ImportError:
    sys.exit("this example needs Flask: pip install flask")


def make_app(client: Client) -> Flask:
    """The application; its threads share the client."""
    app = Flask(__name__)

    @app.post("/chat")
    def chat() -> Response:
        stream = client.send_message_stream(request.get_json()["question"])
        # A browser that leaves ends the reply.
        return stream_response(stream, protocol="text")

    @app.errorhandler(CloudLLMError)
    def refused(error: CloudLLMError) -> tuple[str, int]:
        return f"{type(error).__name__}: {error}\n", 502

    return app


def main() -> None:
    """Serve on loopback."""
    parser = argument_parser("A Flask view that streams a reply: POST /chat.")
    parser.add_argument("--port", type=int, default=5000)
    arguments = parser.parse_args()
    with chosen_client(arguments) as client:
        make_app(client).run(port=arguments.port)


if __name__ == "__main__":
    main()
