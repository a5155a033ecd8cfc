"""Blocks of the Messages API that readers do not see, and what text blocks cite."""

from __future__ import annotations

import pytest
from anthropic_reading import (
    CALL,
    STOP,
    Reading,
    arguments,
    begin,
    closed,
    delta,
    named,
    opened,
    reason,
    text,
)


@pytest.mark.parametrize("kind", ["mcp_tool_use", "container_upload", "invented_block", None])
def test_blocks_that_are_not_for_readers_are_kept_and_not_shown(kind):
    """Unknown blocks pass through, whatever deltas they have."""
    reading = Reading(
        begin(), opened(0, kind, name="n", input={}), text(0, "no"),
        delta(0, "thinking_delta", thinking="no"), delta(0, "invented_delta", x=1), closed(0),
        opened(1), text(1, "yes"), delta(1, "invented_delta", x=1), arguments(1, "{}"), reason(),
    )  # fmt: skip

    assert reading.message.content == "yes"
    assert reading.message.reasoning == ""
    assert reading.calls == []
    assert reading.blocks == [
        {"type": kind, "name": "n", "input": {}},
        {"type": "text", "text": "yes"},
    ]


def test_redacted_thinking_and_omitted_thinking_are_kept():
    """Both have no text, and have to be sent back all the same."""
    reading = Reading(
        begin(), opened(0, "redacted_thinking", data="xx"), closed(0),
        opened(1, "thinking", thinking="", signature=""),
        delta(1, "signature_delta", signature="sig"), closed(1), opened(2, **CALL), closed(2),
        reason("tool_use"),
    )  # fmt: skip

    assert reading.message.reasoning == ""
    assert reading.blocks[:2] == [
        {"type": "redacted_thinking", "data": "xx"},
        {"type": "thinking", "thinking": "", "signature": "sig"},
    ]


def test_blank_text_is_no_block_to_send_back():
    """The API refuses it in a request."""
    reading = Reading(
        begin(), opened(0, "thinking", thinking="t"), opened(1), text(1, "\n"), reason("pause_turn")
    )

    assert reading.message.content == "\n"
    assert reading.message.finish_reason == "pause"
    assert [block["type"] for block in reading.blocks] == ["thinking"]


def test_compaction_is_kept_whole():
    """Its text comes in a delta of its own."""
    reading = Reading(
        begin(), opened(0, "compaction", content=None),
        delta(0, "compaction_delta", content="so far"), closed(0), reason("compaction"),
    )  # fmt: skip

    assert reading.blocks == [{"type": "compaction", "content": "so far"}]
    assert reading.message.finish_reason == "pause"


@pytest.mark.parametrize(
    ("citation", "expected"),
    [
        ({"type": "web_search_result_location", "url": "u", "title": "t"}, "u"),
        ({"type": "char_location", "document_title": "d", "document_index": 0}, "d"),
        ({"type": "page_location", "url": "", "document_title": "d"}, "d"),
        ({"type": "search_result_location", "title": "t", "source": "s"}, "t"),
        ({"type": "search_result_location", "title": None, "source": "s"}, "s"),
        ({"type": "char_location", "document_title": None}, None),
        ("odd", None),
        (None, None),
    ],
)
def test_citation_is_an_address_or_a_title(citation, expected):
    """In deltas and in whole blocks alike."""
    streamed = Reading(
        begin(), opened(0), delta(0, "citations_delta", citation=citation), text(0, "a"), reason()
    )
    at_once = Reading(begin(), opened(0, text="a", citations=[citation]), reason())

    assert streamed.message.citations == ((expected,) if expected else ())
    assert at_once.message.citations == streamed.message.citations


def test_citations_are_unique_in_order_and_kept_in_their_block():
    """Several blocks may cite one page."""
    cited = [{"url": "b"}, {"url": "a"}, {"url": "b"}]
    reading = Reading(
        begin(), opened(0, "thinking", thinking="t"), opened(1, text="", citations=[cited[0]]),
        delta(1, "citations_delta", citation=cited[1]),
        delta(1, "citations_delta", citation=cited[2]), text(1, "x"), reason(),
    )  # fmt: skip

    assert reading.message.citations == ("b", "a")
    assert reading.blocks[1] == {"type": "text", "text": "x", "citations": cited}


@pytest.mark.parametrize(
    "kind",
    [
        "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result",
        "bash_code_execution_tool_result", "text_editor_code_execution_tool_result",
        "tool_search_tool_result", "advisor_tool_result", "mcp_tool_result",
    ],
)  # fmt: skip
def test_results_of_server_tools_are_kept_as_they_came(kind):
    """They come whole; what they found is not what Claude says."""
    content = [{"type": "text", "text": "found", "url": "https://a.example", "title": "A"}]
    found = {"type": kind, "tool_use_id": "srv", "is_error": False, "content": content}
    opening = named("content_block_start", index=0, content_block=found)
    reading = Reading(begin(), opening, closed(0), opened(1), text(1, "Sunny"), reason(), STOP)

    assert [found, {"type": "text", "text": "Sunny"}] == reading.blocks
    assert ("Sunny", ()) == (reading.message.content, reading.message.citations)


@pytest.mark.parametrize("kind", ["server_tool_use", "mcp_tool_use"])
def test_calls_of_server_tools_get_their_input_and_are_no_calls(kind):
    """A reply that made no other ends as it says."""
    fields = {"id": "srv_1", "name": "search", "input": {}}
    reading = Reading(
        begin(), opened(0, kind, **fields, server_name="docs"), arguments(0, ""),
        arguments(0, '{"q":"K\\u00f6'), arguments(0, 'ln"}'), closed(0), opened(1),
        text(1, "a"), closed(1), reason(), STOP,
    )  # fmt: skip

    assert {**fields, "type": kind, "server_name": "docs", "input": {"q": "Köln"}} == (
        reading.blocks[0]
    )
    assert ([], "stop") == (reading.calls, reading.message.finish_reason)


def test_fallback_to_another_model_does_not_break_the_text():
    """The block that tells of it stands between two of text."""
    told = {"from": {"model": "claude-fable-5"}, "to": {"model": "claude-opus-4-8"}}
    reading = Reading(
        begin(), opened(0), text(0, "a"), closed(0), opened(1, "fallback", **told), closed(1),
        opened(2), text(2, "b"), closed(2), reason(), STOP,
    )  # fmt: skip

    assert "ab" == reading.message.content
    assert {"type": "fallback", **told} == reading.blocks[1]
