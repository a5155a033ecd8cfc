"""Tools: typed functions that a model may call.

The JSON Schema of the arguments comes from the annotations, by msgspec, which also checks what the
model wrote; the descriptions of the parameters from the docstring, by docstring-parser.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import threading
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional, Union, overload

import attrs
import msgspec

from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.schemas import schema_of
from cloudllm_sync.values import ToolDefinition

__all__ = ["TOOL_TIMEOUT_S", "Tool", "tool"]

TOOL_TIMEOUT_S = 60.0

# What all providers take.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_NO_PLAIN_FUNCTION = (
    inspect.iscoroutinefunction,
    inspect.isasyncgenfunction,
    inspect.isgeneratorfunction,
)


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
        except Exception as error:  # foreign code: a class may check what it is given
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
    returns goes to the model, text as it is and everything else as JSON (None is `null`, bytes are
    an error). What it raises goes to the model, too, as the exception's class and message, which
    should be words that it may read. What is no Exception, SystemExit say, ends the run.

    Args:
        function: All its parameters have annotations that JSON can say: plain types, lists, dicts,
            `Literal`, enums, dataclasses, attrs classes. `Annotated[int, "in kg"]` describes one
            parameter; so does the docstring, if the annotation does not.
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
    if not callable(function) or any(is_other(function) for is_other in _NO_PLAIN_FUNCTION):
        raise ConfigurationError(
            f"{name or function!r} cannot be a tool: it must be a plain function, no generator, "
            "and not an async one"
        )
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is no name for a tool: pass name, 1 to 64 of A-Z a-z 0-9 _ -, "
            "the first of them a letter or _"
        )
    is_number = isinstance(timeout_s, (int, float)) and not isinstance(timeout_s, bool)
    if not is_number or not 0 < timeout_s <= threading.TIMEOUT_MAX:
        raise ConfigurationError(f"timeout_s must be seconds above 0, not {timeout_s!r}")
    told, described = _docstring(function)
    parameters = _checked_parameters(function, name)
    arguments = _arguments(name, parameters, described, _annotations(function))
    return Tool(
        name,
        told if description is None else description,
        _schema(arguments, parameters),
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
    returns = found.returns.description if found.returns is not None else None
    parts = (found.short_description, found.long_description, returns and f"Returns: {returns}")
    described = {param.arg_name: param.description or "" for param in found.params}
    return "\n\n".join(part for part in parts if part), described


def _checked_parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    """The function's parameters, each of which a model can name."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{name!r} does not say what parameters it has: make a tool of a function of your own "
            "that calls it"
        ) from error
    for parameter in parameters:
        if parameter.kind not in _NAMED:
            raise ConfigurationError(
                f"the parameter {parameter.name!r} of the tool {name!r} has no name for the model: "
                "only plain and keyword-only parameters do"
            )
        if parameter.annotation is parameter.empty:
            what = "a bound method, tool(thing.method)," if parameter.name == "self" else "a type"
            raise ConfigurationError(
                f"the parameter {parameter.name!r} of the tool {name!r} has no annotation: "
                f"give it {what} so that the model knows what to pass"
            )
    return parameters


def _annotations(function: Callable[..., Any]) -> Callable[[inspect.Parameter], Any]:
    """Reads the type of one parameter; what the function returns need not be known here."""
    owner = inspect.unwrap(getattr(function, "func", function))
    known = getattr(owner, "__globals__", {})

    def read(parameter: inspect.Parameter) -> Any:
        one = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
        return typing.get_type_hints(one, known, include_extras=True)[parameter.name]

    return read


def _arguments(
    name: str,
    parameters: Sequence[inspect.Parameter],
    described: Mapping[str, str],
    annotation_of: Callable[[inspect.Parameter], Any],
) -> type[msgspec.Struct]:
    """The type that the arguments have together."""
    fields: list[Any] = []
    for parameter in parameters:
        where = f"the parameter {parameter.name!r} of the tool {name!r}"
        try:
            wanted = _described(annotation_of(parameter), described.get(parameter.name, ""))
        except Exception as error:  # foreign code: an annotation is evaluated
            raise ConfigurationError(
                f"the annotation of {where} cannot be read: {error}"
            ) from error
        try:
            schema_of(wanted)
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[-1]
            raise ConfigurationError(f"{where} is what JSON cannot say: {reason}") from error
        if parameter.default is parameter.empty:
            fields.append((parameter.name, wanted))
        else:  # left out, so that the function's own default counts
            fields.append((parameter.name, wanted, msgspec.field(default_factory=_unset)))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _unset() -> msgspec.UnsetType:
    return msgspec.UNSET


def _described(annotation: Any, told: str) -> Any:
    """The annotation with its words, `Annotated[int, "in kg"]`, or the docstring's, for msgspec."""
    beside = getattr(annotation, "__metadata__", ())
    words = " ".join(word for word in beside if isinstance(word, str))
    if not words and any(getattr(word, "description", None) for word in beside):
        return annotation  # msgspec.Meta(description=...)
    text = words or told
    return typing.Annotated[annotation, msgspec.Meta(description=text)] if text else annotation


def _schema(
    arguments: type[msgspec.Struct], parameters: Sequence[inspect.Parameter]
) -> dict[str, Any]:
    """The JSON Schema of the arguments, with those defaults that JSON can say."""
    schema = schema_of(arguments)
    schema.pop("title", None)
    for parameter in parameters:
        if parameter.default is not None and parameter.default is not parameter.empty:
            with contextlib.suppress(msgspec.MsgspecError, TypeError, ValueError):
                default = msgspec.json.decode(msgspec.json.encode(parameter.default))
                schema["properties"][parameter.name]["default"] = default
    return schema
