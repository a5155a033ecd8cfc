"""Keys: checked when they come in, shown to nobody."""

from __future__ import annotations

import copy
import pickle

import pytest

from cloudllm_sync import ConfigurationError
from cloudllm_sync.transport.credentials import ApiKey, mask_urls

SECRET = "sk-0123456789"


@pytest.mark.parametrize("value", [SECRET, f" {SECRET}\n", f"\t{SECRET}\r\n"])
def test_white_space_around_a_key_is_taken_off(value):
    """Copied from a file, it has a line end."""
    assert ApiKey(value, "api_key").reveal() == SECRET


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("sk 01", "U\\+0020"),
        ("sk\n01", "U\\+000A"),
        ("sk\x00", "U\\+0000"),
        ("sk\x7f", "U\\+007F"),
        ("sk–01", "U\\+2013"),
        (None, "NoneType"),
        (b"sk", "bytes"),
        (5, "int"),
    ],
)
def test_key_that_no_header_can_carry_is_refused(value, words):
    """Its source is named, the key is not shown."""
    with pytest.raises(ConfigurationError, match=f"OPENAI_API_KEY.*{words}") as caught:
        ApiKey(value, "OPENAI_API_KEY")

    assert "sk" not in str(caught.value)


def test_key_is_not_shown():
    """By repr, str, format, vars."""
    key = ApiKey(SECRET, "api_key")

    assert SECRET not in f"{key} {key!r} {[key]}"
    assert not hasattr(key, "__dict__")


@pytest.mark.parametrize("take", [pickle.dumps, copy.deepcopy, copy.copy])
def test_key_does_not_pickle(take):
    """It stays in its process."""
    with pytest.raises(TypeError, match="does not pickle"):
        take(ApiKey(SECRET, "api_key"))


def test_key_in_a_text_is_masked():
    """Everywhere in it."""
    assert ApiKey(SECRET, "api_key").mask(f"{SECRET}, {SECRET}!") == "***, ***!"


def test_short_key_masks_no_words():
    """A test's one-letter key must not tear every message apart."""
    assert ApiKey("k", "api_key").mask("check the key") == "check the key"


def test_user_and_password_in_an_address_are_masked():
    """Proxies have them."""
    text = "via http://me:secret@proxy:3128/ and https://you@host/path@x"

    assert mask_urls(text) == "via http://***@proxy:3128/ and https://***@host/path@x"
