"""Any server that speaks Chat Completions: Ollama, vLLM, OpenRouter, DeepSeek, ..."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Optional, Union

from cloudllm_sync.clients.client import Client
from cloudllm_sync.clients.provider import Provider
from cloudllm_sync.codecs import Codec
from cloudllm_sync.codecs.openai_chat import Dialect, OpenAIChatCodec
from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.streaming.observer import Observer
from cloudllm_sync.transport.credentials import hides_arguments
from cloudllm_sync.transport.tls import Cert, Verify
from cloudllm_sync.values import ChatOptions, Limits, Timeouts

__all__ = ["OpenAICompatibleClient"]

# Vendors that differ in what they take, by `provider_name`; all others take the generic dialect.
_DIALECTS: Mapping[str, Dialect] = {
    "mistral": Dialect(seed_field="random_seed", required_word="any", short_call_ids=True),
    "perplexity": Dialect(seed_field=None, usage_in_stream=False),
}


class OpenAICompatibleClient(Client):
    """A server that speaks Chat Completions at `base_url`, which usually ends in `/v1`.

    Args:
        model: A model's name.
        base_url: What stands before `/chat/completions`, as `http://localhost:11434/v1`.
        api_key: None if the server wants none.
        provider_name: Names the server in errors. `mistral` and `perplexity` also select what is
            different about their requests.

    The other arguments are those of `Client`.
    """

    @hides_arguments
    def __init__(
        self,
        model: Union[str, enum.Enum],
        *,
        base_url: str,
        api_key: Optional[str] = None,
        provider_name: str = "custom",
        options: Optional[ChatOptions] = None,
        timeouts: Timeouts = Timeouts(),
        max_retries: int = 2,
        headers: Optional[Mapping[str, str]] = None,
        proxies: Optional[Mapping[str, str]] = None,
        verify: Verify = True,
        cert: Cert = None,
        observers: Iterable[Observer] = (),
        limits: Limits = Limits(),
        allow_http: bool = False,
    ) -> None:
        if not isinstance(provider_name, str) or not provider_name.strip():
            raise ConfigurationError(f"provider_name must be a name, not {provider_name!r}")
        self._name = provider_name.strip()
        super().__init__(
            model,
            api_key=api_key,
            base_url=base_url,
            options=options,
            timeouts=timeouts,
            max_retries=max_retries,
            headers=headers,
            proxies=proxies,
            verify=verify,
            cert=cert,
            observers=observers,
            limits=limits,
            allow_http=allow_http,
        )

    def _row(self) -> Provider:
        return Provider(name=self._name, key_needed=False)

    def _wire(self, provider: Provider) -> Codec:
        return OpenAIChatCodec(provider.name, _DIALECTS.get(provider.name.lower(), Dialect()))
