"""Keys: checked when they come in, shown to nobody, masked where a server echoes them."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Mapping
from typing import Any, Callable, NoReturn, TypeVar, cast
from urllib.parse import unquote, urlsplit

from cloudllm_sync.errors import ConfigurationError, ContextLengthError

__all__ = ["SECRET_HEADER", "ApiKey", "Secrets", "hides_arguments", "mask_urls"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_MASK = "***"
_SHORTEST_KEY = 8
# A key that was cut off, with the text around it say, is known by its beginning.
_BEGINNING = 12
SECRET_HEADER = re.compile("auth|cookie|token|secret|key|password", re.IGNORECASE)
"""Found in the names of headers that nobody may see."""
_QUOTES = "\"'`"
# A character as a URL, JSON or HTML may write it, or any other.
_CHARACTER = re.compile(
    r"%(?P<percent>[0-9a-f]{2})|\\{1,4}u00(?P<json>[0-9a-f]{2})|\\{1,4}(?P<escaped>[^\\])"
    r"|(?P<entity>&(?:#x?[0-9a-f]{1,4}|amp|lt|gt|quot|apos);)|.",
    re.DOTALL | re.IGNORECASE,
)


class ApiKey:
    """A key. Its `repr` is masked, and it does not pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: object, source: str) -> None:
        """Take a key, without the white space around it.

        Args:
            value: The key.
            source: Where it came from, for the message.

        Raises:
            ConfigurationError: Empty, or not visible ASCII, so that no header can carry it.
        """
        text = value.strip() if isinstance(value, str) else ""
        complaint = _complaint(value, text)
        if complaint:
            del value, text  # tools that report errors show local variables
            raise ConfigurationError(f"{source} {complaint}")
        self._value = text

    def reveal(self) -> str:
        """The key itself, for the one header that carries it."""
        return self._value

    def mask(self, text: str) -> str:
        """The text with every occurrence of the key masked.

        Also as a URL, JSON, HTML or base64 writes it, and where it is cut off after 12 characters
        or more. What is shorter than any provider's key, a test's `k` say, would only mask words.
        """
        return _masked(self._value, text)

    def __repr__(self) -> str:
        return f"ApiKey({_MASK!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key does not pickle: make the client where it is used")


class Secrets:
    """What else must not be seen: keys in headers of a user's own, passwords of proxies."""

    __slots__ = ("_values",)

    def __init__(self, headers: Mapping[str, str], proxies: Mapping[str, str]) -> None:
        """Find them.

        Args:
            headers: Those that name a key, token, cookie or password are secret.
            proxies: Their addresses may hold passwords.
        """
        values = set()
        for name, value in headers.items():
            if SECRET_HEADER.search(name):
                values |= {value, *re.split(r"[\s;,=]+", value)}  # `Bearer KEY`, `a=1; b=2`
        for proxy in proxies.values():
            password = _password_in(proxy)
            values |= {password, unquote(password)}
        self._values = sorted(values, key=len, reverse=True)

    def mask(self, text: str) -> str:
        """The text with all of them masked, as ApiKey masks."""
        for value in self._values:
            text = _masked(value, text)
        return text

    def __repr__(self) -> str:
        return f"Secrets({_MASK!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets do not pickle: make the client where it is used")


def _password_in(proxy: str) -> str:
    try:
        return urlsplit(proxy).password or ""
    except ValueError:
        return ""  # an address that nobody will use: the one chosen is checked


def _masked(key: str, text: str) -> str:
    if len(key) < _SHORTEST_KEY:
        return text
    forms, encoded, found = _patterns(key)
    for form in forms:
        text = text.replace(form, _MASK)
    text = encoded.sub(_MASK, text)
    escapes = re.search(r"[%\\&]", text)
    return _mask_escaped(text, found) if escapes else found.sub(_MASK, text)


@functools.lru_cache(maxsize=64)
def _patterns(key: str) -> tuple[tuple[str, ...], re.Pattern[str], re.Pattern[str]]:
    """How the key is written; how base64 writes it; what is found of it, whole or cut off."""
    cut = rf"|{re.escape(key[:_BEGINNING])}[^\s\"'<>]*" if len(key) > _BEGINNING else ""
    forms = tuple(dict.fromkeys((key, json.dumps(key)[1:-1])))
    return forms, re.compile(_in_base64(key)), re.compile(re.escape(key) + cut)


def _complaint(value: object, text: str) -> str:
    """Why this cannot be a key; empty if it can."""
    if not isinstance(value, str):
        return f"must be a string, not {type(value).__name__}"
    if not text:
        return "is empty: put the key in it, or leave it out"
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        return "begins or ends with a quote, which no key does: take the quotes off"
    bad = next((char for char in text if not "!" <= char <= "~"), None)
    if bad is None:
        return ""
    return (
        f"holds U+{ord(bad):04X}, which no key has: copy it again, without quotes, spaces or "
        "line ends"
    )


def _in_base64(key: str) -> str:
    """A pattern of what base64 makes of the key behind anything: `user:` or `Bearer `, say."""
    forms = []
    for before in range(3):
        # Whole groups of three bytes; what is at the ends depends on the neighbours.
        inside = key[-before % 3 :]
        inside = inside[: len(inside) // 3 * 3]
        form = base64.b64encode(inside.encode()).decode()
        forms += [form, form.replace("+", "-").replace("/", "_")]
    return f"(?:{'|'.join(map(re.escape, forms))})[A-Za-z0-9+/_-]{{0,3}}={{0,2}}"


def _mask_escaped(text: str, found: re.Pattern[str]) -> str:
    """The text with the key masked where some of its characters are escaped."""
    characters, ends = [], [0]
    for match in _CHARACTER.finditer(text):
        characters.append(_unescaped(match))
        ends.append(match.end())
    pieces, kept = [], 0
    for hit in found.finditer("".join(characters)):
        pieces += [text[kept : ends[hit.start()]], _MASK]
        kept = ends[hit.end()]
    return "".join([*pieces, text[kept:]])


def _unescaped(match: re.Match[str]) -> str:
    number = match["percent"] or match["json"]
    if number:
        return chr(int(number, 16))
    if match["entity"]:
        import html  # few answers are pages

        return html.unescape(match["entity"])[:1] or "?"
    return match["escaped"] or match[0][-1]


def mask_urls(text: str) -> str:
    """The text without the user names and passwords of its URLs."""
    return re.sub(r"//[^/?#\s]*@", f"//{_MASK}@", text)


def hides_arguments(function: _Function) -> _Function:
    """Have what this package refuses be raised without the frames that looked at it.

    Tools that report errors show the local variables of every frame: here keys and prompts. The
    message says what is wrong with them; a cause is kept if it cannot hold them.
    """

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except (ConfigurationError, ContextLengthError) as error:
            if not _raised_here(error):
                raise
            error.__context__ = None
            if not isinstance(error.__cause__, OSError):
                error.__cause__ = None  # JSON's and Unicode's errors hold what they could not read
            raise error.with_traceback(None) from error.__cause__
        finally:
            del args, options

    return cast("_Function", call)


def _raised_here(error: BaseException) -> bool:
    """Whether it was not a client, store or callback of a user's own that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module: str = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return module.startswith("cloudllm_sync.")
