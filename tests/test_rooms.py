"""The house: who may import whom, how large a module may be, what it may be called."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

import cloudllm_sync

PACKAGE = pathlib.Path(cloudllm_sync.__file__).parent
NAME = "cloudllm_sync"

# From ARCHITECTURE.md: a room imports itself and what stands above it.
FLOORS = (
    ("known_types",),
    ("attachments", "objects", "prices", "schemas"),
    ("values",),
    ("records",),
    ("errors",),
    ("codecs",),
    ("transport",),
    ("streaming",),
    ("clients",),
    ("session",),
    ("relay", "web", "testing", "telemetry", "cli"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
EDGES = FLOORS[-1]
WIRE = {"requests", "urllib3", "sseclient"}
MAX_LINES = 400
# Names that say nothing.
NAMELESS = {"util", "utils", "helper", "helpers", "common", "base", "misc", "tools_common"}

MODULES = sorted(PACKAGE.rglob("*.py"))
INSIDE = [path for path in MODULES if path != PACKAGE / "__init__.py"]


def shown(path):
    return path.relative_to(PACKAGE).as_posix()


def room_of(path):
    """The first part of the path below the package: a folder, or a module by itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_by(source, path):
    """The full names of all modules that a source imports, wherever in it, also for types only."""
    package = [NAME, *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield module
            # `from cloudllm_sync import cli` imports a room, too.
            if module == NAME:
                yield from (f"{NAME}.{alias.name}" for alias in node.names)


def faults_in(source, path):
    """The imports of a source that the house does not allow."""
    own = room_of(path)
    for name in imported_by(source, path):
        top, _, below = name.partition(".")
        if top in WIRE and own != "transport":
            yield f"{shown(path)} imports {top}, which only transport knows"
        if top != NAME:
            continue
        room = below.partition(".")[0]
        if room == "":
            continue  # the package itself; its names are looked at one by one
        if room not in FLOOR_OF:
            yield f"{shown(path)} imports {name}, which is no room: import from where it is made"
        elif room != own and FLOOR_OF[room] >= FLOOR_OF[own]:
            yield f"{shown(path)} imports {name}, which is not above it"


@pytest.mark.parametrize("path", INSIDE, ids=shown)
def test_module_is_in_a_room(path):
    """A new room gets a place in ARCHITECTURE.md first, and then in this test."""
    assert room_of(path) in FLOOR_OF


@pytest.mark.parametrize("path", INSIDE, ids=shown)
def test_imports_go_upwards_only(path):
    """Never to a room below, never from edge to edge, and to the wire by transport alone."""
    assert list(faults_in(path.read_text("utf-8"), path)) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("values.py", "from cloudllm_sync.errors import CloudLLMError"),
        ("codecs/x.py", "import cloudllm_sync.transport.http"),
        ("codecs/x.py", "def f():\n    from cloudllm_sync.clients import client"),
        ("codecs/x.py", "from cloudllm_sync import session"),
        ("codecs/x.py", "from cloudllm_sync import Message"),
        ("codecs/x.py", "from ..transport import http"),
        ("codecs/x.py", "from .. import transport"),
        ("session/stores/x.py", "from ...web import flask"),
        ("web/flask.py", "from cloudllm_sync.relay import publish"),
        ("cli.py", "from cloudllm_sync.testing import FakeServer"),
        ("streaming/x.py", "import requests"),
        ("clients/x.py", "from urllib3.util import Retry"),
        ("testing/x.py", "import sseclient"),
    ],
)
def test_forbidden_import_is_found(path, source):
    """The check itself sees imports of every form."""
    assert list(faults_in(source, PACKAGE / path))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("errors.py", "from cloudllm_sync.values import Message"),
        ("codecs/x.py", "from . import accumulator"),
        ("codecs/x.py", "from cloudllm_sync.codecs.accumulator import Accumulator"),
        ("transport/x.py", "import requests, urllib3.util"),
        ("session/stores/x.py", "from ..turns import Ticket"),
        ("cli.py", "from cloudllm_sync.session.session import LLMSession"),
        ("web/flask.py", "import flask"),
    ],
)
def test_allowed_import_is_not_complained_of(path, source):
    """The check itself is not too strict."""
    assert list(faults_in(source, PACKAGE / path)) == []


@pytest.mark.parametrize(
    "statement",
    [f"import {NAME}", f"from {NAME} import *"],
    ids=["package", "every name"],
)
def test_import_of_the_package_loads_no_edge(statement):
    """Nobody pays for what is not used: no web framework, no test server, no command line."""
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = ran.stdout.split()
    below = {name.split(".")[1] for name in loaded if name.startswith(f"{NAME}.")}
    assert below.isdisjoint(EDGES)
    assert {"flask", "django", "redis", "opentelemetry", "sqlalchemy", "sqlite3"}.isdisjoint(loaded)


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_module_is_short(path):
    """What does not fit is more than one step of the journey."""
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_module_is_named_for_what_it_does(path):
    """Neither it nor a folder that it is in is called utils."""
    parts = {part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts}

    assert parts.isdisjoint(NAMELESS)


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_module_says_what_it_is_for(path):
    """In its first line."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""

    assert docstring.partition("\n")[0].endswith((".", ":"))
