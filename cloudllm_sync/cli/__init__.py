"""The command line: `cloudllm ask`, `cloudllm chat` and others (extra `cli`)."""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]

_OF_THE_EXTRA = ("click", "rich", "platformdirs")


def main() -> None:
    """Run `cloudllm`; what console scripts call."""
    # Imports make many objects and no garbage: looking for it is a twelfth of what a start costs.
    gc.disable()
    try:
        from cloudllm_sync.cli.commands import cloudllm
    except KeyboardInterrupt:
        sys.exit(130)
    except ImportError as error:
        if error.name not in _OF_THE_EXTRA:
            raise
        sys.exit('the command line needs an extra: pip install "cloudllm-sync[cli]"')
    cloudllm(prog_name="cloudllm")
