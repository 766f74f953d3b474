"""`zoo split`: every sample of the task, its split, its hash. Bad images are found here and named once."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import config, console, devices
from zoo_cli.commands.options import HERE, DryRun, MaxErrors, Overwrite, Seed, Workers, Workspace
from zoo_cli.config import Config
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import failures, files, provenance, schemas

if TYPE_CHECKING:
    import pyarrow as pa

    from zoo_cli.data.samples import Data, Sample
    from zoo_cli.data.splits import Splits
    from zoo_cli.store.manifest import Images

MAX_ERRORS = "1%"


def split(
    train: Annotated[list[str] | None, typer.Option("--train", help="Training images. Repeats.")] = None,
    test: Annotated[list[str] | None, typer.Option("--test", help="Test images. Repeats.")] = None,
    unlabelled: Annotated[list[str] | None, typer.Option("--unlabelled", help="More images. Repeats.")] = None,
    labelled: Annotated[str | None, typer.Option("--labelled", help='"10%", "5/class", "1000" or "all".')] = None,
    probe: Annotated[str | None, typer.Option("--probe", help='Size of the probe set, or "all".')] = None,
    probe_per_class: Annotated[int | None, typer.Option("--probe-per-class", help="At most this many a class.")] = None,
    max_errors: MaxErrors = None,
    seed: Seed = None,
    workers: Workers = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    workspace: Workspace = HERE,
) -> None:
    """Draw labelled, unlabelled, test and probe samples; check and hash every image.

    zoo split
    zoo split --train folder:pets/train --labelled 20% -C work
    """
    settings = config.load(workspace).with_task(
        train=train,
        test=test,
        unlabelled=unlabelled,
        labelled=labelled,
        probe=probe,
        probe_per_class=probe_per_class,
        seed=seed,
    )
    make_manifest(settings, max_errors=max_errors, workers=workers, overwrite=overwrite, dry_run=dry_run, again=True)


def ensure_manifest(settings: Config, *, workers: int | None = None) -> "Images":
    """The task's manifest; made first where it is missing. Raises UsageError where it is stale."""
    from zoo_cli.store.manifest import load_manifest

    if not settings.manifest.exists():
        console.say(f"no {settings.manifest} yet: zoo split makes it first")
    if settings.task.train or not settings.manifest.exists():
        make_manifest(settings, workers=workers)
    return load_manifest(settings.manifest, settings.root)


def load_class_names(file: Path) -> tuple[str, ...]:
    """The class names of a classes.json, in label order. Raises ContractError for a file that holds none."""
    said = files.read_json(file)
    names = said.get("names") if isinstance(said, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ContractError(f"{file} has no list of names", "zoo split writes it beside the manifest")
    return tuple(names)


def make_manifest(
    settings: Config,
    *,
    max_errors: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    again: bool = False,
) -> None:
    """Write the manifest and the class names. `again` looks at the data anew before it calls them up to date."""
    from zoo_cli.data import splits

    task = settings.task
    failures.parse_limit(max_errors or MAX_ERRORS, 0)
    devices.workers(workers)
    if not task.train:
        raise UsageError(
            f"no training images: [task] train is empty in {settings.root / config.FILE}", "or --train SPEC"
        )
    share = splits.parse_test_share(task.test)
    specs = {"train": task.train, "unlabelled": task.unlabelled, "test": task.test if share is None else ()}
    inputs: dict[str, Any] = {
        **{part: list(said) for part, said in specs.items()},
        "labelled": task.labelled,
        "probe": str(task.probe),
        "probe_per_class": task.probe_per_class,
        "seed": task.seed,
        "test_fraction": share or 0.0,
    }
    if settings.manifest.exists() and not overwrite:
        made_from = dict(files.read_header(settings.manifest).get("inputs", {}))
        listed = made_from.pop("images", None)
        changed = provenance.differences(made_from, inputs)
        if not changed and again and listed != _listing(settings.root, specs):
            changed = ["images"]
        if changed:
            raise provenance.stale_error(str(settings.manifest), changed, "split")
        if again:
            console.say(f"{settings.manifest} is up to date")
        return
    # What is wrong in a number is said before every image is read, not after: an empty draw reads them all.
    _assign(settings, inputs, [], ())
    parts = _open(settings, specs)
    if dry_run:
        console.say(f"would check the images of {', '.join(spec for said in specs.values() for spec in said)}")
        return
    inputs["images"] = _listing(settings.root, specs)
    _draw(settings, parts, inputs, max_errors or MAX_ERRORS, workers)


@dataclass(frozen=True)
class DataPart:
    """One data spec of the task: which part it belongs to, and the how-manieth of that part it is."""

    name: str
    number: int
    data: "Data"

    def entries(self) -> "Iterator[tuple[str, Sample]]":
        """Its samples, each with its id in the manifest."""
        from zoo_cli.data import splits

        for sample in self.data.samples():
            yield splits.sample_id(sample.id, self.name, self.number, self.data.own_ids), sample


def _open(settings: Config, specs: Mapping[str, Sequence[str]]) -> list[DataPart]:
    """Every data spec opened, its labels aligned by name with the classes of the training images."""
    from zoo_cli.data import samples

    opened = {part: [samples.open_data(spec, settings.root) for spec in said] for part, said in specs.items()}
    classes = samples.union_classes(opened["train"])
    if classes is None:
        raise UsageError("the training images have no classes", "folder: wants one folder a class, parquet: a label")
    parts = []
    for part, found in opened.items():
        for number, (spec, data) in enumerate(zip(specs[part], found, strict=True)):
            for note in data.notes:
                console.warn(note)
            parts.append(DataPart(part, number, samples.align_labels(data, classes, spec, forget=part == "unlabelled")))
    return parts


def _draw(
    settings: Config, parts: list[DataPart], inputs: dict[str, Any], max_errors: str, workers: int | None
) -> None:
    import pyarrow as pa

    from zoo_cli.data import splits

    classes = parts[0].data.classes or ()
    rows, failed = _check(settings, parts, workers)
    if not rows:
        raise UsageError(
            "no readable image in the data of [task]", "zoo split reads jpeg, png, webp, bmp, tiff, ppm, gif"
        )
    drawn = _assign(settings, inputs, rows, classes)
    for row, split, probe in zip(rows, drawn.split, drawn.probe, strict=True):
        row["split"], row["probe"] = split, probe
        row["truth"] = None if split == "labelled" else row["label"]
        row["label"] = row["label"] if split == "labelled" else None
    arrow = pa.schema([(column.name, _arrow_type(column.type)) for column in schemas.MANIFEST.columns])
    with files.table_writer(settings.manifest, schemas.MANIFEST, inputs, arrow) as write:
        for piece in _with_images(rows, parts, arrow):
            write(piece)
    files.write_json(settings.classes, {"names": list(classes)})
    twins = splits.find_duplicates([row["id"] for row in rows], drawn.split, [row["sha256"] for row in rows])
    for note in [*drawn.notes, *twins]:
        console.warn(note)
    counts = {part: drawn.split.count(part) for part in ("labelled", "unlabelled", "test")}
    console.say(
        f"wrote {settings.manifest}: {counts['labelled']:,} labelled, {counts['unlabelled']:,} unlabelled, "
        f"{counts['test']:,} test, {sum(drawn.probe):,} in the probe, {len(classes)} classes, seed {settings.task.seed}"
    )
    failures.record_failures(settings, "split", failed, len(rows) + len(failed), max_errors)


def _assign(
    settings: Config, inputs: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> "Splits":
    from zoo_cli.data import splits

    task = settings.task
    return splits.draw_splits(
        [row["id"] for row in rows],
        [row["data"] for row in rows],
        [row["label"] for row in rows],
        [row["group"] for row in rows],
        labelled=task.labelled,
        test_fraction=inputs["test_fraction"],
        probe="all" if task.probe == "all" else _whole("probe", task.probe),
        probe_per_class=task.probe_per_class,
        seed=task.seed,
        classes=classes,
    )


def _check(
    settings: Config, parts: list[DataPart], workers: int | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Decode and hash every image once: the rows of those that are sound, and the failures."""
    from zoo_cli.images import decoding

    def look(
        entry: "tuple[DataPart, str, Sample]",
    ) -> "tuple[DataPart, str, Sample, decoding.ImageInfo | decoding.BadImage]":
        try:
            return *entry, decoding.image_info(entry[2].source(settings.root))
        except decoding.BadImage as bad:
            return *entry, bad

    entries = ((part, name, sample) for part in parts for name, sample in part.entries())
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    with console.Progress("split", 0, "img") as progress:
        for part, name, sample, told in decoding.map_in_order(look, entries, devices.workers(workers)):
            progress.advance(1)
            if isinstance(told, decoding.BadImage):
                failed.append({"id": name, "path": sample.path, "error": str(told)})
                continue
            rows.append(
                {
                    "id": name,
                    "data": part.name,
                    "path": sample.path,
                    "label": sample.label,
                    "sha256": told.sha256,
                    "width": told.width,
                    "height": told.height,
                    "group": sample.group,
                }
            )
    return rows, failed


def _with_images(rows: list[dict[str, Any]], parts: list[DataPart], arrow: "pa.Schema") -> "Iterator[pa.Table]":
    """The rows as tables; images that have no file of their own are read a second time, so none are held."""
    import pyarrow as pa

    if all(row["path"] is not None for row in rows):
        yield pa.Table.from_pylist(rows, schema=arrow)
        return
    place = {row["id"]: row for row in rows}
    piece: list[dict[str, Any]] = []
    for part in parts:
        for name, sample in part.entries():
            if name in place:
                piece.append({**place[name], "image": sample.image})
            if len(piece) == schemas.ROW_GROUP:
                yield pa.Table.from_pylist(piece, schema=arrow)
                piece = []
    yield pa.Table.from_pylist(piece, schema=arrow)


def _listing(root: Path, specs: Mapping[str, Sequence[str]]) -> str:
    """A digest of the names and sizes of what the data specs name, without reading an image."""
    import glob

    from zoo_cli.data import samples

    told: list[Any] = []
    for spec in (spec for said in specs.values() for spec in said):
        place = samples.resolve_path(spec.partition(":")[2], root)
        found = [os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names]
        found = sorted(found or glob.glob(str(place)))
        told.append([spec, [(os.path.relpath(path, root), _size(path)) for path in found]])
    return provenance.fingerprint(told)


def _size(path: str) -> int:
    """Bytes of a file; -1 where it cannot be read, as a link that leads nowhere: its image is a failure, no more."""
    try:
        return os.path.getsize(path)
    except OSError:
        return -1


def _whole(key: str, value: int | str) -> int:
    if not str(value).isdigit():
        raise UsageError(f"{key} = {value}", 'it takes a whole number or "all"')
    return int(value)


def _arrow_type(name: str) -> Any:
    import pyarrow as pa

    return pa.bool_() if name == "bool" else getattr(pa, name)()
