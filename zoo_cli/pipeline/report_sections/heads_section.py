"""The section on what the sources know together: target heads, their pools, and the images to label next."""

from collections.abc import Iterator, Sequence
from functools import partial

from zoo_cli.counts import count_things
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.pipeline.head_config import HeadLabelConfig
from zoo_cli.pipeline.report_sections.ranking_section import load_ranking
from zoo_cli.pipeline.report_sections.report_images import Thumbnails
from zoo_cli.pipeline.report_sections.report_inputs import ReportInputs
from zoo_cli.report.blocks import Block, Column, Gallery, Missing, Paragraph, PictureRow, Plot, Table
from zoo_cli.report.interval_plot import IntervalPanel, IntervalRow, plot_intervals
from zoo_cli.report.wording import LEVEL, show_name, show_number, show_percent, show_range
from zoo_cli.store import head_store
from zoo_cli.store.head_store import HeadRecord, SourceHead

TO_LABEL = 14
MOST = 60


def heads_section(inputs: ReportInputs, thumbnails: Thumbnails | None) -> Iterator[Block]:
    """The blocks of the section."""
    records, problems = _load_records(inputs)
    yield from problems
    if not records:
        raise UsageError("no pool of target heads", "zoo pseudo-label --head ridge makes one")
    record = next(iter(records.values()))
    heads = sorted(record.sources, key=lambda head: -(head.accuracy or 0.0))
    yield Paragraph(_describe_estimate(record), "lead")
    intervals = _head_intervals(inputs)
    lines = [
        IntervalRow(source.source, source.accuracy, *intervals.get(source.source, (None, None)))
        for source in heads[:MOST]
    ]
    estimate = record.estimate
    pool = IntervalRow(f"pool of {len(record.sources)}", estimate.accuracy, estimate.low, estimate.high, strong=True)
    yield Plot(
        "heads",
        f"Accuracy of {count_things(len(lines), 'head')}, and of their pool: {show_percent(estimate.accuracy)}",
        f"How often a {record.head} head on the features of each source is right about labelled images that it was not "
        "fitted on, and the estimate for the pool on the unlabelled images. "
        f"Bars are {LEVEL} intervals.",
        partial(plot_intervals, [IntervalPanel("right answers", [pool, *lines])]),
    )
    yield _heads_table(record, heads)
    if len(records) > 1:
        yield _pools_table(records)
    if record.missing:
        yield Paragraph(
            "Never answered, without a labelled image: "
            + ", ".join(show_name(name, 40) for name in record.missing[:20]),
            "note",
        )
    if thumbnails is not None:
        yield from _images_to_label(record, thumbnails)


def _load_records(inputs: ReportInputs) -> tuple[dict[str, HeadRecord], list[Missing]]:
    """The stored pools by name, the default one first, then the best estimate; and those that cannot be read."""
    records: dict[str, HeadRecord] = {}
    problems = []
    default = inputs.settings.pseudo_head(HeadLabelConfig().slug)
    for path in sorted(default.parent.glob(f"head=*/{head_store.DOCUMENT}")):
        try:
            records[path.parent.name.removeprefix("head=")] = head_store.load_record(path.parent)
        except ZooError as error:
            problems.append(Missing(show_name(error.message, 300), show_name(error.hint, 300)))
    first = default.name.removeprefix("head=")
    order = sorted(records, key=lambda name: (name != first, -(records[name].estimate.accuracy or 0.0), name))
    return {name: records[name] for name in order}, problems


def _describe_estimate(record: HeadRecord) -> str:
    name = f"{record.pool} of {count_things(len(record.sources), record.head + ' head')}, {record.labels:,} labels"
    estimate = record.estimate
    if estimate.accuracy is None:
        return f"A {name}: its accuracy cannot be estimated ({(estimate.reason or '').replace('_', ' ')})."
    return (
        f"A {name}: about {show_percent(estimate.accuracy)} of the answers for the unlabelled images are right "
        f"({show_range(estimate.low, estimate.high)})."
    )


def _head_intervals(inputs: ReportInputs) -> dict[str, tuple[float | None, float | None]]:
    """The intervals of the ridge heads, as the ranking has them."""
    try:
        rows = load_ranking(inputs.settings).ranking.rows
    except ZooError:
        return {}
    return {row.source: (row.head_low, row.head_high) for row in rows}


def _heads_table(record: HeadRecord, heads: Sequence[SourceHead]) -> Table:
    columns = ("source", "weight in the pool", "leave one out", "nll", "temperature", "penalty")
    return Table(
        f"Heads of the pool: {record.head}, {record.pool}",
        (Column(columns[0], False), *map(Column, columns[1:])),
        tuple(
            (
                show_name(head.source),
                show_percent(head.weight),
                show_percent(head.accuracy),
                show_number(head.nll),
                f"{head.temperature:.2f}",
                show_number(head.lam, ".3g"),
            )
            for head in heads
        ),
    )


def _pools_table(records: dict[str, HeadRecord]) -> Table:
    return Table(
        "All stored pools",
        (Column("pool", False), Column("heads"), Column("labels"), Column("estimate"), Column(LEVEL)),
        tuple(
            (
                show_name(name),
                f"{len(record.sources)}",
                f"{record.labels:,}",
                show_percent(record.estimate.accuracy),
                show_range(record.estimate.low, record.estimate.high),
            )
            for name, record in records.items()
        ),
    )


def _images_to_label(record: HeadRecord, thumbnails: Thumbnails) -> Iterator[Block]:
    """The images on which the heads disagree most."""
    rows = {str(name): row for row, name in enumerate(thumbnails.images.ids)}
    listed = [(rows[name], i) for i, (name, _) in enumerate(record.disagreement[:TO_LABEL]) if name in rows]
    if not listed:
        return
    thumbnails.load([row for row, _ in listed])
    pictures = []
    for row, i in listed:
        leaning = record.leaning[i] if i < len(record.leaning) else {}
        classes = " or ".join(show_name(name, 30) for name in leaning) or "several classes"
        pictures.append(thumbnails.picture(row, f"the heads lean to {classes}"))
    yield Gallery((PictureRow("Label next", "the heads agree least on these images", tuple(pictures)),))
    yield from thumbnails.report_gone([row for row, _ in listed])
