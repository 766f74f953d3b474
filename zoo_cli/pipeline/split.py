"""`zoo split`: every sample of the task, its split and its hash. Bad images are detected here, and reported once."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from zoo_cli import config, console, devices, specs
from zoo_cli.config import Config
from zoo_cli.data import splits
from zoo_cli.data.splits import Splits
from zoo_cli.errors import UsageError
from zoo_cli.images import in_order
from zoo_cli.pipeline.manifest_rows import ManifestRow, check_images, make_tables
from zoo_cli.pipeline.split_findings import SplitFindings, collect_findings
from zoo_cli.pipeline.task_data import DataPart, data_specs, list_files, one_class_error, open_parts
from zoo_cli.store import commits, failures, files, parquet_files, provenance, schemas, split_notes
from zoo_cli.store.class_names import check_beside, class_names_text, load_class_names
from zoo_cli.store.columns import arrow_schema
from zoo_cli.store.failures import Failure
from zoo_cli.store.manifest import load_manifest
from zoo_cli.store.provenance import Inputs

MAX_ERRORS = "1%"
CHECKS = ("decode", "header")
"""How far every image is read: its pixels, or its header alone."""


@dataclass(frozen=True)
class SplitConfig:
    """The values that replace those of zoo.toml, None to keep them; and how many images may fail.

    `check`: one of CHECKS; None: as the manifest was made, a new one with "decode".
    """

    train: list[str] | None = None
    test: list[str] | None = None
    unlabelled: list[str] | None = None
    labelled: str | None = None
    probe: str | int | None = None
    probe_per_class: int | None = None
    seed: int | None = None
    follow_links: bool | None = None
    check: str | None = None
    max_errors: str | None = None
    workers: int | None = None
    overwrite: bool = False
    dry_run: bool = False

    @property
    def task(self) -> dict[str, Any]:
        """The keys of [task] that are set."""
        keys = ("train", "test", "unlabelled", "labelled", "probe", "probe_per_class", "seed", "follow_links")
        return {key: value for key in keys if (value := getattr(self, key)) is not None}


@dataclass(frozen=True)
class SplitSummary:
    """The manifest, and how many samples of each kind it holds.

    `findings`: what the images showed while they were checked; None if the manifest was up to date.
    """

    path: str
    labelled: int
    unlabelled: int
    test: int
    probe: int
    classes: int
    findings: SplitFindings | None = None


def split(settings: Config, options: SplitConfig | None = None) -> SplitSummary | None:
    """Write the manifest and the class names, unless they are up to date; None after a dry run.

    The data is listed again before it counts as unchanged. Raises Stale, naming what differs, and TooManyErrors.
    """
    options = options or SplitConfig()
    changed = settings.with_task(**options.task)
    flags = [key for key in options.task if getattr(changed.task, key) != getattr(settings.task, key)]
    has_file = (settings.root / config.FILE).exists()
    _check(changed, options)
    inputs = manifest_inputs(changed)
    if settings.manifest.exists() and not options.overwrite:
        made_from = dict(parquet_files.read_header(settings.manifest).get("inputs", {}))
        made_from.pop("flags", None)
        stored_check = made_from.pop("check", CHECKS[0])
        listing = made_from.pop("images", None)
        differing = provenance.differences(made_from, inputs)
        if not differing and listing != list_files(changed, data_specs(changed)):
            differing = ["images"]
        if options.check == CHECKS[0] != stored_check:
            differing.append("check")
        if differing:
            raise provenance.stale_error(str(settings.manifest), differing, "split")
        for file in (settings.classes, settings.errors("split")):
            check_beside(settings.manifest, file)
        console.say(f"{settings.manifest} is up to date")
        summary = summarize_manifest(settings)
    else:
        findings = write_manifest(changed, options, flags if has_file else [])
        if options.dry_run:
            return None
        summary = replace(summarize_manifest(settings), findings=findings)
    failures.check_failures(settings, "split", options.max_errors)
    return summary


def is_manifest_current(settings: Config, apart_from: Collection[str] = ()) -> bool:
    """Whether there is a manifest that agrees with zoo.toml. Raises Stale, naming what differs.

    Values set by flags of `zoo split` win over zoo.toml, with a warning. `apart_from`: keys that may differ.
    """
    if not settings.manifest.exists():
        return False
    if not settings.task.train:
        return True
    made_from = dict(parquet_files.read_header(settings.manifest).get("inputs", {}))
    for key in ("images", "flags", "check"):
        made_from.pop(key, None)
    kept, flags = with_stored_flags(settings)
    flags = [key for key in flags if key not in apart_from]
    inputs, own_inputs = manifest_inputs(kept), manifest_inputs(settings)
    for each in (made_from, inputs, own_inputs):
        for key in apart_from:
            each.pop(key, None)
    differing = provenance.differences(made_from, inputs)
    if differing:
        raise provenance.stale_error(str(settings.manifest), differing, "split")
    if inputs != own_inputs:
        pairs = [(key, *(_text(getattr(config.task, key)) for config in (kept, settings))) for key in flags]
        overridden = ", ".join(f"{key} {value}" for key, value, other in pairs if value != other)
        console.warn(f"{settings.manifest} was split with {overridden}, given by flags: that is used, not zoo.toml")
    return True


def with_stored_flags(settings: Config) -> tuple[Config, list[str]]:
    """The settings with the keys of [task] that flags of `zoo split` gave to the existing manifest, and these keys.

    A key that the present command has a flag for too is left to it.
    """
    made_from = parquet_files.read_header(settings.manifest).get("inputs", {}) if settings.manifest.exists() else {}
    flags = [key for key in made_from.get("flags", []) if key in made_from and key not in settings.typed]
    values: dict[str, Any] = {key: made_from[key] for key in flags}
    if values.get("test") == []:
        values["test"] = [f"{100 * made_from['test_fraction']:.12g}%"]
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return replace(settings, task=replace(settings.task, **values)), flags


def read_check(settings: Config) -> str:
    """How far the images of the existing manifest were read, one of CHECKS."""
    return str(parquet_files.read_header(settings.manifest).get("inputs", {}).get("check", CHECKS[0]))


def write_manifest(
    settings: Config, options: SplitConfig | None = None, flags: Sequence[str] = ()
) -> SplitFindings | None:
    """Draw the splits and write the manifest and the class names; what was seen, None after a dry run.

    `flags`: the keys of [task] set by flags.
    """
    options = options or SplitConfig()
    _check(settings, options)
    inputs = manifest_inputs(settings)
    part_specs = data_specs(settings)
    # A wrong number is reported before every image is read: an empty draw reads them all.
    _draw_splits(settings, [], ())
    parts = open_parts(settings, part_specs)
    if options.dry_run:
        console.say(f"would check the images of {', '.join(spec for part in part_specs.values() for spec in part)}")
        return None
    inputs = {**inputs, "images": list_files(settings, part_specs), **({"flags": sorted(flags)} if flags else {})}
    if options.check == "header":
        inputs["check"] = options.check
    return _write(settings, parts, inputs, options)


def summarize_manifest(settings: Config) -> SplitSummary:
    """What an existing manifest holds."""
    images = load_manifest(settings.manifest, settings.root)
    labelled, unlabelled, test = (int((images.split == name).sum()) for name in ("labelled", "unlabelled", "test"))
    classes = len(load_class_names(settings.classes))
    return SplitSummary(str(settings.manifest), labelled, unlabelled, test, int(images.probe.sum()), classes)


def parse_probe(probe: int | str) -> int | str:
    """The size of the probe set, or "all". Raises UsageError for another text."""
    return "all" if probe == "all" else _whole("probe", probe)


def _text(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _check(settings: Config, options: SplitConfig) -> None:
    if options.check is not None and options.check not in CHECKS:
        raise specs.nearest("check", options.check, CHECKS)
    failures.parse_limit(options.max_errors or MAX_ERRORS, 0)
    devices.workers(options.workers)
    if not settings.task.train:
        raise UsageError(
            f"no training images: [task] train is empty in {settings.root / config.FILE}",
            "set it, or use --train SPEC",
        )


def manifest_inputs(settings: Config) -> dict[str, Any]:
    """What a manifest is made from, as in its header, without the images themselves."""
    task = settings.task
    return {
        **{part: list(specs) for part, specs in data_specs(settings).items()},
        "labelled": task.labelled,
        "probe": str(task.probe),
        "probe_per_class": task.probe_per_class,
        "seed": task.seed,
        "test_fraction": splits.parse_test_share(task.test) or 0.0,
        **({"follow_links": True} if task.follow_links else {}),
    }


def _write(settings: Config, parts: list[DataPart], inputs: Inputs, options: SplitConfig) -> SplitFindings:
    classes = parts[0].data.classes or ()
    only_headers = options.check == "header"
    rows, seen, failed = check_images(settings, parts, options.workers, only_headers=only_headers)
    if not rows:
        raise UsageError(
            "no readable image in the data of [task]", "zoo split reads jpeg, png, webp, bmp, tiff, ppm, gif"
        )
    labels = {row.label for row in rows if row.data == "train" and row.label is not None}
    if len(labels) == 1:
        raise one_class_error(classes[labels.pop()])
    draw = _draw_splits(settings, rows, classes)
    rows = [row.in_split(part, probe) for row, part, probe in zip(rows, draw.split, draw.probe, strict=True)]
    total = len(rows) + len(failed)
    schema = arrow_schema(schemas.MANIFEST, () if any(row.file for row in rows) else schemas.PLACE)
    max_errors = options.max_errors or MAX_ERRORS
    passed_over = (file for part in parts for file in part.data.passed_over())
    findings = collect_findings(seen, len(failed), passed_over, classes, only_headers=only_headers)
    pieces = make_tables(rows, parts, schema)
    _commit(settings, classes, failed, total, max_errors, findings, inputs, schema, pieces)
    duplicates = splits.find_duplicates([row.id for row in rows], draw.split, [row.sha256 for row in rows])
    for note in [*draw.notes, *duplicates]:
        console.warn(note)
    counts = {part: draw.split.count(part) for part in ("labelled", "unlabelled", "test")}
    console.say(
        f"wrote {settings.manifest}: {counts['labelled']:,} labelled, {counts['unlabelled']:,} unlabelled, "
        f"{counts['test']:,} test, {sum(draw.probe):,} in the probe, {len(classes)} classes, seed {settings.task.seed}"
    )
    for line in findings.lines:
        console.say(f"saw: {line}")
    if failed:
        failures.warn_of_failures(settings.errors("split"), failed, total)
    return findings


def _commit(
    settings: Config,
    classes: Sequence[str],
    failed: Sequence[Failure],
    total: int,
    max_errors: str,
    findings: SplitFindings,
    inputs: Inputs,
    schema: pa.Schema,
    pieces: Iterator[pa.Table],
) -> None:
    """Write class names, failures and, last, the manifest: it marks the split as done, and holds their digests."""
    errors, notes = settings.errors("split"), split_notes.notes_file(settings)
    before = [settings.classes, *([errors] if failed else [])]
    present = {errors: bool(failed), notes: findings.beyond_manifest}
    obsolete = [path for path, written in present.items() if not written]
    seen = [notes] if findings.beyond_manifest else []
    with commits.replacing_together(*before, *seen, settings.manifest, obsolete=obsolete) as temporaries:
        *companions, manifest = temporaries
        if seen:
            companions.pop().write_text(split_notes.notes_text(findings.lines), encoding="utf-8")
        companions[0].write_text(class_names_text(classes), encoding="utf-8")
        if failed:
            failures.write_failures(errors, "split", failed, total, max_errors, temporary=companions[1])
        beside = {
            path.relative_to(settings.root).as_posix(): files.digest(temporary)
            for path, temporary in zip(before, companions, strict=True)
        }
        with parquet_files.table_writer(
            settings.manifest,
            schemas.MANIFEST,
            inputs,
            schema,
            group_bytes=in_order.AHEAD_BYTES,
            beside=beside,
            temporary=manifest,
        ) as write:
            for piece in pieces:
                write(piece)


def _draw_splits(settings: Config, rows: Sequence[ManifestRow], classes: Sequence[str]) -> Splits:
    task = settings.task
    return splits.draw_splits(
        [row.id for row in rows],
        [row.data for row in rows],
        [row.label for row in rows],
        [row.group for row in rows],
        labelled=task.labelled,
        test_fraction=splits.parse_test_share(task.test) or 0.0,
        probe=parse_probe(task.probe),
        probe_per_class=task.probe_per_class,
        seed=task.seed,
        classes=classes,
    )


def _whole(key: str, value: int | str) -> int:
    if not str(value).isdigit():
        raise UsageError(f"{key} = {value}", 'expected a whole number or "all"')
    return int(value)
