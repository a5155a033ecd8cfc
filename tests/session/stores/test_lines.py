"""Conversations as lines of JSON: nothing is lost on the way, nothing half of a line comes in."""

from __future__ import annotations

import io
import json
import tracemalloc

import pytest

from cloudllm_sync import (
    ConfigurationError,
    MemoryStore,
    Message,
    Role,
    StoredSession,
    StoreError,
    TokenUsage,
    ToolCall,
)

HI = Message(Role.USER, "my-private-prompt \u2028\n\r\x85 \ud83d ü")
HELLO = Message(Role.ASSISTANT, "", tool_calls=(ToolCall("c", "look", "{"),), reasoning="so")
FULL = StoredSession(
    1, (HI, HELLO), 2, TokenUsage(4, 5, 9, None, 0), TokenUsage(1, 2, 3), {"a": [None, "ü"]}
)


@pytest.fixture
def full():
    """A store with three conversations."""
    store = MemoryStore()
    store.replace("a", 0, FULL)
    store.append("b", 0, [], None)
    store.append("c", 0, [HI], TokenUsage(1, 2, 3))
    return store


@pytest.fixture
def lines(full):
    """Its export, line by line."""
    file = io.StringIO()
    full.export(file)
    return file.getvalue().splitlines(keepends=True)


def names(store):
    return [info.session_id for info in store.sessions(limit=1000)]


def test_conversations_go_from_one_store_to_another(full, store, tmp_path):
    """All of them, to the last field; also back again."""
    assert full.export(tmp_path / "all.jsonl") == 3

    assert store.import_(tmp_path / "all.jsonl") == 3
    assert store.export(str(tmp_path / "again.jsonl")) == 3
    back = MemoryStore()
    assert back.import_(str(tmp_path / "again.jsonl")) == 3

    for name in "abc":
        assert full.load(name) == store.load(name) == back.load(name)


def test_prefix_chooses(full):
    """As in the table of contents."""
    full.append("a/1", 0, [HI], None)
    file = io.StringIO()

    assert full.export(file, prefix="a") == 2
    assert ["a", "a/1"] == [json.loads(line)["session_id"] for line in file.getvalue().splitlines()]


def test_more_conversations_than_a_page_are_exported():
    """Each once."""
    store, file = MemoryStore(), io.StringIO()
    for number in range(250):
        store.append(f"{number:03}", 0, [HI], None)

    assert store.export(file) == 250
    assert len(file.getvalue().splitlines()) == 250


def test_line_is_one_line_for_every_reader(tmp_path, full):
    """Whatever was said; it ends with a newline on every system."""
    full.export(tmp_path / "all.jsonl")

    written = (tmp_path / "all.jsonl").read_bytes()
    assert (3, 0) == (written.count(b"\n"), written.count(b"\r"))


def test_failing_export_leaves_the_one_before(tmp_path, full):
    """Nor is half a file left beside it."""
    path = tmp_path / "all.jsonl"
    full.export(path)
    before = path.read_bytes()
    full.load = None

    with pytest.raises(TypeError):
        full.export(path)

    assert before == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("way", ["export", "import_"])
def test_file_that_cannot_be_opened_is_named(tmp_path, full, way):
    """With the system's words."""
    with pytest.raises(StoreError, match=r"all\.jsonl.* cannot be .*: No such file"):
        getattr(full, way)(tmp_path / "gone" / "all.jsonl")


@pytest.mark.parametrize("way", ["export", "import_"])
@pytest.mark.parametrize("file", [None, 7])
def test_what_is_no_file_is_refused(full, way, file):
    """Before anything is done."""
    with pytest.raises(ConfigurationError, match="must be a path, or a file"):
        getattr(full, way)(file)


def test_file_opened_as_bytes_is_refused(full, tmp_path):
    """The error says how to open it."""
    with open(tmp_path / "all.jsonl", "wb") as file:
        with pytest.raises(ConfigurationError, match="opened as text"):
            full.export(file)


def damaged(line, **changes):
    record = {**json.loads(line), **changes}
    return json.dumps({name: value for name, value in record.items() if value is not ...})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda line: line[: len(line) // 2], "no conversation"),
        (lambda line: "my notes", "no conversation"),
        (lambda line: "[]", "no conversation"),
        (lambda line: "[" * 100_000, "no conversation"),
        (lambda line: damaged(line, messages=...), "messages"),
        (lambda line: damaged(line, messages=[{"role": "user"}]), "content"),
        (lambda line: damaged(line, messages=[{"role": "nobody", "content": ""}]), "role"),
        (lambda line: damaged(line, usage={"input_tokens": "1"}), "TokenUsage"),
        (lambda line: damaged(line, notes=[]), "notes"),
        (lambda line: damaged(line, session_id="a\0b"), "session_id must be"),
        (lambda line: damaged(line, session_id=7), "session_id must be"),
        (lambda line: damaged(line, format=2), "newer cloudllm_sync .*format 2.*upgrade"),
        (lambda line: damaged(line, format="1"), "no conversation"),
        (lambda line: damaged(line, format=...), "format"),
    ],
)
def test_damaged_line_is_named_and_nothing_of_it_comes_in(lines, damage, words):
    """Those before it stay; the error says how many they are."""
    store = MemoryStore()
    lines[2] = damage(lines[2]) + "\n"

    with pytest.raises(StoreError, match=f"^line 3, after 2 conversations.*({words})"):
        store.import_(io.StringIO("".join(lines)))

    assert ["a", "b"] == names(store)


def test_bytes_that_are_no_text_are_an_error(tmp_path, lines):
    """A picture, say."""
    (tmp_path / "all.jsonl").write_bytes(b"\x89PNG\xff")

    with pytest.raises(StoreError, match="it is no UTF-8"):
        MemoryStore().import_(tmp_path / "all.jsonl")


def test_empty_lines_are_passed_over(tmp_path, lines):
    """Numbers count them; so does a mark that some editors put in front."""
    (tmp_path / "all.jsonl").write_text("\ufeff\n\n" + "\r\n".join(lines), "utf-8")
    store = MemoryStore()

    assert store.import_(tmp_path / "all.jsonl") == 3
    assert ["a", "b", "c"] == names(store)


def test_conversation_that_is_there_stays(lines, store):
    """Unless it is to be replaced; the error says how."""
    store.append("b", 0, [HELLO], None)
    store.append("b", 1, [HELLO], None)

    with pytest.raises(StoreError, match=r"^line 2, after 1 .*'b' is there already.*replace=True"):
        store.import_(io.StringIO("".join(lines)))

    assert store.load("b").messages == (HELLO, HELLO)
    assert store.import_(io.StringIO("".join(lines)), replace=True) == 3
    assert (3, ()) == (store.load("b").version, store.load("b").messages)


def test_conversation_that_is_changed_meanwhile_is_replaced(lines):
    """The import looks again; whoever based his turn on the old one is refused."""

    class Busy(MemoryStore):
        left = 3

        def replace(self, session_id, base_version, stored):
            if self.left:
                self.left -= 1
                self.append(session_id, base_version, [HELLO], None)
            super().replace(session_id, base_version, stored)

    store = Busy()

    assert store.import_(io.StringIO("".join(lines)), replace=True) == 3
    assert store.load("a").messages == FULL.messages


def test_what_was_said_is_in_no_report(lines, report_of):
    """Nor what a damaged line may hold."""
    store = MemoryStore()
    broken = lines[0].replace('"role":"user"', '"role":"x"', 1)

    with pytest.raises(StoreError) as caught:
        store.import_(io.StringIO(broken))

    assert "my-private-prompt" not in report_of(caught.value)


def test_no_more_than_one_conversation_is_in_memory(tmp_path):
    """However many there are."""

    class Endless(MemoryStore):
        """One conversation under many names."""

        def sessions(self, *, prefix="", after="", limit=100):
            first = int(after or 0) + 1
            info = super().sessions()[0]
            return tuple(
                type(info)(f"{number:05}", info.length, info.usage, 0.0)
                for number in range(first, min(first + limit, 200))
            )

        def load(self, session_id, *, newest=None):
            return super().load("00001")

    store = Endless()
    store.append("00001", 0, [Message(Role.USER, "x" * 100_000)], None)

    tracemalloc.start()
    store.export(tmp_path / "all.jsonl")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert (tmp_path / "all.jsonl").stat().st_size > 19_000_000
    assert peak < 3_000_000
