"""Target heads and pools of many wide sources: their time against reading the features, and their memory.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_target_heads [SOURCES]     prints one JSON object; 28 by default
    OMP_NUM_THREADS=1 pytest -m bench tests/bench/bench_target_heads.py      asserts the limits with four sources

Sources of 2,048 features after a ReLU, 10,000 images, 500 labels in 50 classes. Times are processor times of one
thread, in turns; all sources go round the same four arrays. "heads over reading twice" counts the standardising of each
source whenever it is loaded: once for its head, twice for `kernel`, once for `logmean`. Memory is the growth of a
process that answers with `product` and loads a source whenever it is asked for, as the commands do, but from plain
arrays: reading a feature file takes more by itself. The limit is that of few sources: the heads that are returned grow
with their number.
"""

import json
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import linalg

from tests.bench import interleaved
from zoo_cli import specs
from zoo_cli.heads.fitting import fit_heads, pool_heads
from zoo_cli.heads.neighbours import neighbour_graph, unit_rows
from zoo_cli.heads.principal_components import COMPONENTS, pool_rows
from zoo_cli.heads.ridge import ridge
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.store import feature_files, parquet_files, schemas
from zoo_cli.store.columns import to_list_column

IMAGES, WIDTH, CLASSES, LABELS, ARRAYS = 10_000, 2048, 50, 10, 4
LIMITS = {"heads over reading twice": 1.0, "ridge": 1.5, "graph": 1.5}
CPU = torch.device("cpu")


class Cycle(Sequence[Features]):
    """SOURCES sources that go round a few arrays in memory."""

    def __init__(self, features: list[Features], count: int):
        self.features, self.count = features, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: Any) -> Any:
        return self.features[position % len(self.features)]


class Stored(Cycle):
    """The same, each loaded when asked for."""

    def __init__(self, folder: Path, count: int):
        self.paths, self.count = sorted(folder.glob("*.npy")), count

    def __getitem__(self, position: Any) -> Any:
        return Features.of(np.load(self.paths[position % len(self.paths)]))


def read(path: Path) -> np.ndarray:
    """The features of a file."""
    stored = feature_files.load_outputs(path, columns=("embedding",))
    assert stored.embedding is not None
    return stored.embedding


def write_sources(folder: Path) -> TargetLabels:
    """Write ARRAYS sources whose classes overlap; returns the labels."""
    draw = np.random.default_rng(0)
    truth = draw.integers(0, CLASSES, IMAGES)
    ids = pa.array([f"train/{row:06}" for row in range(IMAGES)])
    for number in range(ARRAYS):
        centres = 0.3 * draw.standard_normal((CLASSES, WIDTH), dtype=np.float32)
        values = np.maximum(centres[truth] + draw.standard_normal((IMAGES, WIDTH), dtype=np.float32) - 0.3, 0)
        table = pa.table({"id": ids, "embedding": to_list_column(values)})
        parquet_files.write_table(folder / f"source-{number}.parquet", table, schemas.FEATURES, {})
        np.save(folder / f"source-{number}.npy", values)
    labels = np.full(IMAGES, -1)
    for number in range(CLASSES):
        labels[np.flatnonzero(truth == number)[:LABELS]] = number
    return TargetLabels.of(labels, CLASSES)


def answer(sources: Sequence[Features], targets: TargetLabels, pools: Sequence[str]) -> None:
    """All heads and some pools."""
    heads = fit_heads(specs.resolve("head", "ridge"), sources, targets)
    for pool in pools:
        pool_heads(specs.resolve("pool", pool), sources, heads, targets)


def measure(count: int = 28, blocks: int = 3) -> dict[str, Any]:
    """Milliseconds and ratios of `count` sources."""
    with tempfile.TemporaryDirectory() as place:
        targets = write_sources(Path(place))
        paths = sorted(Path(place).glob("*.parquet"))
        arrays = [read(path) for path in paths]
        features = [Features.of(values) for values in arrays]
        sources, weights = Cycle(features, count), np.full(count, 1 / count)
        rows = features[0].take(targets.rows)
        labelled, unit = np.ascontiguousarray((rows - rows.mean(axis=0)).T), features[0].take(slice(None))
        gram = labelled.T @ labelled
        narrow = np.random.default_rng(2).standard_normal((WIDTH, COMPONENTS), dtype=np.float32)
        reduced = np.random.default_rng(1).standard_normal((IMAGES, COMPONENTS), dtype=np.float32)

        def read_twice() -> None:
            for number in range(2 * count):
                read(paths[number % ARRAYS])

        def standardise_once() -> None:
            for number in range(count):
                Features.of(arrays[number % ARRAYS])

        def heads_and_pools() -> None:
            answer(sources, targets, ("kernel", "logmean"))

        def ridge_and_answers() -> None:
            ridge(features[0], targets).answer(arrays[0])

        def eigenvalues_and_product() -> None:
            linalg.eigh(gram, driver="evd", check_finite=False)
            unit @ labelled

        def graph() -> None:
            neighbour_graph(pool_rows(sources, weights), 10, labelled=targets.rows)

        def graph_products() -> None:
            for number in range(count):
                wide = arrays[number % ARRAYS]
                sketch = wide @ narrow
                wide.T @ sketch
                wide @ narrow
            for start in range(0, IMAGES, 512):
                reduced[start : start + 512] @ reduced.T

        def neighbours() -> None:
            neighbour_graph(reduced, 10, labelled=targets.rows)

        def neighbour_products() -> None:
            lengths = unit_rows(reduced)
            for start in range(0, IMAGES, 512):
                lengths[start : start + 512] @ lengths.T

        forms = (read_twice, standardise_once, heads_and_pools, graph, graph_products)
        times = interleaved.milliseconds({form.__name__: form for form in forms}, CPU, blocks, 1)
        short = (ridge_and_answers, eigenvalues_and_product, neighbours, neighbour_products)
        times |= interleaved.milliseconds({form.__name__: form for form in short}, CPU, blocks, 3)
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as process:
            growth = process.apply(measure_memory, (place, count, targets))
            reading = process.apply(measure_reading, (str(paths[0]),))
    allowed = 2 * IMAGES * WIDTH * 4 + IMAGES * 512 * 4 + IMAGES * 64 * 8 * 4
    return {
        **interleaved.machine(CPU),
        "sources": count,
        "milliseconds": interleaved.summary(times),
        "heads over reading twice": interleaved.ratio(
            [a + 4 * b for a, b in zip(times["heads_and_pools"], times["standardise_once"], strict=True)],
            times["read_twice"],
        ),
        "ridge": interleaved.ratio(times["ridge_and_answers"], times["eigenvalues_and_product"]),
        "graph": interleaved.ratio(times["graph"], times["graph_products"]),
        "neighbours": interleaved.ratio(times["neighbours"], times["neighbour_products"]),
        "memory": {
            "MB": round(growth / 1e6),
            "allowed MB": round(allowed / 1e6),
            "reading a file": round(reading / 1e6),
        },
        "limits": LIMITS,
    }


def measure_memory(folder: str, count: int, targets: TargetLabels) -> int:
    """Bytes by which a process grows that answers with `product`, reading one source at a time."""
    before = read_status("VmRSS")
    answer(Stored(Path(folder), count), targets, ("product",))
    return read_status("VmHWM") - before


def measure_reading(path: str) -> int:
    """Bytes by which a process grows that reads one file of features."""
    before = read_status("VmRSS")
    read(Path(path))
    return read_status("VmHWM") - before


def read_status(field: str) -> int:
    """Bytes of this process, from the kernel's table."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


@pytest.mark.bench
def test_heads_keep_their_limits() -> None:
    result = measure(count=4)
    assert result["heads over reading twice"]["median"] <= LIMITS["heads over reading twice"]
    assert result["ridge"]["median"] <= LIMITS["ridge"]
    assert result["graph"]["median"] <= LIMITS["graph"]
    assert result["memory, MB"]["heads and product"] <= result["memory, MB"]["limit"]


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 28)))
