"""What a reply costs, by the list prices that genai-prices brings with it (pure)."""

from __future__ import annotations

from decimal import Decimal
from typing import Optional, Protocol

import attrs

__all__ = ["Counts", "price_of"]

# Names of `open_client()` and of `Client.provider_name` that genai-prices knows by another one.
_IDS = {
    "azure openai": "azure",
    "claude": "anthropic",
    "gemini": "google",
    "grok": "x-ai",
    "moonshot": "moonshotai",
    "responses": "openai",
    "xai": "x-ai",
}
_UNFINISHED = ("cancelled", "error")


class Counts(Protocol):
    """The tokens of a reply, as `TokenUsage` counts them."""

    @property
    def input_tokens(self) -> int: ...

    @property
    def output_tokens(self) -> int: ...

    @property
    def cached_input_tokens(self) -> Optional[int]: ...

    @property
    def cache_write_tokens(self) -> Optional[int]: ...

    @property
    def reasoning_tokens(self) -> Optional[int]: ...


@attrs.frozen
class _Usage:
    """The same, by the names of genai-prices: its own class has other fields in other versions."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: Optional[int]
    cache_write_tokens: Optional[int]
    output_reasoning_tokens: Optional[int]
    input_audio_tokens: None = None
    cache_audio_read_tokens: None = None
    output_audio_tokens: None = None


def price_of(
    model: Optional[str],
    counts: Optional[Counts],
    provider: Optional[str] = None,
    *,
    finish_reason: Optional[str] = None,
) -> Optional[Decimal]:
    """US dollars, by the list prices of today; None where model, counts or price are not known.

    Args:
        model: As the reply names it.
        counts: Its tokens.
        provider: Who was paid. Of several names, with commas between, it was one; if their prices
            differ nobody knows. None is the model's maker.
        finish_reason: How it ended. The tokens of a reply that did not come to its end are those
            that were counted at its beginning: the prompt, and next to nothing.

    Raises:
        ImportError: The library that knows the prices is missing.
    """
    try:
        import genai_prices  # noqa: F401
    except ImportError as error:
        raise ImportError('costs need genai-prices: pip install "cloudllm-sync[cost]"') from error
    if model is None or counts is None or finish_reason in _UNFINISHED:
        return None
    usage = _Usage(
        counts.input_tokens,
        counts.output_tokens,
        counts.cached_input_tokens,
        counts.cache_write_tokens,
        counts.reasoning_tokens,
    )
    prices = {_listed(model, usage, name) for name in _ids(provider)} - {None}
    return prices.pop() if len(prices) == 1 else None


def _ids(provider: Optional[str]) -> list[Optional[str]]:
    if provider is None:
        return [None]
    names = (name.strip().lower() for name in provider.split(","))
    return [_IDS.get(name, name) for name in names]


def _listed(model: str, usage: _Usage, provider: Optional[str]) -> Optional[Decimal]:
    from genai_prices import calc_price

    try:
        found = calc_price(usage, model, provider_id=provider)
    except (LookupError, ValueError):  # not listed; more of the prompt cached than there is of it
        return None
    # A name that is not listed is taken for one that is in it: a proxy for OpenAI's, say.
    if provider is not None and found.provider.id != provider:
        return None
    listed = found.model_price
    if listed.input_mtok is None or listed.output_mtok is None:
        return None  # listed, but without a price
    return found.total_price
