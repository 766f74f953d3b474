"""Frozen dataclasses built from parsed JSON: every value is checked against the annotation of its field.

Annotations may be str, int, float, bool, None, Any, Literal, unions, lists, tuples, sequences and mappings of these,
and other dataclasses. A bool is not an int; an int is accepted for a float.
"""

import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from zoo_cli.errors import ContractError

T = TypeVar("T")

NAMES: dict[Any, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    Any: "a value",
}
"""The types of JSON as errors name them."""
SHOWN = 40
"""Characters of a wrong value that an error shows."""


class _Mismatch(Exception):
    """A value that breaks an annotation. `key`: where it is; `predicate`: how it is wrong, after the file's name."""

    def __init__(self, key: str, predicate: str):
        super().__init__(key, predicate)
        self.key = key
        self.predicate = predicate


def build_record(kind: type[T], value: object, file: Path | str, hint: str = "", *, extra_keys: bool = False) -> T:
    """The dataclass `kind` with the values of a parsed JSON object; fields with a default may be missing.

    `file`: where the JSON is from, for errors. `extra_keys`: keys that are not fields are ignored, at the top alone.
    Raises ContractError naming the file, the key and the expected type.
    """
    annotation: Any = kind
    try:
        if extra_keys and isinstance(value, Mapping):
            value = {key: item for key, item in value.items() if key in _field_types(annotation)}
        built: T = _convert(value, annotation, "")
    except _Mismatch as error:
        raise ContractError(f"{file}{error.predicate}", hint) from None
    return built


def check_value(annotation: Any, value: object, file: Path | str, hint: str = "") -> None:
    """Raise ContractError, naming the file and the key, for a value of parsed JSON that breaks an annotation."""
    try:
        _convert(value, annotation, "")
    except _Mismatch as error:
        raise ContractError(f"{file}{error.predicate}", hint) from None


def _convert(value: Any, annotation: Any, key: str) -> Any:
    """The value as its annotation has it: JSON lists become tuples where these are expected, ints become floats."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, key)
    if origin is Literal:
        # 1 == True in Python
        if any(value == option and type(value) is type(option) for option in arguments):
            return value
    elif is_dataclass(annotation):
        if isinstance(value, Mapping):
            return _build(value, annotation, key)
    elif origin in (list, Sequence, tuple):
        if isinstance(value, list | tuple):
            return _convert_list(value, annotation, key)
    elif origin in (dict, Mapping):
        if isinstance(value, Mapping):
            return {name: _convert(item, arguments[1], _join(key, name)) for name, item in value.items()}
    elif annotation is Any or (type(value) is annotation and annotation in NAMES):
        return value
    elif annotation is float and type(value) is int:
        return float(value)
    raise _mismatch(value, annotation, key)


def _convert_union(value: Any, options: Sequence[Any], key: str) -> Any:
    """The value as the first option that it fits. The error is that inside the only option that is not null, if any."""
    others = [option for option in options if option is not type(None)]
    if value is None and len(others) < len(options):
        return None
    errors = []
    for option in others:
        try:
            return _convert(value, option, key)
        except _Mismatch as error:
            errors.append(error)
    if len(errors) == 1 and errors[0].key != key:
        raise errors[0]
    raise _mismatch(value, Union[tuple(options)], key)  # noqa: UP007 - of a tuple


def _convert_list(values: Sequence[Any], annotation: Any, key: str) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple and arguments[-1] is not ...:
        if len(values) != len(arguments):
            raise _mismatch(values, annotation, key)
        kinds = arguments
    else:
        kinds = (arguments[0],) * len(values)
    items = [
        _convert(item, kind, f"{key}[{number}]") for number, (item, kind) in enumerate(zip(values, kinds, strict=True))
    ]
    return tuple(items) if origin is tuple else items


def _build(values: Mapping[str, Any], kind: Any, key: str) -> Any:
    annotations = _field_types(kind)
    unknown = [name for name in values if name not in annotations]
    if unknown:
        raise _Mismatch(key, f" has an unknown key {_quote(_join(key, unknown[0]))}")
    needed = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}
    missing = [name for name in annotations if name in needed and name not in values]
    if missing:
        raise _Mismatch(key, f" lacks the key {_quote(_join(key, missing[0]))}")
    return kind(**{name: _convert(item, annotations[name], _join(key, name)) for name, item in values.items()})


@cache
def _field_types(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


def _mismatch(value: Any, annotation: Any, key: str) -> _Mismatch:
    where = f": {_quote(key)} is" if key else " holds"
    return _Mismatch(key, f"{where} {_show(value)}, expected {_describe(annotation)}")


def _describe(annotation: Any) -> str:
    """An annotation in words: "a list of strings or null"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_describe, arguments))
    if origin is Literal:
        return " or ".join(_show(option) for option in arguments)
    if origin is tuple and arguments[-1] is not ...:
        return f"a list of {len(arguments)} values"
    if origin in (list, Sequence, tuple):
        words = _describe(arguments[0]).removeprefix("a ").removeprefix("an ")
        return f"a list of {words}s" if words in ("string", "integer", "number", "value", "object") else "a list"
    return "an object" if origin in (dict, Mapping) or is_dataclass(annotation) else NAMES[annotation]


def _show(value: Any) -> str:
    """A value of JSON for an error: short, and without what it holds."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return _quote(value) if isinstance(value, str) else json.dumps(value)


def _join(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _quote(text: str) -> str:
    return f'"{text}"' if len(text) <= SHOWN else f'"{text[:SHOWN]}…"'
