"""Requests to Gemini, and a strict check of them written from WIRE.md, section 4."""

from __future__ import annotations

import json

from cloudllm_sync.codecs import ChatRequest
from cloudllm_sync.codecs.gemini import GeminiCodec
from cloudllm_sync.values import (
    ChatOptions,
    Message,
    Role,
    ToolDefinition,
)

PNG = b"\x89PNG\r\n\x1a\n"
WEATHER = ToolDefinition("weather", "Tells the weather", {"type": "object", "properties": {}})
CLOCK = ToolDefinition("clock", "Tells the time", {})
MADE = "gemini_call_"


def wire(messages="Hi", *, model="gemini-3.5-flash", tools=(), stream=True, **options):
    if isinstance(messages, str):
        messages = (Message(Role.USER, messages),)
    request = ChatRequest(model, tuple(messages), tuple(tools), ChatOptions(**options), stream)
    return GeminiCodec("Gemini").encode(request)


def body(*args, **options):
    said = json.loads(wire(*args, **options).body)
    check_strictly(said)
    if "model" not in options or "gemini-3" in options["model"]:
        check_signatures(said["contents"])
    return said


def only(said, required, optional=()):
    """An object with all of the required fields, and no others than the optional ones."""
    assert isinstance(said, dict)
    assert set(required) <= set(said) <= {*required, *optional}


def check_strictly(said):
    """The body is what generateContent documents, and no field of it is unknown or empty."""
    only(said, ["contents"], ["systemInstruction", "tools", "toolConfig", "generationConfig"])
    assert said["contents"]
    roles = [content["role"] for content in said["contents"]]
    assert all(one != next_one for one, next_one in zip(roles, roles[1:]))
    for content in said["contents"]:
        only(content, ["role", "parts"])
        assert content["role"] in ("user", "model")
        assert content["parts"]
        for part in content["parts"]:
            check_part(part, content["role"])
    check_answers(said["contents"])
    if "systemInstruction" in said:
        only(said["systemInstruction"], ["parts"])
        for part in said["systemInstruction"]["parts"]:
            only(part, ["text"])
            assert part["text"]
    for tool in said.get("tools", []):
        only(tool, ["functionDeclarations"])
        for declared in tool["functionDeclarations"]:
            only(declared, ["name"], ["description", "parametersJsonSchema"])
            assert all(declared.values())
    if "toolConfig" in said:
        assert said["tools"]
        only(said["toolConfig"], ["functionCallingConfig"])
        config = said["toolConfig"]["functionCallingConfig"]
        only(config, ["mode"], ["allowedFunctionNames"])
        assert config["mode"] in ("AUTO", "ANY", "NONE")
    check_generation(said.get("generationConfig", {"seed": 1}))


def check_part(part, role):
    beside = ["thought", "thoughtSignature"]
    (kind,) = set(part) - set(beside)
    value = part[kind]
    if kind == "text":
        assert isinstance(value, str)
        assert value or "thoughtSignature" in part
    elif kind == "functionCall":
        assert role == "model"
        only(value, ["name"], ["args", "id"])
        assert isinstance(value.get("args", {}), dict)
        assert value.get("id") != ""
        assert not value.get("id", "").startswith(MADE)
    else:
        assert role == "user"
        fields = {
            "functionResponse": (["name", "response"], ["id"]),
            "inlineData": (["mimeType", "data"], []),
            "fileData": (["mimeType", "fileUri"], []),
        }
        only(value, *fields[kind])
        if kind == "functionResponse":
            assert isinstance(value["response"], dict)
            assert not value.get("id", "").startswith(MADE)


def check_answers(contents):
    """Every call is answered in the next turn, by a response of its name and id, in its order."""
    for content, following in zip(contents, [*contents[1:], {"parts": []}]):
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        answers = [p["functionResponse"] for p in following["parts"] if "functionResponse" in p]
        if calls:
            assert [(c.get("id"), c["name"]) for c in calls] == [
                (a.get("id"), a["name"]) for a in answers
            ]


def check_signatures(contents):
    """Gemini 3 wants the first call of each step to be signed."""
    for content in contents:
        calls = [part for part in content["parts"] if "functionCall" in part]
        assert all(part.get("thoughtSignature") for part in calls[:1])


def check_generation(config):
    assert config
    for name, value in config.items():
        if name == "stopSequences":
            assert 0 < len(value) <= 5
        elif name == "responseMimeType":
            assert value == "application/json"
        elif name == "thinkingConfig":
            only(value, ["includeThoughts"], ["thinkingBudget", "thinkingLevel"])
            assert len(value) == 2
        else:
            known = ("maxOutputTokens", "temperature", "topP", "seed", "responseJsonSchema")
            assert name in known


def assistant(content="", *calls, **more):
    return Message(Role.ASSISTANT, content, tool_calls=calls, **more)


def result(call_id, content):
    return Message(Role.TOOL, content, tool_call_id=call_id)
