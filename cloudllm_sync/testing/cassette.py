"""Cassettes: requests and the replies to them as a text file, with no secret in it; pure."""

from __future__ import annotations

import difflib
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

import attrs

__all__ = ["Exchange", "difference", "dumped", "file_name", "loaded", "without_secrets"]

_VERSION = 1
_LONGEST_NAME = 100
_KEPT_HEADERS = re.compile(
    r"content-type|retry-after(-ms)?|x-should-retry|.*(request|correlation|generation)-id"
)
_EVENT_END = re.compile(rb"(?<=\n\n)(?!\n)|(?<=\r\n\r\n)(?!\r)")
# Errors of OpenAI's name the organisation and the project.
_ACCOUNT = re.compile(r"\b(org-|proj_)\w{16,}")
_QUERY_KEY = re.compile(r"(?<=[?&])((?:api[-_]?)?key|(?:access_)?token|sig)=[^&]*", re.IGNORECASE)

Mask = Callable[[str], str]
Pieces = Sequence[tuple[float, bytes]]
"""What came of a body, each piece with the seconds since the one before."""


@attrs.frozen
class Exchange:
    """One request and what came back. Headers of the request are not in it, nor its machine."""

    provider: str
    path: str
    """Below the base URL, with the query."""
    asked: Any
    """The JSON of the request."""
    status: int = 0
    """0 if there was no answer."""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Those that mean something to a client."""
    after_s: float = 0.0
    """Seconds from the request to the headers."""
    pieces: tuple[tuple[float, bytes], ...] = ()
    is_whole: bool = False
    """Whether the end of the body was seen."""
    is_cut: bool = False
    """Whether the connection broke before; if neither is so, the client had enough."""

    @property
    def question(self) -> str:
        """The request in lines: two that are the same request say the same."""
        body = json.dumps(self.asked, ensure_ascii=False, indent=2, sort_keys=True)
        return f"POST {self.path} to {self.provider}\n{body}"


def without_secrets(exchange: Exchange, mask: Mask) -> Exchange:
    """The exchange as it may be kept, in pieces that are events.

    Args:
        exchange: As it was seen, with all headers.
        mask: Masks the client's key, and what else it knows to be secret.
    """

    def masked(text: str) -> str:
        return _ACCOUNT.sub(r"\1***", mask(text))

    headers = {name.lower(): masked(value) for name, value in exchange.headers.items()}
    return attrs.evolve(
        exchange,
        path=_QUERY_KEY.sub(r"\1=***", masked(exchange.path)),
        asked=_masked_json(exchange.asked, masked),
        headers={name: value for name, value in headers.items() if _KEPT_HEADERS.fullmatch(name)},
        pieces=tuple(_events(_masked_pieces(exchange.pieces, masked))),
    )


def _masked_json(value: Any, mask: Mask) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked_json(item, mask) for item in value]
    if isinstance(value, dict):
        return {mask(name): _masked_json(item, mask) for name, item in value.items()}
    return value


def _masked_pieces(pieces: Pieces, mask: Mask) -> Pieces:
    """The pieces masked; one piece, where a secret is cut in two by their borders."""
    each = [(seconds, _bytes(mask(_text(data)))) for seconds, data in pieces]
    whole = _bytes(mask(_text(b"".join(data for _, data in pieces))))
    if b"".join(data for _, data in each) == whole:
        return each
    return [(pieces[0][0], whole)]


def _events(pieces: Pieces) -> Iterable[tuple[float, bytes]]:
    """Events that came together, one by one."""
    for seconds, data in pieces:
        first, *others = filter(None, _EVENT_END.split(data))
        yield seconds, first
        yield from ((0.0, event) for event in others)


def _text(data: bytes) -> str:
    # Half a character, where a piece ends in one, comes back as the bytes that it was.
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# --- the file ---


def file_name(test: str) -> str:
    """The file's name for a test, or for a name that was given."""
    plain = re.sub(r"[^\w.-]+", ".", test.replace("::", ".")).strip(".")[:_LONGEST_NAME]
    # Names that differ in other characters only, as parameters do, must not share a file.
    own = "" if plain == test.replace("::", ".") else f"-{zlib.crc32(test.encode()):08x}"
    return f"{plain}{own}.json"


def dumped(exchanges: Iterable[Exchange]) -> bytes:
    """The file: JSON, a line for each event, so that its changes can be read."""
    shown = ",\n".join(_shown(exchange) for exchange in exchanges)
    text = f'{{\n"cassette": {_VERSION},\n"exchanges": [\n{shown}\n]\n}}\n'
    # What is no UTF-8 in a reply is half a surrogate pair here, and escaped so in JSON.
    return text.encode("utf-8", "backslashreplace")


def _shown(exchange: Exchange) -> str:
    reply = ",\n".join(
        f"  {_json([round(seconds, 3), _text(data)])}" for seconds, data in exchange.pieces
    )
    fields = {
        "to": _json(exchange.provider),
        "request": _json(f"POST {exchange.path}"),
        "body": _json(exchange.asked, indent=2),
        "status": _json(exchange.status),
        "headers": _json(exchange.headers, indent=2),
        "after_s": _json(round(exchange.after_s, 3)),
        "reply": f"[\n{reply}\n]" if reply else "[]",
        "is_whole": _json(exchange.is_whole),
        "is_cut": _json(exchange.is_cut),
    }
    return "{\n" + ",\n".join(f'"{name}": {value}' for name, value in fields.items()) + "\n}"


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def loaded(data: bytes) -> tuple[Exchange, ...]:
    """The exchanges of a file.

    Raises:
        ValueError: It is no cassette, or one of another version.
    """
    content = json.loads(data)
    if not isinstance(content, dict) or content.get("cassette") != _VERSION:
        raise ValueError(f"it is no cassette of version {_VERSION}")
    try:
        return tuple(_exchange(fields) for fields in content["exchanges"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a field is missing or wrong: {error!r}") from error


def _exchange(fields: Mapping[str, Any]) -> Exchange:
    return Exchange(
        provider=fields["to"],
        path=fields["request"].partition(" ")[2],
        asked=fields["body"],
        status=fields["status"],
        headers=fields["headers"],
        after_s=fields["after_s"],
        pieces=tuple((seconds, _bytes(text)) for seconds, text in fields["reply"]),
        is_whole=fields["is_whole"],
        is_cut=fields.get("is_cut", not fields["is_whole"]),
    )


# --- what has changed ---


def difference(recorded: str, sent: str) -> str:
    """What is different about a question, line by line."""
    lines = recorded.split("\n"), sent.split("\n")
    return "\n".join(difflib.unified_diff(*lines, "recorded", "sent now", lineterm=""))
