"""A stand-in for a model: it answers from what the request's history holds, at a human pace."""

from __future__ import annotations

import json
import re
from typing import Any

from cloudllm_sync.testing.recorded import RecordedRequest
from cloudllm_sync.testing.reply import Reply
from cloudllm_sync.values import TokenUsage

__all__ = ["demo_model"]

_HAIKU = "Green tokens arrive,\none by one out of the dark:\nthe loop reads them all."

_WHY_STREAMING = (
    "A model writes one token after the other, {name}. Streaming hands you each of them as it "
    "comes, so you read along instead of waiting for the last one."
)

_THOUGHT = "They want to see what the terminal makes of Markdown. A list, code, a table: short."
_MARKDOWN = """\
## What a reply may hold

Text with *emphasis*, **weight** and `code`, and

1. lists that are numbered,
2. or not,

> words of others,

```python
for chunk in session.stream("Hello"):
    print(chunk.content, end="")
```

| part | as it comes |
|---|---|
| text | yes |
| tables | when they are whole |
"""


def demo_model(request: RecordedRequest) -> Reply:
    """An entry for FakeServer: `FakeServer(default=demo_model)` chats, on OpenAI's wire.

    What it remembers is what the request says, and no more.
    """
    messages = [
        (message["role"], _words(message["content"])) for message in request.json["messages"]
    ]
    said = [words for role, words in messages if role == "user"]
    text = _answer(said[-1] if said else "", said[:-1])
    read = sum(len(words.split()) for _, words in messages)
    written = len(text.split())
    return Reply(
        text,
        reasoning=_THOUGHT if text == _MARKDOWN else "",
        first_token_delay_s=0.4,
        token_delay_s=0.035,
        usage=TokenUsage(read, written, read + written),
    )


def _words(content: Any) -> str:
    """The text of a message; pictures are not looked at."""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content or ())


def _answer(question: str, earlier: list[str]) -> str:
    """What to say to the question, given what the user said before."""
    if "Messages:\n" in question:
        return _summary(*question.split("Messages:\n", 1))
    name = re.search(r"[Mm]y name is (\w+)", " ".join(earlier))
    if "my name?" in question:
        if name is None:
            return "You have not told me: this request holds no name."
        return f"Your name is {name[1]}. Your first words to me were: {earlier[0]!r}"
    if "haiku" in question.lower():
        return _HAIKU
    if "stream" in question.lower():
        named = re.search(r"[Mm]y name is (\w+)", question)
        return _WHY_STREAMING.format(name=named[1] if named else "friend")
    if "markdown" in question.lower():
        return _MARKDOWN
    if earlier:
        return f"You said {question!r}, and before that {earlier[-1]!r}."
    return f"You said {question!r}, and nothing before that."


def _summary(so_far: str, lines: str) -> str:
    """What SummarizeOldest asks for: here the beginnings of what the user said."""
    messages = [json.loads(line) for line in lines.splitlines()]
    said = [message["content"][:40] for message in messages if message["role"] == "user"]
    return f"{so_far.partition(':')[2].strip()} The user said: {'; '.join(said)}.".strip()
