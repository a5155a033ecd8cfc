"""Exit codes, and what is said of an error: in words, on standard error, without a traceback."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

import click

from cloudllm_sync.cli.printable import printable
from cloudllm_sync.errors import (
    AuthenticationError,
    CloudLLMError,
    ConfigurationError,
    RateLimitError,
    StreamError,
    TransportError,
)

__all__ = ["EXIT_CODES", "code_of", "complain", "leave_by", "telling_errors"]

# The first that fits.
EXIT_CODES: tuple[tuple[type[CloudLLMError], int], ...] = (
    (ConfigurationError, 2),
    (AuthenticationError, 3),
    (RateLimitError, 4),
    (TransportError, 5),
    (StreamError, 6),
    (CloudLLMError, 1),
)
_CTRL_C = 130
_NOBODY_READS = 141


def code_of(error: CloudLLMError) -> int:
    """The exit code that tells of the error."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def complain(words: str) -> None:
    """Say it where it does not mix with the reply. It may quote what a server wrote."""
    click.echo(f"cloudllm: {printable(words)}", err=True)


def leave_by(code: int) -> NoReturn:
    """End the program."""
    raise click.exceptions.Exit(code)


class _Complaints(logging.Handler):
    """What is logged, and why, in words: nobody asked for a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        complain(words if error is None else f"{words} ({type(error).__name__}: {error})")


@contextlib.contextmanager
def telling_errors() -> Iterator[None]:
    """Errors as words and exit codes, warnings as words."""
    logger, complaints = logging.getLogger("cloudllm_sync"), _Complaints(logging.WARNING)
    logger.addHandler(complaints)
    try:
        yield
    except CloudLLMError as error:
        complain(f"{type(error).__name__}: {error}")
        leave_by(code_of(error))
    except (KeyboardInterrupt, click.Abort):
        complain("stopped")
        leave_by(_CTRL_C)
    except BrokenPipeError:
        _give_up_output()
        leave_by(_NOBODY_READS)
    except OSError as error:  # of the output: a full disk, say
        complain(f"{type(error).__name__}: {error}")
        _give_up_output()
        leave_by(1)
    finally:
        logger.removeHandler(complaints)


def _give_up_output() -> None:
    """What the interpreter flushes at its end has nowhere to go, either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
