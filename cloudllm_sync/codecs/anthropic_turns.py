"""Conversations as the Messages API wants them: user and assistant in turn, made of blocks.

Source: wire/WIRE.md, section 3, after Anthropic's API reference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cloudllm_sync.codecs.anthropic_blocks import STATE
from cloudllm_sync.errors import ConfigurationError, UnsupportedOptionError
from cloudllm_sync.values import Attachment, Message, Role, ToolCall

__all__ = ["mark", "mark_turns", "turns"]

_Json = dict[str, Any]

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
# "tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'", says the API.
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_MARKABLE = ("text", "image", "document", "tool_use", "tool_result")
_EPHEMERAL = {"type": "ephemeral"}


class _CallIds:
    """Call ids as the wire takes them: of its characters only, and each for one call.

    Other providers' have dots and colons, and may repeat from turn to turn. What an id becomes
    depends on the calls before it alone, so a history that grows stays what the cache knows.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._latest: dict[str, str] = {}

    def begin(self, calls: Sequence[ToolCall]) -> None:
        """The calls of the next reply; results name these until there is another."""
        self._latest = {call.id: self._free(call.id) for call in calls}

    def of(self, call_id: str | None) -> str | None:
        """The id of a call of the latest reply."""
        return self._latest.get(call_id or "", call_id)

    def _free(self, call_id: str) -> str:
        name = found = _NOT_IN_IDS.sub("_", call_id) or "call"
        number = 1
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found


def turns(provider: str, messages: Sequence[Message]) -> list[_Json]:
    """User and assistant in turn; messages of one side that follow each other are one.

    Raises:
        ConfigurationError: The API would refuse the conversation.
        UnsupportedOptionError: An attachment that it does not take.
    """
    made: list[_Json] = []
    ids = _CallIds()
    paused = False
    for position, message in enumerate(messages):
        if message.role is Role.SYSTEM:
            continue
        where = f"messages[{position}]"
        if not made and message.role is Role.ASSISTANT:
            raise ConfigurationError(
                f"{where} is the assistant's, but {provider} wants the user's first: "
                "begin with a Message(Role.USER, ...)"
            )
        if message.role is Role.ASSISTANT:
            role, blocks = "assistant", _said_before(where, message, ids, after_pause=paused)
        else:
            role, blocks = "user", _asked(provider, where, message, ids)
        paused = message.finish_reason == "pause"
        if made and made[-1]["role"] == role:
            made[-1]["content"] += blocks
        elif blocks:
            made.append({"role": role, "content": blocks})
    if not made:
        raise ConfigurationError(
            f"messages has a system prompt only: {provider} wants a user's message, too"
        )
    for turn in made:
        # Stable: what comes before the text is only the results.
        turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    return made


def _asked(provider: str, where: str, message: Message, ids: _CallIds) -> list[_Json]:
    """The blocks of the user's side: a tool's result, or attachments and text."""
    if message.role is Role.TOOL:
        call_id = ids.of(message.tool_call_id)
        return [{"type": "tool_result", "tool_use_id": call_id, "content": message.content}]
    blocks = [_part(provider, attachment) for attachment in message.attachments]
    blocks += _text(message.content)
    if not blocks:
        raise ConfigurationError(f"{where} is empty, which {provider} refuses: give it some text")
    return blocks


def _part(provider: str, attachment: Attachment) -> _Json:
    kind = attachment.media_type
    if kind.startswith("image/") and (attachment.url is not None or kind in _IMAGES):
        return {"type": "image", "source": _source(attachment)}
    if kind == "application/pdf":
        return {"type": "document", "source": _source(attachment)}
    if kind.startswith("text/") and attachment.url is None:
        return {"type": "document", "source": _plain_text(attachment)}
    raise UnsupportedOptionError(
        f"{provider} takes no {kind}{' by address' if attachment.url else ''}: send a "
        "JPEG, PNG, GIF, WebP or PDF, or plain text"
    )


def _text(text: str) -> list[_Json]:
    """A text block; none for blank text, which the API refuses."""
    return [{"type": "text", "text": text}] if text.strip() else []


def _source(attachment: Attachment) -> _Json:
    if attachment.url is not None:
        return {"type": "url", "url": attachment.url}
    return {
        "type": "base64",
        "media_type": attachment.media_type,
        "data": attachment.base64(),
    }


def _plain_text(attachment: Attachment) -> _Json:
    """Text is sent as it is: base64 is for PDF only (API reference, PlainTextSource)."""
    try:
        text = (attachment.data or b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        name = repr(attachment.name) if attachment.name else "an attachment"
        raise ConfigurationError(
            f"{name} of type {attachment.media_type} is not UTF-8: convert it first"
        ) from error
    return {"type": "text", "media_type": "text/plain", "data": text}


def _said_before(where: str, message: Message, ids: _CallIds, *, after_pause: bool) -> list[_Json]:
    """An earlier reply; with what it was made of where something goes on from it."""
    ids.begin(message.tool_calls)
    calls = [_tool_use(where, call, ids) for call in message.tool_calls]
    blocks = _own_blocks(message)
    if blocks and (after_pause or _goes_on(message, blocks)):
        return [_renamed(block, ids) for block in blocks]
    # What came before a refusal of Claude's must not be used again.
    content = "" if message.raw_finish_reason == "refusal" else message.content
    return _text(content) + _text(message.refusal) + calls


def _own_blocks(message: Message) -> list[_Json]:
    """The blocks that this wire handed out, if they still make the message's calls."""
    blocks: list[_Json] = list((message.provider_state or {}).get(STATE) or ())
    ids = [block.get("id") for block in blocks if block.get("type") == "tool_use"]
    # What is no text was no call, and cannot be renamed either.
    if not all(isinstance(call_id, str) for call_id in ids):
        return []
    return blocks if set(ids) == {call.id for call in message.tool_calls} else []


def _goes_on(message: Message, blocks: Sequence[_Json]) -> bool:
    """Whether the next reply needs the blocks: in a tool loop, a pause, or after a compaction,
    which stands for all that was said before it.
    """
    if message.tool_calls or message.finish_reason == "pause":
        return True
    return any(block.get("type") == "compaction" for block in blocks)


def _renamed(block: _Json, ids: _CallIds) -> _Json:
    """The block itself, unless it is a call whose id the wire cannot take again."""
    if block.get("type") != "tool_use" or ids.of(block["id"]) == block["id"]:
        return block
    return {**block, "id": ids.of(block["id"])}


def _tool_use(where: str, call: ToolCall, ids: _CallIds) -> _Json:
    try:
        arguments = call.parsed()
    except ValueError as error:
        raise ConfigurationError(
            f"{where} calls {call.name!r} with arguments that are no JSON object, as after a cut "
            "by the token limit: leave the message out, or mend the arguments"
        ) from error
    return {"type": "tool_use", "id": ids.of(call.id), "name": call.name, "input": arguments}


def mark(item: _Json) -> _Json:
    """A block or tool up to which the provider is to cache: a copy, it may be a reply's own."""
    return {**item, "cache_control": _EPHEMERAL}


def mark_turns(made: list[_Json]) -> None:
    """Mark the newest user turn, for the next request, and what precedes it, for this one."""
    newest = max(at for at, turn in enumerate(made) if turn["role"] == "user")
    for turn in made[max(newest - 1, 0) : newest + 1]:
        _mark_last(turn["content"])


def _mark_last(blocks: list[_Json]) -> None:
    """Mark the last block that can carry the mark: thinking, for one, cannot."""
    for at in range(len(blocks) - 1, -1, -1):
        if blocks[at].get("type") in _MARKABLE:
            blocks[at] = mark(blocks[at])
            return
