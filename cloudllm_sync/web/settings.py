"""What a site's settings say of its model, its conversations and its responses: read and checked.

Flask has them in `app.config` as CLOUDLLM_MODEL and so on, Django in a dict, `CLOUDLLM["MODEL"]`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Callable, Optional

import attrs

from cloudllm_sync.clients.arguments import checked_count, checked_url
from cloudllm_sync.clients.client import Client
from cloudllm_sync.clients.registry import open_client
from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.session.arguments import checked_text
from cloudllm_sync.session.stores.opening import store_kind
from cloudllm_sync.transport.credentials import ApiKey, hides_arguments
from cloudllm_sync.values import Timeouts
from cloudllm_sync.web.protocols import encoder_for
from cloudllm_sync.web.response import HEARTBEAT_S, check_heartbeat, check_interval, check_policy

__all__ = ["NAMES", "Settings", "faults_of", "make_client", "read_settings"]

# Stands for a key that is in the environment of the server alone: looked at, never sent.
_ANY_KEY = "unknown-yet"
_ANY_ADDRESS = "http://localhost"
_ANY_MODEL = f"custom:unknown-yet@{_ANY_ADDRESS}"
_ADDRESS = re.compile(r"@\s*https?://", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Settings:
    """What a site has set; the rest is as everywhere."""

    model: Optional[str] = None
    """`provider:model`, as `open_client()` takes it."""
    api_key: Optional[str] = attrs.field(default=None, repr=False)
    """None is the provider's environment variable."""
    base_url: Optional[str] = None
    allow_http: bool = False
    timeouts: Timeouts = Timeouts()
    max_retries: int = 2
    store: Optional[str] = attrs.field(default=None, repr=False)
    """A URL for `open_store()`; None is the memory of each process."""
    system_prompt: str = attrs.field(default="", repr=False)
    max_tokens: int = 8192
    heartbeat_s: float = HEARTBEAT_S
    on_disconnect: str = "cancel"
    min_interval_s: float = 0.0
    protocol: str = "sse"

    @property
    def store_kind(self) -> str:
        """As `store_kind()` of stores names it; what is in no store is in memory."""
        return "memory" if self.store is None else store_kind(self.store)


NAMES = tuple(field.name.upper() for field in attrs.fields(Settings))


@hides_arguments
def read_settings(given: Mapping[str, Any], *, form: str) -> Settings:
    """The settings of a site.

    What can be seen without the provider, the store or the environment is checked; a key that the
    environment has to hold may not be there yet.

    Args:
        given: By their names without a prefix, `MODEL` and so on; None is not set.
        form: How one is written where the user looks for it, as `CLOUDLLM_{}`.

    Raises:
        ConfigurationError: Settings that do not exist, or cannot be: all of them, by name.
    """
    faults = faults_of(given, form=form)
    if faults:
        raise ConfigurationError("; ".join(faults))
    return _settings(given)


def faults_of(given: Mapping[str, Any], *, form: str) -> tuple[str, ...]:
    """What is wrong with settings, one text for each fault; the arguments of `read_settings()`."""
    if not isinstance(given, Mapping):
        return (f"{form.split('[')[0]} must be a dict, not {type(given).__name__}",)
    faults = [_unknown(name, form) for name in given if name not in NAMES]
    known = {name: value for name, value in given.items() if name in NAMES and value is not None}
    for name, check in _CHECKS.items():
        if name in known:
            try:
                check(known[name], known)
            except ConfigurationError as error:
                faults.append(_named(str(error), name, form))
    return tuple(faults)


def make_client(settings: Settings, *, form: str) -> Client:
    """The client that the settings name.

    Raises:
        ConfigurationError: No model is set, there is no key in the environment, ...
    """
    if settings.model is None:
        raise ConfigurationError(f"no model: set {form.format('MODEL')} to 'provider:model'")
    try:
        return open_client(
            _spec(settings.model, settings.base_url),
            api_key=settings.api_key,
            timeouts=settings.timeouts,
            max_retries=settings.max_retries,
            allow_http=settings.allow_http,
        )
    except ConfigurationError as error:
        raise ConfigurationError(_named(str(error), "MODEL", form)) from None


def _settings(given: Mapping[str, Any]) -> Settings:
    values = {name.lower(): value for name, value in given.items() if value is not None}
    if "timeouts" in values:
        values["timeouts"] = _timeouts(values["timeouts"])
    return Settings(**values)


def _timeouts(value: object) -> Timeouts:
    if isinstance(value, Timeouts):
        return value
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"must be a dict, as {{'idle_s': 30}}, or Timeouts(...), not {type(value).__name__}"
        )
    try:
        return Timeouts(**value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(str(error)) from None


def _spec(model: str, base_url: Optional[str]) -> str:
    return model if base_url is None else f"{model}@{base_url}"


# --- checks: each gets its setting, and all that are set ---

_Given = Mapping[str, Any]


def _check_model(model: Any, given: _Given) -> None:
    if not isinstance(model, str):
        raise ConfigurationError(f"must be a string, 'provider:model', not {type(model).__name__}")
    spec = _spec(model, _ANY_ADDRESS if "BASE_URL" in given else None)  # which has its own check
    open_client(spec, api_key=_ANY_KEY, allow_http=given.get("ALLOW_HTTP") is True).close()


def _check_key(key: Any, given: _Given) -> None:
    ApiKey(key, "api_key")


def _check_address(base_url: Any, given: _Given) -> None:
    checked_url(base_url, None, allow_http=given.get("ALLOW_HTTP") is True)
    model = given.get("MODEL")
    if isinstance(model, str) and _ADDRESS.search(model):
        raise ConfigurationError("the model has an address already: leave one of them out")


def _check_allowing(allow_http: Any, given: _Given) -> None:
    if not isinstance(allow_http, bool):
        raise ConfigurationError(f"must be True or False, not {allow_http!r}")


def _check_timeouts(timeouts: Any, given: _Given) -> None:
    _timeouts(timeouts)


def _check_retries(max_retries: Any, given: _Given) -> None:
    open_client(_ANY_MODEL, api_key=_ANY_KEY, max_retries=max_retries).close()


_CHECKS: dict[str, Callable[[Any, _Given], object]] = {
    "MODEL": _check_model,
    "API_KEY": _check_key,
    "BASE_URL": _check_address,
    "ALLOW_HTTP": _check_allowing,
    "TIMEOUTS": _check_timeouts,
    "MAX_RETRIES": _check_retries,
    "STORE": lambda url, _: store_kind(url),
    "SYSTEM_PROMPT": lambda prompt, _: checked_text("system_prompt", prompt),
    "MAX_TOKENS": lambda max_tokens, _: checked_count("max_tokens", max_tokens),
    "HEARTBEAT_S": lambda heartbeat_s, _: check_heartbeat(heartbeat_s),
    "ON_DISCONNECT": lambda policy, _: check_policy(policy),
    "MIN_INTERVAL_S": lambda seconds, _: check_interval(seconds),
    "PROTOCOL": lambda protocol, _: encoder_for(protocol),
}


# --- words ---


def _unknown(name: object, form: str) -> str:
    close = difflib.get_close_matches(str(name).upper(), NAMES, 1)
    hint = f"did you mean {form.format(close[0])}?" if close else f"known are {', '.join(NAMES)}"
    return f"{form.format(name)} is no setting: {hint}"


def _named(text: str, name: str, form: str) -> str:
    """What is said of an argument, said of the setting."""
    own = form.format(name)
    arguments = rf"^{name.lower()}\b|\b(?:allow_http|api_key)\b"
    text = re.sub(arguments, lambda found: form.format(found[0].upper()), text)
    return text if text.startswith(own) else f"{own}: {text}"
