"""The flags of the commands that train: the fields of their configs, and the names of flags in errors."""

import functools
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from zoo_cli import registry, specs
from zoo_cli.answer_tables import Field
from zoo_cli.entries import Objective
from zoo_cli.errors import ParameterError, UsageError

FLAGS = {"weightings": "--weighting", "sources": "--source", "seeds": "--seed", "rates": "--lr"}
"""The flags of parameters that repeat; any other parameter has the name of its flag."""
RUN_FIELDS = (
    Field("run"),
    Field("steps", style=","),
    Field("loss", style=".4f"),
    Field("labelled_accuracy", "labelled", "percent"),
    Field("path"),
)


def with_config_flags(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter `config: SomeConfig` is replaced by one flag for each field of that dataclass.

    A field that the command declares itself is not repeated, and keeps its default in the config. Errors that name
    parameters then name flags.
    """
    signature = inspect.signature(command)
    hints = typing.get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    configs: dict[str, tuple[Any, list[str]]] = {}
    for parameter in signature.parameters.values():
        config = hints[parameter.name]
        if not is_dataclass(config):
            parameters.append(parameter)
            continue
        field_hints = typing.get_type_hints(config, include_extras=True)
        flags = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field_hints[field.name]
            )
            for field in fields(config)
            if field.name not in signature.parameters
        ]
        parameters += flags
        configs[parameter.name] = (config, [flag.name for flag in flags])

    @functools.wraps(command)
    def wrapper(*args: Any, **values: Any) -> None:
        with naming_flags():
            for name, (config, names) in configs.items():
                values[name] = config(**{field: values.pop(field) for field in names if field in values})
            command(*args, **values)

    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {
        parameter.name: hints.get(parameter.name, parameter.annotation) for parameter in parameters
    }
    return wrapper


@contextmanager
def naming_flags() -> Iterator[None]:
    """The context in which errors that name parameters name flags."""
    with_flag_names = functools.partial(re.sub, r"`(\w+)`", lambda match: flag_name(match[1]))
    try:
        yield
    except ParameterError as error:
        raise UsageError(with_flag_names(error.message), with_flag_names(error.hint)) from None


def flag_name(parameter: str) -> str:
    """The flag of a parameter: `--batch-size` of `batch_size`."""
    return FLAGS.get(parameter, f"--{parameter.replace('_', '-')}")


def drop_none(**values: Any) -> dict[str, Any]:
    """The values that are not None, so that a config keeps its own defaults for the others."""
    return {name: value for name, value in values.items() if value is not None}


def find_objective(spec: str, command: str) -> tuple[str, Objective]:
    """The name and registry entry of an objective. Raises UsageError for an unknown one, or one of another command."""
    name, parameters = specs.split_spec(spec)
    if name not in registry.OBJECTIVES:
        raise specs.nearest("objective", name, registry.OBJECTIVES)
    entry = registry.OBJECTIVES[name]
    if entry.command != command:
        learns_from = "labels, not from sources" if entry.command == "finetune" else "sources, not from labels alone"
        raise UsageError(f"{name} learns from {learns_from}", f"zoo {entry.command} --objective {name}")
    if parameters and not entry.needs_teacher:
        specs.resolve("objective", spec)  # raises: it has flags instead of parameters
    return name, entry


def refuse_flags(values: Mapping[str, object], owners: Sequence[str], objective: str) -> None:
    """Raise UsageError for a flag that belongs to other objectives. `values`: by parameter, None if not given."""
    for name in drop_none(**values):
        *others, last = owners
        listed = f"{', '.join(others)} or {last}" if others else last
        raise UsageError(f"{flag_name(name)} belongs to --objective {listed}", f"{objective} does not use it")
