"""One client for every provider: a codec, a transport, and a row of facts."""

from __future__ import annotations
