"""`zoo evaluate flips --all`: what every network knows that every other does not, and two controls for it."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import console
from zoo_cli.config import Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline import prediction
from zoo_cli.pipeline.evaluate import named_runs, predictions
from zoo_cli.store import files
from zoo_cli.training.run_record import IDENTITY_KEYS

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.pipeline.evaluate.predictions import PredictionReader, Predictions

UNTRAINED, SEED = "random initialisation", "another seed"
FIELDS = (
    console.Field("teacher"),
    console.Field("student"),
    console.Field("teacher_accuracy", "teacher", "percent"),
    console.Field("student_accuracy", "student", "percent"),
    console.Field("difference", style="percent"),
    console.Field("complementary", style="percent"),
    console.Field("entropy", style=".3f"),
    console.Field("p", style=".3f"),
    console.Field("control"),
)


@dataclass(frozen=True)
class JudgedModel:
    """One network: what it is called, where its run lies if it is one, and the classes (N,) that it predicts."""

    name: str
    folder: Path | None
    predicted: "np.ndarray"


def compare_pairs(reader: "PredictionReader", texts: Sequence[str], out: Path | None, form: str | None) -> None:
    """A row for every ordered pair of the networks named, then the controls.

    `complementary` is the share of samples that the teacher has right and the student wrong; `entropy` how evenly they
    lie over the classes and `p` whether chance would put them as close together, see `expertise.concentration`. The
    difference of the accuracies is the share of positive less that of negative flips. Controls: the architecture of
    the first network whose model is known, with random weights, as a teacher of each; and pairs of runs that differ in
    nothing but their seed, listed or beside a listed one. Where one cannot be had, stderr says why.
    """
    rows = list(_rows(reader, texts))
    plain = [row["complementary"] for row in rows if row["control"] is None]
    notes = []
    if plain:
        notes.append(
            f"complementary knowledge of {len(plain):,} pairs: {console.percent(min(plain))} to "
            f"{console.percent(max(plain))}, median {console.percent(statistics.median(plain))}"
        )
    for control in (UNTRAINED, SEED):
        found = [row["complementary"] for row in rows if row["control"] == control]
        if found:
            notes.append(f"of {control}: {console.percent(statistics.median(found))} in the median of {len(found):,}")
    named_runs.save_answer(out, "zoo.evaluate-pairs/1", rows, rows)
    console.answer("zoo.evaluate-pairs/1", rows, FIELDS, form=form, notes=notes)


def _rows(reader: "PredictionReader", texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    if len(texts) < 2 or len(set(texts)) < len(texts):
        raise UsageError(f"--all compares two different networks or more, not {', '.join(texts)}", "name others")
    first = reader(texts[0])
    short = [named_runs.display_name(text, reader.workspace) for text in texts]
    names = short if len(set(short)) == len(short) else texts
    judged = [_judged(reader, text, name, first) for text, name in zip(texts, names, strict=True)]
    twins, beside = _twins(judged, first)
    for teacher in judged:
        for student in judged:
            if teacher is not student:
                control = SEED if (teacher.name, student.name) in twins else None
                yield _row(first, teacher, student, control)
    for teacher, student in beside:
        yield _row(first, teacher, student, SEED)
    if not twins and not beside:
        console.say(f"no control of {SEED}: no two runs here differ in their seed alone")
    untrained = _untrained(reader, texts, first)
    if untrained is not None:
        for student in judged:
            yield _row(first, untrained, student, UNTRAINED)


def _judged(reader: "PredictionReader", text: str, name: str, first: "Predictions") -> JudgedModel:
    path = named_runs.resolve_run(Path(text), reader.workspace)
    return JudgedModel(name, path if path.is_dir() else None, reader(text, labels=False).judged(first))


def _row(first: "Predictions", teacher: JudgedModel, student: JudgedModel, control: str | None) -> dict[str, Any]:
    import numpy as np

    from zoo_cli.evaluation import flip_concentration, flip_statistics

    labels, count = first.labels, len(first.classes)
    statistics_of = flip_statistics.teacher_statistics(labels, student.predicted, student.predicted, teacher.predicted)
    there = np.flatnonzero(np.bincount(labels, minlength=count))
    gained = flip_statistics.positive_by_class(labels, student.predicted, teacher.predicted, count)[there]
    close = flip_concentration.concentration(
        gained, flip_statistics.errors_by_class(labels, student.predicted, count)[there]
    )
    return {
        "teacher": teacher.name,
        "student": student.name,
        "n": len(labels),
        "teacher_accuracy": statistics_of.accuracy,
        "student_accuracy": float((student.predicted == labels).mean()),
        "difference": statistics_of.difference,
        "complementary": statistics_of.complementary,
        "positive": statistics_of.offered,
        "negative": int(((student.predicted == labels) & (teacher.predicted != labels)).sum()),
        "entropy": close.entropy.value if close else None,
        "p": close.entropy.p if close else None,
        "control": control,
    }


def _twins(
    judged: Sequence[JudgedModel], first: "Predictions"
) -> tuple[set[tuple[str, str]], list[tuple[JudgedModel, JudgedModel]]]:
    """Pairs of listed runs that differ only in their seed; and of runs with an unlisted one beside them, where none."""
    said = {one.name: _made(one.folder) for one in judged}
    same = {
        (a.name, b.name)
        for a in judged
        for b in judged
        if a is not b and said[a.name] is not None and said[a.name] == said[b.name]
    }
    beside = []
    for one in judged if not same else ():
        if one.folder is None or said[one.name] is None:
            continue
        for file in sorted(one.folder.parent.glob("*/predictions.parquet")):
            if file.parent.name != one.folder.name and _made(file.parent) == said[one.name]:
                other = predictions.load_predictions(file.parent, labels=False).judged(first)
                beside.append((JudgedModel(file.parent.name, file.parent, other), one))
                break
    return same, beside


def _made(folder: Path | None) -> dict[str, Any] | None:
    """What a run was made from, without its seed; None for anything else than a run."""
    if folder is None or not (folder / "run.json").exists():
        return None
    said = files.read_json(folder / "run.json")
    options = said.get("options") if isinstance(said, dict) else None
    if not isinstance(options, dict) or "seed" not in options:
        return None
    seedless = {key: value for key, value in options.items() if key != "seed"}
    return {**{key: said.get(key) for key in IDENTITY_KEYS}, "options": seedless}


def _untrained(reader: "PredictionReader", texts: Sequence[str], first: "Predictions") -> JudgedModel | None:
    """The first network whose model is known, without its weights, run on the same images."""
    source = next(filter(None, (_model(reader, text) for text in texts)), None)
    if source is None or not reader.settings.manifest.exists():
        why = "none of them is a model that can be built" if source is None else "no manifest says what the images are"
        console.say(f"no control of {UNTRAINED}: {why}")
        return None
    try:
        file, _ = prediction.predict_untrained(reader.settings, source, reader.where, reader.workers)
        judged = predictions.load_predictions(file, labels=False).judged(first)
    except (UsageError, ContractError) as error:
        console.say(f"no control of {UNTRAINED}: {error}")
        return None
    return JudgedModel(f"{source.name} untrained", None, judged)


def _model(reader: "PredictionReader", text: str) -> Source | None:
    """The model of what a user named; None for stored predictions of which none is known."""
    path = named_runs.resolve_run(Path(text), reader.workspace)
    if not path.exists():
        return reader.source(text)
    return Source(path.name, f"file:{path.resolve()}") if (path / "config.json").exists() else None
