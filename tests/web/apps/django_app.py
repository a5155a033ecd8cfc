"""A Django application in one file, the twin of flask_app.py."""

from __future__ import annotations

import os
import resource
import sys
import threading

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="test",
    WSGI_APPLICATION=f"{__name__}.app",
)
django.setup()

from django.db import connection, connections  # noqa: E402

from cloudllm_sync import LLMSession, OpenAICompatibleClient, open_store  # noqa: E402
from cloudllm_sync.web.django import stream_response  # noqa: E402

client = OpenAICompatibleClient("m", base_url=os.environ["UPSTREAM"])
store = open_store(os.environ["STORE"])
connected = threading.local()


def options(request):
    given = request.GET.dict()
    for name in ("heartbeat_s", "min_interval_s"):
        if name in given:
            given[name] = float(given[name])
    return {name: value for name, value in given.items() if name not in ("q", "session")}


def chat(request):
    return stream_response(client.send_message_stream(request.GET["q"]), **options(request))


def turn(request):
    session = LLMSession(client, session_id=request.GET["session"], store=store, partial="keep")
    return stream_response(session.stream(request.GET["q"]), **options(request))


def handle(request):
    return stream_response(client.start_message_stream(request.GET["q"]), **options(request))


def queried(request):
    """A view that asks the database first; says in a header of its body whether it is held."""
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    held = connections["default"]

    class Watched:
        def __init__(self):
            self.stream = client.send_message_stream(request.GET["q"])

        def __getattr__(self, name):
            return getattr(self.stream, name)

        def __iter__(self):
            for chunk in self.stream:
                chunk.content = f"{chunk.content}{held.connection is not None}"
                yield chunk

    return stream_response(Watched(), **options(request))


def history(request):
    session = LLMSession(client, session_id=request.GET["session"], store=store)
    found = [[message.role.value, message.content] for message in session.history]
    return JsonResponse(found, safe=False)


def peak(request):
    """The most memory that this process has taken, in KB."""
    return JsonResponse(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, safe=False)


def threads(request):
    return JsonResponse([thread.name for thread in threading.enumerate()], safe=False)


urlpatterns = [
    path(view.__name__, view) for view in (chat, turn, handle, queried, history, peak, threads)
]
app = get_wsgi_application()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line([sys.argv[0], "runserver", "--noreload", sys.argv[1]])
