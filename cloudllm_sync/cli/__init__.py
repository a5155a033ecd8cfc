"""The command line: `cloudllm ask`, `cloudllm chat` and others (extra `cli`)."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from types import FrameType
from typing import Optional

__all__ = ["main"]

_OF_THE_EXTRA = ("click", "rich", "platformdirs")


def main() -> None:
    """Run `cloudllm`; what console scripts call."""
    # Imports make many objects and no garbage: looking for it is a twelfth of what a start costs.
    gc.disable()
    _take_any_text()
    _end_in_order()
    try:
        from cloudllm_sync.cli.commands import cloudllm

        cloudllm(prog_name="cloudllm")
    except KeyboardInterrupt:
        sys.exit(130)
    except ImportError as error:
        if error.name not in _OF_THE_EXTRA:
            raise
        sys.exit('the command line needs an extra: pip install "cloudllm-sync[cli]"')


def _end_in_order() -> None:
    """Not at once, as signals do: a terminal needs its cursor, others a session's lease."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # not by nohup
            signal.signal(number, _end)


def _end(number: int, frame: Optional[FrameType]) -> None:
    sys.exit(128 + number)


def _take_any_text() -> None:
    """What is piped in need not be of the locale's encoding, nor need that know all characters."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  it stays open
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
