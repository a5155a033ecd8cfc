"""The pytest plugin: the fixture `fake_llm`, the mark `cassette`, the option `--cassettes`.

pytest loads it at every start, for whoever has this package: all else is imported at its first use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable

import pytest

if TYPE_CHECKING:
    import pathlib

    from cloudllm_sync.testing.playing import Player
    from cloudllm_sync.testing.server import FakeServer
    from cloudllm_sync.testing.taping import Tape

# Tells what went wrong that a test may not have seen; is told whether the test failed of itself.
_Check = Callable[[bool], str]

# Both hold the tests that run now, by id.
_checks: dict[str, list[_Check]] = {}
_cassettes: dict[str, contextlib.ExitStack] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --cassettes."""
    parser.getgroup("cloudllm").addoption(
        "--cassettes",
        choices=("replay", "record"),
        default="replay",
        help="what tests marked with cassette do: replay what was recorded (the default), or ask "
        "the providers, with your keys, and record it",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers",
        "cassette(name=None, *, timed=False): replies of language models are recorded once, by "
        "--cassettes=record, and replayed from then on; timed: as slowly as they came",
    )


@pytest.fixture
def fake_llm(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    """A FakeServer that all clients of this process talk to, wherever they are made.

    `fake_llm.add("Hello there")` gives it the reply to one request; `fake_llm.requests` is what it
    was asked. A request that there is no reply for fails the test.
    """
    from cloudllm_sync.testing.detour import detour, fake_keys
    from cloudllm_sync.testing.server import FakeServer

    with FakeServer() as server, fake_keys(), detour(server.url):
        with _checked(request.node, lambda failed: _refused(server, failed)):
            yield server


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin a cassette before the fixtures, which may ask, too."""
    mark = item.get_closest_marker("cassette")
    if mark is not None:
        _cassettes[item.nodeid] = stack = contextlib.ExitStack()
        stack.enter_context(_cassette(item, *mark.args, **mark.kwargs))


@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Fail a test that passed although something went wrong: applications handle errors."""
    wrong = _wrong(item.nodeid, failed=False)
    if wrong:
        pytest.fail(wrong, pytrace=False)


def pytest_exception_interact(node: Any, report: Any) -> None:
    """Show beside a failure what may be its cause."""
    wrong = _wrong(node.nodeid, failed=True)
    if wrong and wrong.split("\n")[0] not in str(report.longrepr):
        report.sections.append(("What the language model was asked", wrong))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """End a cassette after the fixtures."""
    yield
    stack = _cassettes.pop(item.nodeid, None)
    if stack is not None:
        stack.close()


@contextlib.contextmanager
def _cassette(item: pytest.Item, name: str | None = None, *, timed: bool = False) -> Iterator[None]:
    """The mark's arguments; its cassette, for as long as the test runs."""
    from cloudllm_sync.testing.cassette import file_name

    own = "::".join([item.path.stem, *item.nodeid.split("::")[1:]])
    path = item.path.parent / "cassettes" / file_name(own if name is None else name)
    if item.config.getoption("cassettes") == "record":
        from cloudllm_sync.testing.taping import recording

        with recording(path) as tape, _checked(item, lambda failed: _silent(tape, failed)):
            yield
        return
    how = f"ask the provider, with your key: pytest --cassettes=record {item.nodeid!r}"
    with contextlib.ExitStack() as stack:
        player = stack.enter_context(_replaying(path, timed, how))
        stack.enter_context(_checked(item, lambda failed: _changed(player, failed, path, how)))
        yield


@contextlib.contextmanager
def _replaying(path: pathlib.Path, timed: bool, how: str) -> Iterator[Player]:
    from cloudllm_sync.testing.playing import replaying

    with contextlib.ExitStack() as stack:
        try:
            player = stack.enter_context(replaying(path, timed=timed))
        except FileNotFoundError:
            pytest.fail(f"there is no cassette {path}\nto record it, {how}", pytrace=False)
        except ValueError as error:
            pytest.fail(f"{path}: {error}\nto record it again, {how}", pytrace=False)
        yield player


def _silent(tape: Tape, failed: bool) -> str:
    if failed or tape.answers:
        return ""
    return "nothing was recorded: no client of this process had an answer"


def _changed(player: Player, failed: bool, path: pathlib.Path, how: str) -> str:
    changes, unsent = player.changes, player.unsent
    if not changes and (failed or not unsent):
        return ""
    if not changes:
        changes = ("requests that were recorded were not sent:", *unsent)
    return "\n".join([f"{path}:", *changes, f"if that is as it should be, {how}"])


def _refused(server: FakeServer, failed: bool) -> str:
    refusals, left = server.refusals, server.entries_left
    if refusals:
        return "\n".join(["fake_llm could not answer:", *refusals])
    return f"fake_llm: {left} of the replies were not asked for" if failed and left else ""


@contextlib.contextmanager
def _checked(item: pytest.Item, check: _Check) -> Iterator[None]:
    """Look at it when the test is through."""
    checks = _checks.setdefault(item.nodeid, [])
    checks.append(check)
    try:
        yield
    finally:
        checks.remove(check)
        if not checks:
            del _checks[item.nodeid]


def _wrong(test: str, *, failed: bool) -> str:
    return "\n\n".join(filter(None, [check(failed) for check in _checks.get(test, ())]))
