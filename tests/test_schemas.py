"""JSON Schemas of Python types."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Literal, Optional

import attrs
import pytest

from cloudllm_sync.schemas import schema_of


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclasses.dataclass
class Step:
    text: str
    minutes: int = 5


@attrs.define
class Recipe:
    name: str
    steps: list[Step]
    size: Optional[Size] = None
    kind: Literal["cold", "hot"] = "hot"


@attrs.define
class Folder:
    name: str
    folders: list[Folder]


@attrs.define
class Even:
    next: Optional[Odd] = None


@attrs.define
class Odd:
    step: Step
    again: Step
    next: Optional[Even] = None


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (int, {"type": "integer"}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Any, {}),
    ],
)
def test_plain_types(kind, schema):
    """As JSON Schema calls them."""
    assert schema_of(kind) == schema


def test_classes_stand_where_they_are_used():
    """No $ref: some providers take none."""
    schema = schema_of(Recipe)

    assert schema["required"] == ["name", "steps"]
    step = schema["properties"]["steps"]["items"]
    assert step["required"] == ["text"]
    assert step["properties"]["minutes"]["default"] == 5
    assert {"type": "null"} in schema["properties"]["size"]["anyOf"]
    assert schema["properties"]["kind"]["enum"] == ["cold", "hot"]
    assert schema["properties"]["kind"]["type"] == "string"
    assert "$ref" not in str(schema)
    assert "$defs" not in schema


def test_class_that_holds_itself_is_referred_to():
    """There is no other way to say it."""
    schema = schema_of(Folder)

    assert (
        schema["properties"]["folders"]["items"] == {"$ref": "#/$defs/Folder"}
        or schema["$ref"] == "#/$defs/Folder"
    )
    assert schema["$defs"]["Folder"]["properties"]["name"] == {"type": "string"}


def test_classes_that_hold_each_other_are_referred_to():
    """What they hold besides stands in its place."""
    schema = schema_of(list[Even])

    assert set(schema["$defs"]) == {"Even", "Odd"}
    step = schema["$defs"]["Odd"]["properties"]["step"]
    assert step["properties"]["text"] == {"type": "string"}


def test_type_without_a_json_form_is_refused():
    """Nothing could be told to the model."""
    with pytest.raises(TypeError):
        schema_of(complex)


def test_default_that_is_made_of_its_object_is_refused_alike():
    """msgspec knows none."""

    @attrs.define
    class Twice:
        name: str = attrs.Factory(str, takes_self=True)

    with pytest.raises(TypeError, match="takes_self"):
        schema_of(Twice)
