"""What `zoo evaluate flips --all` prints.

A terminal shows the difference and the complementary knowledge; every other form, --json and --out all of `PairRow`.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from zoo_cli import console
from zoo_cli.answer_tables import Field
from zoo_cli.commands.evaluate.answers import Row, print_answer
from zoo_cli.commands.evaluate.difference_text import INTERVALS, format_points
from zoo_cli.evaluation.accuracy_intervals import PairedDifference
from zoo_cli.pipeline.evaluate.pairwise import OTHER_SEED, UNTRAINED, PairRow
from zoo_cli.quantities import percent

SHOWN = (
    Field("teacher"),
    Field("student"),
    Field("ahead", "points ahead [90 %]", ">"),
    Field("complementary", "compl.", "percent"),
)
FIELDS = (
    Field("teacher"),
    Field("student"),
    Field("teacher_accuracy", "teacher", "percent"),
    Field("student_accuracy", "student", "percent"),
    Field("difference", style="percent"),
    Field("complementary", style="percent"),
    Field("entropy", style=".3f"),
    Field("p", style=".3f"),
    Field("control"),
    Field("difference_low", style="percent"),
    Field("difference_high", style="percent"),
    Field("p_value", style=".3f"),
)
TYPES = {"entropy": "double", "p": "double", "control": "string"}


def print_pairs(pairs: Sequence[PairRow], out: Path | None, form: str | None) -> None:
    """A row per ordered pair, then the controls; the range and the medians below them."""
    rows = [asdict(pair) for pair in pairs]
    notes = []
    shares = [pair.complementary for pair in pairs if pair.control is None]
    if shares:
        notes.append(
            f"complementary knowledge of {len(shares):,} pairs: {percent(min(shares))} to "
            f"{percent(max(shares))}, median {percent(statistics.median(shares))}"
        )
    for control in (UNTRAINED, OTHER_SEED):
        shares = [pair.complementary for pair in pairs if pair.control == control]
        if shares:
            notes.append(f"control, {control}: median {percent(statistics.median(shares))} (n = {len(shares):,})")
    notes.append(
        "points ahead: accuracy of the teacher less that of the student"
        + ("; *: a control" if any(pair.control for pair in pairs) else "")
    )
    notes.append(INTERVALS)
    terminal = form == "table" or (form is None and console.current().out.isatty())
    print_answer(
        "zoo.evaluate-pairs/1",
        rows,
        SHOWN if terminal else FIELDS,
        rows=rows,
        table=[_shown(pair) for pair in pairs] if terminal else rows,
        out=out,
        form=form,
        notes=notes,
        types=TYPES,
    )


def _shown(pair: PairRow) -> Row:
    difference = PairedDifference(pair.difference, pair.difference_low, pair.difference_high, pair.p_value)
    teacher = f"{pair.teacher} *" if pair.control else pair.teacher
    return asdict(pair) | {"teacher": teacher, "ahead": format_points(difference)}
