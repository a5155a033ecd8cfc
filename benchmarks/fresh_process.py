"""Code of the benchmarks run in a process of its own, so that none disturbs another."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import Any, Optional

PATIENCE_S = 120.0


def call(function: str, *args: Any, env: Optional[dict[str, str]] = None) -> Any:
    """What `module.function` of this folder gives, as JSON carries it.

    Raises:
        ImportError: A library that it needs is not there.
        RuntimeError: It failed, or took longer than two minutes.
    """
    answer = json.loads(printed([__file__, function, json.dumps(args)], env or {}))
    if "missing" in answer:
        raise ImportError(answer["missing"])
    return answer["result"]


def printed(arguments: list[str], env: dict[str, str]) -> str:
    """The last line that a fresh interpreter prints when it is started with these arguments.

    Raises:
        ImportError: A library that it needs is not there.
        RuntimeError: It failed, or took longer than two minutes.
    """
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            # Where no byte code is kept, all but what pip installed would be compiled each time.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **env},
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"no end after {PATIENCE_S:.0f} s") from None
    if done.returncode == 0:
        return done.stdout.strip().rpartition("\n")[2]
    told = done.stderr.strip().rpartition("\n")[2][-300:]
    if told.startswith("ModuleNotFoundError"):
        raise ImportError(told)
    raise RuntimeError(told)


def main() -> None:
    name, arguments = sys.argv[1:]
    module, _, function = name.partition(".")
    try:
        answer = {
            "result": getattr(importlib.import_module(module), function)(*json.loads(arguments))
        }
    except ImportError as error:
        answer = {"missing": str(error)}
    print("", json.dumps(answer), sep="\n", flush=True)
    os._exit(0)  # threads and connections that are still there are not waited for


if __name__ == "__main__":
    main()
