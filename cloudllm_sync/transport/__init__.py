"""The only room that knows requests, urllib3 and sseclient-py: a request goes out, events come."""

from __future__ import annotations
