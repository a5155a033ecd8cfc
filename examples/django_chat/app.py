"""A chat page on Django, in one file: typing effect, Stop, several conversations, and replies that
survive a reload.

    python examples/django_chat/app.py       # against the embedded server, no key needed
    python examples/django_chat/app.py --base-url http://localhost:11434/v1 --model llama3.2
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any, Callable

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent
PAGE = EXAMPLES / "chat_page"
sys.path[:0] = [str(EXAMPLES), str(PAGE)]

from chats import Chats, Conversations, refusal, text_of  # noqa: E402
from client_from_args import argument_parser, chosen_client  # noqa: E402
from running import open_running  # noqa: E402

from cloudllm_sync import CloudLLMError, open_store  # noqa: E402
from cloudllm_sync.relay import open_relay  # noqa: E402

try:
    from django.conf import settings
    from django.core.management import execute_from_command_line
    from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
    from django.urls import path

    from cloudllm_sync.web.django import stream_response
except ImportError:
    sys.exit("this example needs Django: pip install django")


def urls(chats: Conversations) -> list[Any]:
    """The views; their threads share what `chats` holds."""

    def file(request: HttpRequest, name: str = "index.html") -> HttpResponse:
        if name not in ("index.html", "chat.css", "chat.js"):
            raise Http404(name)
        return FileResponse((PAGE / name).open("rb"))

    def list_chats(request: HttpRequest) -> HttpResponse:
        return JsonResponse(chats.all(), safe=False)

    def one_chat(request: HttpRequest, chat: str) -> HttpResponse:
        if request.method == "DELETE":
            chats.delete(chat)
            return JsonResponse({})
        return JsonResponse(chats.one(chat))

    def ask(request: HttpRequest, chat: str) -> HttpResponse:
        return JsonResponse({"key": chats.begin(chat, text_of(request.body))})

    def follow(request: HttpRequest, key: str) -> HttpResponse:
        return stream_response(chats.follow(key, request.headers.get("Last-Event-ID")))

    def stop(request: HttpRequest, key: str) -> HttpResponse:
        return JsonResponse({"stopped": chats.stop(key)})

    return [
        path("", file),
        path("static/<name>", file),
        path("chats", telling(list_chats)),
        path("chats/<chat>", telling(one_chat)),
        path("chats/<chat>/messages", telling(ask)),
        path("replies/<key>", telling(follow)),
        path("replies/<key>/stop", telling(stop)),
    ]


def telling(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The view, with errors as the page expects them."""

    def told(request: HttpRequest, **names: str) -> HttpResponse:
        try:
            return view(request, **names)
        except CloudLLMError as error:
            words, status = refusal(error)
            return JsonResponse({"error": words}, status=status)

    return told


def main() -> None:
    """Serve on loopback."""
    parser = argument_parser("A chat page on Django.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--store", default="sqlite:///chats.db", help="keeps conversations")
    parser.add_argument("--relay", default="memory:", help="or redis://127.0.0.1:6379/0")
    arguments = parser.parse_args()
    with chosen_client(arguments) as client, open_relay(arguments.relay) as relay:
        running = open_running(arguments.relay)
        chats = Chats(client, open_store(arguments.store), relay, running)
        # No middleware that asks for cookies: the page has no users.
        settings.configure(ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF="chat_urls", DEBUG=False)
        module = type(sys)("chat_urls")
        module.urlpatterns = urls(chats)  # type: ignore[attr-defined]
        sys.modules["chat_urls"] = module
        address = f"127.0.0.1:{arguments.port}"
        execute_from_command_line([sys.argv[0], "runserver", "--noreload", address])


if __name__ == "__main__":
    main()
