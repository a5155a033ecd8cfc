"""Files that were written once: every later version reads them."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil

import pytest

from cloudllm_sync import (
    Attachment,
    MemoryStore,
    Message,
    Role,
    SQLiteStore,
    StoredSession,
    TokenUsage,
    ToolCall,
)

# Written by the version that introduced a format; a change of it adds files, and changes none.
FORMATS = pathlib.Path(__file__).parent / "formats"

CHAT = StoredSession(
    2,
    (
        Message(Role.SYSTEM, "Be brief."),
        Message(
            Role.USER,
            "Grüße \u2028 \0 😀 \ud83d",
            attachments=(
                Attachment.from_bytes(b"\x89PNG\r\n\x1a\n", name="ü.png"),
                Attachment.from_url("https://example.com/cat.png"),
            ),
        ),
        Message(
            Role.ASSISTANT,
            "",
            tool_calls=(ToolCall("c1", "look", '{"at": "th'),),
            reasoning="because",
            refusal="no",
            citations=("https://example.com",),
            finish_reason="tool_calls",
            raw_finish_reason="tool_use",
            usage=TokenUsage(1, 2, 3, None, 0, 7),
            model="m",
            response_id="r",
            provider_state={"anthropic": [{"signature": "abc=", "deep": [1, None, 2.5]}]},
        ),
        Message(Role.TOOL, "42", tool_call_id="c1"),
    ),
    4,
    TokenUsage(11, 22, 33, None, 0, 7),
    TokenUsage(1, 2, 3, None, 0, 7),
    {"summary": "ü", "numbers": [1, 2.5, None]},
)


@pytest.mark.parametrize("path", sorted(FORMATS.glob("*.db")), ids=lambda path: path.name)
def test_sqlite_file_is_read_for_ever(tmp_path, path):
    """And goes on."""
    shutil.copy(path, tmp_path / "chats.db")

    with contextlib.closing(SQLiteStore(tmp_path / "chats.db")) as store:
        assert CHAT == store.load("chat")
        assert ["chat", "empty"] == [info.session_id for info in store.sessions()]
        store.append("chat", 2, CHAT.messages, None)
        assert CHAT.messages * 2 == store.load("chat").messages


@pytest.mark.parametrize("path", sorted(FORMATS.glob("*.jsonl")), ids=lambda path: path.name)
def test_exported_lines_are_read_for_ever(path):
    """As they were."""
    store = MemoryStore()

    assert store.import_(path) == 2
    stored = store.load("chat")
    assert (CHAT.messages, CHAT.usage, CHAT.last_usage, CHAT.notes) == (
        stored.messages,
        stored.usage,
        stored.last_usage,
        stored.notes,
    )


def test_what_is_written_today_has_files_here(tmp_path):
    """Who raises the format adds its files."""
    store = MemoryStore()
    store.replace("chat", 0, CHAT)
    store.export(tmp_path / "now.jsonl")
    now = json.loads((tmp_path / "now.jsonl").read_text("utf-8"))["format"]

    assert (FORMATS / f"format-{now}.jsonl").exists()
    assert (FORMATS / f"format-{now}.db").exists()
