"""Heads and records: what is written today is read for ever, what is newer is refused."""

from __future__ import annotations

import json

import attrs
import pytest

from cloudllm_sync import Message, Role, StoreError, TokenUsage
from cloudllm_sync.session.stores.changes import Change, Head, to_json

HEAD = Head(
    version=3,
    length=2,
    usage=TokenUsage(1, 2, 3, None, 0),
    last_usage=TokenUsage(1, 2, 3),
    notes={"a": ["ü", None]},
    recent=("x", "y"),
)


def test_head_is_read_as_it_was_written():
    """To the last field."""
    assert Head.from_text(HEAD.to_text(), "chat") == HEAD


def test_newer_head_is_refused():
    """The error says whose it is and what to do."""
    record = {**json.loads(HEAD.to_text()), "format": 2}

    with pytest.raises(StoreError, match=r"'chat' was written by a newer .*format 2.*upgrade"):
        Head.from_text(json.dumps(record), "chat")


@pytest.mark.parametrize("field", ["format", *(field.name for field in attrs.fields(Head))])
def test_head_without_a_field_is_damaged(field):
    """Nothing is guessed."""
    record = json.loads(HEAD.to_text())
    del record[field]

    with pytest.raises(StoreError, match="'chat' is damaged"):
        Head.from_text(json.dumps(record), "chat")


def test_head_remembers_the_latest_changes():
    """And no more of them than can matter."""
    change = Change(records=("{}",), next_head=lambda head: head)
    head = Head()

    for number in range(20):
        head = change.head_after(head, str(number))

    assert (20, 20) == (head.version, head.length)
    assert tuple(str(number) for number in range(12, 20)) == head.recent


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"a": "ü \u2028\n"}, '{"a":"ü \u2028\\n"}'),
        ({"a": "half \ud83d"}, '{"a":"half \\ud83d"}'),
    ],
)
def test_text_is_one_line_that_every_database_takes(record, text):
    """Readable, unless it holds half a character."""
    assert text == to_json(record)
    assert json.loads(text) == record


def test_what_is_said_is_in_no_repr():
    """Tools that report errors show local variables."""
    change = Change(records=(to_json({"content": "private"}),), next_head=lambda head: head)
    message = Message(Role.USER, "private")

    assert "private" in repr(message)
    assert "private" not in repr(change) + repr(attrs.evolve(HEAD, notes={"a": "private"}))
