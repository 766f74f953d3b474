"""The command line as data for the completion scripts, read from the signatures of the commands."""

import inspect
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo_cli import command_table, devices, registry, specs
from zoo_cli.answer_tables import FORMATS
from zoo_cli.command_table import COMMANDS, GROUPS
from zoo_cli.commands import completions
from zoo_cli.commands.completions import HELP, Command, Flag, Program, Words
from zoo_cli.commands.completions.architectures import CLASSIFIERS
from zoo_cli.commands.options import Workspace, shared_flags
from zoo_cli.entries import Entry
from zoo_cli.store.view_set import VIEW_KINDS

KINDS = {
    "--workspace": "folder",
    "--trust": "folder",
    "--metric": "metric",
    "--weighting": "weighting",
    "--objective": "objective",
    "--source": "source",
    "--init": "source",
    "--labels": "labels",
    "--student": "model",
    "--train": "data",
    "--test": "data",
    "--unlabelled": "data",
    "--data": "data",
    "--teacher": "run",
    "RUN": "run",
    "AFTER": "run",
    "--head": "head",
    "--pool": "pool",
    "--on": "representation",
    "--device": "device",
    "--precision": "precision",
    "--compile": "compile",
    "--format": "format",
    "export --format": "export",
    "--quantize": "quantization",
    "--schedule": "schedule",
    "--augment": "augmentation",
    "--teachers": "teaching",
    "--targets": "targets",
    "--freeze": "frozen",
    "finetune SOURCE": "start",
    "finetune --objective": "learning",
    "--unlabelled-from": "images",
    "--output": "output",
    "--labelled": "share",
    "--probe": "probe",
    "extract --batch-size": "batch",
    "extract --augment": "view",
    "evaluate ranking ACCURACIES": "file",
    "completion SHELL": "shell",
}
"""The kinds of values by flag, if the type alone does not decide."""

CHOICES = {
    "representation": ("features", "probs"),
    "device": ("auto", "cpu", "cuda", "cuda:"),
    "device cuda": tuple(map(str, range(8))),
    "precision": typing.get_args(devices.Precision),
    "compile": ("auto", "off", "graph"),
    "format": FORMATS,
    "export": ("onnx", "pt2"),
    "quantization": ("int8",),
    "schedule": ("constant", "cosine", "steps"),
    "augmentation": ("none", "flip", "shift", "crop", "affine", "rand"),
    "view": VIEW_KINDS,
    "images": ("all", "unlabelled"),
    "teaching": ("sequential", "parallel", "soup"),
    "targets": ("live", "stored", "stored-clean"),
    "frozen": ("body",),
    "output": ("softmax", "sigmoid"),
    "share": ("1%", "5%", "10%", "20%", "1/class", "5/class", "all"),
    "probe": ("all",),
    "batch": ("auto",),
    "shell": tuple(completions.SHELLS),
}
"""The values of kinds that are short lists; a test compares them with the help of the flags."""

POWERS = ("1", "2", "3", "6", "9", "12", "15", "inf")
"""The powers p that paper 000 compares."""

FILES_AFTER = {"timm": "", "clip": "", "torchvision": "", "folder": "@folder", "transformers": "@folder"}
"""What follows the colon of a provider; a file unless listed here."""


def completion_script(shell: str) -> str:
    """The completion script of a shell. Raises UsageError for an unknown one."""
    if shell not in completions.SHELLS:
        raise specs.nearest("shell", shell, completions.SHELLS)
    return completions.render_script(shell, describe_program())


def describe_program() -> Program:
    """The command line as data."""
    top = {
        "workspace": Workspace,
        "version": Annotated[bool, typer.Option("-V", "--version", help="Print the version.")],
    }
    commands = []
    for name, target in COMMANDS.items():
        parameters = typing.get_type_hints(registry.import_target(target), include_extras=True)
        parameters.pop("return", None)
        shared = {key: annotation for key, (annotation, _) in shared_flags(name, parameters).items()}
        flags, argument = _flags(name, {**parameters, **shared})
        commands.append(Command(name, command_table.summary(name), flags, argument))
    return Program(_flags("", top)[0], tuple(commands), GROUPS, _words())


def _flags(command: str, parameters: Mapping[str, Any]) -> tuple[tuple[Flag, ...], str]:
    """The flags that a command's parameters declare, and the kind of its arguments."""
    flags, argument = [], ""
    for name, annotation in parameters.items():
        kind, info = annotation.__origin__, annotation.__metadata__[0]
        # In Annotated, typer stores the first spelling as the default.
        spellings = [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)]
        names = tuple(name for spelling in spellings for name in spelling.split("/"))
        if not names:
            argument = _kind(command, (name.upper(),), kind, path="run")
        else:
            flags.append(Flag(names, info.help or "", "" if kind is bool else _kind(command, names, kind, path="file")))
    return (*flags, HELP), argument


def _kind(command: str, names: tuple[str, ...], kind: Any, *, path: str) -> str:
    keys = (key for name in names for key in (f"{command} {name}", name))
    return next((KINDS[key] for key in keys if key in KINDS), path if _holds_path(kind) else "text")


def _holds_path(kind: Any) -> bool:
    return kind is Path or any(_holds_path(part) for part in typing.get_args(kind))


def _words() -> dict[str, Words]:
    """The words of each kind of value, see `completions.description`."""
    words: dict[str, Words] = {kind: dict.fromkeys(values, "") for kind, values in CHOICES.items()}
    words |= {
        "file": {"@file": ""},
        "folder": {"@folder": ""},
        "run": {"@run": "", "@file": ""},
        "labels": {"@labels": ""},
    }
    for kind in ("metric", "weighting", "head", "pool", "objective"):
        words |= _methods(kind)
    words["learning"] = _objectives("finetune")
    words["objective"] = _objectives("distill")
    # Powers are typed in their short form, p=2.
    words["weighting"] = {"p=" if name == "power" else name: line for name, line in words["weighting"].items()}
    words["weighting = p"] = words["weighting power p"]
    for kind, table in (("model", "model provider"), ("data", "data provider")):
        words |= _providers(kind, registry.TABLES[table])
    words["source"] = {"@source": "", **words["model"]}
    words["start"] = {"best": "the source that ranks first", "student": "the student of zoo.toml", **words["source"]}
    words |= {key.replace("model", "source", 1): value for key, value in words.items() if key.startswith("model ")}
    return words


def _objectives(command: str) -> Words:
    return {name: entry.summary for name, entry in registry.OBJECTIVES.items() if entry.command == command}


def _methods(kind: str) -> dict[str, Words]:
    """The names of a table, their parameters, and the values of these."""
    words: dict[str, Words] = {}
    names = {}
    for name, entry in registry.TABLES[kind].items():
        if name == "file":
            names["file:"], words[f"{kind} file"] = entry.summary, {"@file": ""}
            continue
        signature = inspect.signature(registry.load(entry), eval_str=True)
        parameters = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        needed = any(p.default is p.empty for p in parameters)
        names[name + ":" * needed] = entry.summary
        if parameters:
            words[f"{kind} {name}"] = {f"{p.name}=": "" for p in parameters}
        for p in parameters:
            values = _values(p)
            if values:
                words[f"{kind} {name} {p.name}"] = dict.fromkeys(values, "")
    return {kind: names, **words}


def _values(parameter: inspect.Parameter) -> tuple[str, ...]:
    hint = parameter.annotation
    if typing.get_origin(hint) is typing.Literal:
        return tuple(map(str, typing.get_args(hint)))
    if hint is bool:
        return ("true", "false")
    return POWERS if parameter.name == "p" else ()


def _providers(kind: str, table: Mapping[str, Entry]) -> dict[str, Words]:
    words: dict[str, Words] = {kind: {f"{name}:": entry.summary for name, entry in table.items()}}
    for name in table:
        after = FILES_AFTER.get(name, "@file")
        if after:
            words[f"{kind} {name}"] = {after: ""}
    if kind == "model":
        words["model torchvision"] = dict.fromkeys(CLASSIFIERS, "")
    return words
