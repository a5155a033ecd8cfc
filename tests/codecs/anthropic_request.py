"""Requests to the Messages API, and a strict check of them written from WIRE.md."""

from __future__ import annotations

import base64
import json
import re

from cloudllm_sync.codecs import ChatRequest
from cloudllm_sync.codecs.anthropic_messages import AnthropicMessagesCodec
from cloudllm_sync.values import ChatOptions, Message, Role, ToolCall, ToolDefinition

PNG = b"\x89PNG\r\n\x1a\n"
CODEC = AnthropicMessagesCodec("Acme")
WEATHER = ToolDefinition("weather", "Tells the weather", {"type": "object", "properties": {}})
CALLS = (ToolCall("a", "weather", '{"city":"Köln"}'), ToolCall("b", "weather", ""))
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig"}
BLOCKS = [
    THOUGHT,
    {"type": "text", "text": "Let me look"},
    {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Köln"}},
    {"type": "tool_use", "id": "b", "name": "weather", "input": {}},
]
MARK = {"cache_control": {"type": "ephemeral"}}
NEW, OLD = "claude-sonnet-5", "claude-sonnet-4-5"


def system(text):
    return Message(Role.SYSTEM, text)


def user(text, *attachments):
    return Message(Role.USER, text, attachments=attachments)


def said(text, *calls, **fields):
    return Message(Role.ASSISTANT, text, tool_calls=calls, **fields)


def result(call_id, text):
    return Message(Role.TOOL, text, tool_call_id=call_id)


def wire(*messages, model=NEW, tools=(), stream=False, **options):
    return CODEC.encode(
        ChatRequest(model, messages or (user("hi"),), tuple(tools), ChatOptions(**options), stream)
    )


def encoded(*messages, **options):
    body = json.loads(wire(*messages, **options).body)
    if "extra_body" not in options:
        check_body(body)
    return body


def turns(*messages, **options):
    return encoded(*messages, **options)["messages"]


# What WIRE.md, section 3, lets a request hold.
BODY = {
    "model", "max_tokens", "messages", "system", "stream", "temperature", "top_p",
    "stop_sequences", "tools", "tool_choice", "thinking", "output_config",
}  # fmt: skip
FIELDS = {
    "text": {"text"},
    "image": {"source"},
    "document": {"source"},
    "tool_use": {"id", "name", "input"},
    "tool_result": {"tool_use_id", "content"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
    "server_tool_use": {"id", "name", "input"},
    "web_search_tool_result": {"tool_use_id", "content"},
    "compaction": {"content"},
}
SIDES = {
    "user": {"text", "image", "document", "tool_result"},
    "assistant": set(FIELDS) - {"image", "document", "tool_result"},
}
SOURCES = {"base64": {"media_type", "data"}, "url": {"url"}, "text": {"media_type", "data"}}
MARKED = {"text", "image", "document", "tool_use", "tool_result"}
TYPES = {"image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf", "text/plain"}


def check_block(block):
    kind = block["type"]
    beside = {"type", "cache_control"} | ({"citations"} if kind == "text" else set())
    assert FIELDS[kind] == set(block) - beside
    if "cache_control" in block:
        assert kind in MARKED
        assert MARK["cache_control"] == block["cache_control"]
    if kind == "text":
        assert block["text"].strip()
    if kind in ("tool_use", "server_tool_use"):
        assert isinstance(block["input"], dict)
    if kind == "tool_use":
        assert re.fullmatch("[a-zA-Z0-9_-]+", block["id"])
    if kind in ("image", "document"):
        check_source(block["source"], kind)


def check_source(source, kind):
    assert SOURCES[source["type"]] == set(source) - {"type"}
    if source["type"] != "url":
        assert source["media_type"] in TYPES
        assert (kind == "image") == source["media_type"].startswith("image/")
    if source["type"] == "base64":
        assert base64.b64decode(source["data"], validate=True)


def check_turns(messages):
    roles = [turn["role"] for turn in messages]
    assert roles[0] == "user"
    assert all(left != right for left, right in zip(roles, roles[1:]))
    open_calls, all_calls = [], []
    for turn in messages:
        assert set(turn) == {"role", "content"}
        kinds = [block["type"] for block in turn["content"]]
        assert kinds
        assert set(kinds) <= SIDES[turn["role"]]
        for block in turn["content"]:
            check_block(block)
        if turn["role"] == "user":
            results = kinds.count("tool_result")
            assert kinds[:results] == ["tool_result"] * results
            answered = [block["tool_use_id"] for block in turn["content"][:results]]
            assert sorted(open_calls) == sorted(answered)
        open_calls = [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
        all_calls += open_calls
    assert not open_calls
    assert len(all_calls) == len(set(all_calls))


def check_body(body):
    """Refuse what the Messages API would."""
    assert set(body) <= BODY
    assert isinstance(body["max_tokens"], int)
    assert body["max_tokens"] >= 1
    check_turns(body["messages"])
    if isinstance(body.get("system"), list):
        for block in body["system"]:
            assert block["type"] == "text"
            check_block(block)
    assert json.dumps(body).count('"cache_control"') <= 4
    for tool in body.get("tools", ()):
        assert set(tool) <= {"name", "description", "input_schema", "cache_control"}
        assert tool["input_schema"]["type"] == "object"
    assert 0 <= body.get("temperature", 1) <= 1
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] == "enabled":
        assert 1024 <= thinking["budget_tokens"] < body["max_tokens"]
    if thinking["type"] == "adaptive":
        assert set(thinking) == {"type", "display"}
        assert body["output_config"]["effort"] in ("low", "medium", "high", "xhigh", "max")
    if thinking["type"] != "disabled":
        assert body.get("temperature", 1) == 1
        assert body.get("tool_choice", {"type": "auto"})["type"] in ("auto", "none")
    if "tool_choice" in body:
        assert body["tools"]
