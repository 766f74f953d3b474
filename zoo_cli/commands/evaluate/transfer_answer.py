"""What `zoo evaluate transfer` prints."""

from dataclasses import asdict, fields
from pathlib import Path

from zoo_cli.answer_tables import Field, Grid
from zoo_cli.commands.evaluate.answers import Row, print_answer
from zoo_cli.counts import count_things
from zoo_cli.evaluation.teacher_strength import TeacherPlace
from zoo_cli.pipeline.evaluate.transfer import TeacherUptake, TransferResult, TransferRow, TransferSummary
from zoo_cli.quantities import percent

FIELDS = (
    Field("after"),
    Field("teacher"),
    Field("delta", style="percent"),
    Field("gain", style="percent"),
    Field("loss", style="percent"),
    Field("p", style=".3f"),
    Field("outcome"),
    Field("difference", "teacher ahead", "percent"),
    Field("complementary", style="percent"),
    Field("transfer_rate", "transferred", "percent"),
    Field("class_transfer_rate", "in its classes", "percent"),
    Field("strength"),
    Field("ensemble_delta", "ensemble", "percent"),
)
KEYS = FIELDS[:2]
CHANGES = (*KEYS, *FIELDS[2:7])
TEACHERS = (*KEYS, FIELDS[11], *FIELDS[7:11])
CEILING = (
    *KEYS,
    Field("accuracy_before", "before", "percent"),
    Field("accuracy_after", "after it", "percent"),
    Field("teacher_accuracy", "teacher alone", "percent"),
    Field("ensemble_accuracy", "ensemble", "percent"),
)
TYPES = {field.name: "string" if field.name == "strength" else "double" for field in fields(TeacherPlace)}
STRENGTHS = (
    Field("strength", "teacher"),
    Field("transfers", style="d"),
    Field("success_rate", "rose", "percent"),
    Field("success", style="d"),
    Field("failure", style="d"),
    Field("undecided", style="d"),
    Field("mean_delta", "mean delta", "percent"),
    Field("mean_ensemble_delta", "of the ensemble", "percent"),
)


def print_transfer(result: TransferResult, out: Path | None, form: str | None) -> None:
    """A row per transfer and teacher; the outcomes below them."""
    data = {
        "before": result.before,
        "transfers": [_transfer(row) for row in result.transfers],
        "summary": _summary(result.summary),
    }
    rows = [line for row in result.transfers for line in _lines(row)]
    print_answer(
        "zoo.evaluate-transfer/1",
        data,
        FIELDS,
        rows=rows,
        out=out,
        form=form,
        notes=_notes(result),
        types=TYPES,
        grids=_grids(result, rows),
    )


def _grids(result: TransferResult, rows: list[Row]) -> list[Grid]:
    """The changes; where teachers are known what they offered, the ceiling, and the transfers by their strength."""
    grids = [Grid(f"transfers from {result.before}", rows, CHANGES, len(KEYS))]
    if not any(row["teacher"] is not None for row in rows):
        return grids
    strengths = [asdict(row) for row in result.summary.strengths]
    return [
        *grids,
        Grid("what the teachers offered, and what the student took", rows, TEACHERS, len(KEYS)),
        Grid("accuracy, and the ensemble of the student before and its teacher", rows, CEILING, len(KEYS)),
        Grid("transfers by the strength of the teacher", strengths, STRENGTHS),
    ]


def _transfer(row: TransferRow) -> Row:
    return {
        "after": row.after,
        **asdict(row.statistics),
        "teachers": [{**_uptake(uptake), "top": [asdict(top) for top in uptake.top]} for uptake in row.teachers],
        "p_holm": row.p_holm,
        "outcome_holm": row.outcome_holm,
    }


def _uptake(uptake: TeacherUptake) -> Row:
    own = {"teacher": uptake.teacher, **asdict(uptake.statistics), "class_transfer_rate": uptake.class_transfer_rate}
    return {**own, **asdict(uptake.place)}


def _summary(summary: TransferSummary) -> Row:
    return {
        "transfers": summary.transfers,
        **asdict(summary.outcomes),
        "holm": asdict(summary.outcomes_holm),
        "success_rate": summary.success_rate,
        "mean_delta": summary.mean_delta,
        "strengths": [asdict(row) for row in summary.strengths],
    }


def _lines(row: TransferRow) -> list[Row]:
    """A transfer as rows of a table: one per teacher, or one if none is known."""
    own = {"after": row.after, **asdict(row.statistics), "p_holm": row.p_holm, "outcome_holm": row.outcome_holm}
    lines = []
    for uptake in row.teachers:
        teacher = _uptake(uptake)
        accuracy = teacher.pop("accuracy")
        lines.append({**own, **teacher, "teacher_accuracy": accuracy})
    return lines or [{**own, "teacher": None, "teacher_accuracy": None, **dict.fromkeys(TYPES)}]


def _notes(result: TransferResult) -> list[str]:
    summary, outcomes, corrected = result.summary, result.summary.outcomes, result.summary.outcomes_holm
    notes = [
        f"{count_things(summary.transfers, 'transfer')} from {result.before}: "
        f"{outcomes.success:,} success, {outcomes.failure:,} failure, {outcomes.undecided:,} undecided "
        "at 5 % (McNemar's exact test)"
    ]
    if summary.transfers > 1:
        notes.append(
            f"corrected for multiple tests (Holm): {corrected.success:,}, {corrected.failure:,}, "
            f"{corrected.undecided:,}; accuracy rose in {percent(summary.success_rate)} of them"
        )
    if any(row.transfers for row in summary.strengths):
        notes.append(
            "a teacher is weaker or stronger than the student before by McNemar's exact test at 5 %, else equal; "
            "ensemble: by the mean of their probabilities"
        )
        if any(len(row.teachers) > 1 for row in result.transfers):
            notes.append("a transfer from several teachers counts once for each of them")
    return notes
