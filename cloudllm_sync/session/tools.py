"""Tools: typed functions that a model may call.

The JSON Schema of the arguments comes from the annotations, by msgspec, which also checks what the
model wrote; the descriptions of the parameters from the docstring, by docstring-parser.
"""

from __future__ import annotations

import inspect
import math
import re
import typing
from collections.abc import Mapping
from typing import Any, Callable, Optional, Union, overload

import attrs
import msgspec

from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.schemas import schema_of
from cloudllm_sync.values import ToolDefinition

__all__ = ["TOOL_TIMEOUT_S", "Tool", "tool"]

TOOL_TIMEOUT_S = 60.0

# What all providers take.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


# A definition with what it defines, so that it goes wherever a definition does.
@attrs.frozen(slots=True)
class Tool(ToolDefinition):
    """A function that `LLMSession.run()` calls when the model asks for it. Made by `@tool`.

    Calling it calls the function.
    """

    function: Callable[..., Any] = attrs.field(kw_only=True)
    timeout_s: float = attrs.field(default=TOOL_TIMEOUT_S, kw_only=True)
    _arguments: type[msgspec.Struct] = attrs.field(kw_only=True, repr=False, eq=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns."""
        return self.function(*args, **kwargs)

    def arguments(self, text: str) -> dict[str, Any]:
        """The arguments that a model wrote, as what the annotations promise.

        Raises:
            ValueError: They are not JSON, or do not fit; it says where.
        """
        try:
            found = msgspec.json.decode(text.strip() or "{}", type=self._arguments)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ValueError(f"the arguments of {self.name} do not fit: {error}") from error
        values = ((name, getattr(found, name)) for name in found.__struct_fields__)
        return {name: value for name, value in values if value is not msgspec.UNSET}


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...


@overload
def tool(
    *,
    name: Optional[str] = None,
    description: Optional[str] = None,
    timeout_s: float = TOOL_TIMEOUT_S,
) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Optional[Callable[..., Any]] = None,
    /,
    *,
    name: Optional[str] = None,
    description: Optional[str] = None,
    timeout_s: float = TOOL_TIMEOUT_S,
) -> Union[Tool, Callable[[Callable[..., Any]], Tool]]:
    """Make a tool of a typed function, as `@tool` or `@tool(timeout_s=5)`.

    The function runs on a thread of its own, in a copy of the caller's context variables. What it
    returns goes to the model, text as it is and everything else as JSON. What it raises goes to
    the model, too, as the exception's class and message.

    Args:
        function: All its parameters have annotations that JSON can say: plain types, lists, dicts,
            `Literal`, enums, dataclasses, attrs classes. `Annotated[int, "in kg"]` describes one
            parameter; so does the docstring.
        name: For the model; that of the function if None.
        description: For the model; the first part of the docstring if None.
        timeout_s: Seconds after which the model is told that there is no answer. Python cannot
            end a thread: the function runs on, and nobody waits for it.

    Raises:
        ConfigurationError: It cannot be a tool.
        ImportError: docstring-parser is missing.
    """
    if function is None:
        return lambda found: _made(found, name, description, timeout_s)
    return _made(function, name, description, timeout_s)


def _made(
    function: Callable[..., Any],
    name: Optional[str],
    description: Optional[str],
    timeout_s: float,
) -> Tool:
    name = getattr(function, "__name__", "") if name is None else name
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise ConfigurationError(
            f"{name or function!r} cannot be a tool: it must be a plain function, not an async one"
        )
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is no name for a tool: pass name, 1 to 64 of A-Z a-z 0-9 _ -"
        )
    is_number = isinstance(timeout_s, (int, float)) and not isinstance(timeout_s, bool)
    if not is_number or not 0 < timeout_s < math.inf:
        raise ConfigurationError(f"timeout_s must be seconds above 0, not {timeout_s!r}")
    told, described = _docstring(function)
    arguments = _arguments(function, name)
    return Tool(
        name,
        told if description is None else description,
        _parameters(name, arguments, described),
        function=function,
        timeout_s=float(timeout_s),
        arguments=arguments,
    )


def _docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """What a docstring says of a function, and of its parameters."""
    text = inspect.getdoc(function)
    if not text:
        return "", {}
    try:
        import docstring_parser
    except ImportError as error:
        raise ImportError(
            'tools need docstring-parser: pip install "cloudllm-sync[tools]"'
        ) from error
    found = docstring_parser.parse(text)
    parts = (found.short_description, found.long_description)
    described = {param.arg_name: param.description or "" for param in found.params}
    return "\n\n".join(part for part in parts if part), described


def _arguments(function: Callable[..., Any], name: str) -> type[msgspec.Struct]:
    """The type that the arguments have together."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise ConfigurationError(
            f"the annotations of the tool {name!r} cannot be read: {error}"
        ) from error
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in _NAMED:
            raise ConfigurationError(
                f"the parameter {parameter.name!r} of the tool {name!r} has no name for the model: "
                "only plain and keyword-only parameters do"
            )
        if parameter.name not in hints:
            what = "a bound method, tool(thing.method)," if parameter.name == "self" else "a type"
            raise ConfigurationError(
                f"the parameter {parameter.name!r} of the tool {name!r} has no annotation: "
                f"give it {what} so that the model knows what to pass"
            )
        wanted = _described(hints[parameter.name])
        if parameter.default is parameter.empty:
            fields.append((parameter.name, wanted))
        else:  # left out, so that the function's own default counts
            fields.append((parameter.name, Union[wanted, msgspec.UnsetType], msgspec.UNSET))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _described(annotation: Any) -> Any:
    """The annotation with its words, `Annotated[int, "in kg"]`, where msgspec looks for them."""
    words = [word for word in getattr(annotation, "__metadata__", ()) if isinstance(word, str)]
    if not words:
        return annotation
    return typing.Annotated[annotation, msgspec.Meta(description=" ".join(words))]


def _parameters(
    name: str, arguments: type[msgspec.Struct], described: Mapping[str, str]
) -> dict[str, Any]:
    """The JSON Schema of the arguments."""
    try:
        schema = schema_of(arguments)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the tool {name!r} has a parameter that JSON cannot say: {error}"
        ) from error
    schema.pop("title", None)
    for parameter, about in schema["properties"].items():
        if parameter in described and isinstance(about, dict):
            about.setdefault("description", described[parameter])
    return schema
