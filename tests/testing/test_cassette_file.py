"""The file of a cassette: what is in it, what is not, and what is said of a changed request."""

from __future__ import annotations

import json

import attrs
import pytest

from cloudllm_sync.testing.cassette import (
    Exchange,
    difference,
    dumped,
    file_name,
    loaded,
    without_secrets,
)

KEY = "sk-0123456789abcdefghij"
ASKED = {"model": "gpt-5", "messages": [{"role": "user", "content": "Grüße"}]}
EXCHANGE = Exchange(
    "OpenAI",
    "/chat/completions",
    ASKED,
    status=200,
    headers={"content-type": "text/event-stream"},
    after_s=0.25,
    pieces=((0.5, 'data: {"a": "ü"}\r\n\r\n'.encode()), (0.125, b"data: [DONE]\n\n")),
    is_whole=True,
)


def mask(text):
    return text.replace(KEY, "***")


def kept(**fields):
    """The exchange with other fields, as it is kept."""
    return without_secrets(attrs.evolve(EXCHANGE, **fields), mask)


def test_file_holds_what_was_recorded():
    """Every byte and every time, of any number of exchanges."""
    refused = attrs.evolve(EXCHANGE, status=429, pieces=(), is_whole=False)
    exchanges = (EXCHANGE, refused, attrs.evolve(refused, is_cut=True))

    assert exchanges == loaded(dumped(exchanges))


def test_file_from_before_replies_could_be_left_is_read():
    """What was not whole in it was cut."""
    written = dumped([attrs.evolve(EXCHANGE, is_whole=False)])
    before = written.replace(b',\n"is_cut": false', b"")

    assert written != before
    assert loaded(before)[0].is_cut


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00", "ü".encode()[:1], b"\xed\xa0\x80", b'"\\\x7f\x1b', "\u2028".encode()]
)
def test_bytes_of_any_kind_come_back(data):
    """Also those that are no UTF-8, or half a character."""
    exchange = attrs.evolve(EXCHANGE, pieces=((0.0, data), (0.0, data)))

    assert (exchange,) == loaded(dumped([exchange]))


def test_file_is_text_with_a_line_for_each_event():
    """A change of a prompt, or of a reply, is a change of its lines."""
    lines = dumped([EXCHANGE]).decode().splitlines()

    assert '      "content": "Grüße"' in lines
    assert '  [0.5, "data: {\\"a\\": \\"ü\\"}\\r\\n\\r\\n"],' in lines
    assert '  [0.125, "data: [DONE]\\n\\n"]' in lines


def test_events_that_came_together_are_lines_of_their_own():
    """The second did not wait."""
    pieces = ((0.5, b"data: 1\n\ndata: 2\r\n\r\ndata: 3"), (0.25, b"\n\n:\n\n\n\ndata: 4\n\n"))

    exchange = kept(pieces=pieces)

    assert (
        (0.5, b"data: 1\n\n"),
        (0.0, b"data: 2\r\n\r\n"),
        (0.0, b"data: 3"),
        (0.25, b"\n\n"),
        (0.0, b":\n\n\n\n"),
        (0.0, b"data: 4\n\n"),
    ) == exchange.pieces


@pytest.mark.parametrize(
    "fields",
    [
        {"path": f"/chat/completions?key={KEY}"},
        {"path": "/chat/completions?api-version=1&api_key=abcdef&x=1"},
        {"asked": {KEY: [KEY, {"a": f"x{KEY}y"}]}},
        {"headers": {"x-request-id": KEY, "Set-Cookie": "a=abcdef", "Content-Type": KEY}},
        {"headers": {"openai-organization": "abcdef", "openai-project": "abcdef"}},
        {"pieces": ((0.0, f"wrong key {KEY}".encode()),)},
        {"pieces": ((0.0, KEY[:9].encode()), (1.0, KEY[9:].encode()))},
        {"pieces": ((0.0, b"in organization org-0123456789abcdef01234567 on"),)},
        {"pieces": ((0.0, b"project proj_0123456789abcdef01234567"),)},
    ],
    ids=str,
)
def test_no_secret_is_kept(fields):
    """Wherever it stands, in one piece or in two."""
    text = dumped([kept(**fields)]).decode()

    assert [] == [secret for secret in (KEY, KEY[:9], "abcdef") if secret in text]


def test_what_is_no_secret_is_kept():
    """The headers that mean something to a client, the rest of a path, numbers."""
    headers = {
        "Content-Type": "application/json",
        "X-Request-Id": "req-1",
        "Retry-After": "2",
        "retry-after-ms": "2000",
        "x-should-retry": "true",
    }
    exchange = kept(path="/x?api-version=1&key=k", asked={"n": 1, "b": None}, headers=headers)

    assert {name.lower(): value for name, value in headers.items()} == exchange.headers
    assert "/x?api-version=1&key=***" == exchange.path
    assert {"n": 1, "b": None} == exchange.asked


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"cassette": 2, "exchanges": []}',
        b'{"cassette": 1}',
        b'{"cassette": 1, "exchanges": [{}]}',
        b'{"cassette": 1, "exchanges": [7]}',
        dumped([EXCHANGE]).replace(b'"POST /chat/completions"', b"7"),
    ],
)
def test_file_that_is_no_cassette_is_refused(data):
    """One that was edited wrongly, or is of a later version."""
    with pytest.raises(ValueError):
        loaded(data)


def test_question_is_the_same_whatever_the_order_of_its_fields():
    """A field that moved is no other request."""
    turned = attrs.evolve(EXCHANGE, asked=dict(reversed(ASKED.items())))

    assert list(ASKED) != list(turned.asked)
    assert EXCHANGE.question == turned.question


@pytest.mark.parametrize(
    "fields", [{"provider": "xAI"}, {"path": "/responses"}, {"asked": {**ASKED, "model": "gpt-6"}}]
)
def test_question_is_provider_path_and_body(fields):
    """What differs in one of them is another request."""
    assert EXCHANGE.question != attrs.evolve(EXCHANGE, **fields).question


def test_difference_shows_the_lines_that_changed():
    """As a patch, from what was recorded to what is sent now."""
    other = attrs.evolve(EXCHANGE, asked={**ASKED, "model": "gpt-6"})

    shown = difference(EXCHANGE.question, other.question).splitlines()

    assert ["--- recorded", "+++ sent now"] == shown[:2]
    assert ['-  "model": "gpt-5"', '+  "model": "gpt-6"'] == [
        line for line in shown[2:] if line[0] in "-+"
    ]


def test_file_is_named_for_its_test():
    """Readable where the name allows it."""
    assert "test_chat.test_hello.json" == file_name("test_chat::test_hello")
    assert "greeting.json" == file_name("greeting")


def test_names_that_differ_have_files_that_differ():
    """Parameters hold any characters, and any number of them."""
    tests = ["t::a[b/c]", "t::a[b c]", "t::a[b.c]", "t::a" + "x" * 200, "t::a" + "x" * 201, "../t"]

    names = [file_name(test) for test in tests]

    assert len(tests) == len(set(names))
    assert [] == [name for name in names if len(name) > 120 or "/" in name or name[0] == "."]


def test_file_is_json():
    """Other tools read it, too."""
    assert {"cassette", "exchanges"} == set(json.loads(dumped([EXCHANGE])))
