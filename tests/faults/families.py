"""The wire families as tables: a fault is written once, in their parts, and runs on each.

    Raw(family.opening, family.first, Cut())

What differs between the wires in more than words is a field here, with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Callable, Optional

import attrs

from cloudllm_sync import OpenAIClient
from cloudllm_sync.clients.claude import ClaudeClient
from cloudllm_sync.clients.gemini import GeminiClient
from cloudllm_sync.clients.responses import OpenAIResponsesClient
from cloudllm_sync.testing import (
    Raw,
    Reply,
    anthropic_body,
    anthropic_events,
    gemini_body,
    gemini_events,
    openai_body,
    openai_events,
    responses_body,
    responses_events,
)

PIECES = ("Grüße", ", Welt")
TEXT = "".join(PIECES)


def sse(payload, name=None):
    """One event."""
    data = b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"
    return data if name is None else f"event: {name}\n".encode() + data


@attrs.frozen
class Family:
    """A wire: who speaks it, and what is said on it, by parts.

    The reply is "Grüße" and ", Welt", then a finish reason; `opening` has no text, and is empty
    where the first event is the first text.
    """

    name: str
    client: type
    version: str
    """What follows the server's address in `base_url`."""
    path: str
    encode: Callable[[Reply], list[bytes]]
    body: Callable[[Reply], bytes]
    end_marks: int
    """How many events follow the finish reason only to say that this is the end."""
    end_mark_is_proof: bool
    """Whether an end mark proves a reply whose finish reason is missing."""
    keep_alive: bytes
    """What the provider sends in silence."""
    silent: tuple[bytes, ...]
    """Events that say nothing."""
    errors: Mapping[str, Mapping[str, object]]
    """Error objects of this provider, by what they are."""
    report: Callable[[object], bytes]
    """The event that reports an error object, or whatever stands in its place."""
    refuse: Callable[[Mapping[str, object]], object]
    """The body of a refusal."""
    request_id_header: Optional[str]
    """None where the provider has no such header."""

    events: tuple[bytes, ...] = attrs.field(init=False)
    opening: bytes = attrs.field(init=False)
    first: bytes = attrs.field(init=False)
    second: bytes = attrs.field(init=False)
    finish: bytes = attrs.field(init=False)
    end: bytes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        events = tuple(self.encode(Reply(PIECES, usage=None)))
        at = next(n for n, event in enumerate(events) if PIECES[0].encode() in event)
        last = len(events) - self.end_marks
        parts = {
            "events": events,
            "opening": b"".join(events[:at]),
            "first": events[at],
            "second": events[at + 1],
            "finish": b"".join(events[at + 2 : last]),
            "end": b"".join(events[last:]),
        }
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return self.name

    @property
    def begun(self) -> bytes:
        """The reply up to its first text."""
        return self.opening + self.first

    @property
    def whole(self) -> bytes:
        """All of the reply."""
        return b"".join(self.events)

    @property
    def rest(self) -> bytes:
        """What follows the texts."""
        return self.finish + self.end

    def says(self, json_text: bytes) -> bytes:
        """An event of text whose JSON string is written like this, quotes included."""
        return self.first.replace(f'"{PIECES[0]}"'.encode(), json_text)

    def reports(self, kind: str, message: str = "it broke") -> bytes:
        """The event that reports an error of this kind."""
        return self.report({**self.errors[kind], "message": message})

    def refusal(
        self, status, message="no such luck", *, kind="unnamed", headers=None, framing="chunked"
    ) -> Raw:
        """An answer with this status, the body as the provider words it."""
        body = json.dumps(self.refuse({**self.errors[kind], "message": message})).encode()
        return Raw(
            body, status=status, headers=headers, framing=framing, content_type="application/json"
        )


def _in_error(error):
    return {"error": error}


def _claude_error(error):
    return {"type": "error", "error": error, "request_id": "req_in_the_body"}


CHAT = Family(
    name="chat",
    client=OpenAIClient,
    version="/v1",
    path="/v1/chat/completions",
    encode=openai_events,
    body=openai_body,
    end_marks=1,
    end_mark_is_proof=True,
    keep_alive=b": keep-alive\n\n",
    silent=(
        sse({"choices": []}),
        sse({"object": "something.else"}),
        sse({"choices": [{"index": 0, "delta": None}]}),
        sse({"choices": [{"index": 0}]}),
        sse({"choices": [{"index": 0, "delta": {}}]}),
        sse({"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}]}),
        sse({"choices": None, "error": None, "new": {"field": [1, 2]}}),
    ),
    errors={
        "broken": {"type": "server_error", "code": None},
        "overloaded": {"type": "overloaded_error"},
        "rate": {"type": "rate_limit_error", "code": "rate_limit_exceeded"},
        "quota": {"type": "insufficient_quota", "code": "insufficient_quota"},
        "key": {"type": "invalid_request_error", "code": "invalid_api_key"},
        "request": {"type": "invalid_request_error", "param": "messages"},
        "unnamed": {},
    },
    report=lambda error: sse({"error": error}),
    refuse=_in_error,
    request_id_header="x-request-id",
)

CLAUDE = Family(
    name="claude",
    client=ClaudeClient,
    version="",
    path="/v1/messages",
    encode=anthropic_events,
    body=anthropic_body,
    end_marks=1,
    # Proxies are known to lose message_delta; message_stop comes only at the end.
    end_mark_is_proof=True,
    keep_alive=sse({"type": "ping"}, "ping"),
    silent=(
        sse({"type": "ping"}, "ping"),
        sse({"type": "content_block_delta", "index": 0, "delta": None}, "content_block_delta"),
        sse({"type": "content_block_delta", "index": 0}, "content_block_delta"),
        sse({"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta", "x": 1}}),
        sse({"type": "content_block_start", "index": 9, "content_block": {"type": "new_block"}}),
        sse({"type": "message_delta", "delta": None}, "message_delta"),
        sse({"type": "message_delta", "delta": {"stop_reason": None}, "error": None}),
    ),
    errors={
        "broken": {"type": "api_error", "details": None},
        "overloaded": {"type": "overloaded_error"},
        "rate": {"type": "rate_limit_error"},
        "quota": {"type": "billing_error"},
        "key": {"type": "authentication_error"},
        "request": {"type": "invalid_request_error"},
        "unnamed": {},
    },
    report=lambda error: sse(_claude_error(error), "error"),
    refuse=_claude_error,
    request_id_header="request-id",
)

GEMINI = Family(
    name="gemini",
    client=GeminiClient,
    version="",
    path="/v1beta/models/m:streamGenerateContent?alt=sse",
    encode=gemini_events,
    body=gemini_body,
    # After the finish reason comes the connection's end, and nothing before it is a proof.
    end_marks=0,
    end_mark_is_proof=False,
    keep_alive=b": keep-alive\r\n\r\n",
    silent=(
        sse({"candidates": []}),
        sse({"candidates": None, "error": None}),
        sse({"candidates": [{"index": 0}]}),
        sse({"candidates": [{"index": 0, "content": {}}]}),
        sse({"candidates": [{"index": 0, "content": {"parts": None}, "finishReason": ""}]}),
        sse({"candidates": [{"index": 1, "content": {"parts": [{"text": "other"}]}}]}),
        sse({"usageMetadata": {}, "newField": [1, 2]}),
    ),
    errors={
        "broken": {"code": 500, "status": "INTERNAL"},
        "overloaded": {"code": 503, "status": "UNAVAILABLE"},
        "rate": {"code": 429, "status": "RESOURCE_EXHAUSTED"},
        "quota": {"code": 402, "status": "billing_error"},
        "key": {"code": 401, "status": "UNAUTHENTICATED"},
        "request": {"code": 400, "status": "INVALID_ARGUMENT"},
        "unnamed": {},
    },
    report=lambda error: sse({"error": error}),
    refuse=_in_error,
    request_id_header=None,
)

RESPONSES = Family(
    name="responses",
    client=OpenAIResponsesClient,
    version="/v1",
    path="/v1/responses",
    encode=responses_events,
    body=responses_body,
    # response.completed is both, the finish reason and the end; some proxies add [DONE], which
    # proves nothing without it.
    end_marks=0,
    end_mark_is_proof=False,
    keep_alive=sse({"type": "keepalive", "sequence_number": 3}, "keepalive"),
    silent=(
        sse({"type": "response.queued", "response": None}, "response.queued"),
        sse({"type": "response.output_text.delta", "output_index": 0, "delta": None}),
        sse({"type": "response.output_text.delta", "output_index": 0, "delta": ""}),
        sse({"type": "response.new_thing.delta", "delta": "x"}, "response.new_thing.delta"),
        sse({"type": "response.output_item.added", "output_index": 9, "item": None}),
        sse({"type": "response.in_progress", "response": {"error": None, "status": None}}),
    ),
    errors={
        "broken": {"type": "server_error", "code": "server_error", "param": None},
        "overloaded": {"type": "server_error", "code": "server_is_overloaded"},
        "rate": {"type": "tokens", "code": "rate_limit_exceeded"},
        "quota": {"type": "insufficient_quota", "code": "insufficient_quota"},
        "key": {"type": "invalid_request_error", "code": "invalid_api_key"},
        "request": {"type": "invalid_request_error", "code": "invalid_prompt"},
        "unnamed": {},
    },
    report=lambda error: sse({"type": "error", "sequence_number": 9, "error": error}, "error"),
    refuse=_in_error,
    request_id_header="x-request-id",
)

FAMILIES = (CHAT, CLAUDE, GEMINI, RESPONSES)
