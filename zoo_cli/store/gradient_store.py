"""The stored gradients of sources: what there is of the probe set, and how a part is checked, read and made.

They lie apart from the features, in `gradients/source=S/`, because two vectors of 10,000 numbers are 80 KB a sample,
too much for every image. Each part holds some samples by id and is named after them. Splitting again makes none of it
stale: what a new probe set lacks is added, and what it no longer holds stays for the next.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli.config import Config, Source
from zoo_cli.errors import ContractError
from zoo_cli.store import feature_store, files, provenance, schemas
from zoo_cli.store.columns import to_list_column, to_matrix

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.store.manifest import Images

DOCUMENT = "gradients.json"


def unavailable_reason(settings: Config, source: Source) -> str:
    """Why a source can have no gradients; empty where it can."""
    if feature_store.is_outputs_only(source):
        return "only its stored outputs are known"
    if (settings.features(source.name) / "source.json").exists() and not feature_store.load_source_record(
        settings, source.name
    )["classes"]:
        return "it has no head"
    return ""


def load_gradient_record(settings: Config, name: str) -> dict[str, Any] | None:
    """The gradients.json of a source; None where it has no gradients."""
    path = settings.gradients(name) / DOCUMENT
    return files.read_json(path) if path.exists() else None


def missing_rows(
    settings: Config, source: Source, images: "Images", rows: "np.ndarray", projection: str | None
) -> "np.ndarray":
    """The rows whose gradients are not stored. Raises UsageError where stored ones are stale; None: any projection."""
    said = load_gradient_record(settings, source.name)
    if said is None:
        return rows
    now = {
        "source": feature_store.source_fingerprint(feature_store.load_source_record(settings, source.name)),
        "gradient_layer": source.gradient_layer,
        "projection": said["projection"] if projection is None else projection,
    }
    folder = settings.gradients(source.name)
    changed = provenance.differences({key: said.get(key) for key in now}, now)
    if changed:
        raise provenance.stale_error(str(folder), changed, _maker(source.name))
    place = {str(name): row for row, name in enumerate(images.ids)}
    held: set[str] = set()
    for part in _parts(settings, source.name):
        ids = [str(name) for name in files.read_table(part, schemas.GRADIENTS, ["id"]).column("id").to_pylist()]
        here = [place[name] for name in ids if name in place]
        current = _part_inputs(images, here, said) if len(here) == len(ids) else {"images": None}
        changed = provenance.differences(files.read_header(part).get("inputs", {}), current)
        if changed:
            raise provenance.stale_error(str(part), changed, _maker(source.name))
        held.update(ids)
    return rows[[str(name) not in held for name in images.ids[rows]]]


def load_gradients(settings: Config, name: str, ids: "np.ndarray", column: str) -> "np.ndarray":
    """The vectors (N, W) of a source's samples: column `gradient`, over all outputs, or `gradient_sum`."""
    import numpy as np

    pieces, found = [], []
    for part in _parts(settings, name):
        table = files.read_table(part, schemas.GRADIENTS, ["id", column])
        found += table.column("id").to_pylist()
        pieces.append(to_matrix(table.column(column), f"{part}: column {column}"))
    place = {name: row for row, name in enumerate(found)}
    missing = [str(one) for one in ids if one not in place]
    if missing:
        raise ContractError(
            f"{settings.gradients(name)} lacks {len(missing):,} of {len(ids):,} samples, e.g. {missing[0]}",
            "zoo extract --gradients",
        )
    if len({piece.shape[1] for piece in pieces}) > 1:
        raise ContractError(f"{settings.gradients(name)}: the parts disagree on the width of {column}")
    return np.concatenate(pieces)[[place[str(one)] for one in ids]]


def open_gradients(settings: Config, name: str, said: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write gradients.json, or check that the standing one says the same."""
    folder, path = settings.gradients(name), settings.gradients(name) / DOCUMENT
    files.remove_leftovers(folder)
    if path.exists() and not overwrite:
        changed = provenance.differences(files.read_json(path), said)
        if changed:
            raise provenance.stale_error(str(folder), changed, _maker(name))
        return
    for part in _parts(settings, name):
        part.unlink()
    files.write_json(path, said)


def write_gradients(
    settings: Config,
    name: str,
    said: Mapping[str, Any],
    images: "Images",
    rows: "np.ndarray",
    trace: "np.ndarray",
    summed: "np.ndarray",
) -> None:
    """Commit a part: the vectors (M, W) and (M, W') of rows (M,). Raises ContractError where one is not finite."""
    import numpy as np
    import pyarrow as pa

    ids = [str(one) for one in images.ids[rows]]
    bad = ~(np.isfinite(trace).all(axis=1) & np.isfinite(summed).all(axis=1))
    if bad.any():
        names = ", ".join(np.array(ids)[bad][:5])
        raise ContractError(
            f"{name} gives gradients that are not finite for {bad.sum():,} images, e.g. {names}",
            "check its weights, or leave it out of lgc",
        )
    table = pa.table(
        {"id": pa.array(ids, pa.string()), "gradient": to_list_column(trace), "gradient_sum": to_list_column(summed)}
    )
    path = settings.gradients(name) / f"part-{provenance.fingerprint(ids)[:16]}.parquet"
    files.write_table(path, table, schemas.GRADIENTS, _part_inputs(images, rows, said))


def _part_inputs(images: "Images", rows: Any, said: Mapping[str, Any]) -> dict[str, Any]:
    return {"gradients": provenance.fingerprint(said), "images": images.fingerprint(rows, "ids", "sha256")}


def _parts(settings: Config, name: str) -> list[Path]:
    return sorted(settings.gradients(name).glob("part-*.parquet"))


def _maker(name: str) -> str:
    return f"extract --gradients --source {name}"
