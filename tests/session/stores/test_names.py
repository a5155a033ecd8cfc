"""Names of conversations, and ranges of them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from cloudllm_sync import ConfigurationError
from cloudllm_sync.session.stores.names import checked_page, checked_session_id, prefix_end

TEXT = strategies.text(strategies.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("name", ["a", "chat-42", "Grüße 😀", " ", "a" * 255, "ü" * 127])
def test_name_that_every_store_can_keep_is_taken(name):
    """As it is."""
    assert name == checked_session_id(name)


@pytest.mark.parametrize(
    "name", ["", "a" * 256, "ü" * 128, "a\0b", "a\nb", "\x7f", "\ud83d", None, 7, b"a"]
)
def test_name_that_some_store_cannot_keep_is_refused(name):
    """Before anything is asked of the store, and by all stores alike."""
    with pytest.raises(ConfigurationError, match="session_id must be"):
        checked_session_id(name)


@pytest.mark.parametrize(
    "page",
    [("a\0", "", 1), ("", "\ud83d", 1), (None, "", 1), ("", "", 0), ("", "", True), ("", "", 1.5)],
)
def test_page_that_cannot_be_looked_for_is_refused(page):
    """The error says which argument is wrong."""
    with pytest.raises(ConfigurationError, match=r"^(prefix|after|limit) must be"):
        checked_page(*page)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("", None),
        ("a", "b"),
        ("a%", "a&"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("\ud7ff", "\ue000"),
    ],
)
def test_prefix_ends_before(prefix, end):
    """The next character, without the surrogates, which are no text."""
    assert end == prefix_end(prefix)


@given(TEXT, TEXT)
def test_range_holds_what_begins_so_and_nothing_else(prefix, name):
    """For every text; UTF-8 sorts as code points do."""
    end = prefix_end(prefix)
    inside = prefix <= name and (end is None or name < end)

    assert name.startswith(prefix) == inside
