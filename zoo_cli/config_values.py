"""The values of zoo.toml: converted to the types that the fields of the dataclasses have."""

import types
import typing
from collections.abc import Mapping
from typing import Any

from zoo_cli import specs
from zoo_cli.errors import UsageError

DATA_KEYS = ("train", "test", "unlabelled")
"""Lists of data specs, for which one spec may stand alone."""

_EXPECTED = {
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "true or false",
    tuple[str, ...]: "a list of strings",
    tuple[float, ...]: "a list of numbers",
    Mapping[str, Any]: "a table",
}


def convert_value(key: str, value: Any, annotation: Any, where: str) -> Any:
    """One value of a table as its field's annotation has it. Raises UsageError for a value of another type."""
    options = _list_types(annotation)
    if fault := _find_fault(value):
        raise UsageError(f"{key} in {where} holds {fault}", "fix it")
    for option in options:
        if typing.get_origin(option) is tuple:
            items = [value] if isinstance(value, str) and key in DATA_KEYS else value
            kind = typing.get_args(option)[0]
            if isinstance(items, list) and all(_matches(item, kind) for item in items):
                return tuple(map(kind, items))
        elif _matches(value, option):
            return value
    if key == "labelled" and _matches(value, int):
        return str(value)
    if key == "classes" and isinstance(value, str):
        return (value,)  # a file with one name a line, read where the model is loaded
    expected = " or ".join(_EXPECTED[option] for option in options)
    raise UsageError(
        f"{key} = {value!r} in {where}", f"expected {'a string or ' if key in DATA_KEYS else ''}{expected}"
    )


def _find_fault(value: Any) -> str:
    """What no key of zoo.toml may hold, at any depth; empty if there is nothing of it."""
    if isinstance(value, list | dict):
        items = [*value, *value.values()] if isinstance(value, dict) else value
        return next(filter(None, map(_find_fault, items)), "")
    if isinstance(value, str) and "\0" in value:
        return "a NUL character"
    if isinstance(value, int) and not specs.is_storable(value):
        return f"an integer of {len(str(abs(value)))} digits"
    return "" if isinstance(value, str | int | float) else f"a {type(value).__name__}"


def _list_types(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, None left out; any other type alone."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return (
        tuple(kind for kind in typing.get_args(annotation) if kind is not types.NoneType) if is_union else (annotation,)
    )


def _matches(value: Any, kind: Any) -> bool:
    """Whether a value of TOML has a type: true is not an integer, but an integer is a number."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else typing.get_origin(kind) or kind)
