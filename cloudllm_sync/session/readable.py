"""What can be read of a session, at any time, by any thread."""

from __future__ import annotations

from decimal import Decimal
from typing import Optional, Protocol

from cloudllm_sync.session.arguments import Said
from cloudllm_sync.session.conversation import Conversation
from cloudllm_sync.values import Message, Role, TokenUsage

__all__ = ["Readable"]


class Readable(Protocol):
    """The reading half of LLMSession. Nothing here waits for a turn."""

    _conversation: Conversation

    @property
    def history(self) -> tuple[Message, ...]:
        """All messages of whole turns, without the system prompt. Never waits for a turn.

        Raises:
            StoreError: They have to be read, and cannot be.
        """
        return self._conversation.ledger.all_messages()

    @property
    def request_messages(self) -> tuple[Message, ...]:
        """What `send_current_history()` would send now, trimmed to `max_tokens`."""
        conversation = self._conversation
        return conversation.context.read(conversation.system, Said()).request.messages

    @property
    def token_usage(self) -> TokenUsage:
        """Tokens used by all turns whose usage is known."""
        return self._conversation.ledger.seen.usage

    @property
    def last_token_usage(self) -> Optional[TokenUsage]:
        """Tokens used by the last turn; None before the first, and where unknown."""
        return self._conversation.ledger.seen.last_usage

    @property
    def cost(self) -> Optional[Decimal]:
        """US dollars for the replies in the history, by today's list prices (extra `cost`).

        None if that of one is not known. What left no reply there is not counted: turns that
        failed, summaries, what `clear_history()` forgot.

        Raises:
            StoreError: As `history`.
        """
        asked = self._conversation.client.provider_name
        total = Decimal(0)
        for message in self.history:
            if message.role is Role.ASSISTANT:
                cost = message.cost(provider=asked)
                if cost is None:
                    return None
                total += cost
        return total

    @property
    def estimated_history_tokens(self) -> int:
        """About how many tokens the whole history is, system prompt included."""
        conversation = self._conversation
        messages = (*conversation.system.messages, *conversation.ledger.all_messages())
        return sum(map(conversation.context.estimates.tokens, messages))

    @property
    def model_name(self) -> str:
        """The model that answers."""
        return self._conversation.client.model_name

    @property
    def max_tokens(self) -> int:
        """The longest request, by estimate."""
        return self._conversation.context.max_tokens

    @property
    def session_id(self) -> str:
        """The conversation's name in the store."""
        return self._conversation.ledger.session_id
