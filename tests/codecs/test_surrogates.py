"""Halves of characters: joined, held back, replaced."""

from __future__ import annotations

import pytest

from cloudllm_sync.codecs.surrogates import Joiner, well_formed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("aé🌧", "aé🌧"),
        ("\ud83c\udf27", "🌧"),
        ("a\ud83cb", "a\ufffdb"),
        ("\udf27\ud83c", "\ufffd\ufffd"),
    ],
)
def test_text_is_made_well_formed(text, expected):
    """Pairs become characters, lone halves U+FFFD."""
    assert expected == well_formed(text)


def test_channels_hold_their_own_halves():
    """What is held back of one text does not reach another."""
    joiner = Joiner()
    shown = [joiner.push("a", "x\ud83c"), joiner.push("b", "y"), joiner.push("a", "\udf27z")]

    assert shown == ["x", "y", "🌧z"]
    assert (joiner.rest("a"), joiner.rest("b")) == ("", "")


def test_rest_is_asked_for_once():
    """U+FFFD for a half that stayed alone."""
    joiner = Joiner()
    joiner.push("a", "\ud83c")

    assert [joiner.rest("a"), joiner.rest("a")] == ["\ufffd", ""]
