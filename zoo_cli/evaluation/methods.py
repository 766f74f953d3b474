"""The methods that runs belong to: what they were asked to do, read from their run.json, never from their names."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli import specs
from zoo_cli.errors import ContractError
from zoo_cli.store import provenance
from zoo_cli.training.run_record import RunRecord, load_run_record

LABELS_ONLY, TUNED = "labels-only", "tuned"
LABELS = "labels"
"""The setting that holds the label set, absent for the main one."""
EACH = "each source"
RANDOM = "random"
NAMED = ("weighting", "source", "teachers", "weights")
"""Settings that are always part of a method's name; the others are where methods of one objective differ in them."""
BARE = (*NAMED, "head", "pool")
"""Settings that a name shows without their key."""
CAPTION = ("student", "labels", "epochs", "steps", "metric", "head", "pool")
"""Settings that the caption of a table names if all methods share them."""
UNASKED = ("seed", "steps", "cross_task_weights")
"""Options of run.json that follow from what was asked and from the task."""
RENAMED = {"teachers": "combination"}
"""Options of run.json under the name of another setting: how teachers are combined, beside which they are."""
CLASS_ARGUMENTS = ("classes", "num_classes")

Settings = Mapping[str, str]
"""What a run was asked to do, by name: the same for the same method in every task."""


@dataclass(frozen=True)
class MethodRun:
    """One finished run. `objective`: what it is called without its settings.

    `member`: the source that it learned from, or its draw of random weights, if it is one of several that a table of
    methods averages. `parameters`, `macs`: of the student, None in runs of earlier versions. `labelled`: fingerprint of
    its labelled images.
    """

    path: Path
    objective: str
    settings: Settings
    member: str | None
    is_source: bool
    seed: int
    parameters: int | None
    macs: int | None
    labelled: str


def read_method_run(path: Path) -> MethodRun:
    """The run in a folder. Raises ContractError for a run.json that zoo has not written."""
    file = path / "run.json"
    record = load_run_record(file)
    try:
        return _parse_record(path, record)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ContractError(f"{file} lacks keys of its format", "make the run again with --overwrite") from None


def _parse_record(path: Path, record: RunRecord) -> MethodRun:
    options, asked = record.options, record.asked
    if asked is not None and "candidates" in asked:
        return _parse_tuned(path, record, asked)
    labels_only = record.objective == "cross-task" and options["lam"] == 1
    settings: dict[str, str] = {}
    if not labels_only:
        settings |= _source_settings(record)
    member = settings.get("source", "")
    is_source = bool(member) and not _follows_from_the_task(member)
    settings |= _student_settings(record)
    settings |= {key: _text(value) for key, value in (asked or {}).items() if key in ("epochs", "steps", "labels")}
    if asked is None:
        settings["steps"] = _text(options["steps"])
    settings |= {RENAMED.get(key, key): _text(value) for key, value in options.items() if key not in UNASKED}
    if settings.get("weighting", "").startswith(f"{RANDOM}:"):
        member, settings["weighting"] = settings["weighting"], RANDOM
    elif not is_source:
        member = ""
    objective = LABELS_ONLY if labels_only else "finetune" if record.objective == "supervised" else record.objective
    return _make_run(path, record, objective, settings, member or None, is_source=is_source)


def _parse_tuned(path: Path, record: RunRecord, asked: Mapping[str, Any]) -> MethodRun:
    """The run of what `zoo tune` has chosen: one method, whatever that is on each task."""
    settings = {key: _text(value) for key, value in asked.items()}
    student = {key: value for key, value in _student_settings(record).items() if key == "student"}
    return _make_run(path, record, TUNED, {**settings, **student}, None, is_source=False)


def _make_run(
    path: Path, record: RunRecord, objective: str, settings: Settings, member: str | None, *, is_source: bool
) -> MethodRun:
    size = record.size
    return MethodRun(
        path,
        objective,
        settings,
        member,
        is_source,
        int(record.options["seed"]),
        None if size is None else size.parameters,
        None if size is None else size.macs,
        str(record.inputs.get("labelled images")),
    )


def _source_settings(record: RunRecord) -> dict[str, str]:
    """What it was asked to learn from."""
    asked = record.asked
    if asked is not None:
        if len(asked.get("sources", ())) == 1:
            return {"source": str(asked["sources"][0])}  # whatever the weighting is, that source weighs 1
        return {key: _text(value) for key, value in asked.items() if key not in ("epochs", "steps", "labels")}
    # A run of an earlier version.
    if record.source is not None:
        return {"source": record.source}
    if record.teachers:
        return {"teachers": _text([row.source for row in record.teachers])}
    if "pool" in record.options:
        return {}
    weights = {row.source: row.weight for row in record.weights if row.weight > 0}
    if len(weights) == 1:
        return {"source": next(iter(weights))}
    return {"weights": f"{len(weights)} sources {provenance.fingerprint(weights)[:6]}"}


def _student_settings(record: RunRecord) -> dict[str, str]:
    """The network, without the number of classes, which is the task's; a source that is fine-tuned is the student."""
    student = dict(record.student)
    declared = student.pop("student")
    settings = {key: _text(value) for key, value in student.items() if value}
    if record.source not in (None, "student"):
        return settings
    arguments = {key: value for key, value in declared["args"].items() if key not in CLASS_ARGUMENTS}
    parts = [declared["model"], declared["weights"], specs.params_text(arguments)]
    return {"student": " ".join(part for part in parts if part), **settings}


def _follows_from_the_task(source: str) -> bool:
    """Whether a model that was asked for is chosen anew in each task, or is the student itself."""
    return source.partition(":")[0] in ("best", "student")


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "+".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:.12g}"
    return value if isinstance(value, str) else json.dumps(value)


def name_methods(keys: Sequence[tuple[str, Settings]]) -> list[str]:
    """A name for each method, given as its objective and settings: as short as tells them apart.

    Where there are several label sets, all names tell theirs: the others are not comparable with them.
    """
    always = [LABELS] if len({settings.get(LABELS) for _, settings in keys}) > 1 else []
    short = [" ".join([objective, *_show(settings, NAMED)]) for objective, settings in keys]
    names = []
    for name, (_, settings) in zip(short, keys, strict=True):
        alike = [other for other_name, (_, other) in zip(short, keys, strict=True) if other_name == name]
        known = dict.fromkeys(key for other in alike for key in other if key not in (*NAMED, *always))
        differing = [key for key in known if len({other.get(key) for other in alike}) > 1]
        names.append(" ".join([name, *_show(settings, [*always, *differing])]))
    return names


def _show(settings: Settings, keys: Iterable[str]) -> list[str]:
    values = {key: settings[key] for key in keys if settings.get(key)}
    return [value if key in BARE else f"{key}={value}" for key, value in values.items()]


def shared_settings(keys: Sequence[tuple[str, Settings]]) -> Settings:
    """The settings of a table's caption: those that all methods share that have them."""
    shared = {}
    for key in CAPTION:
        # Without a label set a run learned from the main one; without another setting it has no use for it.
        values = {settings.get(key) for _, settings in keys if key in settings or key == LABELS}
        if len(values) == 1 and (value := values.pop()) is not None:
            shared[key] = value
    return shared
