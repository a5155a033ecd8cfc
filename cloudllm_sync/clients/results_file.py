"""A file of replies, one a line, by which a job of many prompts goes on where it was left."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import IO, Any, Optional, Union

import attrs

from cloudllm_sync.errors import ConfigurationError, StoreError
from cloudllm_sync.records import FORMAT, message_from_record, message_to_record
from cloudllm_sync.values import ChatOptions, Message, ToolDefinition

__all__ = ["ResultsFile"]


class ResultsFile:
    """Knows which prompts have been answered, and keeps what comes.

    A prompt is known by a hash of it, of the model and of the options, not by its place; the file
    holds no prompts. A last line that a killed process left half written is cut off.

    Raises:
        ConfigurationError: The file cannot be opened, is none of these, or another process writes
            to it.
    """

    def __init__(self, path: Union[str, os.PathLike[str]]) -> None:
        self._path = os.fspath(path)
        self._places: dict[str, int] = {}  # where in the file each key's line begins
        self._seen: Counter[str] = Counter()
        try:
            self._file: IO[bytes] = open(self._path, "a+b")  # noqa: SIM115 (closed by close())
        except OSError as error:
            raise ConfigurationError(
                f"results cannot be kept in {self._path!r}: {error.strerror}"
            ) from error
        try:
            if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                raise ConfigurationError(f"results cannot be kept in {self._path!r}: no plain file")
            _lock(self._file, self._path)
            self._read()
        except BaseException:
            self._file.close()
            raise

    def key(
        self,
        model: Sequence[str],
        messages: Sequence[Message],
        tools: Optional[Sequence[ToolDefinition]],
        options: Optional[ChatOptions],
    ) -> str:
        """The name of a prompt. One that comes twice has two."""
        said = {
            "model": list(model),
            "messages": [message_to_record(message) for message in messages],
            "tools": [[tool.name, tool.description, tool.parameters] for tool in tools or ()],
            "options": attrs.asdict(options) if options is not None else None,
            "schema": options.json_schema if options is not None else None,
        }
        text = json.dumps(said, sort_keys=True, default=repr)
        found = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        self._seen[found] += 1
        return f"{found}/{self._seen[found]}"

    def find(self, key: str) -> Optional[Message]:
        """The reply that was kept.

        Raises:
            StoreError: Its line cannot be read.
        """
        place = self._places.get(key)
        if place is None:
            return None
        try:
            self._file.seek(place)
            return message_from_record(json.loads(self._file.readline())["message"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{self._path!r} cannot be read at byte {place}: {error}") from error

    def keep(self, key: str, index: int, message: Message) -> None:
        """Add a reply.

        Raises:
            StoreError: It could not be written; `reply` has it.
        """
        try:
            record = {
                "v": FORMAT,
                "key": key,
                "index": index,
                "message": message_to_record(message),
            }
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()
        except (OSError, ValueError) as error:
            raise StoreError(
                f"a reply could not be kept in {self._path!r}: {error}", reply=message
            ) from error

    def close(self) -> None:
        """Let other processes have it. Idempotent."""
        self._file.close()

    def _read(self) -> None:
        self._file.seek(0)
        place = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                self._file.truncate(place)
                break
            self._places[self._key_in(line, number)] = place
            place += len(line)

    def _key_in(self, line: bytes, number: int) -> str:
        try:
            record: Mapping[str, Any] = json.loads(line)
            version, key = record["v"], record["key"]
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"line {number} of {self._path!r} is no result: give a file of its own"
            ) from error
        if version != FORMAT or not isinstance(key, str):
            raise ConfigurationError(
                f"line {number} of {self._path!r} was written in format {version!r}, which this "
                "version of cloudllm-sync does not know: update it"
            )
        return key


def _lock(file: IO[bytes], path: str) -> None:
    """Refuse a file that another process writes to. Windows has no such locks."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigurationError(
            f"another job keeps its results in {path!r}: give each its own file"
        ) from error
