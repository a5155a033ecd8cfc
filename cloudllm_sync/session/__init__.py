"""A conversation: its turns, its history, and where it is kept."""

from __future__ import annotations
