"""OpenAI."""

from __future__ import annotations

import enum

from cloudllm_sync.clients.client import Client
from cloudllm_sync.clients.provider import Provider
from cloudllm_sync.codecs.openai_chat import Dialect, OpenAIChatCodec

__all__ = ["Model", "OpenAIClient"]


class Model(enum.Enum):
    """OpenAI's chat models, newest first. Any other name may be given as a string.

    Source: openai-python, `src/openai/types/shared/chat_model.py`, August 2026.
    """

    GPT_5_6_SOL = "gpt-5.6-sol"
    GPT_5_6_TERRA = "gpt-5.6-terra"
    GPT_5_6_LUNA = "gpt-5.6-luna"
    GPT_5_5 = "gpt-5.5"
    GPT_5_4 = "gpt-5.4"
    GPT_5_4_MINI = "gpt-5.4-mini"
    GPT_5_4_NANO = "gpt-5.4-nano"
    GPT_5_2 = "gpt-5.2"
    GPT_5_1 = "gpt-5.1"
    GPT_5 = "gpt-5"
    GPT_5_MINI = "gpt-5-mini"
    GPT_5_NANO = "gpt-5-nano"
    GPT_4_1 = "gpt-4.1"
    GPT_4_1_MINI = "gpt-4.1-mini"
    GPT_4_1_NANO = "gpt-4.1-nano"
    O4_MINI = "o4-mini"
    O3 = "o3"
    GPT_4O = "gpt-4o"
    GPT_4O_MINI = "gpt-4o-mini"


class OpenAIClient(Client):
    """OpenAI's Chat Completions. The key is `OPENAI_API_KEY` or `OPEN_AI_SECRET`."""

    provider = Provider(
        name="OpenAI",
        base_url="https://api.openai.com/v1",
        key_variables=("OPENAI_API_KEY", "OPEN_AI_SECRET"),
    )
    # max_tokens is refused by every model that reasons, max_completion_tokens by none.
    codec = OpenAIChatCodec(
        "OpenAI", Dialect(token_limit_field="max_completion_tokens", most_stop_words=4)
    )
