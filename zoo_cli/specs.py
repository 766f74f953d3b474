"""The parser of specs: `name:key=value,…` for methods, `provider:rest` for models and data.

A method's parameters are its keyword-only arguments. Their annotations, or the types of their defaults, tell how the
text of a spec is converted.
"""

import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli import registry
from zoo_cli.errors import UsageError


@dataclass(frozen=True)
class Method:
    """A resolved spec: the function and its parameters, converted to their types."""

    name: str
    params: dict[str, Any]
    function: Callable[..., Any]

    @property
    def spec(self) -> str:
        """The canonical text: parameters sorted, defaults left out. Resolving it gives this method again."""
        if "path" in self.params:
            return f"{self.name}:{self.params['path']}"
        defaults = {k: p.default for k, p in inspect.signature(self.function).parameters.items()}
        changed = {k: v for k, v in sorted(self.params.items()) if v != defaults.get(k, inspect.Parameter.empty)}
        return self.name + (":" + params_text(changed) if changed else "")


@dataclass(frozen=True)
class WeightingSpec:
    """A weighting, parsed once: as typed, resolved, and as a part of a file name."""

    text: str
    method: Method
    slug: str

    @classmethod
    def parse(cls, text: str) -> "WeightingSpec":
        """The weighting of a spec. Raises UsageError for an unknown name or parameter."""
        return cls(text, resolve("weighting", text), slug(text))


def params_text(params: Mapping[str, Any]) -> str:
    """`{"pca": 32, "cosine": True}` as a user types it: `pca=32,cosine=true`."""
    return ",".join(f"{key}={_text(value)}" for key, value in params.items())


def slug(spec: str) -> str:
    """A spec as a part of a file name: `p2`, `nearest`, `softmax-T0.1`, the stem of a file."""
    if spec.startswith("file:"):
        return f"file-{Path(spec.removeprefix('file:')).stem}"
    name, params = split_spec(spec)
    values = "-".join(f"{key}{value}" for key, value in params.items())
    return values if name == "power" and values else "-".join(part for part in (name, values) if part)


def nearest(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name: the name, the nearest known one, and the list of all."""
    return UsageError(f'no {kind} "{name}"', suggest_name(name, known))


def suggest_name(name: str, known: Iterable[str]) -> str:
    """The hint for an unknown name: `did you mean parc? one of: …`."""
    known = sorted(known)
    close = guess_name(name, known)
    guess = f"did you mean {close}? " if close else ""
    return f"{guess}one of: {', '.join(known) or 'none'}"


def guess_name(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to a mistyped one; None if none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def split_spec(text: str) -> tuple[str, dict[str, str]]:
    """`name:key=value,key=value` as a name and its parameters; `p=2` alone is short for `power:p=2`."""
    name, colon, rest = text.strip().partition(":")
    if "=" in name and not colon:
        name, rest = "power", name
    params: dict[str, str] = {}
    for item in rest.split(",") if rest else []:
        key, sign, value = item.partition("=")
        key = key.strip()
        if not sign or not key or not value.strip():
            raise UsageError(f'"{item}" in "{text}" is not key=value', "write name:key=value,key=value")
        if key in params:
            raise UsageError(f'"{key}" is given twice in "{text}"', "drop one")
        params[key] = value.strip()
    return name.strip(), params


def resolve(kind: str, text: str) -> Method:
    """The method that a spec names, with its parameters converted.

    Raises UsageError for an unknown name or parameter, or a value of the wrong type.
    """
    table = registry.TABLES[kind]
    if kind == "weighting" and text.strip().partition(":")[0] == "file":
        path = text.strip().removeprefix("file").removeprefix(":")
        if not path:
            raise UsageError("weighting file needs a path", "write file:weights.json")
        return Method("file", {"path": path}, registry.load(table["file"]))
    name, raw = split_spec(text)
    if name not in table:
        raise nearest(kind, text.strip() if name == "power" else name, table)
    function = registry.load(table[name])
    signature = inspect.signature(function, eval_str=True)
    accepted = {k: p for k, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
    params = {}
    for key, value in raw.items():
        if key not in accepted:
            raise nearest(f"parameter of {kind} {name}", key, accepted)
        params[key] = _convert(value, _parameter_type(accepted[key]), f"{key} of {kind} {name}")
    for key, parameter in accepted.items():
        if parameter.default is parameter.empty and key not in params:
            raise UsageError(f"{kind} {name} needs {key}", f"write {name}:{key}=…")
    return Method(name, params, function)


def split_query(text: str) -> tuple[str, dict[str, str]]:
    """`path?key=value&key=value` as a path and its options; a `?` without them belongs to the path.

    Raises UsageError for a key that is given twice.
    """
    match = _QUERY.fullmatch(text)
    if match is None:
        return text, {}
    options: dict[str, str] = {}
    for item in match[2].split("&"):
        key, _, value = item.partition("=")
        if key in options:
            raise UsageError(f'"{key}" is given twice in "{text}"', "drop one")
        options[key] = value
    return match[1], options


def provider(kind: str, text: str) -> tuple[str, str]:
    """`provider:rest` as two parts. Raises UsageError if the provider is missing or unknown."""
    table = registry.TABLES[kind]
    name, sign, rest = text.partition(":")
    if not sign or not rest:
        guess = _PROVIDERS.get((kind, Path(text).suffix.lower()), next(iter(table)))
        raise UsageError(f'"{text}" has no provider', f"write PROVIDER:NAME, e.g. {guess}:{text}")
    if name not in table:
        raise nearest(kind, name, table)
    return name, rest


def is_storable(number: int) -> bool:
    """Whether an integer fits into 64 bits, as those of files and arrays do."""
    return -(2**63) <= number < 2**63


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    # The shortest text that reads back as the same number: 12 and not 12.0, but no digit less.
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _parameter_type(parameter: inspect.Parameter) -> Any:
    """The annotation of a parameter; without one, the type of its default."""
    if parameter.annotation is not parameter.empty:
        return parameter.annotation
    return str if parameter.default in (None, parameter.empty) else type(parameter.default)


def _convert(value: str, annotation: Any, what: str) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        if value.lower() == "none":
            return None
        annotation = next(option for option in typing.get_args(annotation) if option is not type(None))
    invalid = f'"{value}" is not valid for {what}'
    if typing.get_origin(annotation) is typing.Literal:
        options = {_text(option): option for option in typing.get_args(annotation)}
        if value not in options:
            raise UsageError(invalid, f"one of: {', '.join(options)}")
        return options[value]
    if annotation is bool:
        if value.lower() not in ("true", "false"):
            raise UsageError(invalid, "expected true or false")
        return value.lower() == "true"
    try:
        number = annotation(value)
    except ValueError:
        raise UsageError(invalid, f"expected {_EXPECTED.get(annotation, annotation.__name__)}") from None
    if isinstance(number, float) and number != number:
        raise UsageError(invalid, "expected a number")
    if isinstance(number, int) and not is_storable(number):
        raise UsageError(invalid, "expected fewer digits")
    return number


_QUERY = re.compile(r"([^?]+(?:\?[^?]*)*?)\?([a-z_]+=[^&?]*(?:&[a-z_]+=[^&?]*)*)")
_PROVIDERS = {
    ("data provider", ".parquet"): "parquet",
    ("data provider", ".csv"): "csv",
    ("data provider", ".tsv"): "csv",
    ("data provider", ".jsonl"): "jsonl",
    ("data provider", ".arrow"): "arrow",
    ("data provider", ".tar"): "wds",
    ("model provider", ".parquet"): "features",
}
"""The provider of a path by its ending, for a hint."""
_EXPECTED = {int: "an integer", float: "a number"}
