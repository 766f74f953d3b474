"""Parquet files as other programs might write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SAMPLES, CLASSES = 24, 3
IDS = [f"s{number:02}" for number in range(SAMPLES)]
LABELS = np.arange(SAMPLES) % CLASSES
VALUES = np.random.default_rng(5).normal(size=(SAMPLES, CLASSES)).round(2) + np.eye(CLASSES)[LABELS]
PROBS = np.exp(VALUES) / np.exp(VALUES).sum(1, keepdims=True)


def listed(array: np.ndarray, kind: str = "list", of: str = "float32") -> pa.Array:
    """Rows (N, W) as list, large_list or fixed-size list of float16, float32 or float64."""
    array = np.asarray(array)
    values = pa.array(array.reshape(-1).astype(of))
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(values, array.shape[1])
    offsets = np.arange(len(array) + 1) * array.shape[1]
    if kind == "large":
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def table(path: Path, **columns: Any) -> Path:
    """Write a parquet file with IDS and LABELS by default; None leaves a column out; 2-D arrays become lists."""
    values = {"id": IDS, "label": LABELS, **columns}
    pq.write_table(
        pa.table(
            {
                name: listed(value) if isinstance(value, np.ndarray) and value.ndim == 2 else value
                for name, value in values.items()
                if value is not None
            }
        ),
        path,
    )
    return path


def shuffled(rows: Sequence[Any] | np.ndarray) -> Any:
    """The same rows in another order, which is the same for every call."""
    order = np.random.default_rng(1).permutation(len(rows))
    return rows[order] if isinstance(rows, np.ndarray) else [rows[position] for position in order]
