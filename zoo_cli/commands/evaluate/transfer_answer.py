"""What `zoo evaluate transfer` prints."""

from dataclasses import asdict
from pathlib import Path

from zoo_cli import console
from zoo_cli.commands.evaluate.answers import Row, print_answer
from zoo_cli.pipeline.evaluate.transfer import TeacherUptake, TransferResult, TransferRow, TransferSummary

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


def print_transfer(result: TransferResult, out: Path | None, form: str | None) -> None:
    """A row per transfer and teacher; the outcomes below them."""
    data = {
        "before": result.before,
        "transfers": [_transfer(row) for row in result.transfers],
        "summary": _summary(result.summary),
    }
    rows = [line for row in result.transfers for line in _lines(row)]
    print_answer("zoo.evaluate-transfer/1", data, FIELDS, rows=rows, out=out, form=form, notes=_notes(result))


def _transfer(row: TransferRow) -> Row:
    return {
        "after": row.after,
        **asdict(row.statistics),
        "teachers": [{**_uptake(uptake), "top": [asdict(top) for top in uptake.top]} for uptake in row.teachers],
        "p_holm": row.p_holm,
        "outcome_holm": row.outcome_holm,
    }


def _uptake(uptake: TeacherUptake) -> Row:
    return {"teacher": uptake.teacher, **asdict(uptake.statistics), "class_transfer_rate": uptake.class_transfer_rate}


def _summary(summary: TransferSummary) -> Row:
    return {
        "transfers": summary.transfers,
        **asdict(summary.outcomes),
        "holm": asdict(summary.outcomes_holm),
        "success_rate": summary.success_rate,
        "mean_delta": summary.mean_delta,
    }


def _lines(row: TransferRow) -> list[Row]:
    """A transfer as rows of a table: one per teacher, or one if none is known."""
    own = {"after": row.after, **asdict(row.statistics), "p_holm": row.p_holm, "outcome_holm": row.outcome_holm}
    lines = []
    for uptake in row.teachers:
        teacher = _uptake(uptake)
        accuracy = teacher.pop("accuracy")
        lines.append({**own, **teacher, "teacher_accuracy": accuracy})
    return lines or [{**own, "teacher": None, "teacher_accuracy": None}]


def _notes(result: TransferResult) -> list[str]:
    summary, outcomes, corrected = result.summary, result.summary.outcomes, result.summary.outcomes_holm
    notes = [
        f"{summary.transfers:,} transfer{'s' * (summary.transfers > 1)} from {result.before}: "
        f"{outcomes.success:,} success, {outcomes.failure:,} failure, {outcomes.undecided:,} undecided "
        "at 5 % (McNemar's exact test)"
    ]
    if summary.transfers > 1:
        notes.append(
            f"corrected for multiple tests (Holm): {corrected.success:,}, {corrected.failure:,}, "
            f"{corrected.undecided:,}; accuracy rose in {console.percent(summary.success_rate)} of them"
        )
    return notes
