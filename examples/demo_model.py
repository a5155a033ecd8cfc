"""A stand-in for a model: it answers from what the request's history holds, at a human pace."""

from __future__ import annotations

import json
import re

from cloudllm_sync import TokenUsage
from cloudllm_sync.testing import RecordedRequest, Reply

HAIKU = "Green tokens arrive,\none by one out of the dark:\nthe loop reads them all."

WHY_STREAMING = (
    "A model writes one token after the other, {name}. Streaming hands you each of them as it "
    "comes, so you read along instead of waiting for the last one."
)


def demo_model(request: RecordedRequest) -> Reply:
    """A script entry for FakeServer; what it remembers is what the request says, and no more."""
    messages = request.json["messages"]
    said = [message["content"] for message in messages if message["role"] == "user"]
    text = answer(said[-1], said[:-1])
    sent = sum(len(message["content"].split()) for message in messages)
    written = len(text.split())
    return Reply(
        text,
        first_token_delay_s=0.4,
        token_delay_s=0.035,
        usage=TokenUsage(sent, written, sent + written),
    )


def answer(question: str, earlier: list[str]) -> str:
    """What to say to the question, given what the user said before."""
    if "Messages:\n" in question:
        return summary(*question.split("Messages:\n", 1))
    name = re.search(r"[Mm]y name is (\w+)", " ".join(earlier))
    if "my name?" in question:
        if name is None:
            return "You have not told me: this request holds no name."
        return f"Your name is {name[1]}. Your first words to me were: {earlier[0]!r}"
    if "haiku" in question.lower():
        return HAIKU
    if "stream" in question.lower():
        named = re.search(r"[Mm]y name is (\w+)", question)
        return WHY_STREAMING.format(name=named[1] if named else "friend")
    if earlier:
        return f"You said {question!r}, and before that {earlier[-1]!r}."
    return f"You said {question!r}, and nothing before that."


def summary(so_far: str, lines: str) -> str:
    """What SummarizeOldest asks for: here the beginnings of what the user said."""
    messages = [json.loads(line) for line in lines.splitlines()]
    said = [message["content"][:40] for message in messages if message["role"] == "user"]
    return f"{so_far.partition(':')[2].strip()} The user said: {'; '.join(said)}.".strip()
