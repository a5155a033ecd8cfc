"""Functions as tools: their schemas, and the arguments that a model wrote."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import sys
import typing
from typing import Annotated, Any, Literal, Optional, Union

import attrs
import msgspec
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
    """Somewhere on earth."""

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


@pytest.mark.parametrize(
    ("default", "told"),
    [
        (3, {"default": 3}),
        (Unit.CELSIUS, {"default": "c"}),
        (Span(2), {"default": {"days": 2}}),
        (None, {}),
        (object(), {}),
    ],
)
def test_defaults_are_told_where_json_can_say_them(default, told):
    """What the model leaves out is then no guess; the function's own default counts."""

    def look(place: Any = default) -> None: ...

    made = tool(look)

    assert made.parameters["properties"]["place"] == told
    assert "required" not in made.parameters or made.parameters["required"] == []
    assert made.arguments("{}") == {}


def test_words_nearest_to_the_parameter_describe_it():
    """Those of the annotation, then the docstring's, then those of the type itself."""

    def look(
        a: Place,
        b: Place,
        c: Annotated[Place, "the third"],
        d: Annotated[int, msgspec.Meta(description="the fourth", ge=1)],
    ) -> None:
        """Look.

        Args:
            a: The first.
            c: not this
            d: not this
        """

    about = {name: part["description"] for name, part in schema(look).items()}

    assert about == {
        "a": "The first.",
        "b": "Somewhere on earth.",
        "c": "the third",
        "d": "the fourth",
    }


def test_description_says_what_comes_back():
    """The model has to read it."""

    def measure() -> float:
        """Measure.

        Returns:
            Degrees Celsius.
        """

    assert tool(measure).description == "Measure.\n\nReturns: Degrees Celsius."


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


@dataclasses.dataclass
class Even:
    number: int

    def __post_init__(self):
        raise KeyError("odd")


def test_checks_of_the_types_themselves_count():
    """Whatever they raise."""

    @tool
    def halve(number: Even) -> None: ...

    with pytest.raises(ValueError, match=r"the arguments of halve do not fit: .*odd"):
        halve.arguments('{"number": {"number": 1}}')


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


def test_wrapped_functions_are_tools_with_their_own_types():
    """A cache, and arguments that are given already; annotations are text here."""

    @functools.lru_cache
    def add(a: int, b: int, unit: Unit = Unit.CELSIUS) -> int:
        return a + b

    made = [tool(add), tool(name="add_two")(functools.partial(add.__wrapped__, 2))]

    assert [list(one.parameters["properties"]) for one in made] == [
        ["a", "b", "unit"],
        ["b", "unit"],
    ]
    assert made[1].function(**made[1].arguments('{"b": 3}')) == 5


def test_what_the_function_returns_need_not_be_known():
    """Types imported for type checkers only."""

    def frame(rows: int) -> Nowhere: ...  # noqa: F821

    assert list(tool(frame).parameters["properties"]) == ["rows"]


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


async def stepwise():
    yield 1


def generated():
    yield 1


def untyped(a): ...


def method(self) -> None: ...


def starred(*rest: int) -> None: ...


def keywords(**rest: int) -> None: ...


def positional(a: int, /) -> None: ...


def unknown(fine: int, a: Nowhere) -> None: ...  # noqa: F821


def broken(fine: int, a: "1 +") -> None: ...  # noqa: F722


def missing(fine: int, a: typing.Nothing) -> None: ...


def no_json(fine: int, key: complex) -> None: ...


def two_classes(fine: int, at: Union[Place, Span]) -> None: ...


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: tool(later), "async"),
        (lambda: tool(untyped), "'a' of the tool 'untyped' has no annotation"),
        (lambda: tool(method), r"tool\(thing.method\)"),
        (lambda: tool(starred), "'rest'"),
        (lambda: tool(keywords), "'rest'"),
        (lambda: tool(positional), "'a'"),
        (lambda: tool(stepwise), "async"),
        (lambda: tool(generated), "generator"),
        (lambda: tool(unknown), r"'a' of the tool 'unknown' cannot be read: .*Nowhere"),
        (lambda: tool(broken), "'a' of the tool 'broken' cannot be read"),
        (lambda: tool(missing), "'a' of the tool 'missing' cannot be read: .*Nothing"),
        (lambda: tool(no_json), "'key' of the tool 'no_json' is what JSON cannot say: .*complex"),
        (lambda: tool(two_classes), "'at' of the tool 'two_classes' is what JSON cannot say"),
        (lambda: tool(dict), "'dict' does not say what parameters it has"),
        (lambda: tool(name="2_look")(print), "'2_look' is no name"),
        (lambda: tool(timeout_s=1e12)(sum), "timeout_s"),
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
