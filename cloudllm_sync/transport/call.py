"""One request and its reply, from the first attempt to the end of the body."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional

import requests
import urllib3

from cloudllm_sync.codecs import ServerSentEvent, WireRequest
from cloudllm_sync.codecs.error_bodies import error_from_body
from cloudllm_sync.errors import (
    APIError,
    CloudLLMError,
    ConfigurationError,
    StreamProtocolError,
    with_context,
)
from cloudllm_sync.transport import retry
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.transport.clocks import Clocks
from cloudllm_sync.transport.connections import Claim
from cloudllm_sync.transport.documents import are_json_lines
from cloudllm_sync.transport.events import reply_events
from cloudllm_sync.transport.failures import WIRE_ERRORS, explain
from cloudllm_sync.transport.http import Transport
from cloudllm_sync.transport.lines import LineBlocks, pieces_of
from cloudllm_sync.values import Timeouts

__all__ = ["Call"]

_log = logging.getLogger("cloudllm_sync.transport")

_REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-generation-id",
    "mistral-correlation-id",
)

# How long the end of the body may take after the end mark; then the connection is given up.
_END_OF_BODY_S = 0.05


_COMPRESSIONS = {"br", "zstd", "compress", "x-compress"}  # beside what urllib3 always knows


class Call:
    """One request and its reply, from the first attempt to the end of the body.

    One thread at a time uses it; `cancellation` may be asked from any.
    """

    def __init__(
        self,
        transport: Transport,
        wire: WireRequest,
        timeouts: Timeouts,
        *,
        max_retries: int,
        cancellation: Cancellation,
        amend: Callable[[WireRequest, APIError], Optional[tuple[WireRequest, Callable[[], None]]]],
        on_retry: Callable[[CloudLLMError, float], None],
    ) -> None:
        self.cancellation = cancellation
        self.clocks = Clocks(timeouts)
        self.attempts = 0
        self.request_id: Optional[str] = None
        self._transport = transport
        self._endpoint = transport.endpoint
        self._wire = wire
        self._max_retries = max_retries
        self._amend = amend
        self._accepted: Optional[Callable[[], None]] = None
        self._on_retry = on_retry
        self._claim = Claim(self.clocks, cancellation)
        self._failures = 0
        self._response: Optional[requests.Response] = None
        self._raw: Any = None
        self._lines: Iterator[bytes] = iter(())
        self._where = str(self._endpoint)

    def open(self) -> None:
        """Send the request until a good answer begins.

        Raises:
            CloudLLMError: The last attempt's failure.
        """
        if self.attempts == 0:
            self._transport.budget.earn()
        while True:
            failure = self._attempt()
            if failure is None:
                if self._accepted is not None:
                    self._accepted()
                return
            self._recover(failure)

    def reopen(self, failure: CloudLLMError) -> bool:
        """Send the request once more, if a failure inside the stream may be retried."""
        self.describe(failure)  # observers are told of it
        self.abort()
        if not failure.retryable or self._failures >= self._max_retries:
            return False
        self._recover(failure)
        self.open()
        return True

    def _recover(self, failure: CloudLLMError) -> None:
        """Make the next attempt possible, or raise."""
        if isinstance(failure, APIError) and self._accepted is None:
            amended = self._amend(self._wire, failure)
            if amended is not None:
                self._wire, self._accepted = amended
                return
        if self._stale(failure):
            self._claim.fresh = True
            return
        self._failures += 1
        delay = retry.next_delay(self._failures, failure, max_retries=self._max_retries)
        if delay is None:
            raise failure
        if not self._transport.budget.spend():
            _log.warning("%s keeps failing: its retries are used up for now", self._where)
            raise failure
        self._on_retry(failure, delay)
        _log.debug("attempt %d failed, next in %.2f s", self.attempts, delay)
        left = self.clocks.total_left_s()
        if self.cancellation.wait(min(delay, max(left, 0.0))):
            raise self.describe(self.cancellation.error())
        if delay >= left:
            late = self._explain(self.clocks.total_expired(), opened=False)
            raise self.describe(late) from failure

    def _stale(self, failure: CloudLLMError) -> bool:
        """Whether a pooled connection turned out to be closed; once, and free."""
        claim = self._claim
        return (
            claim.reused
            and not claim.received
            and not claim.fresh
            and not isinstance(failure, APIError)
            and failure.retryable
        )

    def _attempt(self) -> Optional[CloudLLMError]:
        """Send once; what went wrong, or None once a good answer has begun."""
        fresh = self._claim.fresh
        self._claim = claim = Claim(self.clocks, self.cancellation, fresh=fresh)
        self.clocks.connecting()
        self.attempts += 1
        self.cancellation.on_cancel(claim.wake)
        failure: Optional[CloudLLMError] = None
        try:
            self.cancellation.check()
            self._response = self._transport.send(self._wire, claim)
            self._raw = self._response.raw
            failure = self._refusal(self._response)
        except ConfigurationError:
            self.abort()
            raise
        except WIRE_ERRORS as error:
            failure = self._explain(error, opened=False)
        except CloudLLMError as error:
            failure = error
        except BaseException:
            self.abort()  # Ctrl-C: the connection is in an unknown state
            raise
        if failure is not None:
            if self.cancellation.requested:
                failure = self.cancellation.error()  # an error body may have been cut short by it
            self.abort()
            self.describe(failure)
        return failure

    def _explain(self, error: BaseException, *, opened: bool) -> CloudLLMError:
        return explain(
            error,
            where=self._where,
            claim=self._claim,
            cancellation=self.cancellation,
            opened=opened,
            mask=self._transport.mask,
        )

    def describe(self, error: CloudLLMError) -> CloudLLMError:
        """The error with what this call knows: attempts, request id; the key masked.

        Without the frames that it went through below: they hold the response, with the request and
        so the key, and what the server wrote.
        """
        mask = self._transport.mask
        error.args = tuple(mask(arg) if isinstance(arg, str) else arg for arg in error.args)
        if isinstance(error, APIError):
            error.body = mask(error.body)
            error.code = error.code and mask(error.code)
            error.type = error.type and mask(error.type)
        error.__traceback__ = error.__context__ = None
        error.attempts = self.attempts
        return with_context(error, request_id=self.request_id)

    def _refusal(self, response: requests.Response) -> Optional[CloudLLMError]:
        """None if the answer is a good one, whose body may be read."""
        headers = response.headers
        mask = self._transport.mask
        found = next((headers[name] for name in _REQUEST_IDS if name in headers), None)
        self.request_id = found and mask(found)
        if response.status_code == 200:
            return self._unreadable(headers.get("content-encoding", ""))
        if response.status_code < 300:  # no reply, or no HTTP any more (101)
            kind = headers.get("content-type", "none")
            return StreamProtocolError(
                f"{self._where} answered with status {response.status_code} and content type "
                f"{kind!r}, not with a reply: check base_url"
            )
        # Masked before it is understood: what is cut out of it must not cut a key in two.
        body = mask(self._error_body(response).decode("utf-8", "replace"))
        error = error_from_body(self._endpoint.provider, response.status_code, body.encode())
        asked_s = retry.retry_after_s(headers, time.time())
        error.retry_after_s = error.retry_after_s if asked_s is None else asked_s
        error.retryable = retry.should_retry(headers, error.retryable)
        return error

    def _unreadable(self, encoding: str) -> Optional[CloudLLMError]:
        """The error of a body that is compressed as nothing here undoes; urllib3 hands it on as it
        came. What names no compression is none.
        """
        names = {name.strip().lower() for name in encoding.split(",")}
        if names & _COMPRESSIONS <= set(urllib3.HTTPResponse.CONTENT_DECODERS):
            return None
        return StreamProtocolError(
            f"{self._where} answered in the content encoding {encoding!r}, which cannot be read "
            "here: install what urllib3 needs for it, or check proxies on the way"
        )

    def _error_body(self, response: requests.Response) -> bytes:
        """As much of the body as is allowed and comes in time."""
        limits = self._endpoint.limits
        self.clocks.at_most(limits.error_body_s)
        parts: list[bytes] = []
        room = limits.error_body_bytes
        try:
            for piece in pieces_of(response.raw, self._claim.response, self._where):
                parts.append(piece[:room])
                room -= len(piece)
                if room <= 0:
                    break
        except WIRE_ERRORS:
            self.clocks.fired = None  # the status says enough
        return b"".join(parts)

    def events(self) -> Iterator[ServerSentEvent]:
        """The events of the reply; not a generator, which would be one more for every chunk.

        Raises:
            CloudLLMError: A clock, a cut, a limit, or a cancel.
        """
        response = self._response
        if response is None:
            return iter(())
        limits = self._endpoint.limits
        content_type = response.headers.get("content-type", "none")
        json_lines = self._wire.json_lines or are_json_lines(content_type)
        blocks = LineBlocks(self._pieces(), limits, self._where, json_lines=json_lines)
        response.raw = blocks
        self._lines = response.iter_lines(chunk_size=None)
        return reply_events(
            self._lines,
            event_limit=limits.event_bytes,
            source=self._where,
            content_type=content_type,
            json_lines=json_lines,
            is_open_ended=not self._raw.chunked and self._raw.length_remaining is None,
            is_cut=lambda: blocks.is_cut,
        )

    def _pieces(self) -> Iterator[bytes]:
        """The body's bytes as they arrive; what goes wrong, as what it means."""
        try:
            yield from pieces_of(self._raw, self._claim.response, self._where, self.clocks)
        except WIRE_ERRORS as error:
            failure = self._explain(error, opened=True)
            raise failure from failure.__cause__
        # After a shutdown, a body without a length ends as if it were whole.
        self.cancellation.check()

    def check(self) -> None:
        """Raise if the end was asked for, or the total deadline has passed."""
        if self.cancellation.requested:
            raise self.describe(self.cancellation.error())
        if self.clocks.total_left_s() <= 0:
            raise self.describe(self._explain(self.clocks.total_expired(), opened=True))

    def release(self) -> None:
        """The reply is whole. The connection serves the next call if the body ends here, too.

        What has arrived already is taken; what has not is waited for at most 50 ms.
        """
        if self._raw is None:
            return
        self.cancellation.forget(self._claim.wake)
        framed = self._raw.chunked or self._raw.length_remaining is not None
        if framed and self._raw.connection is not None:
            self.clocks.at_most(_END_OF_BODY_S)
            try:
                # A few empty lines may follow the end mark; more is not worth waiting for.
                for _ in itertools.islice(self._lines, 8):
                    pass
            except (*WIRE_ERRORS, CloudLLMError):
                pass
        self.abort()

    def abort(self) -> None:
        """Close the connection, unless it has gone back to the pool. Idempotent."""
        self.cancellation.forget(self._claim.wake)
        self._claim.give_back()
        self._response = None
        self._lines = iter(())  # it holds the response, and so the request and its key
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()
