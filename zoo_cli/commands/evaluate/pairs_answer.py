"""What `zoo evaluate flips --all` prints."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from zoo_cli import console
from zoo_cli.commands.evaluate.answers import print_answer
from zoo_cli.pipeline.evaluate.pairwise import OTHER_SEED, UNTRAINED, PairRow

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


def print_pairs(pairs: Sequence[PairRow], out: Path | None, form: str | None) -> None:
    """A row per ordered pair, then the controls; the range and the medians below them."""
    rows = [asdict(pair) for pair in pairs]
    notes = []
    shares = [pair.complementary for pair in pairs if pair.control is None]
    if shares:
        notes.append(
            f"complementary knowledge of {len(shares):,} pairs: {console.percent(min(shares))} to "
            f"{console.percent(max(shares))}, median {console.percent(statistics.median(shares))}"
        )
    for control in (UNTRAINED, OTHER_SEED):
        shares = [pair.complementary for pair in pairs if pair.control == control]
        if shares:
            notes.append(
                f"control, {control}: median {console.percent(statistics.median(shares))} (n = {len(shares):,})"
            )
    print_answer("zoo.evaluate-pairs/1", rows, FIELDS, rows=rows, out=out, form=form, notes=notes)
