"""`zoo split --labels NAME`: another draw of the labelled images, from the images that the manifest holds already.

Nothing is decoded or hashed again, and the test images are the same. What defines the label set, its size and its seed,
is kept in the header of its manifest; what it was not given it takes from the main one and from zoo.toml.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from zoo_cli import console
from zoo_cli.config import Config
from zoo_cli.data import splits
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.label_sets import check_name, labels_flag
from zoo_cli.pipeline import split
from zoo_cli.pipeline.split import SplitConfig, SplitSummary
from zoo_cli.pipeline.task_data import data_specs, list_files
from zoo_cli.store import failures, parquet_files, provenance, schemas
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.columns import ARROW_TYPES
from zoo_cli.store.provenance import Inputs

DRAW_KEYS = ("labelled", "probe", "probe_per_class", "seed")
"""The keys of [task] that a label set has of its own."""
DRAWN = ("label", "split", "probe", "truth")
"""The columns that a draw decides."""


def split_labels(settings: Config, name: str, options: SplitConfig) -> SplitSummary | None:
    """Draw a label set, unless it is up to date, and the main one first if it is missing; None after a dry run.

    Raises UsageError for a name that cannot be a folder, for flags of the main set, and for a new label set that would
    be the main one; Stale, naming what differs, also if the main one is.
    """
    check_name(name)
    _check_flags(options, name)
    own = settings.with_labels(name)
    if not own.manifest.exists() and not options.task:
        raise UsageError(
            f"the label set {name} would be the main one again",
            "give it a --labelled, --seed, --probe or --probe-per-class of its own",
        )
    # A wrong number is reported before anything is read.
    wanted, flags = _requested_settings(own, options)
    _draw(wanted, [], [], [], [], ())
    if not settings.manifest.exists():
        console.say(f"no {settings.manifest} yet: zoo split makes it first")
        split.write_manifest(
            settings, SplitConfig(max_errors=options.max_errors, workers=options.workers, dry_run=options.dry_run)
        )
        if options.dry_run:
            console.say(f"would then draw {own.manifest}")
            return None
    else:
        _check_main(settings)
    failures.warn_of_too_many(settings, "split")
    if own.manifest.exists() and not options.overwrite:
        _check_current(wanted, "" if options.task else f"split{labels_flag(own)}")
        console.say(f"{own.manifest} is up to date")
    elif options.dry_run:
        console.say(f"would draw {own.manifest} from the images of {settings.manifest}")
        return None
    else:
        write_label_set(wanted, [*flags, *options.task])
    return split.summarize_manifest(own)


def is_main_current(settings: Config) -> bool:
    """Whether there is a main manifest whose images and test part are those of zoo.toml. Raises Stale."""
    main = settings.with_labels(None)
    made_from = parquet_files.read_header(main.manifest).get("inputs", {}) if main.manifest.exists() else {}
    # Without a drawn test part its seed concerns the labelled images alone.
    keys = [key for key in DRAW_KEYS if key != "seed" or not made_from.get("test_fraction")]
    return split.is_manifest_current(main, apart_from=keys)


def own_settings(settings: Config) -> tuple[Config, list[str]]:
    """The settings with the keys of [task] as a label set has them, and which of these are its own.

    First come the flags of the present command, then those that it was drawn with, those of the main set, and zoo.toml.
    """
    main, _ = split.with_stored_flags(settings.with_labels(None))
    return split.with_stored_flags(main.with_labels(settings.labels))


def _requested_settings(own: Config, options: SplitConfig) -> tuple[Config, list[str]]:
    """As `own_settings`, with the flags of the command; a damaged manifest that they replace is not read."""
    changed = own.with_task(**options.task)
    try:
        return own_settings(changed)
    except ContractError:
        if not (options.overwrite and options.task):
            raise
        main, _ = split.with_stored_flags(changed.with_labels(None))
        return main.with_labels(own.labels), []


def check_current(settings: Config) -> None:
    """Raise Stale, naming what differs, if the manifest of a label set is not of the present images and zoo.toml."""
    _check_current(own_settings(settings)[0], f"split{labels_flag(settings)}")


def write_label_set(settings: Config, flags: Sequence[str]) -> None:
    """Draw a label set and write its manifest. `flags`: the keys of [task] that are its own."""
    images = _load_main(settings)
    classes = load_class_names(settings.classes)
    draw = _draw(settings, *images.samples, classes)
    is_labelled = pa.array([part == "labelled" for part in draw.split])
    unknown = pa.scalar(None, pa.int64())
    columns = {
        "label": pc.if_else(is_labelled, images.labels, unknown),
        "split": pa.array(draw.split, pa.string()),
        "probe": pa.array(draw.probe, pa.bool_()),
        "truth": pc.if_else(is_labelled, unknown, images.labels),
        "image": pa.nulls(len(images.labels), ARROW_TYPES["binary"]),
    }
    names = [column.name for column in schemas.MANIFEST.columns]
    table = images.table
    for name, values in columns.items():
        table = table.append_column(name, values)
    table = table.select([name for name in names if name in table.column_names])
    inputs = {**_inputs(settings, images.fingerprint), "flags": sorted(set(flags))}
    parquet_files.write_table(settings.manifest, table, schemas.MANIFEST, inputs)
    for note in draw.notes:
        console.warn(note)
    counts = {part: draw.split.count(part) for part in ("labelled", "unlabelled", "test")}
    console.say(
        f"wrote {settings.manifest}: {counts['labelled']:,} labelled, {counts['unlabelled']:,} unlabelled, "
        f"{counts['test']:,} test, {sum(draw.probe):,} in the probe, seed {settings.task.seed}"
    )


@dataclass(frozen=True)
class _MainImages:
    """The images of the main manifest: a table of all columns but those that a draw decides; their true labels (N,).

    `is_test`: which of them are test images.
    """

    table: pa.Table
    labels: pa.ChunkedArray
    is_test: list[bool]

    @property
    def samples(self) -> tuple[list[str], list[str], list[int | None], list[str | None]]:
        """Ids, parts, labels and groups, as `splits.draw_splits` takes them. The part of a test image is test."""
        ids, data, groups = (self.table.column(name).to_pylist() for name in ("id", "data", "group"))
        parts = ["test" if test else part for part, test in zip(data, self.is_test, strict=True)]
        return ids, parts, self.labels.to_pylist(), groups

    @property
    def fingerprint(self) -> str:
        """A digest of the images, their true labels and the test part."""
        columns = [self.table.column(name).to_pylist() for name in sorted(self.table.column_names)]
        return provenance.fingerprint(columns, self.labels.to_pylist(), self.is_test)


def _load_main(settings: Config) -> _MainImages:
    """The images of the main manifest. One that it holds itself is referred to as any image in a parquet file."""
    path = settings.with_labels(None).manifest
    stored = parquet_files.column_types(path)
    names = [c.name for c in schemas.MANIFEST.columns if c.name != "image" and (c.required or c.name in stored)]
    table = parquet_files.read_table(path, schemas.MANIFEST, names)
    labels = pc.coalesce(table.column("label"), table.column("truth"))
    is_test = pc.equal(table.column("split"), "test").to_pylist()
    table = table.drop_columns(list(DRAWN))
    held = [file is None for file in table.column("path").to_pylist()]
    if "file" in names:
        held = [inside and file is None for inside, file in zip(held, table.column("file").to_pylist(), strict=True)]
    if any(held):
        table = _refer_to_manifest(table, held, path.name, parquet_files.group_sizes(path))
    return _MainImages(table, labels, is_test)


def _refer_to_manifest(table: pa.Table, held: Sequence[bool], file: str, sizes: Sequence[int]) -> pa.Table:
    """The table with the places of the images that the main manifest holds, in its row groups of these sizes."""
    positions = [(group, row) for group, size in enumerate(sizes) for row in range(size)]
    places: dict[str, Sequence[Any]] = {
        "file": [file] * len(held),
        "column": ["image"] * len(held),
        "row_group": [group for group, _ in positions],
        "row": [row for _, row in positions],
    }
    types = {column.name: ARROW_TYPES[column.type] for column in schemas.MANIFEST.columns}
    for name in schemas.PLACE:
        before = table.column(name).to_pylist() if name in table.column_names else [None] * len(held)
        values = [own if inside else other for own, other, inside in zip(places[name], before, held, strict=True)]
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, pa.array(values, types[name]))
    return table


def _draw(
    settings: Config,
    ids: Sequence[str],
    parts: Sequence[str],
    labels: Sequence[int | None],
    groups: Sequence[str | None],
    classes: Sequence[str],
) -> splits.Splits:
    """The splits of the label set: those of the main one in their test part."""
    task = settings.task
    return splits.draw_splits(
        ids,
        parts,
        labels,
        groups,
        labelled=task.labelled,
        test_fraction=0.0,
        probe=split.parse_probe(task.probe),
        probe_per_class=task.probe_per_class,
        seed=task.seed,
        classes=classes,
    )


def _inputs(settings: Config, images: str) -> Inputs:
    """What a label set is made from. `images`: the fingerprint of the main ones."""
    values = split.manifest_inputs(settings)
    return {"images": images, **{key: values[key] for key in DRAW_KEYS}}


def _check_current(settings: Config, maker: str) -> None:
    """Raise Stale unless the stored manifest was drawn with these settings from the present images."""
    made_from = dict(parquet_files.read_header(settings.manifest).get("inputs", {}))
    made_from.pop("flags", None)
    differing = provenance.differences(made_from, _inputs(settings, _load_main(settings).fingerprint))
    if differing:
        raise provenance.stale_error(str(settings.manifest), differing, maker)


def _check_main(settings: Config) -> None:
    """Raise Stale if the data of the main set is not what it was when its images were read."""
    is_main_current(settings)
    kept, _ = split.with_stored_flags(settings)
    listing = parquet_files.read_header(settings.manifest).get("inputs", {}).get("images")
    if kept.task.train and listing is not None and listing != list_files(kept, data_specs(kept)):
        raise provenance.stale_error(str(settings.manifest), ["images"], "split")


def _check_flags(options: SplitConfig, name: str) -> None:
    """Raise UsageError for flags that say what the images are."""
    others = [key for key in options.task if key not in DRAW_KEYS] + (["check"] if options.check else [])
    if others:
        flag = f"--{others[0].replace('_', '-')}"
        raise UsageError(
            f"{flag} and --labels cannot be combined: all label sets have the same images",
            f"zoo split {flag} … first, then zoo split --labels {name}",
        )
