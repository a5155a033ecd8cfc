"""`settings.CLOUDLLM`, as Django has it."""

from __future__ import annotations

from typing import Any

from django.conf import settings

__all__ = ["FORM", "given_settings"]

FORM = 'CLOUDLLM["{}"]'


def given_settings() -> Any:
    """What is set, not looked at yet; nothing is an empty dict."""
    return getattr(settings, "CLOUDLLM", {})
