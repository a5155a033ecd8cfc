"""What a Gemini reply tells beside its text: tokens, sources, and its parts as they are sent back.

Source: wire/WIRE.md, section 4 (usageMetadata, grounding, thoughtSignature).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

from cloudllm_sync.codecs.json_text import count
from cloudllm_sync.codecs.surrogates import well_formed
from cloudllm_sync.values import TokenUsage

__all__ = ["RawParts", "citations", "usage_from"]


def usage_from(usage: Any) -> Optional[TokenUsage]:
    """A `usageMetadata` in the meanings of TokenUsage, or None where it counts nothing.

    Google counts thoughts apart from the candidates, and the prompts of its own tools apart from
    the prompt; cached tokens are part of it.
    """
    if not isinstance(usage, Mapping):
        return None
    prompt, candidates = count(usage, "promptTokenCount"), count(usage, "candidatesTokenCount")
    thoughts, total = count(usage, "thoughtsTokenCount"), count(usage, "totalTokenCount")
    if prompt is None and candidates is None and thoughts is None and total is None:
        return None
    taken_in = (prompt or 0) + (count(usage, "toolUsePromptTokenCount") or 0)
    given = (candidates or 0) + (thoughts or 0)
    cached = count(usage, "cachedContentTokenCount")
    total = taken_in + given if total is None else total
    return TokenUsage(taken_in, given, total, cached, None, thoughts)


def citations(candidate: Mapping[str, Any]) -> Iterator[str]:
    """The addresses of a candidate's sources, or the titles of those without, in order."""
    for source in _sources(candidate):
        for name in ("uri", "title"):
            said = source.get(name)
            if isinstance(said, str) and said:
                yield well_formed(said)
                break


def _sources(candidate: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for chunk in _items(candidate.get("groundingMetadata"), "groundingChunks"):
        yield from (source for source in chunk.values() if isinstance(source, Mapping))
    for name in ("citationSources", "citations"):
        yield from _items(candidate.get("citationMetadata"), name)


def _items(holder: Any, name: str) -> Iterator[Mapping[str, Any]]:
    found = holder.get(name) if isinstance(holder, Mapping) else None
    for item in found if isinstance(found, list) else ():
        if isinstance(item, Mapping):
            yield item


class RawParts:
    """The parts of a reply, for a tool loop to send back: text joined, all else as it came.

    What carries a thoughtSignature stays a part of its own: the signature is for that part.
    """

    __slots__ = ("_run", "_thought", "parts")

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []
        self._run: list[str] = []
        self._thought = False

    def add_text(self, text: str, thought: bool) -> None:
        """More of the answer, or of a thought."""
        if thought is not self._thought:
            self.end_run()
            self._thought = thought
        self._run.append(text)

    def end_run(self) -> list[dict[str, Any]]:
        """All parts so far; the next text begins a new one."""
        if self._run:
            part: dict[str, Any] = {"text": well_formed("".join(self._run))}
            self.parts.append({**part, "thought": True} if self._thought else part)
            self._run = []
        return self.parts
