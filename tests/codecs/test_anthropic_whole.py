"""Replies of the Messages API that come as one JSON body."""

from __future__ import annotations

from anthropic_reading import (
    whole,
)

from cloudllm_sync.values import TokenUsage


def test_whole_reply_is_read_like_its_stream():
    """Every block, the usage and the reason, from one body."""
    blocks = [
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "q"}},
        {"type": "text", "text": "a", "citations": [{"url": "u"}]},
        {"type": "text", "text": "b", "citations": None},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"k": "ü"}},
        {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
    ]
    reading = whole(
        {
            "id": "msg_1",
            "type": "message",
            "model": "claude-x",
            "content": [*blocks, "odd"],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 1, "cache_read_input_tokens": 2, "output_tokens": 4},
        }
    )
    message = reading.message

    assert (message.content, message.reasoning, message.citations) == ("ab", "t", ("u",))
    assert reading.calls == [("toolu_1", "f", '{"k": "ü"}'), ("toolu_2", "g", "{}")]
    assert (message.finish_reason, message.raw_finish_reason) == ("tool_calls", "tool_use")
    assert reading.usages == [TokenUsage(3, 4, 7, 2)]
    assert (message.response_id, message.model) == ("msg_1", "claude-x")
    assert reading.blocks == blocks
    assert reading.decoder.ended
    assert reading.decoder.complete()


def test_whole_reply_without_reason_is_whole():
    """A JSON document that ends has not been cut."""
    reading = whole({"content": [{"type": "text", "text": "a"}]})

    assert reading.message.content == "a"
    assert reading.decoder.complete()


def test_whole_reply_may_be_empty_if_it_says_why():
    """A refusal may have no content at all."""
    reading = whole({"type": "message", "content": [], "stop_reason": "refusal"})

    assert reading.message.finish_reason == "content_filter"


def test_whole_refusal_is_explained():
    """In the field that streams have in their last delta."""
    details = {"type": "refusal", "category": "cyber", "explanation": "I can not"}
    reading = whole({"content": [], "stop_reason": "refusal", "stop_details": details})

    assert "I can not" == reading.message.refusal
    assert "content_filter" == reading.message.finish_reason
