"""Functions as tools: their schemas, and the arguments that a model wrote."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import sys
from typing import Annotated, Any, Literal, Optional

import attrs
import pytest

from cloudllm_sync import (
    ConfigurationError,
    Message,
    OpenAIClient,
    Role,
    Tool,
    ToolDefinition,
    tool,
)
from cloudllm_sync.testing import FakeServer


class Unit(enum.Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


@attrs.define
class Place:
    city: str
    zip_code: Optional[int] = None


@dataclasses.dataclass
class Span:
    days: int = 1


@tool
def weather(
    place: Place,
    unit: Unit = Unit.CELSIUS,
    *,
    span: Optional[Span] = None,
    detail: Annotated[Literal["low", "high"], "how much to say"] = "low",
) -> str:
    """The weather in a place.

    Stations report every hour.

    Args:
        place: Where to look.
        unit: Of the temperature.
    """
    return f"{place.city} {unit.value} {span} {detail}"


def schema(function):
    """The properties of its arguments."""
    return tool(function).parameters["properties"]


def test_tool_is_a_definition_made_of_signature_and_docstring():
    """Name, description, types, defaults and descriptions are the function's own."""
    parameters = weather.parameters

    assert weather.name == "weather"
    assert weather.description == "The weather in a place.\n\nStations report every hour."
    assert parameters["type"] == "object"
    assert parameters["required"] == ["place"]
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["place"]["properties"]["city"] == {"type": "string"}
    assert parameters["properties"]["place"]["description"] == "Where to look."
    assert parameters["properties"]["unit"]["enum"] == ["c", "f"]
    assert parameters["properties"]["unit"]["description"] == "Of the temperature."
    assert parameters["properties"]["detail"]["description"] == "how much to say"
    assert "$ref" not in str(parameters)


def test_tool_is_called_as_the_function_it_was():
    """The decorator changes nothing for the rest of the program."""
    said = weather(Place("Ulm"), Unit.FAHRENHEIT, detail="high")

    assert said == "Ulm f None high"


def test_arguments_come_as_what_the_annotations_promise():
    """Objects, enums and dates, and no argument that the model left out."""
    text = '{"place": {"city": "Ulm"}, "unit": "f", "span": {"days": 3}}'

    arguments = weather.arguments(text)

    assert arguments == {"place": Place("Ulm"), "unit": Unit.FAHRENHEIT, "span": Span(3)}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"place": {"city": 5}}', "Expected `str`, got `int` - at `$.place.city`"),
        ('{"place": {"city": "Ulm"}, "unit": "k"}', "`$.unit`"),
        ("{}", "missing required field `place`"),
        ("", "missing required field `place`"),
        ('{"place": {"city": "Ulm"}, "when": 1}', "unknown field `when`"),
        ("[1]", "Expected `object`, got `array`"),
        ('{"place": {"city": "Ul', "truncated"),
        ('{"place": "\ud800"}', "do not fit"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_place(text, complaint):
    """The model is told, and may do better."""
    with pytest.raises(ValueError, match="the arguments of weather do not fit") as caught:
        weather.arguments(text)

    assert complaint in str(caught.value)


def test_types_that_json_knows_otherwise_are_converted():
    """Dates come as text, sets as lists."""

    @tool
    def book(day: dt.date, seats: set[int], note: Any = None) -> None: ...

    arguments = book.arguments('{"day": "2026-11-23", "seats": [1, 2, 2]}')

    assert arguments == {"day": dt.date(2026, 11, 23), "seats": {1, 2}}
    assert book.description == ""


def test_tool_without_parameters_takes_an_empty_object():
    """And no text at all, as some models write."""

    @tool
    def now() -> str:
        """The time."""
        return "noon"

    assert now.arguments("") == now.arguments("{}") == {}
    assert now.parameters["properties"] == {}


def test_name_description_and_time_can_be_given():
    """For functions that are not the user's own."""
    add = tool(name="sum_of", description="Adds.", timeout_s=2)(lambda: 3)

    assert (add.name, add.description, add.timeout_s, add()) == ("sum_of", "Adds.", 2.0, 3)


def test_bound_method_is_a_tool_without_self():
    """Tools may need an object: a connection, say."""

    class Desk:
        def open(self, ticket: int) -> int:
            """Open a ticket."""
            return ticket + 1

    made = tool(Desk().open)

    assert list(made.parameters["properties"]) == ["ticket"]
    assert made(1) == 2


def test_docstrings_of_other_styles_are_read():
    """Sphinx and NumPy write them otherwise."""

    def sphinx(a: int) -> None:
        """Do.

        :param a: the first
        """

    def numpy(a: int) -> None:
        """Do.

        Parameters
        ----------
        a : int
            the first
        """

    found = [schema(function)["a"]["description"] for function in (sphinx, numpy)]

    assert found == ["the first", "the first"]


async def later() -> None: ...


def untyped(a): ...


def method(self) -> None: ...


def starred(*rest: int) -> None: ...


def keywords(**rest: int) -> None: ...


def positional(a: int, /) -> None: ...


def unknown(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def no_json(a: threading.Lock) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: tool(later), "async"),
        (lambda: tool(untyped), "'a' of the tool 'untyped' has no annotation"),
        (lambda: tool(method), r"tool\(thing.method\)"),
        (lambda: tool(starred), "'rest'"),
        (lambda: tool(keywords), "'rest'"),
        (lambda: tool(positional), "'a'"),
        (lambda: tool(unknown), "Nowhere"),
        (lambda: tool(lambda: 1), "is no name for a tool: pass name"),
        (lambda: tool(name="two words")(later), "async"),
        (lambda: tool(name="two words")(print), "'two words' is no name"),
        (lambda: tool(5), "5"),
        (lambda: tool(timeout_s=0)(sum), "timeout_s"),
        (lambda: tool(timeout_s=float("inf"))(sum), "timeout_s"),
    ],
)
def test_what_cannot_be_a_tool_is_refused(make, complaint):
    """Where it is made, by name, and not when the model asks for it."""
    with pytest.raises(ConfigurationError, match=complaint):
        make()


def test_type_that_json_cannot_say_is_refused():
    """The model could not write one."""

    def sort(key: object, done: type(sys)) -> None: ...

    sort.__annotations__ = {"key": complex, "done": type(sys)}

    with pytest.raises(ConfigurationError, match="JSON cannot say"):
        tool(sort)


def test_missing_library_is_named(monkeypatch):
    """With the line that installs it."""
    monkeypatch.setitem(sys.modules, "docstring_parser", None)

    def say() -> None:
        """Do."""

    with pytest.raises(ImportError, match=r'pip install "cloudllm-sync\[tools\]"'):
        tool(say)


def test_client_takes_tools_as_definitions():
    """Whoever runs the calls himself."""
    with FakeServer("Hello") as server:
        with OpenAIClient("gpt-5", api_key="test", base_url=server.base_url) as client:
            client.send_message([Message(Role.USER, "hi")], [weather])

    sent = server.requests[0].json["tools"][0]["function"]
    assert isinstance(weather, (Tool, ToolDefinition))
    assert sent["name"] == "weather"
    assert sent["parameters"]["required"] == ["place"]
