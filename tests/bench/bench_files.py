"""Writing and reading features: megabytes of embeddings a second, and copies on the way back.

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
    """Medians of ROUNDS: one part of ROWS features of WIDTH numbers, as a ReLU leaves them, written and read back."""
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
            found = feature_files.load_outputs(path, columns=("embedding",))
            end = time.perf_counter()
            raw = Path(folder) / "raw"
            with raw.open("wb") as stream:
                stream.write(features.tobytes())
            plain.append(time.perf_counter() - end)
            writes.append(middle - start)
            reads.append(end - middle)
            assert found.embedding is not None
            assert np.array_equal(found.embedding, features)
        stored_size = path.stat().st_size / 1e6
    return {
        "write MB/s": size / statistics.median(writes),
        "read MB/s": size / statistics.median(reads),
        "bytes on disk / bytes in memory": stored_size / size,
        "write time / time of a plain unsynced write": statistics.median(writes) / statistics.median(plain),
    }


@pytest.mark.bench
def test_features_are_written_and_read() -> None:
    assert measure()["write MB/s"] > 0


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
