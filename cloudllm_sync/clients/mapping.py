"""Many prompts, several at a time: what `client.map()` does."""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Callable, Optional, Union

import attrs

from cloudllm_sync.clients.arguments import checked, checked_count
from cloudllm_sync.clients.pace import Pace, RateLimit, estimated_tokens
from cloudllm_sync.clients.results_file import ResultsFile
from cloudllm_sync.clients.wrapper import ClientWrapper, Messages, given_only
from cloudllm_sync.codecs.conversation import as_messages, as_tools
from cloudllm_sync.errors import CloudLLMError, ConfigurationError
from cloudllm_sync.transport.cancellation import Cancellation, using
from cloudllm_sync.values import ChatOptions, Message, Timeouts, ToolDefinition

__all__ = ["MapResult", "OnResult", "Path", "answered"]

Path = Union[str, "os.PathLike[str]"]
OnResult = Callable[["MapResult"], object]

# How many prompts are read ahead, for each worker: the slowest holds up the others no sooner.
_AHEAD = 4
_JOIN_S = 5.0
_WAKE_S = 0.5


@attrs.frozen(slots=True)
class MapResult:
    """What came of the prompt that has this `index`, from 0: its reply, or the error.

    `was_kept` tells that the reply was read from the results file.
    """

    index: int
    message: Optional[Message] = attrs.field(default=None, repr=False)
    error: Optional[CloudLLMError] = None
    was_kept: bool = False

    def result(self) -> Message:
        """The reply; raises the error if there is none."""
        if self.error is not None:
            raise self.error
        assert self.message is not None
        return self.message


@attrs.frozen(slots=True)
class _Job:
    index: int
    messages: tuple[Message, ...] = attrs.field(repr=False)
    key: str = ""


@attrs.frozen(slots=True, kw_only=True)
class Plan:
    """What `client.map()` was asked for."""

    client: ClientWrapper
    workers: int
    on_result: Optional[OnResult]
    on_error: Optional[OnResult]
    ordered: bool
    tools: Optional[tuple[ToolDefinition, ...]] = attrs.field(repr=False)
    options: Optional[ChatOptions] = attrs.field(repr=False)
    timeouts: Optional[Timeouts]

    def given(self) -> dict[str, Any]:
        """What the client is passed beside messages and tools."""
        return given_only(options=self.options, timeouts=self.timeouts)

    def tell(self, result: MapResult) -> MapResult:
        """Call the callback that wants it."""
        callback = self.on_result if result.error is None else self.on_error
        if callback is not None:
            callback(result)
        return result


def answered(
    client: ClientWrapper,
    prompts: Iterable[Messages],
    tools: Optional[Iterable[ToolDefinition]],
    *,
    workers: int,
    on_result: Optional[OnResult],
    on_error: Optional[OnResult],
    ordered: bool,
    rate: Optional[RateLimit],
    results: Optional[Path],
    options: Optional[ChatOptions],
    timeouts: Optional[Timeouts],
) -> Generator[MapResult, None, None]:
    """What `client.map()` gives; its arguments."""
    if isinstance(prompts, (str, Message)) or not isinstance(prompts, Iterable):
        raise ConfigurationError(
            f"prompts must be many of them, not one {type(prompts).__name__}: [prompt], say"
        )
    plan = Plan(
        client=client,
        workers=checked_count("workers", workers),
        on_result=on_result,
        on_error=on_error,
        ordered=ordered,
        tools=None if tools is None else as_tools(tools),
        options=options,
        timeouts=timeouts,
    )
    return _results(plan, iter(prompts), Pace(checked("rate", rate, RateLimit)), results)


def _results(
    plan: Plan, prompts: Iterator[Messages], pace: Pace, results: Optional[Path]
) -> Generator[MapResult, None, None]:
    with contextlib.ExitStack() as stack:
        kept = (
            None
            if results is None
            else stack.enter_context(contextlib.closing(ResultsFile(results)))
        )
        crew = _Crew(plan, pace)
        stack.callback(crew.stop)
        feed = _Feed(plan, prompts, kept, crew)
        waiting: dict[int, MapResult] = {}  # came before their turn
        given = 0
        while True:
            result = feed.next_kept(given + _AHEAD * plan.workers)
            if result is None:
                if given + len(waiting) == feed.count:
                    break
                job, result = crew.next_done()
                if kept is not None and result.message is not None:
                    kept.keep(job.key, job.index, result.message)
            if not plan.ordered:
                given += 1
                yield plan.tell(result)
                continue
            waiting[result.index] = result
            while given in waiting:
                given += 1
                yield plan.tell(waiting.pop(given - 1))
    if feed.failure is not None:
        raise feed.failure


class _Feed:
    """Reads the prompts, in the caller's thread, and hands them to the crew."""

    def __init__(
        self, plan: Plan, prompts: Iterator[Messages], kept: Optional[ResultsFile], crew: _Crew
    ) -> None:
        self._plan = plan
        self._prompts = prompts
        self._kept = kept
        self._crew = crew
        self._model = (plan.client.provider_name, plan.client.model_name)
        self._ended = False
        self.count = 0
        self.failure: Optional[BaseException] = None

    def next_kept(self, until: int) -> Optional[MapResult]:
        """Hand over prompts until so many were read; the first whose result is there already."""
        while not self._ended and self.count < until:
            try:
                prompt = next(self._prompts)
            except StopIteration:
                self._ended = True
                break
            except Exception as error:  # foreign code; raised once the others are done
                self._ended, self.failure = True, error
                break
            self.count += 1
            result = self._begun(self.count - 1, prompt)
            if result is not None:
                return result
        return None

    def _begun(self, index: int, prompt: Messages) -> Optional[MapResult]:
        plan = self._plan
        try:
            messages = as_messages(prompt)
            if self._kept is None:
                self._crew.add(_Job(index, messages))
                return None
            key = self._kept.key(self._model, messages, plan.tools, plan.options)
            found = self._kept.find(key)
        except CloudLLMError as error:
            return MapResult(index, None, error)
        if found is not None:
            return MapResult(index, found, was_kept=True)
        self._crew.add(_Job(index, messages, key))
        return None


class _Crew:
    """The workers; all of them are stopped at the end."""

    def __init__(self, plan: Plan, pace: Pace) -> None:
        self._plan = plan
        self._pace = pace
        self._jobs: queue.SimpleQueue[Optional[_Job]] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[tuple[_Job, MapResult]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []  # the caller's only
        self._lock = threading.Lock()
        self._running: set[Cancellation] = set()  # guarded by _lock
        self._stopped = False  # guarded by _lock

    def add(self, job: _Job) -> None:
        """Have it done, by a further worker if there may be one."""
        self._jobs.put(job)
        if len(self._threads) < self._plan.workers:
            run = contextvars.copy_context().run  # what is traced belongs to the caller's span
            thread = threading.Thread(
                target=run, args=(self._work,), name="cloudllm-map", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def next_done(self) -> tuple[_Job, MapResult]:
        """The next result. A Ctrl-C that comes at the moment at which a wait begins is heard when
        it ends: so it is many short ones.
        """
        while True:
            with contextlib.suppress(queue.Empty):
                return self.done.get(timeout=_WAKE_S)

    def stop(self) -> None:
        """Cancel what is running, and wait until the workers have ended."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for cancellation in running:
            cancellation.cancel()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(_JOIN_S)  # a client of a user's own may not hear of a cancel

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            cancellation = Cancellation()
            with self._lock:
                if self._stopped:
                    return
                self._running.add(cancellation)
            result = self._answer(job, cancellation)
            with self._lock:
                self._running.discard(cancellation)
            self.done.put((job, result))

    def _answer(self, job: _Job, cancellation: Cancellation) -> MapResult:
        plan = self._plan
        estimate = estimated_tokens(job.messages, plan.options)
        try:
            self._pace.wait(estimate, cancellation)
            with using(cancellation):
                message = plan.client.send_message(job.messages, plan.tools, **plan.given())
        except CloudLLMError as error:
            self._pace.slow_down(error)
            return MapResult(job.index, None, error)
        except BaseException as cause:  # foreign code: a client of a user's own
            failure = CloudLLMError(f"the client raised {type(cause).__name__}")
            failure.__cause__ = cause
            return MapResult(job.index, None, failure)
        self._pace.learn(estimate, message)
        return MapResult(job.index, message)
