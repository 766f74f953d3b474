"""Calls without output: messages are dropped, warnings become Python's, errors speak of parameters instead of flags."""

import os
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import FrameType
from typing import ParamSpec, TypeVar

from zoo_cli import console, device_errors, system_errors
from zoo_cli.errors import ZooError

P = ParamSpec("P")
R = TypeVar("R")

SWITCHES = ("overwrite", "refresh", "gradients", "with-student", "with-preprocessing", "follow-links")
"""The flags in texts that take no value."""
RENAMED = {"source": "sources"}
"""Flags that have another name than their parameter."""
CALLS = ("split", "extract", "score", "rank", "pseudo-label", "distill", "finetune", "predict", "export")
"""The commands that are methods of a workspace, but for what they do with --features."""
FLAGS = re.compile(
    rf"zoo (?P<command>{'|'.join(CALLS)})"
    rf"(?P<arguments>(?: --(?:{'|'.join(SWITCHES)})\b| --(?!features)[a-z-]+(?: [^\s,;]+)?)+)"
    r"|(?P<whole>zoo [a-z-]+ --features)"
    r"|(?<![\w-])--(?P<flag>[a-z][a-z-]*)"
)


class ZooWarning(UserWarning):
    """What a command prints as a warning."""


def silent(function: Callable[P, R]) -> Callable[P, R]:
    """The function with nothing printed; it raises and warns in the words of the API."""

    @wraps(function)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> R:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, console.use(_Silent(nowhere, nowhere)):
            try:
                return function(*args, **kwargs)
            except ZooError as error:
                error.message, error.hint = in_python(error.message), in_python(error.hint)
                raise
            except (RuntimeError, OSError, ValueError, MemoryError) as error:
                failure = device_errors.translate(error) or system_errors.translate(error)
                if failure is None:
                    raise
                raise ZooError(in_python(failure.message), in_python(failure.hint)) from error

    return quiet


def in_python(text: str) -> str:
    """The text of a command in the words of the API.

    `zoo split --overwrite` becomes `split(overwrite=True)`, and `--batch-size` the parameter `batch_size`. Only what
    the API does not offer, `zoo rank --features FILE`, stays a command.
    """
    return FLAGS.sub(_translate, text)


@dataclass
class _Silent(console.Console):
    """A console that prints nothing and warns as Python does."""

    verbosity: int = -1

    def warn(self, text: str) -> None:
        warnings.warn(in_python(text), ZooWarning, stacklevel=_caller_level())


def _translate(match: re.Match[str]) -> str:
    if match["whole"]:
        return match["whole"]
    if match["flag"]:
        return f"`{_parameter(match['flag'])}`"
    values: dict[str, list[str]] = {}
    name = ""
    for word in match["arguments"].split():
        if word.startswith("--"):
            name = word.removeprefix("--")
            values.setdefault(name, [])
        else:
            values[name].append(word)
    values.pop("labels", None)  # the workspace has it
    arguments = ", ".join(f"{_parameter(name)}={_value(name, words)}" for name, words in values.items())
    return f"{match['command'].replace('-', '_')}({arguments})"


def _value(name: str, words: list[str]) -> str:
    """The value of a parameter as Python writes it: a list if its flag is repeated."""
    if not words:
        return "True" if name in SWITCHES else "…"
    return repr(words[0] if len(words) == 1 else words)


def _parameter(flag: str) -> str:
    return RENAMED.get(flag, flag.replace("-", "_"))


def _caller_level() -> int:
    """The stack level, for the caller of this function, of the line outside the package that called into it."""
    frame: FrameType | None = sys._getframe(1)
    level = outermost = 1
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "zoo_cli":
            outermost = level
        frame, level = frame.f_back, level + 1
    return outermost + 1
