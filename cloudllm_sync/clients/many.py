"""The half of a client that asks many prompts at once; how is in `mapping`."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Optional, Protocol

from cloudllm_sync.clients.wrapper import ClientWrapper, Messages
from cloudllm_sync.values import ChatOptions, Timeouts, ToolDefinition

if TYPE_CHECKING:
    from cloudllm_sync.clients.mapping import MapResult, OnResult, Path
    from cloudllm_sync.clients.pace import RateLimit

__all__ = ["ManyAtOnce"]


class ManyAtOnce(ClientWrapper, Protocol):
    """The half of a client that asks many prompts at once, by `send_message()`."""

    def map(
        self,
        prompts: Iterable[Messages],
        tools: Optional[Iterable[ToolDefinition]] = None,
        *,
        workers: int = 8,
        on_result: Optional[OnResult] = None,
        on_error: Optional[OnResult] = None,
        ordered: bool = True,
        rate: Optional[RateLimit] = None,
        results: Optional[Path] = None,
        options: Optional[ChatOptions] = None,
        timeouts: Optional[Timeouts] = None,
    ) -> Generator[MapResult, None, None]:
        """Answer many prompts, several at a time: a generator of their results.

        One that fails is a result with an `error`, and does not stop the others. Prompts are read
        as they are needed, a few ahead, so that there may be any number of them. Closing the
        generator, or leaving the loop over it in an error, cancels what is running.

        Args:
            prompts: Each a string, or a sequence of messages.
            tools: For all of them.
            workers: How many are asked at a time, each by a thread.
            on_result: Called for every reply, in the caller's thread, before the loop gets it.
            on_error: The same for every failure.
            ordered: Give the results in the order of the prompts, not as they come.
            rate: The most requests and tokens a minute. After a 429 all workers wait as long as
                the provider asks for, in any case.
            results: A file that keeps every reply, as JSON lines. A job that was killed goes on
                where it was when it is started again: replies that are there are not paid for
                again; failures are tried again.
            options: For all of them.
            timeouts: For each of them.

        Raises:
            ConfigurationError: An argument that cannot work, or a file that is no such file.
            StoreError: A reply could not be written to the file; `reply` has it.
        """
        from cloudllm_sync.clients.mapping import answered  # few programs need it

        return answered(
            self,
            prompts,
            tools,
            workers=workers,
            on_result=on_result,
            on_error=on_error,
            ordered=ordered,
            rate=rate,
            results=results,
            options=options,
            timeouts=timeouts,
        )
