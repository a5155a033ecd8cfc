"""What becomes of exchanges that a request has no room for: by default they are left out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, Optional, Protocol

import attrs

from cloudllm_sync.clients.wrapper import ClientWrapper
from cloudllm_sync.errors import CloudLLMError, ConfigurationError
from cloudllm_sync.session.summaries import batches, task
from cloudllm_sync.values import Message, Role, TokenUsage

__all__ = ["ContextStrategy", "SummarizeOldest", "longest_summary"]

_WORDS_PER_TOKEN = 0.5  # asked for; so there is room for a model that is not good at counting


class ContextStrategy(Protocol):
    """Makes a summary of what a session's requests have no more room for."""

    @property
    def keep_tokens(self) -> Optional[int]:
        """How much of the newest exchanges is not summarised; None is half of `max_tokens`."""

    def summarize(
        self,
        earlier: str,
        exchanges: Sequence[Sequence[Message]],
        max_tokens: int,
        count: Callable[[Message], int],
    ) -> Message:
        """The summary, with the tokens that it cost as usage.

        Args:
            earlier: The summary of what was before; empty if there was nothing.
            exchanges: What has to be in it, too.
            max_tokens: The longest request; of the summary, a quarter of it.
            count: Counts the tokens of a message.

        Raises:
            CloudLLMError: There is none; the request is trimmed.
        """


def longest_summary(max_tokens: int) -> int:
    """How many tokens a summary may have."""
    return max_tokens // 4


class SummarizeOldest:
    """Has a model sum up what a request has no more room for; give it to a session as `context`.

    A request over the session's `max_tokens` is then the system prompt, a message with the
    summary, the newest exchanges and the question. The history keeps every message. The summary is
    kept in the store, so that another process goes on with it, and grows by what has become too
    old, not anew from the beginning.

    It is made before the question is sent, by a request of its own: the turn's cancel ends it, the
    clocks are those of its client, and its tokens count into the session's `token_usage`. If it
    fails, that is logged, the oldest exchanges are left out, and the next turn tries again.

    Args:
        client: Who writes the summary; a cheap model will do. Its window has to be as long as the
            session's `max_tokens`.
        keep_tokens: How much of the newest exchanges is sent as it is, by estimate; None is half of
            the session's `max_tokens`.

    Raises:
        ConfigurationError: No client, or no number of tokens.
    """

    def __init__(self, client: ClientWrapper, keep_tokens: Optional[int] = None) -> None:
        if not hasattr(client, "send_message"):
            raise ConfigurationError(
                f"SummarizeOldest needs a client, not {type(client).__name__}: make one, or have "
                "open_client() make it of a string"
            )
        is_number = isinstance(keep_tokens, int) and not isinstance(keep_tokens, bool)
        if keep_tokens is not None and (not is_number or keep_tokens < 0):
            raise ConfigurationError(
                f"keep_tokens must be a number of tokens, 0 or more, not {keep_tokens!r}"
            )
        self._client = client
        self.keep_tokens = keep_tokens

    def __repr__(self) -> str:
        return f"SummarizeOldest({self._client!r}, keep_tokens={self.keep_tokens!r})"

    def summarize(
        self,
        earlier: str,
        exchanges: Sequence[Sequence[Message]],
        max_tokens: int,
        count: Callable[[Message], int],
    ) -> Message:
        """The summary, by as many requests as it takes.

        Raises:
            CloudLLMError: The client failed, or wrote what is no summary.
        """
        longest = longest_summary(max_tokens)
        words = int(longest * _WORDS_PER_TOKEN)
        room = max_tokens - sum(map(count, task("", "", words))) - longest
        if room <= 0:
            raise CloudLLMError(f"max_tokens of {max_tokens} leave no room to ask for a summary")
        summary = Message(Role.ASSISTANT, earlier)
        usage: Optional[TokenUsage] = None
        for lines in batches(exchanges, room, lambda text: count(Message(Role.USER, text))):
            summary = self._client.send_message(task(summary.content, lines, words))
            if summary.usage is not None:
                usage = summary.usage if usage is None else usage + summary.usage
            _check(summary, longest, count)
        return attrs.evolve(summary, usage=usage)


def _check(summary: Message, longest: int, count: Callable[[Message], int]) -> None:
    tokens = count(Message(Role.USER, summary.content))
    if summary.finish_reason not in (None, "stop", "unknown") or not summary.content.strip():
        raise CloudLLMError(
            f"no whole summary: it ended by {summary.finish_reason!r} after {tokens} tokens"
        )
    if tokens > longest:
        raise CloudLLMError(f"the summary has about {tokens} tokens, more than {longest}")
