"""Makes `bare_http` importable, whatever pytest's import mode."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
