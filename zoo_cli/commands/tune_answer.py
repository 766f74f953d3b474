"""What `zoo tune` prints: a row for each candidate, and what the search is certain of."""

import shlex
from dataclasses import asdict, fields

from zoo_cli.answer_tables import Field, Grid, show_answer
from zoo_cli.commands.evaluate.difference_text import format_gain
from zoo_cli.evaluation.named_runs import LABELS_ONLY
from zoo_cli.pipeline.distill_config import CROSS_TASK, HEADS
from zoo_cli.pipeline.finetune_config import FIXMATCH
from zoo_cli.pipeline.tune import TuneResult
from zoo_cli.pipeline.tune_record import CandidateRow, TuneRecord

FIELDS = tuple(Field(field.name) for field in fields(CandidateRow))
SHOWN = (
    Field("candidate"),
    Field("splits", style="d"),
    Field("accuracy", style="percent"),
    Field("interval", "gain, points", ">"),
    Field("reason", "dropped", free=True),
)
OBJECTIVE_FLAGS = {LABELS_ONLY: ("--lam", "1"), CROSS_TASK: (), HEADS: ("--objective", HEADS)}
"""What tells `zoo distill` the objective of a candidate."""


def print_search(result: TuneResult, form: str | None) -> None:
    """The candidates, best first, and the verdict."""
    record = result.record
    rows = [asdict(row) for row in record.rows]
    shown = [{**row, "interval": _interval(each)} for row, each in zip(rows, record.rows, strict=True)]
    title = f"accuracy on held-out labels, mean over splits of {record.labels:,} labels"
    show_answer(
        "zoo.tune/1",
        {**asdict(record), "rows": rows, "run": result.run.row},
        FIELDS,
        form=form,
        table=rows,
        meta={"path": str(result.path)},
        notes=[*describe_verdict(record, result.student), f"{result.run.path} is {record.chosen} on all labels"],
        grids=[Grid(title, shown, SHOWN)],
    )


def describe_verdict(record: TuneRecord, student: str | None = None) -> list[str]:
    """What the search is certain of, in a few sentences. `student`: another than the task's."""
    best, tried = record.gain_of_best, len(record.rows) - 1
    together = f" that hold for all {tried} candidates together" if tried > 1 else ""
    interval = f"90 % intervals{together}, for students of these labels"
    if best is None or best.gain is None or best.low is None or best.high is None:
        return [f"{LABELS_ONLY}: every candidate was dropped", interval]
    gain = f"{best.candidate} gains {format_gain(best.gain, best.low, best.high)} points over labels only"
    if record.chosen != LABELS_ONLY:
        return [f"{gain}: it is better", interval]
    reach = 100 * (best.high - best.low) / 2
    notes = [
        f"{LABELS_ONLY}: no candidate is certain to be better; {gain}",
        f"with {record.labels:,} labels and {best.splits} splits, gains below {reach:.0f} points are not certain",
        interval,
    ]
    if best.gain > 0:
        other = "with the other training options of this search"
        notes.append(f"{format_command(best, student)} trains {best.candidate} all the same, {other}")
    return notes


def format_command(row: CandidateRow, student: str | None) -> str:
    """The command that trains a candidate on all labels."""
    if row.objective == FIXMATCH:
        words = ["zoo", "finetune", student or "student", "--objective", FIXMATCH]
    else:
        words = ["zoo", "distill", *OBJECTIVE_FLAGS[row.objective]]
        words += [] if student is None else ["--student", student]
    for key in ("lam", "lr", "augment", "pool", "weighting"):
        if (value := getattr(row, key)) is not None:
            words += [f"--{key}", str(value)]
    return shlex.join(words)


def _interval(row: CandidateRow) -> str | None:
    return None if row.gain is None else format_gain(row.gain, row.low, row.high)
