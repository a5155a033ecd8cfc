"""The doctor: what it finds in given facts, and the facts that are read of gunicorn and nginx."""

from __future__ import annotations

import os
import sys

import attrs
import pytest

from cloudllm_sync import Timeouts
from cloudllm_sync.web.doctor import Facts, Finding, Gunicorn, ProxyBlock, findings, report
from cloudllm_sync.web.gunicorn_config import read_gunicorn
from cloudllm_sync.web.nginx_config import proxy_blocks, read_nginx
from cloudllm_sync.web.settings import Settings

SQLITE = Settings(store="sqlite:///chats.db")
THREADED = Gunicorn(worker_class="gthread", threads=64)
CLASS = "gunicorn.workers"


def ids(facts):
    return [finding.id for finding in findings(facts)]


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (Facts(), []),
        (Facts(faults=("CLOUDLLM_MODLE is no setting", "and this")), ["E001", "E001"]),
        (Facts(no_client="no API key"), ["W001"]),
        (Facts(packing=("shop.Zip", "shop.Minify")), ["W002", "W002"]),
        (Facts(is_asgi=True), ["W003"]),
        # Workers of gunicorn.
        (Facts(gunicorn=THREADED), []),
        (Facts(gunicorn=Gunicorn()), ["W101", "W102"]),
        (Facts(gunicorn=Gunicorn(worker_class=f"{CLASS}.sync.SyncWorker")), ["W101", "W102"]),
        (Facts(gunicorn=Gunicorn(threads=64)), []),  # gunicorn takes gthread then
        (Facts(gunicorn=Gunicorn(worker_class="gevent")), []),
        (Facts(gunicorn=Gunicorn(worker_class="gthread", timeout_s=1)), []),
        (Facts(gunicorn=Gunicorn(worker_class="uvicorn.workers.UvicornWorker")), ["W104"]),
        (Facts(gunicorn=Gunicorn(worker_class="asgi")), ["W104"]),
        (Facts(gunicorn=Gunicorn(worker_class="tornado")), ["W104"]),
        (Facts(gunicorn=Gunicorn(unread="a file that fails")), ["W105"]),
        # The time-out of sync workers.
        (Facts(gunicorn=Gunicorn(timeout_s=0)), ["W101"]),
        (Facts(gunicorn=Gunicorn(timeout_s=600)), ["W101", "W102"]),
        (
            Facts(
                gunicorn=Gunicorn(timeout_s=90), settings=Settings(timeouts=Timeouts(total_s=90))
            ),
            ["W101"],
        ),
        (
            Facts(
                gunicorn=Gunicorn(timeout_s=89), settings=Settings(timeouts=Timeouts(total_s=90))
            ),
            ["W101", "W102"],
        ),
        # Threads for the replies that are wanted.
        (Facts(gunicorn=THREADED, streams=64), []),
        (Facts(gunicorn=THREADED, streams=65), ["W103"]),
        (Facts(gunicorn=attrs.evolve(THREADED, workers=2), streams=65, settings=SQLITE), []),
        (Facts(gunicorn=Gunicorn(worker_class="gevent"), streams=65), []),
        (Facts(streams=65), []),
        # Where conversations are.
        (Facts(gunicorn=attrs.evolve(THREADED, workers=2)), ["W201"]),
        (
            Facts(gunicorn=attrs.evolve(THREADED, workers=2), settings=Settings(store="memory:")),
            ["W201"],
        ),
        (Facts(gunicorn=attrs.evolve(THREADED, workers=2), settings=SQLITE), []),
        # Silence, and who is tired of it.
        (Facts(settings=Settings(heartbeat_s=59)), []),
        (Facts(settings=Settings(heartbeat_s=60)), ["W301"]),
        (Facts(settings=Settings(protocol="text")), ["W301"]),
        (Facts(settings=Settings(protocol="text", timeouts=Timeouts(5, 30, None))), ["W301"]),
        (Facts(settings=Settings(protocol="text", timeouts=Timeouts(5, 30, 30))), []),
        (Facts(settings=Settings(heartbeat_s=90), proxies=(ProxyBlock(where="x"),)), ["W402"]),
        (Facts(proxies=(ProxyBlock(where="x", read_timeout_s=15),)), ["W402"]),
        (Facts(proxies=(ProxyBlock(where="x", read_timeout_s=16),)), []),
        (
            Facts(
                settings=Settings(heartbeat_s=90),
                proxies=(ProxyBlock(where="x", read_timeout_s=600),),
            ),
            [],
        ),
        # Proxies that buffer.
        (Facts(proxies=(ProxyBlock(where="x", ignores_header=True),)), ["W401"]),
        (Facts(proxies=(ProxyBlock(where="x", ignores_header=True, buffers=False),)), []),
    ],
)
def test_findings(facts, found):
    """What is in order is not spoken of."""
    assert found == ids(facts)


def test_finding_says_what_why_and_what_to_do():
    """With the numbers that were met."""
    facts = Facts(
        gunicorn=attrs.evolve(THREADED, threads=4, workers=2), settings=SQLITE, streams=20
    )

    (finding,) = findings(facts)

    assert finding == Finding(
        "warning",
        "W103",
        "gunicorn has 8 threads, and 20 replies are wanted at once",
        "each reply has a thread as long as it lasts, and the other requests wait for one",
        "use --threads 13, or more workers",
    )


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (Facts(gunicorn=Gunicorn()), ["after 30 s in one request", "has no limit"]),
        (
            Facts(gunicorn=Gunicorn(), settings=Settings(timeouts=Timeouts(total_s=100))),
            ["may take 100 s"],
        ),
        (Facts(settings=Settings(heartbeat_s=75)), ["every 75 s", "hangs up after 60 s"]),
        (Facts(settings=Settings(protocol="text")), ["no heartbeats", "think for 120 s"]),
        (
            Facts(settings=Settings(protocol="text", timeouts=Timeouts(5, 30, None))),
            ["think without a limit"],
        ),
    ],
)
def test_numbers_are_told(facts, words):
    """Those that were compared."""
    text = report(findings(facts))

    assert [word for word in words if word not in text] == []


def test_findings_have_one_meaning_each():
    """Ids are what users silence, and look up."""
    everything = Facts(
        settings=Settings(heartbeat_s=90),
        faults=("x",),
        no_client="x",
        is_asgi=True,
        packing=("x",),
        gunicorn=Gunicorn(workers=2),
        proxies=(ProxyBlock(where="x", ignores_header=True),),
    )

    found = findings(attrs.evolve(everything, faults=()))

    assert ["W001", "W002", "W003", "W201", "W101", "W102", "W401", "W402"] == [f.id for f in found]
    assert {"warning"} == {finding.level for finding in found}
    assert "error" == findings(everything)[0].level


def test_report_has_a_line_for_each_part():
    """And one where there is nothing to say."""
    finding = Finding("warning", "W000", "It rains", "clouds", "take an umbrella")

    assert report([finding]) == "warning W000: It rains\n  why: clouds\n  do:  take an umbrella"
    assert report([]) == "Nothing found that keeps replies from streaming."


# --- gunicorn ---


@pytest.fixture
def read(tmp_path):
    """Reads gunicorn's settings in a folder, with a file of this text if there is one."""

    def read_it(arguments="", *, file=None, name="gunicorn.conf.py", **environ):
        if file is not None:
            (tmp_path / name).write_text(file)
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        return read_gunicorn({**kept, **environ}, str(tmp_path), arguments=arguments)

    return read_it


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({}, None),
        ({"WEB_CONCURRENCY": "4"}, None),
        ({"GUNICORN_CMD_ARGS": "--bind :80"}, Gunicorn()),
        (
            {"GUNICORN_CMD_ARGS": "--worker-class=gthread --threads 8 -w4 -t 60"},
            Gunicorn(worker_class="gthread", threads=8, workers=4, timeout_s=60),
        ),
        (
            {"arguments": "gunicorn -k gevent --bind 0.0.0.0:80 --access-logfile - shop:app"},
            Gunicorn(worker_class="gevent"),
        ),
        ({"arguments": "-b :80 shop:app"}, Gunicorn()),
        ({"arguments": "shop:app", "WEB_CONCURRENCY": "4"}, Gunicorn(workers=4)),
        ({"arguments": "-w 2 shop:app", "WEB_CONCURRENCY": "4"}, Gunicorn(workers=2)),
        ({"file": "threads = 4 * 2\ntimeout = 120"}, Gunicorn(threads=8, timeout_s=120)),
        ({"file": "threads = 8", "GUNICORN_CMD_ARGS": "--threads 9"}, Gunicorn(threads=9)),
        (
            {"file": "threads = 8", "GUNICORN_CMD_ARGS": "--threads 9", "arguments": "--threads 7"},
            Gunicorn(threads=7),
        ),
        ({"file": "threads = 8", "name": "other.py"}, None),
        (
            {"file": "threads = 8", "name": "other.py", "arguments": "-c other.py"},
            Gunicorn(threads=8),
        ),
        (
            {"file": "threads = 8", "name": "other.py", "arguments": "-c file:other.py"},
            Gunicorn(threads=8),
        ),
        (
            {"file": "threads = 8", "name": "other.py", "arguments": "-c python:other"},
            Gunicorn(threads=8),
        ),
        ({"file": "import os\nthreads = int(os.environ['T'])", "T": "5"}, Gunicorn(threads=5)),
        ({"file": "print('starting')\nthreads = 8"}, Gunicorn(threads=8)),
        (
            {"file": "class W: pass\nworker_class = W"},
            Gunicorn(worker_class="<run_path>.W"),
        ),
    ],
)
def test_gunicorn_is_read(read, given, seen):
    """The file gives way to the environment, and that to the command line."""
    assert seen == read(**given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"file": "1 / 0"}, "gunicorn.conf.py: ZeroDivisionError: division by zero"),
        ({"file": "raise SystemExit"}, ""),
        ({"file": "raise SystemExit(3)"}, "gunicorn.conf.py: it ended with 3"),
        ({"file": "threads = 'many'"}, "threads is 'many'"),
        ({"file": "threads = object()"}, "gunicorn.conf.py: AttributeError"),
        ({"arguments": "--threads"}, "arguments: argument --threads: expected one argument"),
        ({"GUNICORN_CMD_ARGS": "--env KEY='sk"}, "GUNICORN_CMD_ARGS: No closing quotation"),
        ({"arguments": "-c nowhere.py"}, "nowhere.py: FileNotFoundError"),
    ],
)
def test_what_cannot_be_read_is_told(read, given, why):
    """With nothing of the text, which may hold keys; and nothing else is said of gunicorn then."""
    seen = read(**given)

    assert why in seen.unread
    assert seen.unread
    assert "sk" not in seen.unread
    assert ["W105"] == ids(Facts(gunicorn=seen))


def test_file_that_does_not_end_is_left(read, monkeypatch):
    """One that starts a server, say."""
    monkeypatch.setattr("cloudllm_sync.web.gunicorn_config._FILE_PATIENCE_S", 0.2)

    seen = read(file="import time\nwhile True: time.sleep(1)")

    assert "gunicorn.conf.py: it did not end within 0.2 s" == seen.unread


def test_file_runs_in_a_process_of_its_own(read):
    """What it patches or starts is not done here."""
    read(file="import sys\nsys.modules['patched_by_gunicorn_conf'] = sys")

    assert "patched_by_gunicorn_conf" not in sys.modules


# --- nginx ---

NGINX = """
worker_processes auto;  # a comment with { and ;
http {
    log_format main '$remote_addr {"a": "b;"}';
    proxy_read_timeout 2m;
    server {
        server_name app.example www.app.example;
        location / { try_files $uri @app; }
        location ~ "^/v[0-9]{2}/" { proxy_pass http://${backend}:8000; }
        location /chat {
            proxy_pass http://127.0.0.1:8000;
            proxy_read_timeout 10s;
            proxy_ignore_headers Cache-Control;
            proxy_ignore_headers X-Accel-Buffering;
        }
        location @app { uwsgi_pass unix:/run/app.sock; uwsgi_buffering off; }
        proxy_ignore_headers Expires;
    }
}
"""


def test_blocks_that_pass_requests_on_are_found():
    """What holds in a block is its own, or that of the blocks around it, before or after it."""
    assert proxy_blocks(NGINX) == (
        ProxyBlock(
            where="nginx (server app.example www.app.example, location ~ ^/v[0-9]{2}/)",
            read_timeout_s=120,
        ),
        ProxyBlock(
            where="nginx (server app.example www.app.example, location /chat)",
            ignores_header=True,
            read_timeout_s=10,
        ),
        ProxyBlock(
            where="nginx (server app.example www.app.example, location @app)", buffers=False
        ),
    )


@pytest.mark.parametrize(
    ("directives", "block"),
    [
        ("", {}),
        ("proxy_buffering off;", {"buffers": False}),
        ("proxy_buffering on;", {}),
        ("proxy_ignore_headers x-accel-buffering Expires;", {"ignores_header": True}),
        ("uwsgi_ignore_headers X-Accel-Buffering;", {}),
        ("proxy_read_timeout 90;", {"read_timeout_s": 90}),
        ("proxy_read_timeout 500ms;", {"read_timeout_s": 0.5}),
        ("proxy_read_timeout 1h30m;", {"read_timeout_s": 5400}),
        ("proxy_read_timeout $patience;", {}),
        ("proxy_read_timeout;", {}),
    ],
)
def test_directive_is_understood(directives, block):
    """Times in nginx's units; what is not understood is as if it was not there."""
    text = f"server {{ {directives} location / {{ proxy_pass http://a; }} }}"

    assert (ProxyBlock(where="nginx (server, location /)", **block),) == proxy_blocks(text)


@pytest.mark.parametrize("text", ["", "}", "{", ";;", "a {", 'a "b', "server { location / {", "\\"])
def test_text_that_is_no_configuration_has_no_blocks(text):
    """And fails of nothing."""
    assert () == proxy_blocks(text)


def test_included_files_are_read(tmp_path):
    """Once each, with what holds where they are included."""
    (tmp_path / "sites").mkdir()
    main = tmp_path / "nginx.conf"
    main.write_text("http { proxy_read_timeout 5s; include sites/*.conf; include none.conf; }")
    chat = "server { listen 80; include nginx.conf; location / { proxy_pass http://a; } }"
    (tmp_path / "sites" / "chat.conf").write_text(chat)

    blocks = read_nginx(main)

    assert blocks == (ProxyBlock(where="nginx (server 80, location /)", read_timeout_s=5),)


def test_missing_file_is_an_error(tmp_path):
    """The path was given."""
    with pytest.raises(FileNotFoundError):
        read_nginx(tmp_path / "nginx.conf")
