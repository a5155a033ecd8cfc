"""Google's Gemini."""

from __future__ import annotations

import enum

from cloudllm_sync.clients.client import Client
from cloudllm_sync.clients.provider import Provider
from cloudllm_sync.codecs.gemini import GeminiCodec

__all__ = ["GeminiClient", "Model"]


class Model(enum.Enum):
    """Google's chat models, newest first. Any other name may be given as a string.

    Source: genai-prices, `prices/providers/google.yml`, August 2026.
    """

    GEMINI_3_7_FLASH = "gemini-3.7-flash"
    GEMINI_3_6_FLASH = "gemini-3.6-flash"
    GEMINI_3_5_FLASH = "gemini-3.5-flash"
    GEMINI_3_5_FLASH_LITE = "gemini-3.5-flash-lite"
    GEMINI_3_1_PRO_PREVIEW = "gemini-3.1-pro-preview"
    GEMINI_3_1_FLASH_LITE = "gemini-3.1-flash-lite"
    GEMINI_3_PRO_PREVIEW = "gemini-3-pro-preview"
    GEMINI_3_FLASH_PREVIEW = "gemini-3-flash-preview"
    GEMINI_2_5_PRO = "gemini-2.5-pro"
    GEMINI_2_5_FLASH = "gemini-2.5-flash"
    GEMINI_2_5_FLASH_LITE = "gemini-2.5-flash-lite"


class GeminiClient(Client):
    """Gemini, by generateContent. The key is `GEMINI_API_KEY` or `GOOGLE_API_KEY`.

    `base_url` is what stands before `/v1beta/models`; given with `/v1beta`, or all of it, it is the
    same.
    """

    provider = Provider(
        name="Gemini",
        base_url="https://generativelanguage.googleapis.com",
        path_ends=("/v1beta/models", "/v1beta"),
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        key_header="x-goog-api-key",
        key_prefix="",
    )
    codec = GeminiCodec("Gemini")
