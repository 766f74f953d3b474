"""Writing and reading features: megabytes of embeddings per second.

python -m tests.bench.bench_files             a part, written and read back
python -m tests.bench.bench_files scattered   500 scattered rows of 60,000, beside a filter of Arrow
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zoo_cli.store import feature_files, parquet_files, schemas
from zoo_cli.store.columns import to_list_column

ROWS, WIDTH, ROUNDS = 8192, 2048, 5


def measure() -> dict[str, float]:
    """Medians of ROUNDS: one part of ROWS features of WIDTH numbers after a ReLU, written and read back."""
    rng = np.random.default_rng(0)
    features = np.maximum(rng.standard_normal((ROWS, WIDTH)) - 0.3, 0).astype(np.float32)
    size = features.nbytes / 1e6
    writes, reads, plain = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part-00000-of-00001.parquet"
        for _ in range(ROUNDS):
            start = time.perf_counter()
            ids = pa.array([f"train/{row:06}" for row in range(ROWS)])
            table = pa.table({"id": ids, "embedding": to_list_column(features)})
            parquet_files.write_table(path, table, schemas.FEATURES, {})
            middle = time.perf_counter()
            stored = feature_files.load_outputs(path, columns=("embedding",))
            end = time.perf_counter()
            raw = Path(folder) / "raw"
            with raw.open("wb") as stream:
                stream.write(features.tobytes())
            plain.append(time.perf_counter() - end)
            writes.append(middle - start)
            reads.append(end - middle)
            assert stored.embedding is not None
            assert np.array_equal(stored.embedding, features)
        stored_size = path.stat().st_size / 1e6
    return {
        "write MB/s": size / statistics.median(writes),
        "read MB/s": size / statistics.median(reads),
        "bytes on disk / bytes in memory": stored_size / size,
        "write time / time of a plain unsynced write": statistics.median(writes) / statistics.median(plain),
    }


def measure_scattered(rounds: int = 7) -> dict[str, float]:
    """Processor seconds, medians in turns, of 500 rows of 60,000 of 512 numbers, which lie in every row group."""
    draw = np.random.default_rng(0)
    ids = np.array([f"train/{row:08}.jpg" for row in range(60_000)])
    chosen = [str(name) for name in ids[np.sort(draw.choice(len(ids), 500, replace=False))]]
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, len(ids), ROWS):
            own = ids[start : start + ROWS]
            values = np.maximum(draw.standard_normal((len(own), 512), dtype=np.float32), 0)
            table = pa.table({"id": own, "embedding": to_list_column(values)})
            parquet_files.write_table(Path(folder) / f"part-{start:05}.parquet", table, schemas.FEATURES, {})
        filters, columns = [("id", "in", chosen)], ["id", "embedding"]
        forms = {
            "ours": lambda: feature_files.load_outputs(Path(folder), ids=np.array(chosen), columns=("embedding",)),
            "Arrow's filter": lambda: pq.read_table(folder, filters=filters, columns=columns),
            "Arrow's filter, one thread": lambda: pq.read_table(
                folder, filters=filters, columns=columns, use_threads=False
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(rounds):
            for name, read in forms.items():
                start_seconds = time.process_time()
                read()
                seconds[name].append(time.process_time() - start_seconds)
    return {name: round(statistics.median(values), 3) for name, values in seconds.items()}


@pytest.mark.bench
def test_write_speed_is_measured() -> None:
    assert measure()["write MB/s"] > 0


if __name__ == "__main__":
    print(json.dumps(measure_scattered() if sys.argv[1:] == ["scattered"] else measure(), indent=1))
