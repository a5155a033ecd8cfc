"""OpenAI, by its Responses API."""

from __future__ import annotations

from cloudllm_sync.clients.client import Client
from cloudllm_sync.clients.openai import Model, OpenAIClient
from cloudllm_sync.codecs.openai_responses import OpenAIResponsesCodec

__all__ = ["Model", "OpenAIResponsesClient"]


class OpenAIResponsesClient(Client):
    """OpenAI's Responses API. The key is `OPENAI_API_KEY` or `OPEN_AI_SECRET`.

    Nothing is stored at OpenAI: every request carries the whole conversation.
    """

    provider = OpenAIClient.provider
    codec = OpenAIResponsesCodec(provider.name)
