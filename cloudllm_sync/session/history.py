"""What of a history is sent: estimated, grouped, trimmed (pure).

Trimming shapes the request, never the history.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Optional

import attrs

from cloudllm_sync.errors import ContextLengthError
from cloudllm_sync.session.estimates import EstimateTokens, estimate_tokens
from cloudllm_sync.values import Message, Role

__all__ = [
    "EstimateTokens",
    "Request",
    "estimate_tokens",
    "oldest_exchanges",
    "open_calls",
    "request_messages",
    "share_that_fits",
]

_Ids = set[Optional[str]]

# How providers say how long a request was, and how long it may be.
_LENGTHS = (
    re.compile(r"(?P<sent>\d+) tokens > (?P<limit>\d+)"),
    re.compile(r"\((?P<sent>\d+)\) exceeds .{0,80}?\((?P<limit>\d+)\)"),
    re.compile(r"length (?:is|of) (?P<limit>\d+)\b.{0,120}?(?P<sent>\d+) (?:input )?tokens"),
)
_FOR_THE_REPLY = re.compile(r"(\d+) (?:tokens )?(?:in|for) the (?:completion|output)")
_SAFETY = 0.95
_UNTOLD = 0.5


@attrs.frozen(slots=True)
class Request:
    """What a turn sends, and about how many tokens that is.

    `is_all` if nothing of the history that was given is left out.
    """

    messages: tuple[Message, ...] = attrs.field(repr=False)
    is_all: bool
    tokens: int


def open_calls(messages: Sequence[Message]) -> dict[str, str]:
    """The calls of the last assistant message that have no result yet: id to name."""
    answered = set()
    for message in reversed(messages):
        if message.role is not Role.TOOL:
            calls = message.tool_calls
            return {call.id: call.name for call in calls if call.id not in answered}
        answered.add(message.tool_call_id)
    return {}


def _groups_from_the_end(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Exchanges, newest first: a user message with all that follows it.

    So a tool call and its results stay together, and a trimmed request begins with a user.
    """
    group: list[Message] = []
    for message in reversed(messages):
        group.append(message)
        if message.role is Role.USER:
            yield group[::-1]
            group = []
    if group:
        yield group[::-1]


def _without_orphans(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages without tool calls that were passed over: no provider takes those.

    The calls of the last message stay: whether they lack results is for the caller to hear.
    """
    kept: list[Message] = []
    waiting: _Ids = set()  # calls of the last message that have no result yet
    for position, message in enumerate(messages):
        if message.role is Role.TOOL:
            if message.tool_call_id in waiting:
                waiting.remove(message.tool_call_id)
                kept.append(message)
            continue
        waiting = {call.id for call in message.tool_calls}
        if waiting and _passed_over(messages, position, waiting):
            waiting = set()
            if message.content:
                kept.append(attrs.evolve(message, tool_calls=()))
        else:
            kept.append(message)
    return tuple(kept)


def _passed_over(messages: Sequence[Message], position: int, calls: _Ids) -> bool:
    """Whether the conversation went on without a result for some of these calls."""
    results: _Ids = set()
    for at in range(position + 1, len(messages)):
        follower = messages[at]
        if follower.role is not Role.TOOL:
            return not calls <= results
        results.add(follower.tool_call_id)
    return False


def request_messages(
    system: Sequence[Message],
    history: Sequence[Message],
    new: Sequence[Message],
    *,
    max_tokens: int,
    estimate: EstimateTokens,
    extra: int = 0,
    must_fit: bool = True,
) -> Request:
    """What to send: the system prompt, as much of the newest history as fits, the new messages.

    Without new messages, the last exchange of the history counts as new: it is always sent.
    `extra` tokens are sent beside the messages: the definitions of tools. Unless it `must_fit`,
    what is always sent is sent even if it is over `max_tokens`.

    Raises:
        ContextLengthError: System prompt and new messages alone are over `max_tokens`.
    """
    groups = _groups_from_the_end(history)
    if not new:
        new = next(groups, [])
    left = max_tokens - extra - sum(map(estimate, system)) - sum(map(estimate, new))
    if left < 0 and must_fit:
        raise ContextLengthError(
            f"the request is about {max_tokens - left} tokens, over the session's max_tokens of "
            f"{max_tokens}: shorten the message, or raise max_tokens"
        )
    kept: list[list[Message]] = []
    is_all = True
    for group in groups:
        tokens = sum(map(estimate, group))
        if tokens > left:
            is_all = False
            break
        left -= tokens
        kept.append(group)
    fitting = [message for group in reversed(kept) for message in group]
    sent = (*system, *_without_orphans([*fitting, *new]))
    return Request(sent, is_all, max_tokens - left)


def oldest_exchanges(
    history: Sequence[Message],
    keep_tokens: int,
    *,
    estimate: EstimateTokens,
    keep_last: bool,
) -> list[list[Message]]:
    """The exchanges, oldest first, that are older than the newest ones of so many tokens.

    Args:
        history: Exchanges.
        keep_tokens: How long those are that are not among the oldest.
        estimate: Counts the tokens of a message.
        keep_last: Whether the last exchange is not among them, however long it is.
    """
    groups = list(_groups_from_the_end(history))
    kept = 0
    for group in groups:
        keep_tokens -= sum(map(estimate, group))
        if keep_tokens < 0 and (kept or not keep_last):
            break
        kept += 1
    return groups[kept:][::-1]


def share_that_fits(words: str) -> float:
    """How much of a request may be sent, by what the provider says about its length.

    Half of it, where that names no lengths. What is kept free for the reply is not the request's.
    """
    words = re.sub(r"(?<=\d),(?=\d{3})", "", words)
    for pattern in _LENGTHS:
        told = pattern.search(words)
        if told:
            reply = _FOR_THE_REPLY.search(words)
            kept = int(reply[1]) if reply else 0
            sent, limit = int(told["sent"]) - kept, int(told["limit"]) - kept
            if 0 < limit < sent:
                return _SAFETY * limit / sent
    return _UNTOLD
