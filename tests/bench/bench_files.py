"""Writing and reading features: megabytes of embeddings per second.

python -m tests.bench.bench_files
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from zoo_cli.store import feature_files, files, schemas
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
            files.write_table(path, table, schemas.FEATURES, {})
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


@pytest.mark.bench
def test_write_speed_is_measured() -> None:
    assert measure()["write MB/s"] > 0


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
