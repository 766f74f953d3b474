"""`zoo evaluate flips`: what AFTER gained and lost against BEFORE."""

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import console
from zoo_cli.errors import ContractError
from zoo_cli.options import HERE, Format, Json, Workspace
from zoo_cli.stages.evaluate import answers, predictions

FIELDS = (
    console.Field("class"),
    console.Field("n", style=","),
    console.Field("positive", "gained", ","),
    console.Field("negative", "lost", ","),
    console.Field("positive_rate", "gained %", "percent"),
    console.Field("negative_rate", "lost %", "percent"),
)


def flips(
    before: Annotated[Path, typer.Argument(help="A run folder, or a parquet with id, label and logits or probs.")],
    after: Annotated[Path, typer.Argument(help="The same samples, judged by another model.")],
    teacher: Annotated[
        Path | None, typer.Option("--teacher", help="Predictions of a teacher on the same samples.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the answer to .json, or its classes to .parquet.")
    ] = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Positive flips (wrong before, right after) and negative flips, in all and per class by rate.

    zoo evaluate flips runs/labels-only-s0 runs/cross-task-parc-p2-s0
    """
    from zoo_cli import flips as measures

    first = predictions.read(answers.place(before, workspace))
    sides = [predictions.read(answers.place(path, workspace), labels=False) for path in (after, teacher) if path]
    for side in sides:
        if side.logits.shape[1] != first.logits.shape[1]:
            raise ContractError(
                f"{side.name} has {side.logits.shape[1]} classes, {first.name} has {first.logits.shape[1]}",
                "flips need one label space",
            )
    classes = [measures.predicted(side.aligned(first)) for side in sides]
    result = measures.compare(
        first.labels, measures.predicted(first.logits), classes[0], first.classes, classes[1] if teacher else None
    )
    for row in result["classes"]:
        row |= {"positive_rate": row["positive"] / row["n"], "negative_rate": row["negative"] / row["n"]}
    answers.keep(out, "zoo.evaluate-flips/1", result, result["classes"])
    notes = [
        f"accuracy {console.percent(result['accuracy_before'])} -> {console.percent(result['accuracy_after'])}, "
        f"gained {result['positive']:,} ({console.percent(result['positive_rate'])}), "
        f"lost {result['negative']:,} ({console.percent(result['negative_rate'])}) of {result['n']:,}"
    ]
    if teacher:
        notes.append(
            f"the teacher knew {console.percent(result['complementary'])} that the student did not; "
            f"{result['transferred']:,} of those samples ({console.percent(result['transfer_rate'])}) are right now"
        )
    console.answer(
        "zoo.evaluate-flips/1",
        result,
        FIELDS,
        form="json" if json else form,
        table=result["classes"],
        notes=notes,
    )
