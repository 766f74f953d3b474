"""The section on the images that the best run gained and lost against the first: counts, and thumbnails by class."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from zoo_cli.counts import count_things
from zoo_cli.errors import UsageError
from zoo_cli.pipeline.evaluate.flips import ClassRow, FlipsConfig, FlipsResult, compare_flips
from zoo_cli.pipeline.report_sections.report_images import Thumbnails
from zoo_cli.pipeline.report_sections.report_inputs import ReportInputs, RunSet
from zoo_cli.report.blocks import (
    Block,
    Column,
    Fact,
    Facts,
    Gallery,
    Missing,
    Paragraph,
    PictureRow,
    Plot,
    Table,
)
from zoo_cli.report.flips_plot import plot_flips
from zoo_cli.report.wording import LONGEST_TITLE, quote_name, show_name, show_percent, show_points

MOST_LINES = 30
"""The number of classes in the plot."""
MOST_CLASSES, A_CLASS = 24, 10
"""The number of classes with thumbnails, and the most thumbnails gained or lost of each."""


def flips_section(inputs: ReportInputs, thumbnails: Thumbnails | None) -> Iterator[Block]:
    """The blocks of the section."""
    run_set = inputs.need_runs()
    before, after = run_set.first.run, run_set.best.run
    if before == after:
        raise UsageError(
            "fewer than two runs to compare"
            if len(run_set.predicted) < 2
            else f"no run is more accurate than {before}",
            "zoo distill trains another student",
        )
    places = str(run_set.folder(before)), str(run_set.folder(after))
    result = compare_flips(FlipsConfig(inputs.settings.root, *places))
    yield Paragraph(_describe(before, after, result), "lead")
    yield _counts(result)
    changed = sorted(result.classes, key=lambda row: -(row.positive + row.negative))
    changed = [row for row in changed if row.positive + row.negative]
    shown = changed[:MOST_LINES]
    if shown:
        more = f" The {len(shown)} most changed of {len(changed)} classes." if len(shown) < len(changed) else ""
        yield Plot(
            "gained-and-lost",
            f"Images gained and lost in {count_things(len(shown), 'class')}, most in {show_name(shown[0].name)}",
            f"Test images that {quote_name(after)} has right and {quote_name(before)} wrong, and the reverse, by class."
            + more,
            partial(
                plot_flips,
                [row.name for row in shown],
                [row.positive for row in shown],
                [row.negative for row in shown],
            ),
        )
    if thumbnails is None:
        yield Missing(f"The images cannot be shown: {show_name(inputs.problems['images'], 300)}")
    else:
        yield from _gallery(run_set, changed, thumbnails, after)
    yield _class_table(result)


def _describe(before: str, after: str, result: FlipsResult) -> str:
    statistics = result.statistics
    return (
        f"Against {quote_name(before)}, {quote_name(after)} gained {count_things(statistics.positive, 'test image')} "
        f"and lost {statistics.negative:,} of {statistics.n:,}."
    )


def _counts(result: FlipsResult) -> Facts:
    statistics, difference = result.statistics, result.difference
    return Facts(
        (
            Fact("gained", f"{statistics.positive:,}", f"{show_percent(statistics.positive_rate)} of all"),
            Fact("lost", f"{statistics.negative:,}", f"{show_percent(statistics.negative_rate)} of all"),
            Fact(
                "difference",
                show_points(difference.difference),
                f"points, {show_points(difference.low)} to {show_points(difference.high)}",
            ),
        )
    )


def _gallery(run_set: RunSet, changed: Sequence[ClassRow], thumbnails: Thumbnails, after: str) -> Iterator[Block]:
    """Thumbnails of the images of each class, those gained before those lost."""
    rows = {str(name): row for row, name in enumerate(thumbnails.images.ids)}
    answers = _name_answers(run_set, after)
    shown = changed[:MOST_CLASSES]
    ids = [name for row in shown for name in (*row.positive_ids[:A_CLASS], *row.negative_ids[:A_CLASS])]
    known = [rows[name] for name in ids if name in rows]
    thumbnails.load(known)
    lines = []
    for row in shown:
        pictures = [
            thumbnails.picture(rows.get(name), _describe_picture(row.name, mark, answers.get(name, ("?", "?"))), mark)
            for mark, names in (("gained", row.positive_ids), ("lost", row.negative_ids))
            for name in names[:A_CLASS]
        ]
        lines.append(PictureRow(show_name(row.name, LONGEST_TITLE), _describe_row(row), tuple(pictures)))
    if lines:
        yield Paragraph(
            "Gained images have a blue frame, lost ones an orange frame; the classes that changed most come first. "
            "The pointer on an image shows what both runs take it for.",
            "note",
        )
        rest = len(changed) - len(shown)
        yield Gallery(tuple(lines), f"{count_things(rest, 'more class')} changed." if rest else "")
    yield from thumbnails.report_gone(known)
    unknown = len(ids) - len(known)
    if unknown:
        yield Missing(f"{count_things(unknown, 'test image')} of the runs are not in the manifest")


def _describe_row(row: ClassRow) -> str:
    """What changed in a class, and whether all of it is shown."""
    text = f"{row.positive:,} gained, {row.negative:,} lost of {row.n:,}"
    return f"{text}; up to {A_CLASS} of each shown" if max(row.positive, row.negative) > A_CLASS else text


def _name_answers(run_set: RunSet, after: str) -> Mapping[str, tuple[str, str]]:
    """What the two runs answer for each image, by id."""
    classes = run_set.samples.classes
    answers = (run_set.predicted[name] for name in (run_set.first.run, after))
    return {
        str(name): (classes[first], classes[second])
        for name, first, second in zip(run_set.samples.ids, *answers, strict=True)
    }


def _describe_picture(name: str, mark: str, answers: tuple[str, str]) -> str:
    first, second = (show_name(answer, 40) for answer in answers)
    return f"{mark}: {show_name(name, 40)}, taken for {first} before and for {second} after"


def _class_table(result: FlipsResult) -> Table:
    return Table(
        "All classes",
        (Column("class", False), *map(Column, ("images", "gained", "lost", "gained, share", "lost, share"))),
        tuple(
            (
                show_name(row.name),
                f"{row.n:,}",
                f"{row.positive:,}",
                f"{row.negative:,}",
                show_percent(row.positive_rate),
                show_percent(row.negative_rate),
            )
            for row in result.classes
        ),
        folded=True,
    )
