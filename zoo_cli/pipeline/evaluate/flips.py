"""`zoo evaluate flips`: what AFTER gained and lost against BEFORE, in which classes, and what models know of others."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import console
from zoo_cli.commands.options import HERE, Device, Format, Json, Workers, Workspace
from zoo_cli.errors import UsageError
from zoo_cli.pipeline.evaluate import class_embeddings, named_runs, pairwise, predictions

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.pipeline.evaluate.predictions import Predictions

NAMED = 5
"""How many classes of a set a note names."""
FIELDS = (
    console.Field("class"),
    console.Field("n", style=","),
    console.Field("positive", "gained", ","),
    console.Field("negative", "lost", ","),
    console.Field("positive_rate", "gained %", "percent"),
    console.Field("negative_rate", "lost %", "percent"),
)


def flips(
    run: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BEFORE AFTER",
            help="Two of: a run folder; a parquet with id, label and logits or probs; a model. With --all any number.",
        ),
    ] = None,
    teacher: Annotated[str | None, typer.Option("--teacher", help="What a teacher says of the same samples.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="What each knows that each other does not. Default: of every run.")
    ] = False,
    embeddings: Annotated[
        Path | None,
        typer.Option("--class-embeddings", help="Vectors of the class names: parquet, CSV or JSON. Default: spelling."),
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
    """Positive flips (wrong before, right after) and negative flips, in all and per class by rate.

    With --all a row for every ordered pair: the share of samples that the teacher has right and the student wrong. Two
    controls stand below: the first network's architecture with random weights, and a run that differs in its seed.

    zoo evaluate flips runs/labels-only-s0 runs/cross-task-parc-p2-s0
    zoo evaluate flips --all runs/a runs/b file:experts/c
    """
    named_runs.check_out(out)
    reader = predictions.PredictionReader(workspace, device, workers)
    texts = list(run or [])
    form = "json" if json else form
    if every:
        if teacher is not None or embeddings is not None:
            raise UsageError("--all takes neither --teacher nor --class-embeddings", "leave them out")
        pairwise.compare_pairs(reader, texts or named_runs.finished_runs(workspace), out, form)
        return
    if len(texts) != 2:
        raise UsageError(f"BEFORE and AFTER are two, not {len(texts)}", "--all compares any number")
    first = reader(texts[0])
    after = reader(texts[1], labels=False).judged(first)
    taught = None if teacher is None else reader(teacher, labels=False).judged(first)
    result = _compared(first, after, taught, embeddings)
    named_runs.save_answer(out, "zoo.evaluate-flips/1", result, result["classes"])
    console.answer(
        "zoo.evaluate-flips/1", result, FIELDS, form=form, table=result["classes"], notes=_notes(result, teacher)
    )


def _compared(
    first: "Predictions", after: "np.ndarray", taught: "np.ndarray | None", embeddings: Path | None
) -> dict[str, Any]:
    """The flips from predictions to the classes (N,) predicted after: the numbers, the classes, and where they lie."""
    import numpy as np

    from zoo_cli.evaluation import flip_concentration
    from zoo_cli.evaluation import flip_statistics as measures

    before = measures.predicted_classes(first.logits)
    result = measures.compare_predictions(first.labels, before, after, first.classes, taught).to_row()
    for row in result["classes"]:
        row |= {"positive_rate": row["positive"] / row["n"], "negative_rate": row["negative"] / row["n"]}
    count = len(first.classes)
    there = np.flatnonzero(np.bincount(first.labels, minlength=count))
    gained = measures.positive_by_class(first.labels, before, after, count)[there]
    wrong = measures.errors_by_class(first.labels, before, count)[there]
    names = [first.classes[c] for c in there]
    sets = [flip_concentration.smallest_set(gained, share) for share in flip_concentration.SHARES]
    vectors, by = class_embeddings.load_class_vectors(embeddings, names, first.named)
    similarity = [None for _ in sets] if vectors is None else flip_concentration.set_similarity(sets, vectors)
    result["top"] = [
        {
            "share": share,
            "count": len(chosen),
            "positive": int(gained[chosen].sum()),
            "held": int(gained[chosen].sum()) / int(gained.sum()) if gained.any() else None,
            "classes": [names[c] for c in chosen],
            "similarity": alike and asdict(alike),
        }
        for share, chosen, alike in zip(flip_concentration.SHARES, sets, similarity, strict=True)
    ]
    result["similarity_by"] = by
    concentration = flip_concentration.concentration(gained, wrong)
    result["concentration"] = concentration and asdict(concentration)
    return result


def _notes(result: dict[str, Any], teacher: str | None) -> list[str]:
    """What stands below the table."""
    notes = [
        f"accuracy {console.percent(result['accuracy_before'])} -> {console.percent(result['accuracy_after'])}, "
        f"gained {result['positive']:,} ({console.percent(result['positive_rate'])}), "
        f"lost {result['negative']:,} ({console.percent(result['negative_rate'])}) of {result['n']:,}"
    ]
    if teacher is not None:
        notes.append(
            f"the teacher knew {console.percent(result['complementary'])} that the student did not; "
            f"{result['transferred']:,} of those samples ({console.percent(result['transfer_rate'])}) are right now"
        )
    found = result["concentration"]
    if found is None:
        return notes
    half, evenness = found["half"], found["entropy"]
    group = next(row for row in result["top"] if row["share"] == 50)
    notes.append(
        f"half of what was gained is in {half['value']:,} of {found['classes']:,} classes "
        f"({_listed(group['classes'])}); by chance {_between(half, '.0f')}, p = {half['p']:.3f}"
    )
    notes.append(
        f"entropy over classes {evenness['value']:.3f} of 1; "
        f"by chance {_between(evenness, '.3f')}, p = {evenness['p']:.3f}"
    )
    alike = group["similarity"]
    # Names that share nothing, as digits do, have nothing to compare.
    if alike is not None and alike["mean"]["low"] < alike["mean"]["high"]:
        notes.append(
            f"these classes by {result['similarity_by']}: mean similarity {alike['mean']['value']:.3f} (random sets "
            f"{alike['mean']['mean']:.3f}, p = {alike['mean']['p']:.3f}), largest {alike['max']['value']:.3f} "
            f"(random sets {alike['max']['mean']:.3f}, p = {alike['max']['p']:.3f})"
        )
    return notes


def _between(found: dict[str, float], style: str) -> str:
    low, high = format(found["low"], style), format(found["high"], style)
    return low if low == high else f"{low} to {high}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
