"""The corpus of recorded replies: where it is, its cases, and what each of them has to give."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any, Optional

import attrs
import pytest

from cloudllm_sync import APIError, Message, MessageChunk

_ROOT = pathlib.Path(
    os.environ.get("CLOUDLLM_CORPUS")
    or pathlib.Path(__file__).resolve().parents[3] / "shared" / "wire" / "corpus"
)
_MISSING = f"no corpus at {_ROOT}: set CLOUDLLM_CORPUS"


@attrs.frozen
class Case:
    """One recording: its bytes, how it was delivered, and its expectations."""

    name: str
    api: str
    body: bytes = attrs.field(repr=False)
    status: int
    headers: dict[str, str]
    expected: dict[str, Any] = attrs.field(repr=False)


@attrs.frozen
class Outcome:
    """What became of a recording: the reply, or what an error left of it, and the chunks."""

    message: Optional[Message]
    error: Optional[APIError]
    chunks: tuple[MessageChunk, ...]


def _load(path: pathlib.Path) -> Case:
    about = path.with_name(path.name.replace(".response.json", ".expected.json"))
    about = about if about != path else path.with_suffix(".json")
    meta = json.loads(about.read_bytes())
    name = f"{path.parent.name}/{path.name.split('.')[0]}"
    http = meta["http"]
    return Case(
        name, meta["api"], path.read_bytes(), http["status"], http["headers"], meta["expected"]
    )


def _cases(api: str, suffix: str) -> list[Case]:
    """The cases of one API, by the prefix of their file names."""
    return [_load(path) for path in sorted(_ROOT.glob(f"*/{api}-*{suffix}"))]


def pytest_generate_tests(metafunc):
    """Parametrise `stream_case` and `whole_case` by the module's API_PREFIX."""
    for argument, suffix in (("stream_case", ".sse"), ("whole_case", ".response.json")):
        if argument not in metafunc.fixturenames:
            continue
        cases = [
            pytest.param(case, id=case.name) for case in _cases(metafunc.module.API_PREFIX, suffix)
        ]
        absent = pytest.param(None, marks=pytest.mark.skip(reason=_MISSING))
        metafunc.parametrize(argument, cases or [absent], scope="module")


def _call_arguments(text: str) -> Any:
    """Parsed, as layout and escapes are the server's own; as text where a length cut broke them."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def _calls(calls: list[tuple[Any, str, str]]) -> list[tuple[Any, str, Any]]:
    return [(call_id, name, _call_arguments(arguments)) for call_id, name, arguments in calls]


def _usage(usage: dict[str, Any] | None) -> tuple[Any, ...] | None:
    names = (
        "input_tokens_total",
        "output_tokens_total",
        "total_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
    )
    return None if usage is None else tuple(usage[name] for name in names)


def _said(expected: dict[str, Any]) -> dict[str, Any]:
    calls = [(call["id"], call["name"], call["arguments"]) for call in expected["tool_calls"]]
    return {
        "content": expected["content"],
        "reasoning": expected["reasoning"],
        "refusal": expected["refusal"],
        "finish_reason": expected["finish_reason"],
        "raw_finish_reason": expected["finish_reason_raw"],
        "tool_calls": _calls(calls),
        "usage": _usage(expected["usage"]),
        "citations": expected["citations"],
        "model": expected["model"],
        "response_id": expected["id"],
    }


def _got(message: Message | None, expected: dict[str, Any]) -> dict[str, Any] | None:
    if message is None:
        return None
    ids = [call["id"] for call in expected["tool_calls"]]
    ids += [""] * (len(message.tool_calls) - len(ids))
    calls = [
        (None if known is None else call.id, call.name, call.arguments)
        for known, call in zip(ids, message.tool_calls)
    ]
    usage = message.usage
    return {
        "content": message.content,
        "reasoning": message.reasoning,
        "refusal": message.refusal,
        "finish_reason": message.finish_reason,
        "raw_finish_reason": message.raw_finish_reason,
        "tool_calls": _calls(calls),
        "usage": None if usage is None else attrs.astuple(usage),
        "citations": list(message.citations),
        "model": message.model,
        "response_id": message.response_id,
    }


@pytest.fixture(scope="session")
def corpus_size():
    """Counts the streams and the whole replies of one API."""
    if not _ROOT.is_dir():
        pytest.skip(_MISSING)

    def count(prefix: str, api: str) -> tuple[int, int]:
        streams, wholes = _cases(prefix, ".sse"), _cases(prefix, ".response.json")
        assert {api} == {case.api for case in streams + wholes}
        return len(streams), len(wholes)

    return count


@pytest.fixture(scope="session")
def outcome_of():
    """The class that a test fills in with what it saw."""
    return Outcome


@pytest.fixture(scope="session")
def assert_as_recorded():
    """Compare an outcome with a case's expectations, all fields at once."""

    def check(case: Case, outcome: Outcome, *, streamed: bool) -> None:
        expected = dict(case.expected)
        reported = expected["error"]
        anything = any(expected[name] for name in ("content", "reasoning", "refusal", "tool_calls"))
        wanted = None if reported and not anything else _said(expected)

        assert _got(outcome.message, expected) == wanted
        assert (outcome.error is None) == (reported is None)
        if reported is not None:
            code = reported["code"]
            assert reported["message"] in str(outcome.error)
            assert outcome.error.type == reported["type"]
            assert outcome.error.code == (None if code is None else str(code))
        if streamed:
            deltas = sum(1 for chunk in outcome.chunks if chunk.content)
            assert deltas == expected["text_deltas"]
            assert "".join(chunk.content for chunk in outcome.chunks) == expected["content"]

    return check
