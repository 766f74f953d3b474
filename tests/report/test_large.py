"""A report on 50,000 images, 40 runs, a ranking and a pool of heads: how long it takes, and how large it is."""

import hashlib
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.evaluate.made_runs import make_run, make_workspace
from tests.report.html_reader import read_page
from tests.workspaces import run
from zoo_cli.pipeline.report import ReportConfig, write_report
from zoo_cli.store import checksums, parquet_files, schemas
from zoo_cli.store.columns import arrow_schema

IMAGES, TEST, RUNS, CLASSES, FILES = 50_000, 10_000, 40, 100, 200
SOURCES, DIM = 3, 32
SECONDS, BYTES = 60, 15_000_000
INPUTS = {"train": ["folder:images"], "test": [], "unlabelled": [], "labelled": "10%", "probe": "500"} | {
    "probe_per_class": 0,
    "seed": 0,
    "test_fraction": 0.2,
}
"""What the manifest says it was made from, as zoo.toml has it."""


def make_large(folder: Path) -> Path:
    """A workspace of many images, which share 200 files of 500 x 375 pixels, and finished runs with logits."""
    random = np.random.default_rng(0)
    names = tuple(f"class {number:03}" for number in range(CLASSES))
    workspace = make_workspace(folder, "large", names)
    (workspace / "images").mkdir()
    digests = []
    for number in range(FILES):
        pixels = random.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        path = workspace / "images" / f"{number}.jpg"
        Image.fromarray(pixels).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=85)
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    labels = random.integers(0, CLASSES, IMAGES)
    rows = np.arange(IMAGES)
    test, labelled = rows >= IMAGES - TEST, (rows < IMAGES - TEST) & (rows % 10 == 0)
    ids = [f"{row:06}.jpg" for row in rows]
    table = {
        "id": ids,
        "data": np.where(test, "test", "train"),
        "path": [f"images/{row % FILES}.jpg" for row in rows],
        "image": [None] * IMAGES,
        "label": pa.array(labels, mask=~labelled),
        "split": np.where(test, "test", np.where(labelled, "labelled", "unlabelled")),
        "probe": labelled & (rows % 100 == 0),
        "truth": pa.array(labels, mask=labelled),
        "sha256": [digests[row % FILES] for row in rows],
        "width": np.full(IMAGES, 500, np.int32),
        "height": np.full(IMAGES, 375, np.int32),
        "group": [None] * IMAGES,
    }
    schema = arrow_schema(schemas.MANIFEST, schemas.PLACE)
    manifest = pa.table({name: pa.array(table[name], schema.field(name).type) for name in schema.names}, schema=schema)
    parquet_files.write_table(workspace / "manifest.parquet", manifest, schemas.MANIFEST, INPUTS)
    add_sources(workspace, labels[~test], ids[:-TEST])
    for number in range(RUNS):
        add_run(workspace, number, labels[test], ids[-TEST:], names)
    return workspace


def add_sources(workspace: Path, labels: np.ndarray, ids: list[str]) -> None:
    """Let zoo.toml name sources of which only the outputs are known, the later ones better."""
    random = np.random.default_rng(1)
    text = '[task]\nname = "large"\ntrain = "folder:images"\nlabelled = "10%"\nprobe = 500\n'
    for number in range(SOURCES):
        centres = random.normal(size=(CLASSES, DIM))
        features = centres[labels] * (0.2 + 0.2 * number) + random.normal(size=(len(labels), DIM))
        logits = features @ random.normal(size=(DIM, 20))
        outputs = {
            name: pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), values.shape[1])
            for name, values in (("embedding", features), ("logits", logits))
        }
        pq.write_table(pa.table({"id": ids, **outputs}), workspace / f"source-{number}.parquet")
        text += f'\n[[source]]\nname = "source-{number}"\nmodel = "features:source-{number}.parquet"\n'
    (workspace / "zoo.toml").write_text(text, encoding="utf-8")


def add_run(workspace: Path, number: int, labels: np.ndarray, ids: list[str], names: tuple[str, ...]) -> None:
    """Add a finished run; later ones are more accurate."""
    random = np.random.default_rng([number, 1])
    wrong = (labels + random.integers(1, CLASSES, TEST)) % CLASSES
    predicted = np.where(random.random(TEST) < 0.5 + 0.01 * number, labels, wrong)
    name = f"run-{number:02}" if number else "labels-only-s0"
    asked = {"weighting": f"p={number}"} if number else {}
    folder = make_run(workspace, name, labels, predicted, asked=asked, ids=ids, classes=names)
    logits = random.normal(size=(TEST, CLASSES)).astype(np.float32)
    logits[np.arange(TEST), predicted] += 5
    column = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), CLASSES)
    pq.write_table(pa.table({"id": ids, "label": labels, "logits": column}), folder / "predictions.parquet")
    rows = (f'{{"step": {step}, "loss": {3 / step}, "labelled_accuracy": {1 - 1 / step}}}\n' for step in range(1, 601))
    (folder / "metrics.jsonl").write_text("".join(rows), encoding="utf-8")
    checksums.write_sums(folder, ["run.json", "config.json", "predictions.parquet", "metrics.jsonl"])


@pytest.mark.slow
def test_large_workspace_takes_a_minute_at_most(tmp_path: Path) -> None:
    workspace = make_large(tmp_path / "large")
    for words in (("rank", "--metric", "parc"), ("pseudo-label", "--head", "ridge")):
        made = run(*words, workspace=workspace)
        assert made.code == 0, made.err
    # Seconds of processor time, which do not depend on what else the machine does.
    start = time.process_time()
    result = write_report(ReportConfig((workspace,), workspace / "report.html"))
    assert time.process_time() - start < SECONDS
    assert result.size < BYTES
    page = read_page(result.path.read_text(encoding="utf-8"))
    assert "40 runs" in page.sections["training"]
    assert "source-2 1" in page.sections["ranking"]
    assert f"A product of {SOURCES} ridge heads" in page.sections["heads"]
