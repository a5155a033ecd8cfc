"""Anthropic's Claude."""

from __future__ import annotations

import enum

from cloudllm_sync.clients.client import Client
from cloudllm_sync.clients.provider import Provider
from cloudllm_sync.codecs.anthropic_messages import AnthropicMessagesCodec

__all__ = ["ClaudeClient", "Model"]


class Model(enum.Enum):
    """Anthropic's models, newest first. Any other name may be given as a string.

    Source: anthropic-sdk-python, `src/anthropic/types/model.py`, August 2026.
    """

    CLAUDE_OPUS_5 = "claude-opus-5"
    CLAUDE_SONNET_5 = "claude-sonnet-5"
    CLAUDE_FABLE_5 = "claude-fable-5"
    CLAUDE_MYTHOS_5 = "claude-mythos-5"
    CLAUDE_OPUS_4_8 = "claude-opus-4-8"
    CLAUDE_OPUS_4_7 = "claude-opus-4-7"
    CLAUDE_OPUS_4_6 = "claude-opus-4-6"
    CLAUDE_SONNET_4_6 = "claude-sonnet-4-6"
    CLAUDE_HAIKU_4_5 = "claude-haiku-4-5"
    CLAUDE_OPUS_4_5 = "claude-opus-4-5"
    CLAUDE_SONNET_4_5 = "claude-sonnet-4-5"


class ClaudeClient(Client):
    """Claude, by the Messages API. The key is `ANTHROPIC_API_KEY` or `CLAUDE_API_KEY`.

    `base_url` is what stands before `/v1/messages`; given with `/v1`, or all of it, it is the same.
    """

    provider = Provider(
        name="Anthropic",
        base_url="https://api.anthropic.com",
        path_ends=("/v1/messages", "/v1"),
        key_variables=("ANTHROPIC_API_KEY", "CLAUDE_API_KEY"),
        key_header="x-api-key",
        key_prefix="",
        headers={"anthropic-version": "2023-06-01"},
    )
    codec = AnthropicMessagesCodec("Anthropic")
