"""Keys: checked when they come in, shown to nobody."""

from __future__ import annotations

import base64
import copy
import html
import json
import pickle
import time
import traceback
import urllib.parse

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


@pytest.mark.parametrize("value", [f'"{SECRET}"', f"'{SECRET}'", f"`{SECRET}", f"{SECRET}'"])
def test_key_in_quotes_is_refused(value):
    """docker's --env-file takes quotes as part of the value; the provider would say 401."""
    with pytest.raises(ConfigurationError, match="take the quotes off") as caught:
        ApiKey(value, "OPENAI_API_KEY")

    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(
    "value", [f"“{SECRET}”", f"{SECRET}\r\nX-Evil: 1", SECRET.encode(), [SECRET]]
)
def test_refused_key_is_in_no_local_variable(value):
    """Tools that report errors show those of every frame."""
    with pytest.raises(ConfigurationError) as caught:
        ApiKey(value, "api_key")

    frames = [frame for frame, _ in traceback.walk_tb(caught.tb.tb_next)]
    assert [frame.f_code.co_name for frame in frames] == ["__init__"]
    assert SECRET not in repr([frame.f_locals for frame in frames])


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


def escaped(pattern, text):
    return "".join(pattern % ord(char) for char in text)


@pytest.mark.parametrize(
    "written",
    [
        json.dumps,
        lambda key: json.dumps(json.dumps(key)),
        lambda key: json.dumps(key).replace("/", "\\/"),
        lambda key: escaped("\\u%04x", key),
        lambda key: escaped("\\\\u%04X", key),
        lambda key: escaped("%%%02X", key),
        lambda key: urllib.parse.quote(key, safe=""),
        lambda key: urllib.parse.quote(key).lower(),
        html.escape,
        lambda key: escaped("&#%d;", key),
        lambda key: escaped("&#x%X;", key),
        lambda key: base64.b64encode(key.encode()).decode(),
        lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
        lambda key: base64.b64encode(f"me:{key}, and more".encode()).decode(),
        lambda key: base64.urlsafe_b64encode(f":{key}".encode()).decode(),
    ],
    ids=range(15),
)
@pytest.mark.parametrize("key", ["sk-ab/cd+ef=01&gh<ij~~~~~", "sk-0\"12'3&4567<>", "a1" * 100])
def test_key_is_masked_however_it_is_written(key, written):
    """Servers quote the header in JSON, in HTML, in a URL, or as they got it in Basic."""
    masked = ApiKey(key, "api_key").mask(f'{{"said": "{written(key)}!", "a\\u0041": "100 % &c"}}')

    assert "***" in masked
    assert masked.endswith('"a\\u0041": "100 % &c"}')
    for start in range(len(key) - 7):
        part = key[start : start + 8]
        assert part not in masked
        assert base64.b64encode(part.encode()).decode()[:8] not in masked


def test_key_that_was_cut_off_is_masked():
    """Long messages are shortened, wherever the key is in them. A family's name is no key."""
    key = ApiKey("sk-ant-api03-0123456789", "api_key")

    assert key.mask("wrong: sk-ant-api03-0123 (check it)") == "wrong: *** (check it)"
    assert key.mask("wrong: sk-ant-api03-01%32") == "wrong: ***"
    assert key.mask("keys begin with sk-ant-api") == "keys begin with sk-ant-api"


@pytest.mark.parametrize("noise", ["\\", "%", "&", "\\u00", "&#", "a", "sk-012345678"])
def test_masking_takes_time_in_proportion(noise):
    """An error body has 64 KiB of whatever a server likes; this took half a minute once."""
    key = ApiKey("sk-0123456789", "api_key")
    began = time.process_time()

    key.mask(noise * (64 * 1024 // len(noise)) + "%")

    assert time.process_time() - began < 5


def test_short_key_masks_no_words():
    """A test's one-letter key must not tear every message apart."""
    assert ApiKey("k", "api_key").mask("check the key") == "check the key"


def test_user_and_password_in_an_address_are_masked():
    """Proxies have them."""
    text = "via http://me:se@cret@proxy:3128/ and https://you@host/path@x, http://host?to=me@x"
    masked = "via http://***@proxy:3128/ and https://***@host/path@x, http://host?to=me@x"

    assert mask_urls(text) == masked
