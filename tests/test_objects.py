"""Objects out of replies: whole, and as far as they have arrived."""

from __future__ import annotations

import dataclasses
import enum
import json
import pickle
import sys
import time
from typing import Annotated, Any, Literal, Optional, TypedDict, Union

import attrs
import msgspec
import pytest

from cloudllm_sync import (
    ChatOptions,
    ChatStream,
    ClaudeClient,
    GeminiClient,
    LLMSession,
    Message,
    MessageChunk,
    OllamaClient,
    OpenAICompatibleClient,
    OpenAIResponsesClient,
    Role,
    StreamInterrupted,
    UnsupportedOptionError,
)
from cloudllm_sync.objects import ObjectReader, so_far
from cloudllm_sync.testing import Cut, FakeServer, Reply

WIRES = {
    "chat": lambda server: OpenAICompatibleClient("m", base_url=server.base_url),
    "claude": lambda server: ClaudeClient("claude-sonnet-5", base_url=server.url, api_key="k"),
    "gemini": lambda server: GeminiClient("m", base_url=server.url, api_key="k"),
    "responses": lambda server: OpenAIResponsesClient("m", base_url=server.base_url, api_key="k"),
    "ollama": lambda server: OllamaClient("m", base_url=server.url),
}


class Heat(enum.Enum):
    LOW = "low"
    HIGH = "high"


@attrs.frozen
class Step:
    text: str
    minutes: int = 5


@attrs.define
class Recipe:
    name: str
    steps: list[Step]
    heat: Optional[Heat] = None


@dataclasses.dataclass
class Note:
    title: str
    tags: list[str] = dataclasses.field(default_factory=lambda: ["new"])
    stars: int = 3


class Struct(msgspec.Struct):
    name: str
    size: int = 0


class Typed(TypedDict):
    name: str
    steps: list[Step]


@attrs.define
class Folder:
    name: str
    folders: list[Folder]


@attrs.define
class Free:
    marks: dict[str, int]


@attrs.define
class Loose:
    items: list
    any_of_all: Any


SOUP = Recipe("Soupe \u00e0 l\U0001f600", [Step("Boil", 10), Step("Eat")], Heat.LOW)
TEXT = json.dumps(
    {
        "name": SOUP.name,
        "steps": [{"text": "Boil", "minutes": 10}, {"text": "Eat"}],
        "heat": "low",
    }
)


def reply(text, **fields):
    return Message(Role.ASSISTANT, text, **fields)


def stream_of(pieces, finish_reason="stop"):
    return ChatStream.of(
        [*map(MessageChunk, pieces), MessageChunk("", finish_reason=finish_reason)]
    )


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        (TEXT, Recipe, SOUP),
        ('{"title": "a"}', Note, Note("a")),
        ('{"name": "a"}', Struct, Struct("a")),
        ('{"name": "a", "steps": []}', Typed, {"name": "a", "steps": []}),
        ('{"a": 1}', dict, {"a": 1}),
        ("[1, 2]", list[int], [1, 2]),
    ],
)
def test_whole_reply_is_an_object(text, kind, found):
    """Of whatever class JSON can be read into."""
    assert reply(text).parsed(kind) == found


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "\n{}\n",
        "```json\n{}\n```",
        "Here it is:\n```\n{}\n```\nEnjoy!",
        "Sure! {} Bye.",
        "Use {x}: {} and {y}",
    ],
)
def test_text_around_the_object_is_passed_over(around):
    """Models that were asked by prompt write it."""
    assert reply(around.replace("{}", TEXT, 1)).parsed(Recipe) == SOUP


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (reply('{"name": 5, "steps": []}'), "Expected `str`, got `int` - at `$.name`"),
        (reply('{"name": "a", "steps": [{"text": "b", "minutes": "c"}]}'), "`$.steps[0].minutes`"),
        (reply('Yes: {"name": 5, "steps": []}'), "at `$.name`"),
        (reply('{"name": "a"}'), "missing required field `steps`"),
        (reply('{"name": "a', finish_reason="length"), "it was cut (finish_reason 'length')"),
        (reply("I cannot."), "the reply is no Recipe: JSON is malformed"),
        (reply(""), "the reply is no Recipe"),
        (reply("", refusal="No."), "no Recipe: the model refused"),
        (reply("[" * 100_000), "the reply is no Recipe"),
        (reply('{"name": "\ud800"}'), "the reply is no Recipe"),
    ],
)
def test_reply_that_is_no_such_object_says_where(message, complaint):
    """As ValueError, like ToolCall.parsed()."""
    with pytest.raises(ValueError, match="Recipe") as caught:
        message.parsed(Recipe)

    assert complaint in str(caught.value)


def test_class_that_cannot_be_read_is_told():
    """Two classes that no JSON can tell apart, say."""
    with pytest.raises(ValueError, match="it is no class that can be read"):
        reply("{}").parsed(Union[Step, Recipe])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_object_grows_as_it_arrives(size):
    """Cut at every byte: never an error, never less than before, whole at the end."""
    pieces = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]

    found = list(stream_of(pieces).objects(Recipe))

    assert found[-1] == SOUP
    assert all(isinstance(one, Recipe) for one in found)
    lengths = [len(one.name or "") + 100 * len(one.steps) for one in found]
    assert lengths == sorted(lengths)
    if size == 1:
        assert len(found) > 10
        assert found[0] == Recipe(None, [], None)


def test_unfinished_objects_have_their_defaults():
    """Lists are empty and the rest is None where there is none."""
    with stream_of(['{"stars": 4', ',"title"', ': "x"}']) as stream:
        found = next(stream.objects(Note))

    assert found in (Note(None, ["new"], 3), Note(None, ["new"], 4))


@pytest.mark.parametrize(
    ("found", "kind", "made"),
    [
        ({"name": "a"}, Typed, {"name": "a"}),
        ({"name": "a"}, Struct, Struct("a", 0)),
        ({}, Struct, Struct(None, 0)),
        ([{"text": "a"}, {}], list[Step], [Step("a"), Step(None)]),
        ([{}], tuple[Step, ...], (Step(None),)),
        ({"a": {}}, dict[str, Step], {"a": Step(None)}),
        ({}, Optional[Step], Step(None)),
        ([{}], Union[Step, list[Step]], [Step(None)]),
        ({}, Annotated[Step, "a step"], Step(None)),
        ({"x": {}}, Union[int, dict[str, Step]], {"x": Step(None)}),
        ("lo", Heat, None),
        ("lo", Optional[Heat], None),
        ([{"a": 1}], list, [{"a": 1}]),
        ({"a": 1}, Any, {"a": 1}),
    ],
)
def test_what_has_arrived_takes_the_form_of_its_type(found, kind, made):
    """As far as it goes."""
    assert so_far(found, kind) == made


def test_reasoning_and_text_before_do_not_disturb():
    """Only what is between the braces is read."""
    chunks = [
        MessageChunk("", "thinking {"),
        MessageChunk("Here: "),
        MessageChunk(TEXT[:20]),
        MessageChunk("", "more"),
        MessageChunk(TEXT[20:] + " Enjoy!"),
        MessageChunk("", finish_reason="stop"),
    ]

    found = list(ChatStream.of(chunks).objects(Recipe))

    assert found[-1] == SOUP


def test_stream_that_is_cut_raises_what_it_always_raises():
    """What had arrived was yielded, and is in the error."""
    with FakeServer(Reply([TEXT[:30], TEXT[30:]], after={2: Cut()})) as server:
        with OpenAICompatibleClient("m", base_url=server.base_url) as client:
            objects = client.send_message_stream("hi").objects(Recipe)

            first = next(objects)
            with pytest.raises(StreamInterrupted) as caught:
                next(objects)

    assert first.name.startswith("Soupe")
    assert caught.value.partial.content == TEXT[:30]


def test_whole_reply_that_does_not_fit_raises_at_the_end():
    """The same error as Message.parsed()."""
    with pytest.raises(ValueError, match=r"at `\$.name`"):
        list(stream_of(['{"name": 5, "steps": []}']).objects(Recipe))
    with pytest.raises(ValueError, match="finish_reason 'length'"):
        list(stream_of([TEXT[:30]], finish_reason="length").objects(Recipe))


def test_long_replies_are_read_less_often():
    """All readings together are a bounded number of times the text, not its square."""
    text = json.dumps({"name": "a", "steps": [{"text": "word " * 10}] * 4000})
    pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
    reader = ObjectReader(Recipe)
    read = []
    inner = reader._read

    def counted(data):
        read.append(len(data))
        return inner(data)

    reader._read = counted
    for piece in pieces:
        reader.add(piece)

    short = 4096 * 4096 / 4 / 2
    assert sum(read) < short * 1.1 + 34 * len(text)


def test_only_text_is_shown_half():
    """Half a number is another number, half a word of a choice maybe another choice."""

    @attrs.define
    class Order:
        note: str
        size: Literal["s", "small"]
        count: int
        price: float
        more: Optional[str] = None

    text = '{"note": "to 12", "size": "small", "count": 120, "price": 1.25, "more": "tea"}'
    with stream_of(list(text)) as stream:
        found = list(stream.objects(Order))

    assert {one.size for one in found} == {None, "small"}
    assert {one.count for one in found} == {None, 120}
    assert {one.price for one in found} == {None, 1.25}
    assert {"t", "to", "to 12"} <= {one.note for one in found}
    assert {"t", "te", "tea"} <= {one.more for one in found}


def test_half_a_text_is_found_wherever_it_is():
    """Behind a description, in a choice of types, in a list, in a dict."""

    @attrs.define
    class Page:
        told: Annotated[Optional[list[Annotated[str, "a line"]]], "lines"] = None
        words: Union[int, dict[str, str]] = 0
        steps: Optional[list[Step]] = None

    text = '{"told": ["abc"], "words": {"x": "def"}, "steps": [{"text": "ghi"}]}'
    with stream_of(list(text)) as stream:
        found = list(stream.objects(Page))

    assert {"a", "ab", "abc"} <= {line for one in found for line in one.told or ()}
    assert {"d", "de"} <= {(one.words or {}).get("x") for one in found}
    assert {"g", "gh"} <= {step.text for one in found for step in one.steps or ()}


def test_object_is_given_when_it_has_changed_only():
    """But for the last one, which is whole."""
    found = list(stream_of(list(TEXT)).objects(Recipe))

    assert all(one != other for one, other in zip(found[:-1], found[1:-1]))


def test_text_that_is_no_json_is_waited_out():
    """What it was is told at the end."""
    with pytest.raises(ValueError, match="the reply is no Recipe"):
        list(stream_of(["{name", ": 1}"]).objects(Recipe))


def test_missing_library_is_named(monkeypatch):
    """With the line that installs it."""
    monkeypatch.setitem(sys.modules, "jiter", None)

    with stream_of(["{}"]) as stream:
        with pytest.raises(ImportError, match=r'pip install "cloudllm-sync\[objects\]"'):
            next(stream.objects(Recipe))


# --- what is asked for ---


@pytest.mark.parametrize("way", ["whole", "stream", "session", "callbacks"])
@pytest.mark.parametrize("wire", WIRES)
def test_object_of_a_class_on_every_wire(wire, way):
    """Its schema is sent, and the reply is read into it."""
    options = ChatOptions(response_schema=Recipe)
    pieces = [TEXT[at : at + 5] for at in range(0, len(TEXT), 5)]
    with FakeServer(Reply(pieces)) as server, WIRES[wire](server) as client:
        if way == "whole":
            found = client.send_message("hi", options=options).parsed(Recipe)
        elif way == "stream":
            *_, found = client.send_message_stream("hi", options=options).objects(Recipe)
        elif way == "session":
            found = LLMSession(client, options=options).ask("hi").parsed(Recipe)
        else:
            handle = client.start_message_stream("hi", options=options)
            found = handle.result(20).parsed(Recipe)
        body = server.requests[0].body.decode()

    assert found == SOUP
    assert '"required":["name","steps","heat"]' in body
    assert '"required":["text","minutes"]' in body
    assert '"$ref"' not in body
    assert '"default"' not in body


def test_strict_mode_is_asked_for_where_it_can_be():
    """Objects of any keys are no part of it."""
    with FakeServer(default='{"marks": {"a": 1}}') as server:
        with OpenAICompatibleClient("m", base_url=server.base_url) as client:
            for kind in (Recipe, Free, Loose, {"type": "object"}):
                client.send_message("hi", options=ChatOptions(response_schema=kind))
        asked = [request.json["response_format"]["json_schema"] for request in server.requests]

    assert [one["strict"] for one in asked] == [True, False, False, True]
    assert [one["name"] for one in asked] == ["Recipe", "Free", "Loose", "reply"]


@pytest.mark.parametrize("kind", [Folder, Free])
def test_class_that_claude_would_refuse_is_refused_before_it_is_sent(kind):
    """With what to do."""
    with FakeServer() as server, WIRES["claude"](server) as client:
        with pytest.raises(UnsupportedOptionError, match="use lists of objects"):
            client.send_message("hi", options=ChatOptions(response_schema=kind))

        assert server.requests == ()


@pytest.mark.parametrize("kind", [5, "Recipe", int, list[Step], complex, dict, Heat, Any])
def test_what_is_no_class_with_fields_is_refused(kind):
    """Where the options are made."""
    with pytest.raises(
        ValueError, match=r"response_schema must be a JSON Schema \(a mapping\), or a class"
    ):
        ChatOptions(response_schema=kind)


def test_options_with_a_class_compare_and_pickle():
    """They cross process borders in task queues."""
    options = ChatOptions(response_schema=Recipe)

    assert pickle.loads(pickle.dumps(options)) == options
    assert options != ChatOptions(response_schema=Note)
    assert ChatOptions(seed=1).over(options).response_schema is Recipe
    assert ChatOptions().json_schema is None


def test_field_called_default_is_a_field():
    """And not one of the schema's own words."""

    @attrs.define
    class Settings:
        default: str

    schema = ChatOptions(response_schema=Settings).json_schema

    assert schema["required"] == ["default"]
    assert schema["properties"] == {"default": {"type": "string"}}


def test_reading_a_long_reply_takes_time_by_its_length():
    """Twice the text costs about twice: generous, as machines are busy."""

    def cost(steps):
        text = json.dumps({"name": "a", "steps": [{"text": "word " * 10}] * steps})
        reader = ObjectReader(Recipe)
        began = time.process_time()
        for at in range(0, len(text), 64):
            reader.add(text[at : at + 64])
        return time.process_time() - began

    cost(200)
    assert cost(4000) < 8 * cost(1000) + 0.1
