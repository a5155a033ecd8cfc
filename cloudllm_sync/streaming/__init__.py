"""A reply on its way: pulled chunk by chunk, or pushed to callbacks by a thread."""

from __future__ import annotations
