"""GeminiClient over a real socket: its path and its key."""

from __future__ import annotations

import pytest

from cloudllm_sync.clients.gemini import GeminiClient

KEY = "AIza-0123456789"


@pytest.mark.parametrize("end", ["", "/", "/v1beta", "/v1beta/", "/v1beta/models"])
@pytest.mark.parametrize("start", ["", "/google-ai-studio"])
def test_base_url_is_taken_with_and_without_its_path(start, end, serve):
    """Documentation and other tools give all of these."""
    server = serve("Hello")
    with GeminiClient("m", api_key=KEY, base_url=server.url + start + end) as client:
        client.send_message("hi")

    (request,) = server.requests
    assert f"{start}/v1beta/models/m:generateContent" == request.path
    assert KEY == request.headers["x-goog-api-key"]
