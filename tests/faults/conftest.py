"""What every fault has in common: one typed error, nothing leaked, nothing left behind."""

from __future__ import annotations

import pytest


@pytest.fixture
def fails(read, serve, make_client, texts_of):
    """Runs a script whose first reply fails; checks all that every failure has in common."""

    def run(
        *script,
        error,
        partial=None,
        requests=1,
        prompt="hi",
        gone=True,
        ssl_context=None,
        **options,
    ):
        server = serve(*script, ssl_context=ssl_context)
        client = make_client(server, **options)
        outcome = read(client, prompt)

        failure = outcome.error
        assert type(failure) is error, repr(failure)
        assert (failure.partial and failure.partial.content) == partial
        assert outcome.text == (failure.partial.content if failure.partial else "")
        assert len(server.requests) == failure.attempts == requests
        assert "0123456789abcdef" not in texts_of(failure)
        if gone:
            assert server.wait_until_idle(2)
        server.add("fine again")
        assert read(client).message.content == "fine again"
        return outcome

    return run


@pytest.fixture
def succeeds(read, serve, make_client):
    """Runs a script whose reply becomes whole, and the next call on the same client."""

    def run(*script, text, requests=1, **options):
        server = serve(*script)
        client = make_client(server, **options)
        outcome = read(client)

        assert outcome.error is None
        assert outcome.message.content == outcome.text == text
        assert len(server.requests) == requests
        server.add("fine again")
        assert read(client).message.content == "fine again"
        return outcome

    return run
