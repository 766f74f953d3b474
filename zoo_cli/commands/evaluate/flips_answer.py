"""What `zoo evaluate flips` prints for two models.

--json and --out FILE.json hold the totals and a row for each class, --out FILE.parquet these rows. Each row lists the
ids of its flips in `positive_ids` and `negative_ids`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from zoo_cli.answer_tables import Field
from zoo_cli.commands.evaluate.answers import Row, print_answer
from zoo_cli.commands.evaluate.difference_text import INTERVALS, TEST, format_accuracy, format_difference
from zoo_cli.evaluation.flip_concentration import ChanceComparison, Concentration
from zoo_cli.pipeline.evaluate.flips import ClassRow, FlipsResult
from zoo_cli.quantities import percent

SHOWN_CLASSES = 5
"""How many classes a note lists."""
FIELDS = (
    Field("class"),
    Field("n", style=","),
    Field("positive", "gained", ","),
    Field("negative", "lost", ","),
    Field("positive_rate", "gained %", "percent"),
    Field("negative_rate", "lost %", "percent"),
)
TYPES = {"positive_ids": "list<string>", "negative_ids": "list<string>"}


def print_flips(result: FlipsResult, out: Path | None, form: str | None) -> None:
    """A row per class; below them the totals and how concentrated they are."""
    classes = [_class_row(flips) for flips in result.classes]
    data = {
        **result.statistics.to_row(),
        "classes": classes,
        "top": [asdict(top) for top in result.top],
        "similarity_by": result.similarity_by,
        "concentration": result.concentration and asdict(result.concentration),
        "accuracy_before_low": result.before.low,
        "accuracy_before_high": result.before.high,
        "accuracy_after_low": result.after.low,
        "accuracy_after_high": result.after.high,
        "delta_low": result.difference.low,
        "delta_high": result.difference.high,
        "p_value": result.difference.p_value,
    }
    notes = _notes(result)
    print_answer("zoo.evaluate-flips/1", data, FIELDS, rows=classes, out=out, form=form, notes=notes, types=TYPES)


def _class_row(flips: ClassRow) -> Row:
    row = asdict(flips)
    return {"class": row.pop("name"), **row}


def _notes(result: FlipsResult) -> list[str]:
    statistics = result.statistics
    before = format_accuracy(statistics.accuracy_before, result.before)
    after = format_accuracy(statistics.accuracy_after, result.after)
    notes = [
        f"accuracy {before} -> {after}, "
        f"gained {statistics.positive:,} ({percent(statistics.positive_rate)}), "
        f"lost {statistics.negative:,} ({percent(statistics.negative_rate)}) of {statistics.n:,}",
        format_difference(result.difference),
        INTERVALS,
        TEST,
    ]
    if statistics.uptake is not None:
        notes.append(
            f"the teacher is right where the student was wrong on {percent(statistics.uptake.complementary)}; "
            f"{statistics.uptake.transferred:,} of these samples ({percent(statistics.uptake.transfer_rate)}) "
            "are right now"
        )
    return notes if result.concentration is None else notes + _concentration_notes(result, result.concentration)


def _concentration_notes(result: FlipsResult, concentration: Concentration) -> list[str]:
    """How few classes hold the gains, and how similar these are."""
    half, entropy = concentration.half, concentration.entropy
    top = next(top for top in result.top if top.share == 50)
    notes = [
        f"half of the gains lie in {half.value:,} of {concentration.classes:,} classes "
        f"({_list_some(top.classes)}); by chance {_interval(half, '.0f')}, p = {half.p:.3f}",
        f"entropy over classes {entropy.value:.3f} of 1; by chance {_interval(entropy, '.3f')}, p = {entropy.p:.3f}",
    ]
    # All classes together cannot be compared with random sets.
    if top.similarity is not None and top.similarity.mean.low < top.similarity.mean.high:
        mean, largest = top.similarity.mean, top.similarity.max
        notes.append(
            f"these classes by {result.similarity_by}: mean similarity {mean.value:.3f} (random sets "
            f"{mean.mean:.3f}, p = {mean.p:.3f}), largest {largest.value:.3f} "
            f"(random sets {largest.mean:.3f}, p = {largest.p:.3f})"
        )
    return notes


def _interval(comparison: ChanceComparison, style: str) -> str:
    low, high = format(comparison.low, style), format(comparison.high, style)
    return low if low == high else f"{low} to {high}"


def _list_some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_CLASSES]) + (", …" if len(names) > SHOWN_CLASSES else "")
