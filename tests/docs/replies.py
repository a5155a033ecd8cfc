"""What the model of the pages answers; it knows their questions."""

from __future__ import annotations

from cloudllm_sync import ToolCall
from cloudllm_sync.testing import Reply

HAIKU = "Indented with care,\nthe loop yields one more token:\nnothing left to close."
RECIPE = ('{"name": "Tomato', ' soup", "steps": ["Chop', ' it.", "Cook it."', '], "minutes": 20}')
ANSWERS = {
    "Write a haiku about Python.": HAIKU,
    "My name is Ada. Who are you?": "A model, Ada, and glad to meet you.",
    "What is my name?": "Your name is Ada.",
    "By the way, I live in Lisbon.": "Then you have the sea at hand.",
    "Hello": "Hello to you.",
    "Shall I?": "If you must.",
    "One word about Oslo?": "Fjord",
    "One word about Lima?": "Ceviche",
    "One word about Riga?": "Amber",
    "One word about Turin?": "Chocolate",
    "A recipe for soup?": Reply(RECIPE),
}
CALLS = {
    "Is it warm in Lisbon?": [ToolCall("call_1", "weather", '{"city": "Lisbon"}')],
}
WITHOUT_ANSWER = "Once upon a time"


def answer(request):
    """An entry for FakeServer, for requests of any wire."""
    body = request.json
    last = (body.get("messages") or [{}])[-1]
    said = last.get("content")
    if last.get("role") == "tool":
        return f"The tool says: {said}."
    if body.get("tools") and said in CALLS:
        return Reply("Let me look.", tool_calls=CALLS[said])
    return ANSWERS.get(said if isinstance(said, str) else "", WITHOUT_ANSWER)
