"""Blocks of the Messages API that readers do not see, and what text blocks cite."""

from __future__ import annotations

import pytest
from anthropic_reading import (
    CALL,
    Reading,
    arguments,
    begin,
    closed,
    delta,
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
