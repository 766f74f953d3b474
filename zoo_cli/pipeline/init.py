"""Write a commented zoo.toml: every key with its meaning and its default."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli import config, console
from zoo_cli.config import Config, Key, Source, Task
from zoo_cli.config_values import DATA_KEYS
from zoo_cli.errors import UsageError
from zoo_cli.pipeline.init_checks import check_written
from zoo_cli.store import files
from zoo_cli.text_escapes import toml_string

HEADER = """\
# The task, the student and the sources. Paths are relative to this file.
# A commented key shows its default, or an example where the model's provider knows the value.
"""
SOURCES_HEADER = """
# One [[source]] for each pretrained model. A model of which you only have the outputs is a parquet file with id and
# embedding, logits or probs: model = "features:outputs.parquet"
# Workspaces share sources by a line above [task]: include = "sources.toml"
"""
COLUMN = 37
"""Where the comments begin."""


@dataclass(frozen=True)
class WrittenConfig:
    """The zoo.toml of a workspace; `changed`: False if it was up to date."""

    path: Path
    changed: bool


def write_config(settings: Config, *, overwrite: bool = False) -> WrittenConfig:
    """Write the zoo.toml of a workspace. Its specs are relative to the workspace.

    Raises UsageError for another zoo.toml unless `overwrite`, and as `check_written` does.
    """
    path = settings.root / config.FILE
    text = render_config(settings)
    check_written(settings, text)
    if path.exists() and not overwrite:
        if files.read_text(path) == text:
            console.say(f"{path} is up to date")
            return WrittenConfig(path, changed=False)
        raise UsageError(f"{path} exists", "edit it, or replace it with --overwrite")
    files.write_text(path, text)
    console.say(f"wrote {path}; next: name the sources in it, then zoo split")
    return WrittenConfig(path, changed=True)


def render_config(settings: Config) -> str:
    """The text of a zoo.toml: the values that differ from the defaults, every other key as a comment."""
    task, student = settings.task, settings.student
    text = HEADER + "\n[task]\n" + render_keys(Task, _changed(Task, task))
    text += render_heading("[student]", "the small model to train; it takes the keys of a [[source]]")
    text += _render_student(student) if student else "# " + render_line("model", config.STUDENT_MODEL)
    text += SOURCES_HEADER
    for number, source in enumerate(settings.sources):
        values = _changed(Source, source)
        text += "\n[[source]]\n"
        text += render_keys(Source, values) if number == 0 else "".join(map(render_line, values, values.values()))
    if not settings.sources:
        text += "\n# [[source]]\n" + render_keys(Source, {})
    return text


def render_keys(table: type[Task] | type[Source], values: Mapping[str, Any]) -> str:
    """A line for every key of a table: those of `values` set, the others commented out."""
    lines = []
    for key in config.describe_keys(table):
        if key.name in values:
            lines.append(render_line(key.name, values[key.name], key.about))
        else:
            lines.append("# " + render_line(key.name, _shown(key), key.about, COLUMN - 2))
    return "".join(lines)


def render_line(key: str, value: object, about: str = "", column: int = COLUMN) -> str:
    """`key = value`, with a comment that begins at a column."""
    text = f"{key} = {_toml(value, unwrap=key in DATA_KEYS)}"
    return (f"{text:{column - 1}} # {about}" if about else text) + "\n"


def render_heading(name: str, about: str) -> str:
    """The line that begins a table, after an empty one."""
    return f"\n{name:{COLUMN - 1}} # {about}\n"


def _render_student(student: Source) -> str:
    text = render_line("model", student.model)
    if student.model.startswith("torchvision:") and "." not in student.model:
        text += render_line("weights", "DEFAULT", 'pretrained; "none": from scratch, which needs the next three')
        keys = {key.name: key for key in config.describe_keys(Source)}
        for name in ("input_size", "mean", "std"):
            text += "# " + render_line(name, keys[name].example, keys[name].about, COLUMN - 2)
    return text


def _changed(table: type[Task] | type[Source], values: Task | Source) -> dict[str, object]:
    """The values that the file must hold: what differs from the default, and always a task's name and labels."""
    current = {key.name: getattr(values, key.name) for key in config.describe_keys(table)}
    always = ("name", "labelled") if table is Task else ()
    return {
        key.name: current[key.name]
        for key in config.describe_keys(table)
        if key.name in always or current[key.name] != key.default
    }


def _shown(key: Key) -> object:
    """What a commented key shows: its default, or the example if the default says nothing."""
    return key.example if key.default is None or key.name in DATA_KEYS else key.default


def _toml(value: object, *, unwrap: bool = False) -> str:
    """A value as TOML. `unwrap`: a list of one item is written as that item."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return toml_string(value)
    if isinstance(value, list | tuple):
        items = [_toml(item) for item in value]
        return items[0] if unwrap and len(items) == 1 else f"[{', '.join(items)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return str(value)
