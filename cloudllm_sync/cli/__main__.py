"""`python -m cloudllm_sync.cli`, where `cloudllm` is not on the path."""

from __future__ import annotations

from cloudllm_sync.cli import main

main()
