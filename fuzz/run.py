"""Fuzz one target, guided by the code that each input reaches.

    pip install atheris
    python -m fuzz.run openai /tmp/corpus -max_total_time=300

What follows the target is libFuzzer's: folders of inputs to begin with, and options. An input that
breaks a target is written to a file `crash-...`; `fuzz/found/TARGET-what-it-shows` is where it
stays once it is mended, and a test feeds it to its target for ever.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["cloudllm_sync", "sseclient", "email"]):
    from fuzz.targets import TARGETS


def main() -> None:
    """Run the target that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        sys.exit(f"name a target: {', '.join(TARGETS)}")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
