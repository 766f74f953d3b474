"""`zoo evaluate transfer`: a student before and after a transfer, beside its teachers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import console
from zoo_cli.commands.options import HERE, Device, Format, Json, Workers, Workspace
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline.evaluate import named_runs, predictions
from zoo_cli.store import files

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.pipeline.evaluate.predictions import PredictionReader, Predictions

FIELDS = (
    console.Field("after"),
    console.Field("teacher"),
    console.Field("delta", style="percent"),
    console.Field("gain", style="percent"),
    console.Field("loss", style="percent"),
    console.Field("p", style=".3f"),
    console.Field("outcome"),
    console.Field("difference", "teacher ahead", "percent"),
    console.Field("complementary", style="percent"),
    console.Field("transfer_rate", "transferred", "percent"),
    console.Field("class_transfer_rate", "in its classes", "percent"),
)


def transfer(
    before: Annotated[
        str, typer.Argument(metavar="BEFORE", help="The student before: a run folder, a parquet file or a model.")
    ],
    after: Annotated[
        list[str], typer.Argument(metavar="AFTER", help="The student after; several are as many transfers.")
    ],
    teacher: Annotated[
        list[str] | None,
        typer.Option("--teacher", help="Its teacher: one for all, one for each AFTER, or several for the only one."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the answer to .json, or its rows to .parquet.")
    ] = None,
    device: Device = "auto",
    workers: Workers = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """What a student gained and lost by a transfer, and how much of that its teachers knew.

    Success or failure is a gain that differs from the loss by McNemar's exact test, two-sided at 5 %; the rest is
    undecided. Without --teacher the teachers are those that the run.json of AFTER names.

    zoo evaluate transfer student runs/dp-s0 --teacher runs/expert
    zoo evaluate transfer runs/labels-only-s0 runs/kl-s0 runs/dp-s0 --teacher file:experts/b --json
    """
    named_runs.check_out(out)
    reader = predictions.PredictionReader(workspace, device, workers)
    first = reader(before)
    teachers = _matched(after, teacher or [])
    given = {text: reader(text, labels=False).judged(first) for text in dict.fromkeys(teacher or [])}
    rows = []
    for text, names in zip(after, teachers, strict=True):
        changed = reader(text, labels=False).judged(first)
        taught = {name: given[name] for name in names} if teacher else _said(reader, text, first)
        rows.append({"after": named_runs.display_name(text, workspace), **_judged(first, changed, taught)})
    result = {"before": named_runs.display_name(before, workspace), "transfers": rows, "summary": _summary(rows)}
    table = [line for row in rows for line in _lines(row)]
    named_runs.save_answer(out, "zoo.evaluate-transfer/1", result, table)
    console.answer(
        "zoo.evaluate-transfer/1", result, FIELDS, form="json" if json else form, table=table, notes=_notes(result)
    )


def _matched(after: Sequence[str], teachers: Sequence[str]) -> list[Sequence[str]]:
    """The teachers of each AFTER: all of one, one of all, or one each."""
    if len(after) == 1:
        return [teachers]
    if len(teachers) <= 1:
        return [teachers] * len(after)
    if len(teachers) != len(after):
        raise UsageError(f"{len(teachers)} teachers of {len(after)} AFTER", "one for all of them, or one for each")
    return [[name] for name in teachers]


def _said(reader: "PredictionReader", text: str, first: "Predictions") -> "dict[str, np.ndarray]":
    """The teachers that a run of general transfer names itself, but for those that are not here any more."""
    file = named_runs.resolve_run(Path(text), reader.workspace) / "run.json"
    named = _named(file) if file.exists() else {}
    found = {}
    for name, digest in named.items():
        try:
            found[name] = _teacher(reader, name, digest).judged(first)
        except (UsageError, ContractError) as error:
            console.say(f"{text} names the teacher {name}, which is left out: {error}")
    if not named:
        console.say(f"no teacher of {text} is known; --teacher names one")
    return found


def _named(file: Path) -> dict[str, str | None]:
    """The teachers that a run.json names, with the digests of their weights. Raises ContractError for another file."""
    said = files.read_json(file)
    try:
        # In a sequence it names the last teacher, and those before it as what the student is after.
        last = [str(row["source"]) for row in said.get("teachers") or []]
        names = [*map(str, said["student"].get("after") or []), *last] if last else []
        return {name: said["inputs"].get(f"teacher {name}") for name in names}
    except (AttributeError, KeyError, TypeError):
        raise ContractError(f"{file} does not say what a run of zoo says") from None


def _teacher(reader: "PredictionReader", name: str, digest: str | None) -> "Predictions":
    """A source of zoo.toml, or the run of these weights: a teacher that was named by a spec keeps only its name."""
    if name in {source.name for source in reader.settings.sources}:
        return reader.of(name)
    weights = reader.settings.run(name) / "model.safetensors"
    if weights.exists() and files.digest(weights) == digest:
        return predictions.load_predictions(weights.parent, labels=False)
    raise UsageError("neither a source of zoo.toml nor the same run any more", "--teacher PROVIDER:NAME")


def _judged(first: "Predictions", after: "np.ndarray", taught: "dict[str, np.ndarray]") -> dict[str, Any]:
    """One transfer: what it changed, and for each teacher what it offered and what of that was taken."""
    import numpy as np

    from zoo_cli.evaluation import flip_concentration, flip_statistics

    labels, before, count = first.labels, flip_statistics.predicted_classes(first.logits), len(first.classes)
    there = np.flatnonzero(np.bincount(labels, minlength=count))
    gained = flip_statistics.positive_by_class(labels, before, after, count)[there]
    told = []
    for name, teacher in taught.items():
        offered = flip_statistics.positive_by_class(labels, before, teacher, count)[there]
        taken = np.bincount(labels[(before != labels) & (teacher == labels) & (after == labels)], minlength=count)[
            there
        ]
        top = [asdict(uptake) for uptake in flip_concentration.class_uptake(offered, taken, gained)]
        for row in top:
            row["classes"] = [first.classes[there[c]] for c in row["classes"]]
        facts = asdict(flip_statistics.teacher_statistics(labels, before, after, teacher))
        told.append({"teacher": name, **facts, "class_transfer_rate": top[-1]["class_transfer_rate"], "top": top})
    return {**asdict(flip_statistics.transfer_statistics(labels, before, after)), "teachers": told}


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all transfers; each row also learns its p and outcome among as many tests."""
    from zoo_cli.evaluation import flip_statistics

    for row, p in zip(rows, flip_statistics.holm([row["p"] for row in rows]), strict=True):
        row |= {"p_holm": p, "outcome_holm": flip_statistics.outcome(row["delta"], p)}
    kinds = ("success", "failure", "undecided")
    counts, corrected = (Counter(row[key] for row in rows) for key in ("outcome", "outcome_holm"))
    return {
        "transfers": len(rows),
        **{kind: counts[kind] for kind in kinds},
        "holm": {kind: corrected[kind] for kind in kinds},
        "success_rate": sum(row["delta"] > 0 for row in rows) / len(rows),
        "mean_delta": sum(row["delta"] for row in rows) / len(rows),
    }


def _lines(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A transfer as rows of a table: one a teacher, or one where none is known."""
    own = {key: value for key, value in row.items() if key != "teachers"}
    lines = []
    for teacher in row["teachers"] or [{}]:
        facts = {key: value for key, value in teacher.items() if key not in ("top", "accuracy")}
        lines.append({**own, "teacher": None, **facts, "teacher_accuracy": teacher.get("accuracy")})
    return lines


def _notes(result: dict[str, Any]) -> list[str]:
    said = result["summary"]
    notes = [
        f"{said['transfers']:,} transfer{'s' * (said['transfers'] > 1)} from {result['before']}: "
        f"{said['success']:,} success, "
        f"{said['failure']:,} failure, {said['undecided']:,} undecided at 5 % (McNemar's exact test)"
    ]
    if said["transfers"] > 1:
        held = said["holm"]
        notes.append(
            f"corrected for as many tests (Holm): {held['success']:,}, {held['failure']:,}, {held['undecided']:,}; "
            f"accuracy rose in {console.percent(said['success_rate'])} of them"
        )
    return notes
