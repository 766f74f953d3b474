"""Files of predictions: whatever the names are, a reader gets back what was written."""

import csv
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo_cli.store.prediction_files import DELIMITERS, SUFFIXES, PredictedBatch, prediction_writer

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
CLASSES = st.lists(NAMES, min_size=1, max_size=4)
SIZES = st.lists(st.integers(0, 5), max_size=3)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=15, deadline=None)
@given(classes=CLASSES, sizes=SIZES, data=st.data())
def test_names_and_numbers_are_read_back(
    suffix: str, classes: list[str], sizes: list[int], data: st.DataObject
) -> None:
    draw = np.random.default_rng(sum(sizes))
    batches = []
    for size in sizes:
        ids, paths = (data.draw(st.lists(kind, min_size=size, max_size=size)) for kind in (NAMES, NAMES | st.none()))
        batches.append(PredictedBatch(ids, paths, draw.dirichlet(np.ones(len(classes)), size).astype(np.float32)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out").with_suffix(suffix)
        with prediction_writer(path, classes, {"data": ["folder:new"]}, logits=False) as write:
            for batch in batches:
                write(batch)
        if suffix in DELIMITERS:
            with path.open(encoding="utf-8", newline="") as file:
                header, *rows = csv.reader(file, delimiter=DELIMITERS[suffix])
            assert header == ["id", "path", "class", "probability", *(f"p_{name}" for name in classes)]
            stored = [[*row[:3], *map(np.float32, row[3:])] for row in rows]
        else:
            columns = pq.read_table(path).to_pydict()
            assert list(columns) == ["id", "path", "class", "probability", "probs"]
            listed = zip(*columns.values(), strict=True)
            stored = [[name, file or "", label, share, *probs] for name, file, label, share, probs in listed]
    expected = [
        [name, file or "", classes[int(np.argmax(probs))], probs.max(), *probs]
        for batch in batches
        for name, file, probs in zip(batch.ids, batch.paths, batch.probs, strict=True)
    ]
    assert stored == expected
