"""Events as the Messages API sends them, and what its decoder makes of them."""

from __future__ import annotations

import json

from cloudllm_sync.codecs import WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.anthropic_messages import AnthropicMessagesCodec


def named(kind, **fields):
    """An event whose name is its type, as Anthropic sends it."""
    return ServerSentEvent(json.dumps({"type": kind, **fields}).encode(), kind)


def begin(name="msg_1", **usage):
    message = {"id": name, "model": "claude-x", "content": [], "usage": usage or None}
    return named("message_start", message=message)


def opened(index, kind="text", **fields):
    return named("content_block_start", index=index, content_block={"type": kind, **fields})


def delta(index, kind, **fields):
    return named("content_block_delta", index=index, delta={"type": kind, **fields})


def text(index, said):
    return delta(index, "text_delta", text=said)


def arguments(index, piece):
    return delta(index, "input_json_delta", partial_json=piece)


def closed(index):
    return named("content_block_stop", index=index)


def reason(stop_reason="end_turn", **usage):
    return named("message_delta", delta={"stop_reason": stop_reason}, usage=usage)


STOP = named("message_stop")


CALL = {"kind": "tool_use", "id": "toolu_1", "name": "f", "input": {}}


class Reading:
    """What a decoder made of its events."""

    def __init__(self, *events):
        self.decoder = AnthropicMessagesCodec("Acme").decoder()
        self.chunks = []
        for event in events:
            self.chunks += self.decoder.feed(event)
            if self.decoder.ended:
                break
        self.chunks += self.decoder.finish()
        arrived = Accumulator()
        for chunk in self.chunks:
            arrived.add(chunk)
        self.message = arrived.message(self.decoder.facts)

    @property
    def calls(self):
        return [(call.id, call.name, call.arguments) for call in self.message.tool_calls]

    @property
    def blocks(self):
        state = self.message.provider_state
        return None if state is None else state["anthropic_blocks"]

    @property
    def usages(self):
        return [chunk.usage for chunk in self.chunks if chunk.usage is not None]


def whole(body):
    return Reading(ServerSentEvent(json.dumps(body).encode(), WHOLE_BODY))
