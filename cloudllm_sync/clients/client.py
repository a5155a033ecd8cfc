"""Client: what every provider's client is. A request goes in, a stream comes out."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Callable, ClassVar, NoReturn, Optional, Union

from cloudllm_sync.clients.arguments import (
    checked,
    checked_url,
    find_key,
    merged_headers,
    model_name,
)
from cloudllm_sync.clients.many import ManyAtOnce
from cloudllm_sync.clients.provider import Provider
from cloudllm_sync.clients.wrapper import Messages
from cloudllm_sync.codecs import ChatRequest, Codec, WireRequest
from cloudllm_sync.codecs.conversation import as_messages, as_tools
from cloudllm_sync.errors import APIError, CloudLLMError, ConfigurationError, cancelled_by
from cloudllm_sync.streaming.handle import OnChunk, OnError, OnFinish, StreamHandle
from cloudllm_sync.streaming.observer import CallInfo, Observer, notify
from cloudllm_sync.streaming.sources import ReplySource
from cloudllm_sync.streaming.stream import ChatStream
from cloudllm_sync.transport.call import Call
from cloudllm_sync.transport.cancellation import current_cancellation
from cloudllm_sync.transport.credentials import hides_arguments
from cloudllm_sync.transport.http import Endpoint, Transport
from cloudllm_sync.transport.tls import Cert, Verify
from cloudllm_sync.values import ChatOptions, Limits, Message, Timeouts, ToolDefinition

__all__ = ["Client"]


class Client(ManyAtOnce):
    """Sends conversations to one model of one provider. Threads may share it.

    Not for use as it is: `OpenAIClient` and the others say which provider and which wire.

    Args:
        model: A model's name, or a member of the provider's Model enum.
        api_key: None reads the provider's environment variables.
        base_url: None is the provider's own.
        options: Defaults for every call.
        timeouts: The four clocks.
        max_retries: How often a request that failed before its reply began is sent again.
        headers: Go with every request. They cannot replace the key's.
        proxies: As in requests; None reads the environment. Loopback is never proxied.
        verify: As in requests; True reads REQUESTS_CA_BUNDLE.
        cert: As in requests.
        observers: Told of every call.
        limits: How much of a reply is taken in.
        allow_http: Whether a key and prompts may go unencrypted to another machine.

    Raises:
        ConfigurationError: Something in these cannot work.
    """

    provider: ClassVar[Provider]
    """The facts of the provider."""
    codec: ClassVar[Codec]
    """The wire protocol that it speaks."""

    @hides_arguments
    def __init__(
        self,
        model: Union[str, enum.Enum],
        *,
        api_key: Optional[str] = None,
        base_url: Optional[str] = None,
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
        provider = self._row()
        self._model = model_name(model)
        self._provider = provider
        self._codec = self._wire(provider)  # replaced as a whole; readers take one reference
        self._options = checked("options", options, ChatOptions) or ChatOptions()
        self._timeouts = checked("timeouts", timeouts, Timeouts) or Timeouts()
        if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:
            raise ConfigurationError(f"max_retries must be 0 or more, not {max_retries!r}")
        self._max_retries = max_retries
        if not isinstance(observers, Iterable):
            raise ConfigurationError("observers must be a sequence of Observer")
        self._observers = tuple(observers)
        key = find_key(provider, api_key)
        address = provider.base_url if base_url is None else base_url
        url = checked_url(address, key, allow_http=allow_http)
        endpoint = Endpoint(
            provider=provider.name,
            base_url=provider.without_path_end(url),
            key=key,
            key_header=provider.key_header,
            key_prefix=provider.key_prefix,
            headers=merged_headers(provider, headers),
            limits=checked("limits", limits, Limits) or Limits(),
        )
        if proxies is not None and not isinstance(proxies, Mapping):
            raise ConfigurationError("proxies must be a mapping, as {'https': 'http://proxy:3128'}")
        self._transport = Transport(endpoint, proxies=proxies, verify=verify, cert=cert)

    def _row(self) -> Provider:
        """The provider's facts, for clients whose users say some of them."""
        return self.provider

    def _wire(self, provider: Provider) -> Codec:
        """The codec, for clients whose users say some of its settings."""
        return self.codec

    @property
    def model_name(self) -> str:
        """The model that answers."""
        return self._model

    @property
    def provider_name(self) -> str:
        """Who serves it."""
        return self._provider.name

    @property
    def features(self) -> frozenset[str]:
        """What can be asked of it, of `cloudllm_sync.codecs.FEATURES`; the rest is refused."""
        return self._codec.features

    @hides_arguments
    def send_message(
        self,
        messages: Messages,
        tools: Optional[Iterable[ToolDefinition]] = None,
        *,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> Message:
        """The whole reply at once.

        `first_chunk_s` counts until the whole reply is there: raise it for long ones, or stream.

        Raises:
            CloudLLMError: See the tree in `cloudllm_sync.errors`.
        """
        call = self._call(messages, tools, options, timeouts, stream=False)
        del messages  # tools that report errors show local variables
        return self._open(call).result()

    @hides_arguments
    def send_message_stream(
        self,
        messages: Messages,
        tools: Optional[Iterable[ToolDefinition]] = None,
        *,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> ChatStream:
        """The reply as it comes; the provider has accepted the request when this returns.

        Raises:
            CloudLLMError: See the tree in `cloudllm_sync.errors`.
        """
        call = self._call(messages, tools, options, timeouts, stream=True)
        del messages  # as above
        return self._open(call)

    @hides_arguments
    def start_message_stream(
        self,
        messages: Messages,
        tools: Optional[Iterable[ToolDefinition]] = None,
        *,
        on_chunk: Optional[OnChunk] = None,
        on_finish: Optional[OnFinish] = None,
        on_error: Optional[OnError] = None,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> StreamHandle:
        """The reply by callbacks on a worker thread; returns at once.

        Raises:
            ConfigurationError: The request cannot be made. All that comes later goes to
                `on_error`.
        """
        request = self._request(messages, tools, options, stream=True)
        wire = self._codec.encode(request)
        clocks = checked("timeouts", timeouts, Timeouts) or self._timeouts
        return StreamHandle(
            lambda: self._open(self._new_call(request, wire, clocks)),
            on_chunk=on_chunk,
            on_finish=on_finish,
            on_error=on_error,
        )

    def close(self) -> None:
        """Close idle connections and take no more requests; running streams go on."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._model!r})"

    def __copy__(self) -> Client:
        again = object.__new__(type(self))
        again.__dict__.update(self.__dict__)
        return again

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} holds a key and connections, and does not pickle: make one "
            "where it is used"
        )

    def _request(
        self,
        messages: Messages,
        tools: Optional[Iterable[ToolDefinition]],
        options: Optional[ChatOptions],
        *,
        stream: bool,
    ) -> ChatRequest:
        wanted = checked("options", options, ChatOptions)
        return ChatRequest(
            self._model,
            as_messages(messages),
            as_tools(tools),
            wanted.over(self._options) if wanted is not None else self._options,
            stream,
        )

    def _call(
        self,
        messages: Messages,
        tools: Optional[Iterable[ToolDefinition]],
        options: Optional[ChatOptions],
        timeouts: Optional[Timeouts],
        *,
        stream: bool,
    ) -> tuple[Call, CallInfo]:
        request = self._request(messages, tools, options, stream=stream)
        wire = self._codec.encode(request)
        clocks = checked("timeouts", timeouts, Timeouts) or self._timeouts
        return self._new_call(request, wire, clocks)

    def _new_call(
        self, request: ChatRequest, wire: WireRequest, clocks: Timeouts
    ) -> tuple[Call, CallInfo]:
        server = self._transport.endpoint.base_url
        info = CallInfo(self.provider_name, self._model, request.stream, server, request)

        def on_retry(error: CloudLLMError, delay_s: float) -> None:
            notify(self._observers, lambda observer: observer.on_retry(info, error, delay_s))

        call = Call(
            self._transport,
            wire,
            clocks,
            max_retries=self._max_retries,
            cancellation=current_cancellation(),
            amend=self._amend,
            on_retry=on_retry,
        )
        return call, info

    def _open(self, made: tuple[Call, CallInfo]) -> ChatStream:
        """The one path: whole or streamed, pulled or pushed, every reply begins here."""
        call, info = made
        notify(self._observers, lambda observer: observer.on_start(info))
        try:
            call.open()
        except CloudLLMError as error:
            failure = error
            notify(self._observers, lambda observer: observer.on_error(info, failure))
            raise
        except BaseException as cause:
            stopped = cancelled_by(cause, f"opening it was interrupted by {type(cause).__name__}")
            notify(self._observers, lambda observer: observer.on_error(info, stopped))
            raise
        source = ReplySource(call, self._codec.decoder, self.provider_name)
        return ChatStream(source, info=info, observers=self._observers)

    def _amend(
        self, wire: WireRequest, error: APIError
    ) -> Optional[tuple[WireRequest, Callable[[], None]]]:
        """The request without what this server refuses, and what to do once it is accepted:
        later requests leave it out at once. An error that only quotes the prompt changes nothing.
        """
        amended = self._codec.amend(wire, error)
        if amended is None:
            return None
        plainer, codec = amended

        def remember() -> None:
            self._codec = codec

        return plainer, remember
