"""xAI's Grok."""

from __future__ import annotations

import enum

from cloudllm_sync.clients.client import Client
from cloudllm_sync.clients.provider import Provider
from cloudllm_sync.codecs.openai_chat import Dialect, OpenAIChatCodec

__all__ = ["GrokClient", "Model"]


class Model(enum.Enum):
    """xAI's chat models, newest first. Any other name may be given as a string.

    Source: xai-sdk-python, `src/xai_sdk/types/model.py`, August 2026.
    """

    GROK_4_6 = "grok-4.6"
    GROK_4_5 = "grok-4.5"
    GROK_4_3 = "grok-4.3"
    GROK_4_20 = "grok-4.20"
    GROK_4_20_REASONING = "grok-4.20-reasoning"
    GROK_4_20_NON_REASONING = "grok-4.20-non-reasoning"
    GROK_4_20_MULTI_AGENT = "grok-4.20-multi-agent"
    GROK_4_1_FAST_REASONING = "grok-4-1-fast-reasoning"
    GROK_4_1_FAST_NON_REASONING = "grok-4-1-fast-non-reasoning"
    GROK_4_FAST_REASONING = "grok-4-fast-reasoning"
    GROK_4_FAST_NON_REASONING = "grok-4-fast-non-reasoning"
    GROK_CODE_FAST_1 = "grok-code-fast-1"
    GROK_BUILD_0_1 = "grok-build-0.1"
    GROK_3 = "grok-3"
    GROK_3_MINI = "grok-3-mini"


class GrokClient(Client):
    """Grok, by the Chat Completions that xAI serves. The key is `XAI_API_KEY`."""

    provider = Provider(
        name="xAI",
        base_url="https://api.x.ai/v1",
        key_variables=("XAI_API_KEY", "XAI_KEY"),
    )
    codec = OpenAIChatCodec("xAI", Dialect(token_limit_field="max_completion_tokens"))
