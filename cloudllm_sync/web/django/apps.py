"""The Django app: system checks, and a command."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks

__all__ = ["CloudLLMConfig"]


class CloudLLMConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """What `INSTALLED_APPS` finds."""

    name = "cloudllm_sync.web.django"
    label = "cloudllm"
    verbose_name = "cloudllm_sync"

    def ready(self) -> None:
        """Register the checks."""
        from cloudllm_sync.web.django.checks import check_server, check_site

        checks.register(check_site, "cloudllm")
        checks.register(check_server, "cloudllm", deploy=True)
