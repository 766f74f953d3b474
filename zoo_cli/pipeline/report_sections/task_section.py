"""The section on the task and its images: how many there are, what is to be seen in them, a contact sheet."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from zoo_cli.counts import count_things
from zoo_cli.data.splits import find_duplicates
from zoo_cli.errors import ContractError
from zoo_cli.images.image_info import ImageInfo
from zoo_cli.pipeline.report_sections.copies import show_copies
from zoo_cli.pipeline.report_sections.report_images import Thumbnails, spread_rows
from zoo_cli.pipeline.report_sections.report_inputs import ReportInputs
from zoo_cli.pipeline.split_findings import SeenImage, collect_findings
from zoo_cli.report.blocks import Block, Column, Fact, Facts, Gallery, Listing, Missing, Paragraph, PictureRow, Plot
from zoo_cli.report.blocks import Table as TableBlock
from zoo_cli.report.classes_plot import plot_classes
from zoo_cli.report.wording import LONGEST_TITLE, show_count, show_name
from zoo_cli.store import failures, parquet_files, schemas, split_notes
from zoo_cli.store.manifest import NO_LABEL, Images

PARTS = ("labelled", "unlabelled", "test")
MOST_CLASSES = 40
"""The number of classes on the contact sheet."""
A_CLASS, A_FEW = 9, 4
"""The thumbnails of a class: where all have lines of their own, and where two share a line."""
MOST_LINES = 12


def task_section(inputs: ReportInputs, thumbnails: Thumbnails | None) -> Iterator[Block]:
    """The blocks of the section."""
    images = inputs.need_images()
    assert inputs.truth is not None
    assert thumbnails is not None
    counts = [int((images.split == part).sum()) for part in PARTS]
    failed = failures.load_record(inputs.settings, "split")
    yield Facts(
        (
            Fact("labelled", show_count(counts[0]), f"{int(images.probe.sum()):,} in the probe set"),
            Fact("unlabelled", show_count(counts[1]), "used without labels"),
            Fact("test", show_count(counts[2]), "only for evaluation"),
            Fact("classes", show_count(len(inputs.classes)), _describe_sizes(images)),
        )
    )
    if "classes" in inputs.problems:
        yield Missing(show_name(inputs.problems["classes"], 300))
    names = _names(inputs)
    yield from _list_findings(inputs, images, 0 if failed is None else failed.failed)
    yield from show_copies(images, inputs.truth, names, thumbnails)
    yield _list_data(images)
    labelled = inputs.truth != NO_LABEL
    table = np.stack(
        [np.bincount(inputs.truth[labelled & (images.split == part)], minlength=len(names)) for part in PARTS]
    )
    if labelled.any():
        unknown = int((~labelled).sum())
        rest = f" {unknown:,} images without a known class are not counted." if unknown else ""
        yield Plot(
            "classes",
            f"Images of {count_things(len(names), 'class')}: from {table.sum(axis=0).min():,} to "
            f"{table.sum(axis=0).max():,} a class",
            f"Images of each class by part. The classes of unlabelled and test images are known here, "
            f"and are read by evaluation alone.{rest}",
            partial(plot_classes, names, PARTS, table),
        )
    yield from _contact_sheet(inputs, images, thumbnails, names)


def _names(inputs: ReportInputs) -> list[str]:
    """The class names, and numbers for labels beyond them."""
    assert inputs.truth is not None
    count = max(len(inputs.classes), int(inputs.truth.max(initial=-1)) + 1)
    return [*inputs.classes, *(str(label) for label in range(len(inputs.classes), count))]


def _describe_sizes(images: Images) -> str:
    table = parquet_files.read_table(images.file, schemas.MANIFEST, ["width", "height"])
    sides = [np.array(table.column(name).to_pylist(), dtype=np.int64) for name in ("width", "height")]
    low, high = (f"{int(ends[0])} × {int(ends[1])}" for ends in ([s.min() for s in sides], [s.max() for s in sides]))
    return f"images of {low} pixels" if low == high else f"images up to {high} pixels"


def _list_findings(inputs: ReportInputs, images: Images, failed: int) -> Iterator[Block]:
    """What `zoo split` saw, as far as the manifest tells."""
    assert inputs.truth is not None
    seen = [
        SeenImage(str(name), str(data), None if label == NO_LABEL else int(label), ImageInfo(str(digest), 0, 0))
        for name, data, label, digest in zip(images.ids, images.data, inputs.truth, images.sha256, strict=True)
    ]
    findings = collect_findings(seen, failed, (), inputs.classes)
    duplicates = find_duplicates(list(images.ids), list(images.split), list(images.sha256))
    try:
        noted = split_notes.load_notes(inputs.settings)
    except ContractError as error:
        yield Missing(show_name(error.message, 300), show_name(error.hint, 300))
        noted = ()
    lines = [*(noted or findings.lines), *(line for line in duplicates if "among the training" in line)]
    if lines:
        yield Paragraph("What zoo split saw:")
        yield Listing(tuple(show_name(line, 300) for line in lines))
    else:
        yield Paragraph("No copies, no image that failed, no class without a training image.")


def _list_data(images: Images) -> TableBlock:
    made_from = parquet_files.read_header(images.file).get("inputs", {})
    keys = ("train", "test", "unlabelled", "labelled", "probe", "seed")
    rows = [(key, _show_value(made_from[key])) for key in keys if made_from.get(key) not in (None, [], "")]
    return TableBlock(
        "Where the images come from", (Column("", False), Column("value", False)), tuple(rows), folded=True
    )


def _show_value(value: object) -> str:
    parts: Sequence[object] = value if isinstance(value, list) else [value]
    return ", ".join(show_name(part, 200) for part in parts)


def _contact_sheet(
    inputs: ReportInputs, images: Images, thumbnails: Thumbnails, names: Sequence[str]
) -> Iterator[Block]:
    """Images of each class: labelled ones first, then others whose class is known."""
    assert inputs.truth is not None
    shown = [int(label) for label in spread_rows(np.arange(len(names)), MOST_CLASSES)] if names else []
    dense = len(shown) > MOST_LINES
    most = A_FEW if dense else A_CLASS
    chosen: dict[int, list[int]] = {}
    for label in shown:
        own = np.flatnonzero(inputs.truth == label)
        labelled = images.split[own] == "labelled"
        first = spread_rows(own[labelled], most)
        chosen[label] = first + spread_rows(own[~labelled], most - len(first))
    every = [row for rows in chosen.values() for row in rows]
    thumbnails.load(every)
    rows = [
        PictureRow(
            show_name(names[label], LONGEST_TITLE), count_things(int((inputs.truth == label).sum()), "image"), pictures
        )
        for label, rows in chosen.items()
        if (pictures := tuple(thumbnails.picture(row, f"an image of {show_name(names[label])}") for row in rows))
    ]
    if rows:
        yield Paragraph("Images of each class, those with a label first.", "note")
        rest = f"{len(shown)} of {len(names):,} classes are shown." if len(shown) < len(names) else ""
        yield Gallery(tuple(rows), rest, dense)
    yield from thumbnails.report_gone(every)
