"""What a refusal says, in words: out of JSON of any shape, an event stream, a page, or text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from cloudllm_sync.codecs.surrogates import well_formed

__all__ = ["as_json", "documents", "plain", "scalar_text", "upstream_words", "words"]

_TEXT_LIMIT = 500
_WORD_FIELDS = ("message", "msg", "detail", "error")
_DEPTH = 4  # of objects in `message` fields; the deepest seen is 3
# Linear in the body: what is not closed goes on to the end, and no tag holds another's beginning.
_MARKUP = re.compile(r"<(script|style)\b.*?(?:</\1>|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title\b[^<>]*>([^<]*)", re.IGNORECASE)
_SAYS_NOTHING = ("", "error")


def scalar_text(value: object) -> Optional[str]:
    """A code, a type or a message as text; None for what is empty or no scalar."""
    if isinstance(value, bool) or value is None or value == "":
        return None
    return well_formed(str(value)) if isinstance(value, (str, int, float)) else None


def words(value: object, depth: int = _DEPTH) -> Optional[str]:
    """What a field says that should be text, and may be an object or a list with the text in it.

    A list is FastAPI's `detail`, of `{loc, msg}`, or one of texts.
    """
    if isinstance(value, Mapping):
        found = (words(value.get(name), depth - 1) for name in _WORD_FIELDS) if depth else ()
        return next(filter(None, found), None)
    if isinstance(value, list):
        said = [_complaint(item) for item in value if isinstance(item, Mapping)]
        texts = said or [item for item in value if isinstance(item, str)]
        return well_formed("; ".join(filter(None, texts))) or None
    return scalar_text(value)


def _complaint(item: Mapping[str, Any]) -> str:
    place = item.get("loc")
    steps = place if isinstance(place, list) else [place]
    where = ".".join(filter(None, map(scalar_text, steps)))
    what = scalar_text(item.get("msg")) or scalar_text(item.get("message"))
    return ": ".join(filter(None, (where, what)))


def as_json(value: object, limit: int = _TEXT_LIMIT) -> str:
    """The value as it is, shortened."""
    try:
        return well_formed(json.dumps(value, ensure_ascii=False))[:limit]
    except RecursionError:
        return "something nested too deep to be shown"


def documents(text: str) -> Iterator[Any]:
    """The JSON documents that a body may be read as, likeliest first.

    The text in it, if it is JSON text of JSON text; the body; its beginning; its events, as some
    servers send even their refusals as a stream.
    """
    whole = _parsed(text)
    if isinstance(whole, str):
        yield _parsed(whole)
    yield whole
    try:
        yield json.JSONDecoder().raw_decode(text.lstrip())[0]
    except (ValueError, RecursionError):
        pass
    data: list[str] = []
    for line in [*re.split(r"\r\n|\r|\n", text), ""]:
        if line.startswith("data:"):
            data.append(line[5:].strip())
        elif not line and data:
            yield _parsed("\n".join(data))
            data = []


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def plain(text: str) -> str:
    """The words of a text, shortened; of a page its title, or its words if that says nothing."""
    if text.lstrip()[:1] == "<":
        import html  # few answers are pages

        title = _TITLE.search(text)
        name = _spaced(html.unescape(title[1])) if title else ""
        if name.lower() not in _SAYS_NOTHING:
            return name[:_TEXT_LIMIT]
        text = html.unescape(_MARKUP.sub(" ", text))
    return _spaced(text)[:_TEXT_LIMIT]


def _spaced(text: str) -> str:
    return " ".join(text.split())


def upstream_words(error: Mapping[str, Any], message: str) -> Optional[str]:
    """What the provider behind OpenRouter said, where `message` does not say it.

    `metadata.raw` is its body, as text or JSON.
    """
    metadata = error.get("metadata")
    if not isinstance(metadata, Mapping):
        return None
    raw = metadata.get("raw")
    said = words(raw) if isinstance(raw, Mapping) else None
    if isinstance(raw, str):
        objects = (found for found in documents(raw) if isinstance(found, Mapping))
        said = next(filter(None, map(words, objects)), None) or plain(raw)
    if not said or said in message:
        return None
    name = scalar_text(metadata.get("provider_name"))
    return well_formed(f"{name}: {said}" if name else said)[:_TEXT_LIMIT]
