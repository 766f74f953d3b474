"""The stored outputs of sources in a workspace: which parts there are to be, and how one is checked and made."""

import glob
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import console, specs
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import files, provenance, schemas
from zoo_cli.store.columns import to_list_column

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.store.manifest import Images

OURS = ("name", "trained_on", "depth")
"""Keys of source.json on which no output depends."""


def is_outputs_only(source: Source) -> bool:
    """Whether a source is somebody's stored outputs, of which no model is known."""
    return specs.provider("model provider", source.model)[0] == "features"


def planned_parts(
    settings: Config, source: Source, images: "Images", part_rows: int
) -> "Iterator[tuple[Path, np.ndarray]]":
    """The parts a source should have, with their rows (M,) of the manifest.

    A function of the images alone, not of the split: splitting again makes nothing stale. The test images that came
    as such are left out, because no source is run on them; the student starts from labelled images only.
    """
    for data in ("train",) if source.name == STUDENT else ("train", "unlabelled"):
        rows = images.where(data=data)
        count = -(-len(rows) // part_rows)
        for part in range(count):
            name = f"part-{part:05}-of-{count:05}.parquet"
            yield (
                settings.features(source.name) / f"data={data}" / name,
                rows[part * part_rows : (part + 1) * part_rows],
            )


def is_complete(
    settings: Config, source: Source, images: "Images", part_rows: int, precision: str | None = None
) -> bool:
    """Whether every part is there and current. Raises UsageError naming what differs where one is stale.

    `precision`: as asked for; None takes what there is.
    """
    folder = settings.features(source.name)
    if not (folder / "source.json").exists():
        return False
    said = files.read_json(folder / "source.json")
    changed = provenance.differences(said.get("declared", {}), to_json_values(settings.declared(source)))
    if precision is not None and not is_outputs_only(source):
        changed += provenance.differences({"precision": said.get("precision")}, {"precision": precision})
    changed = changed or _changed_files(settings, source, said)
    if changed:
        raise provenance.stale_error(str(folder), changed, _maker(source.name))
    made_from = {"source": source_fingerprint(said)}
    planned = list(planned_parts(settings, source, images, part_rows))
    extra = set(folder.glob("data=*/part-*.parquet")) - {path for path, _ in planned}
    if extra:
        raise provenance.stale_error(str(min(extra)), ["images"], "extract")
    return all(
        provenance.is_current(path, part_inputs(images, rows, made_from), overwrite=False, maker="extract")
        for path, rows in planned
    )


def _changed_files(settings: Config, source: Source, said: Mapping[str, Any]) -> list[str]:
    """Which files of a source are no longer those that it was run with. Of one that is gone the outputs stay good."""
    from zoo_cli.store import feature_files

    provider, rest = specs.provider("model provider", source.model)
    if provider == "features":
        path = settings.root / rest
        gone = not path.exists() and not glob.glob(str(path))
        return [] if gone or feature_files.content_digest(path) == said.get("weights_sha256") else ["weights_sha256"]
    named = {
        "weights_sha256": source.weights or (f"{rest}/model.safetensors" if provider == "file" else ""),
        "code_sha256": rest.rpartition(":")[0] if provider == "python" else "",
    }
    found = {key: settings.root / name for key, name in named.items() if name}
    return [key for key, path in found.items() if path.is_file() and files.digest(path) != said.get(key)]


def _maker(name: str) -> str:
    return f"extract --source {name}"


def source_fingerprint(said: Mapping[str, Any]) -> str:
    """A digest of what a source's outputs depend on: weights, preprocessing, where features are taken, precision."""
    return provenance.fingerprint({key: value for key, value in said.items() if key not in OURS})


def part_inputs(images: "Images", rows: "np.ndarray", made_from: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs in a part's header."""
    return {**made_from, "images": images.fingerprint(rows, "ids", "sha256")}


def open_features(folder: Path, said: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write source.json, or check that the standing one says the same."""
    path, said = folder / "source.json", to_json_values(said)
    if path.exists() and not overwrite:
        before = files.read_json(path)
        changed = provenance.differences(*({k: v for k, v in one.items() if k not in OURS} for one in (before, said)))
        if changed:
            raise provenance.stale_error(str(folder), changed, _maker(str(said["name"])))
        if before == said:
            return
    if overwrite:
        for part in folder.glob("data=*/part-*.parquet"):
            part.unlink()
    files.write_json(path, said)


def write_part(
    path: Path,
    images: "Images",
    rows: "np.ndarray",
    kept: "np.ndarray",
    features: "np.ndarray | None",
    logits: "np.ndarray | None",
    made_from: Mapping[str, Any],
    source: str,
) -> None:
    """Commit one part: `kept` (M,) of the planned `rows`, features (M, D) and logits (M, K) where there are any.

    Raises ContractError where a value is not finite.
    """
    import numpy as np
    import pyarrow as pa

    columns: dict[str, Any] = {"id": pa.array([str(name) for name in images.ids[kept]], pa.string())}
    for name, values in (("embedding", features), ("logits", logits)):
        if values is None:
            continue
        if len(values) != len(kept):
            raise AssertionError(f"{source}: {len(kept)} images, {len(values)} rows of {name}")
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            ids = ", ".join(str(name) for name in images.ids[kept][bad][:5])
            raise ContractError(
                f"{source} gives {name} that are not finite for {bad.sum():,} images, e.g. {ids}",
                "bf16 or float16 weights may overflow; --precision fp32, or leave the source out",
            )
        columns[name] = to_list_column(values.astype(np.float32, copy=False))
    if len(columns) == 1 and len(kept):
        raise ContractError(f"{source} gives neither features nor logits")
    files.write_table(path, pa.table(columns), schemas.FEATURES, part_inputs(images, rows, made_from))


def import_outputs(settings: Config, source: Source, images: "Images", part_rows: int, *, overwrite: bool) -> None:
    """Bring somebody's stored outputs into the workspace: checked, joined by id, in canonical order.

    Probabilities become logits by their logarithm, of which they are the softmax. Samples of the manifest that the
    file lacks are left out here; the stages that need them say so.
    """
    import numpy as np

    from zoo_cli.store import feature_files

    rest = source.model.partition(":")[2]
    path = settings.root / rest
    if not path.exists() and not glob.glob(str(path)):
        raise UsageError(f"no stored features at {path} for the source {source.name}")
    said: dict[str, Any] = {"declared": settings.declared(source), "weights_sha256": feature_files.content_digest(path)}
    if is_imported(settings, source, said["weights_sha256"]) and not overwrite:
        console.say(f"{source.name} is up to date")
        return
    found = feature_files.load_outputs(path, output=source.output, name=source.name)
    known = {str(name) for name in images.ids}
    foreign = sum(str(name) not in known for name in found.ids)
    if foreign == len(found.ids):
        raise ContractError(f"{path} has no id of {settings.manifest}", "zoo show tells what both hold")
    if foreign:
        console.warn(f"{foreign:,} of {len(found.ids):,} ids of {path} are not in the manifest and are left out")
    logits = found.logits
    if logits is None and found.probs is not None:
        logits = _logits(found.probs.astype(np.float64), source.output)
    _check_width(source, logits)
    said |= {
        "name": source.name,
        "provider": "features",
        "model": source.model,
        "features": 0 if found.embedding is None else found.embedding.shape[1],
        "classes": 0 if logits is None else logits.shape[1],
        "class_names": list(source.classes) if isinstance(source.classes, tuple) else None,
        "output": source.output,
        "trained_on": list(source.trained_on),
        "depth": source.depth,
    }
    folder = settings.features(source.name)
    open_features(folder, said, overwrite=overwrite)
    place = {str(name): row for row, name in enumerate(found.ids)}
    for part, rows in planned_parts(settings, source, images, part_rows):
        kept = np.array([row for row in rows if str(images.ids[row]) in place], dtype=np.int64)
        order = np.array([place[str(images.ids[row])] for row in kept], dtype=np.int64)
        taken = [None if values is None else values[order] for values in (found.embedding, logits)]
        write_part(
            part,
            images,
            rows,
            kept,
            taken[0],
            taken[1],
            {"source": source_fingerprint(to_json_values(said))},
            source.name,
        )


def is_imported(settings: Config, source: Source, digest: str) -> bool:
    """Whether a stored source was brought in before, from the same file."""
    path = settings.features(source.name) / "source.json"
    return path.exists() and files.read_json(path).get("weights_sha256") == digest


def missing_ids(settings: Config, sources: Iterable[Source], images: "Images", part_rows: int) -> frozenset[str]:
    """The ids that a finished part of a source that we ran does not hold, because their images failed."""
    missing: set[str] = set()
    for source in sources:
        if is_outputs_only(source):
            continue
        for path, rows in planned_parts(settings, source, images, part_rows):
            # The number of rows stands in the footer; the ids are read only where it says that some are missing.
            if path.exists() and files.row_count(path) < len(rows):
                held = files.read_parquet(path, ["id"]).column("id").to_pylist()
                missing |= {str(name) for name in images.ids[rows]}.difference(held)
    return frozenset(missing)


def load_source_record(settings: Config, name: str) -> dict[str, Any]:
    """The source.json of a source."""
    said: dict[str, Any] = files.read_json(settings.features(name) / "source.json")
    return said


def summarize_source(settings: Config, source: Source) -> dict[str, Any]:
    """One row of what is stored of a source."""
    said = load_source_record(settings, source.name)
    parts = sorted(settings.features(source.name).glob("data=*/part-*.parquet"))
    return {
        "source": source.name,
        "images": sum(files.row_count(part) for part in parts),
        "features": said["features"],
        "classes": said["classes"],
        "path": str(settings.features(source.name)),
    }


def _logits(probs: "np.ndarray", output: str) -> "np.ndarray":
    import numpy as np

    least = np.finfo(np.float32).tiny
    logits = np.log(np.maximum(probs, least))
    if output == "sigmoid":
        logits = logits - np.log(np.maximum(1.0 - probs, least))
    return np.asarray(logits, dtype=np.float32)


def _check_width(source: Source, logits: "np.ndarray | None") -> None:
    said = len(source.classes) if isinstance(source.classes, tuple) else source.classes
    if logits is not None and said is not None and said != logits.shape[1]:
        raise ContractError(f"{source.name} declares {said} classes, its file holds {logits.shape[1]}")


def to_json_values(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    if isinstance(value, Mapping):
        return {key: to_json_values(item) for key, item in value.items()}
    return [to_json_values(item) for item in value] if isinstance(value, (list, tuple)) else value
