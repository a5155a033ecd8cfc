"""Where a ChatStream's chunks come from: a provider's reply, or chunks made elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Callable, Optional, Protocol

from cloudllm_sync.codecs import Decoder, ReplyFacts
from cloudllm_sync.errors import CloudLLMError, StreamInterrupted, StreamProtocolError
from cloudllm_sync.transport.call import Call
from cloudllm_sync.transport.cancellation import Cancellation, current_cancellation, using
from cloudllm_sync.transport.lines import NO_EVENT
from cloudllm_sync.values import MessageChunk

__all__ = [
    "NOTHING_YET",
    "ChunkList",
    "NoClocks",
    "Progress",
    "ReplySource",
    "Source",
    "is_busy",
    "late_text",
]


NOTHING_YET = MessageChunk(finish_reason="nothing yet")
"""What the chunks have while nothing comes by `Progress.reader_until`; no chunk."""


class Progress(Protocol):
    """Told whether a finish reason is behind all that came."""

    finish_came: bool
    reader_until: float
    """When the reader wants to hear that nothing has come, by time.monotonic(); or infinite."""


def late_text(add_text: Callable[[str], None], progress: Progress) -> Callable[[str], None]:
    """Adds text that comes behind a finish reason: more may follow. It does not hold the stream."""

    def add(text: str) -> None:
        add_text(text)
        progress.finish_came = False

    return add


def is_busy(error: BaseException) -> bool:
    """Whether a second thread called `next()` while the first was reading: its own mistake only."""
    return isinstance(error, ValueError) and "already executing" in str(error)


class Source(Protocol):
    """What a ChatStream pumps."""

    @property
    def is_timed(self) -> bool:
        """Whether the chunks obey `Progress.reader_until`."""

    @property
    def cancellation(self) -> Cancellation:
        """Where a cancel is asked for."""

    @property
    def facts(self) -> ReplyFacts:
        """What the reply says about itself."""

    @property
    def progress(self) -> Progress:
        """Who is to hear of a finish reason."""

    @property
    def request_id(self) -> Optional[str]:
        """The provider's name for the request."""

    def chunks(self) -> Iterator[MessageChunk]:
        """The chunks; may raise a CloudLLMError."""

    def verdict(self) -> Optional[CloudLLMError]:
        """Once the chunks are used up: None if the reply is whole, else what is wrong with it."""

    def reopen(self, error: CloudLLMError) -> bool:
        """Begin again after `error`, if that is allowed; only asked before the first chunk."""

    def describe(self, error: CloudLLMError) -> CloudLLMError:
        """The error with what the source knows about the call."""

    def release(self) -> None:
        """The reply is whole: give back what was used."""

    def abort(self) -> None:
        """Throw away what was used. Idempotent."""


def _decoded(call: Call, decoder: Decoder) -> Iterator[MessageChunk]:
    """Events to chunks, up to the end mark.

    One read may have brought many events: a cancel, and the total deadline, are heard between
    them, too.
    """
    feed = decoder.feed
    cancellation = call.cancellation
    clocks = call.clocks
    has_deadline = clocks.total_left_s() < math.inf
    for event in call.events():
        if cancellation.requested or has_deadline:
            call.check()
        if event is NO_EVENT:
            yield NOTHING_YET
            continue
        try:
            chunks = feed(event)
        except StreamProtocolError:
            # An event that the end of the body cut is as if it had not come, and after the proof
            # that the reply is whole junk cannot take it back: usage may still come behind it.
            if event.terminated and not decoder.complete():
                raise
            continue
        for chunk in chunks:
            clocks.chunk_came = True
            yield chunk
        if decoder.ended:
            break
    yield from decoder.finish()
    cancellation.check()


class ReplySource:
    """A provider's reply: a call's events through a codec's decoder."""

    is_timed = True

    def __init__(self, call: Call, new_decoder: Callable[[], Decoder], provider: str) -> None:
        self._call = call
        self._new_decoder = new_decoder
        self._provider = provider
        self._decoder = new_decoder()
        self.cancellation = call.cancellation
        self.progress: Progress = call.clocks

    @property
    def facts(self) -> ReplyFacts:
        """What the reply says about itself."""
        return self._decoder.facts

    @property
    def request_id(self) -> Optional[str]:
        """The provider's name for the request, or else for the reply."""
        return self._call.request_id or self._decoder.facts.response_id

    def chunks(self) -> Iterator[MessageChunk]:
        """The chunks of the reply."""
        return _decoded(self._call, self._decoder)

    def verdict(self) -> Optional[CloudLLMError]:
        """Whole only with the provider's proof."""
        decoder = self._decoder
        if decoder.error is not None:
            return decoder.error
        if decoder.complete():
            return None
        return StreamInterrupted(
            f"{self._provider} ended the stream without a finish reason after its last content: "
            "the reply is not whole",
            retryable=True,
        )

    def reopen(self, error: CloudLLMError) -> bool:
        """Send the request again, if an error event before any content may be retried."""
        if self._decoder.error is None or not self._call.reopen(error):
            return False
        self._decoder = self._new_decoder()
        return True

    def describe(self, error: CloudLLMError) -> CloudLLMError:
        """The error with attempts and request id, the key masked."""
        return self._call.describe(error)

    def release(self) -> None:
        """Leave the connection to the next call."""
        self._call.release()

    def abort(self) -> None:
        """Close the connection."""
        self._call.abort()


class NoClocks:
    """For chunks whose maker has clocks of its own, or none."""

    finish_came = False
    reader_until = math.inf


class ChunkList:
    """Chunks that somebody else makes: a client of a user's own."""

    is_timed = False
    request_id: Optional[str] = None

    def __init__(self, chunks: Iterable[MessageChunk]) -> None:
        self._chunks = chunks
        self._finished = False
        self.cancellation = current_cancellation()
        self.facts = ReplyFacts()
        self.progress: Progress = NoClocks()

    def chunks(self) -> Iterator[MessageChunk]:
        """The chunks, until a cancel."""
        chunks = iter(self._chunks)
        while True:
            with using(self.cancellation):  # a generator opens its own streams only here
                chunk = next(chunks, None)
            if chunk is None:
                break
            self.cancellation.check()
            self._finished = self._finished or chunk.finish_reason is not None
            yield chunk
        self.cancellation.check()

    def verdict(self) -> Optional[CloudLLMError]:
        """Whole if a finish reason was among the chunks."""
        if self._finished:
            return None
        return StreamInterrupted("the chunks ended without a finish reason")

    def reopen(self, error: CloudLLMError) -> bool:
        """Never: the chunks are used up."""
        return False

    def describe(self, error: CloudLLMError) -> CloudLLMError:
        """The error as it is."""
        return error

    def release(self) -> None:
        """Close the maker of the chunks, if it can be closed."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()

    def abort(self) -> None:
        """Close the maker of the chunks, if it can be closed."""
        self.release()
