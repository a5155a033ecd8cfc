"""Azure OpenAI."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Optional, Union
from urllib.parse import quote

from cloudllm_sync.clients.client import Client
from cloudllm_sync.clients.provider import Provider
from cloudllm_sync.codecs import Codec
from cloudllm_sync.codecs.openai_chat import Dialect, OpenAIChatCodec
from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.streaming.observer import Observer
from cloudllm_sync.transport.credentials import hides_arguments
from cloudllm_sync.transport.tls import Cert, Verify
from cloudllm_sync.values import ChatOptions, Limits, Timeouts

__all__ = ["AzureOpenAIClient"]

_DEPLOYMENT_VERSION = "2024-10-21"
"""The last general release of the API that addresses deployments by path."""


class AzureOpenAIClient(Client):
    """A model deployed in Azure. The key is `AZURE_OPENAI_API_KEY`, sent as `api-key`.

    Args:
        model: The deployment's name.
        base_url: `https://RESOURCE.openai.azure.com/openai/v1`, or
            `https://RESOURCE.openai.azure.com/openai/deployments/DEPLOYMENT`; the bare resource
            means the first.
        api_key: None reads the environment.
        api_version: Needed by the second form only, `2024-10-21` unless given.

    The other arguments are those of `Client`.
    """

    provider = Provider(
        name="Azure OpenAI",
        key_variables=("AZURE_OPENAI_API_KEY",),
        key_header="api-key",
        key_prefix="",
    )

    @hides_arguments
    def __init__(
        self,
        model: Union[str, enum.Enum],
        *,
        base_url: str,
        api_key: Optional[str] = None,
        api_version: Optional[str] = None,
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
        if not isinstance(base_url, str) or not base_url.strip():
            raise ConfigurationError("base_url is missing: give https://RESOURCE.openai.azure.com")
        if api_version is not None and not isinstance(api_version, str):
            raise ConfigurationError(f"api_version must be a string, not {api_version!r}")
        base_url = base_url.strip().rstrip("/")
        if re.fullmatch(r"\w+://[^/?#]*", base_url):
            base_url += "/openai/v1"
        if api_version is None and "/deployments/" in base_url:
            api_version = _DEPLOYMENT_VERSION
        self._query = f"?api-version={quote(api_version, safe='')}" if api_version else ""
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

    def _wire(self, provider: Provider) -> Codec:
        dialect = Dialect(token_limit_field="max_completion_tokens", most_stop_words=4)
        return OpenAIChatCodec(provider.name, dialect, self._query)
