"""The stored answers of a pool of heads, their record, and the heads themselves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from zoo_cli.config import Config
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import files, json_text, parquet_files, provenance, replacement, schemas
from zoo_cli.store.columns import to_list_column
from zoo_cli.store.provenance import Inputs
from zoo_cli.store.records import build_record, check_value
from zoo_cli.store.replacement import Replacement
from zoo_cli.store.view_store import view_folder

DOCUMENT = "_head.json"
FORMULA = "_pool.safetensors"
HEAD_ARRAYS = ("mean", "scale", "weights", "intercept", "present", "temperature", "lam")
"""The arrays of a stored head."""


@dataclass(frozen=True)
class SourceHead:
    """The head of one source: penalty and temperature, leave-one-out nll and accuracy, its weight in the pool."""

    source: str
    lam: float | None
    temperature: float
    nll: float | None
    accuracy: float | None
    weight: float


@dataclass(frozen=True)
class PoolEstimate:
    """The estimated accuracy of the pool on the unlabelled images, with its 90 % interval; None with a reason."""

    accuracy: float | None
    low: float | None
    high: float | None
    reason: str | None


@dataclass(frozen=True)
class HeadRecord:
    """The content of _head.json: the specs, the labels used, the heads, the estimate, and what to label next.

    `class_shares`: by class name, the share of the unlabelled images that the pool answers with it; `missing`: classes
    without a labelled image, whose probability is 0. `disagreement`: ids of unlabelled images and how far the heads
    disagree there, in nats, the largest first; `leaning`: for each of these, the classes to which most of the heads
    lean, with their shares (records of earlier versions lack it). `notes`: remarks for the reader, machine-readable.
    """

    head: str
    pool: str
    labels: int
    images: int
    sources: tuple[SourceHead, ...]
    estimate: PoolEstimate
    class_shares: Mapping[str, float]
    missing: tuple[str, ...]
    disagreement: Sequence[tuple[str, float]]
    notes: tuple[str, ...]
    leaning: Sequence[Mapping[str, float]] = ()


@dataclass(frozen=True)
class StoredFormula:
    """The content of _pool.safetensors: the names of the sources that a pool needs, and its arrays by name."""

    sources: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]


def is_complete(folder: Path, inputs: Inputs, maker: str, *, views: int | None = None) -> bool:
    """Whether all parts, the formula and the record exist and are current. Raises Stale naming what differs.

    `views`: their number, for answers on stored views, which have no formula.
    """
    replacement.settle(folder)
    if not (folder / DOCUMENT).exists():
        return False
    if views is None:
        return (folder / FORMULA).exists() and _has_parts(folder, inputs, maker)
    numbers = range(views)
    return all(_has_parts(view_folder(folder, view), {**inputs, "view": view}, maker) for view in numbers)


def _has_parts(folder: Path, inputs: Inputs, maker: str) -> bool:
    parts = sorted(folder.glob("part-*.parquet"))
    if not parts:
        return False
    current = [provenance.is_current(part, inputs, overwrite=False, name=str(folder), maker=maker) for part in parts]
    return all(current) and len(parts) == int(parts[0].stem.rpartition("-")[2])


def write_answers(
    folder: Path, ids: np.ndarray, probs: np.ndarray, record: HeadRecord, formula: StoredFormula, inputs: Inputs
) -> None:
    """Store the answers (N, C) of a pool in parts of float16, its record, and how it answers for new images.

    They are made beside those that are there, which they replace.
    """
    new = Replacement.begin(folder, provenance.fingerprint(inputs))
    # One key: the order of several is not fixed.
    metadata = {"pool": json.dumps({"sources": list(formula.sources), "inputs": inputs})}
    replacement.commit(new, folder / FORMULA, files.write_arrays, formula.arrays, metadata)
    _write_parts(new, folder, ids, probs, inputs)
    _replace(new, record)


def write_view_answers(
    folder: Path, ids: np.ndarray, probs: Sequence[np.ndarray], record: HeadRecord, inputs: Inputs
) -> None:
    """Store the answers of a pool on V views, (N, C) each, in a folder `view=v` each, and its record.

    They are made beside those that are there, which they replace.
    """
    folders = [view_folder(folder, view) for view in range(len(probs))]
    new = Replacement.begin(folder, provenance.fingerprint(inputs), [each.name for each in folders])
    for view, answers in enumerate(probs):
        _write_parts(new, folders[view], ids, answers, {**inputs, "view": view})
    _replace(new, record)


def _write_parts(new: Replacement, folder: Path, ids: np.ndarray, probs: np.ndarray, inputs: Inputs) -> None:
    count = max(1, -(-len(ids) // schemas.ROW_GROUP))
    for part in range(count):
        rows = slice(part * schemas.ROW_GROUP, (part + 1) * schemas.ROW_GROUP)
        table = pa.table(
            {
                "id": pa.array([str(name) for name in ids[rows]], pa.string()),
                "probs": to_list_column(probs[rows].astype(np.float16)),
            }
        )
        path = folder / f"part-{part:05}-of-{count:05}.parquet"
        replacement.commit(new, path, parquet_files.write_table, table, schemas.PSEUDO, inputs)


def _replace(new: Replacement, record: HeadRecord) -> None:
    replacement.commit(new, new.place / DOCUMENT, files.write_sealed_json, asdict(record))
    new.swap(path.relative_to(new.place).as_posix() for path in replacement.parts_below(new.place))


def load_record(folder: Path) -> HeadRecord:
    """The record of a pool's answers. Raises ContractError for a damaged document."""
    path = folder / DOCUMENT
    replacement.settle(folder)
    return build_record(HeadRecord, files.read_json(path), path, "zoo pseudo-label --head makes it again")


@dataclass(frozen=True)
class _FormulaOrigin:
    """The metadata of _pool.safetensors."""

    sources: tuple[str, ...]
    inputs: Mapping[str, Any]


def load_formula(folder: Path) -> tuple[StoredFormula, Inputs]:
    """How the pool in a folder answers for new images, and the inputs that it and its stored answers were made from.

    Raises UsageError if it is not stored, ContractError for damaged files or some of another pool.
    """
    return replacement.read_whole(folder, lambda: _load_formula(folder))


def _load_formula(folder: Path) -> tuple[StoredFormula, Inputs]:
    path = folder / FORMULA
    again = "zoo pseudo-label --head makes it again"
    if not path.exists():
        raise UsageError(f"{folder} does not say how its pool answers for new images", again)
    arrays, metadata = files.read_arrays(path)
    try:
        content = json_text.parse_json(metadata["pool"])
    except (KeyError, ValueError):
        raise ContractError(f"{path} is not a pool written by zoo", again) from None
    origin = build_record(_FormulaOrigin, content, path, again)
    formula = StoredFormula(origin.sources, arrays)
    inputs: Inputs = origin.inputs
    check_value(Mapping[str, str], inputs.get("sources"), f'"inputs.sources" in {path}', again)
    weights = formula.arrays.get("source_weights")
    if weights is not None and weights.shape != (len(formula.sources),):
        raise ContractError(f"{path} names {len(formula.sources)} sources, but has weights {weights.shape}", again)
    for part in sorted(folder.glob("part-*.parquet")):
        if provenance.differences(parquet_files.read_header(part).get("inputs", {}), inputs):
            raise ContractError(f"{part} and {path} are of different pools", again)
    return formula, inputs


def write_heads(
    settings: Config, heads: Mapping[str, Mapping[str, np.ndarray]], spec: str, *, of_views: bool = False
) -> None:
    """Store the head of each source: mean, scale, weights, intercept, temperature, classes.

    `of_views`: apart from those that were fitted on the plain view alone.
    """
    folder = heads_folder(settings, of_views=of_views)
    for source, arrays in heads.items():
        files.write_arrays(folder / f"source={source}.safetensors", arrays, {"head": spec})


def heads_folder(settings: Config, *, of_views: bool = False) -> Path:
    """The folder of the heads that were fitted on the plain view alone, or on stored views."""
    return settings.labels_root / "heads" / ("views" if of_views else "")


def load_head(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """A stored head and its spec. Raises ContractError for a damaged file."""
    arrays, metadata = files.read_arrays(path)
    missing = [name for name in HEAD_ARRAYS if name not in arrays]
    if missing or "head" not in metadata:
        raise ContractError(f"{path} is not a head written by zoo", "zoo pseudo-label --head makes it again")
    width, outputs = arrays["weights"].shape if arrays["weights"].ndim == 2 else (-1, -1)
    shapes = [(width,), (width,), (width, outputs), (outputs,), (outputs,), (1,), (1,)]
    if [arrays[name].shape for name in HEAD_ARRAYS] != shapes:
        raise ContractError(f"{path}: the shapes of its arrays do not fit", "zoo pseudo-label --head makes it again")
    return arrays, metadata["head"]
