"""How time and memory of the stages grow with the rows of a task, from 10,000 to a million. Nothing is decoded or run.

python -m tests.bench.bench_growth [ROWS ...]
"""

import hashlib
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count, pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zoo_cli import config, specs
from zoo_cli.config import Config
from zoo_cli.images import decoding
from zoo_cli.images.decoding import ImageInfo
from zoo_cli.metrics.probe import Probe
from zoo_cli.pipeline import prepare, pseudo_label, split
from zoo_cli.pipeline.stored_targets import PseudoLabels, StoredTargets
from zoo_cli.ranking import uncertainty
from zoo_cli.registry import METRICS
from zoo_cli.store import feature_files, imported_outputs, manifest, schemas
from zoo_cli.store.columns import to_list_column
from zoo_cli.store.manifest import Images

ROWS = (10_000, 100_000, 1_000_000)
WIDTH, CLASSES, SOURCE_CLASSES = 64, 100, 100
TOML = """
[task]
name = "synthetic"
train = "csv:images.csv"
labelled = "10%"

[student]
model = "torchvision:resnet18"

[[source]]
name = "remote"
model = "features:remote.parquet"
"""


def make_task(root: Path, rows: int) -> None:
    """A table of images that all are one file, and the features and logits of a source for all of them."""
    (root / "zoo.toml").write_text(TOML, encoding="utf-8")
    (root / "image.png").write_bytes(b"never decoded")
    names = [f"shard-{row // 1000:05}/{row:08}.jpg" for row in range(rows)]
    lines = [f"{name},image.png,class-{row % CLASSES:03}" for row, name in enumerate(names)]
    (root / "images.csv").write_text("\n".join(["id,path,label", *lines, ""]), encoding="utf-8")
    draw = np.random.default_rng(0)
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("embedding", pa.list_(pa.float32(), WIDTH)),
            ("logits", pa.list_(pa.float32(), SOURCE_CLASSES)),
        ]
    )
    with pq.ParquetWriter(root / "remote.parquet", schema) as writer:
        for start in range(0, rows, schemas.ROW_GROUP):
            own = names[start : start + schemas.ROW_GROUP]
            arrays = (draw.standard_normal((len(own), width), np.float32) for width in (WIDTH, SOURCE_CLASSES))
            writer.write_table(pa.table([pa.array(own), *map(to_list_column, arrays)], schema=schema))


def write_split(settings: Config) -> object:
    """`zoo split`, with digests in the place of decoded images."""
    numbers = count()

    def look(_source: object) -> ImageInfo:
        return ImageInfo(hashlib.sha256(str(next(numbers)).encode()).hexdigest(), 32, 32)

    with mock.patch.object(decoding, "image_info", look):
        return split.split(settings, split.SplitConfig(workers=0))


def open_images(settings: Config) -> Images:
    """The manifest."""
    return manifest.load_manifest(settings.manifest, settings.root)


def import_features(settings: Config) -> object:
    """`zoo extract` of a source whose outputs are known: joined by id, and written in parts."""
    return imported_outputs.import_outputs(settings, settings.sources[0], open_images(settings), overwrite=True)


def check_features(settings: Config) -> object:
    """What every later command does first: the features are found to be up to date."""
    return prepare.prepare(settings, prepare.Needs(features=settings.sources))


def read_some(settings: Config) -> object:
    """The features of a probe set of 500 images."""
    images = open_images(settings)
    ids = images.ids.take(images.where(probe=True))
    return feature_files.load_outputs(settings.features("remote"), ids=ids, columns=("embedding",))


def read_all(settings: Config) -> object:
    """The features of all images but those of the test part."""
    images = open_images(settings)
    ids = images.ids.take(images.where(split=("labelled", "unlabelled")))
    return feature_files.load_outputs(settings.features("remote"), ids=ids, columns=("embedding",))


def score_all(settings: Config) -> object:
    """lfc of all images with a known label, with its interval and chance level."""
    images = open_images(settings)
    outputs = feature_files.load_outputs(settings.features("remote"), ids=images.ids, columns=("embedding",))
    assert outputs.embedding is not None
    method = specs.resolve("metric", "lfc")
    return uncertainty.estimate_scores([(method, METRICS["lfc"])], Probe.of(outputs.embedding, images.truth()), seed=0)


def label(settings: Config) -> object:
    """`zoo pseudo-label`."""
    return pseudo_label.make_pseudo_labels(settings, open_images(settings), settings.sources, overwrite=True)


def join_targets(settings: Config) -> object:
    """The pseudo-labels that `zoo distill` holds in memory."""
    images = open_images(settings)
    target = PseudoLabels("remote", settings.pseudo("remote"), 1.0, "softmax", "")
    return StoredTargets(images).read(target, images.where(split=("labelled", "unlabelled")))


STAGES: dict[str, Callable[[Config], object]] = {
    "split": write_split,
    "open the manifest": open_images,
    "extract": import_features,
    "up to date": check_features,
    "read 500 rows": read_some,
    "read all rows": read_all,
    "score lfc on all": score_all,
    "pseudo-label": label,
    "distill's targets": join_targets,
}


WRITING = ("split", "extract", "pseudo-label")
REPEATS = 3
"""Processes of each stage that only reads; the median of their times."""


def run_stage(name: str, root: Path) -> dict[str, float]:
    """Processor seconds of a stage in this process, and by how many MB its memory grew at most."""
    settings = config.load(root)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is from here on
    before = memory("VmRSS")
    start = time.process_time()
    STAGES[name](settings)
    seconds = time.process_time() - start
    return {"seconds": seconds, "MB": memory("VmHWM") - before}


def memory(key: str) -> float:
    """The memory of this process in MB: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(key))


def measure(sizes: Sequence[int] = ROWS) -> dict[str, dict[int, dict[str, float]]]:
    """Each stage in processes of its own, in their order, for each number of rows."""
    table: dict[str, dict[int, dict[str, float]]] = {name: {} for name in STAGES}
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            make_task(Path(folder), rows)
            for name in STAGES:
                cells = []
                for _ in range(1 if name in WRITING else REPEATS):
                    with multiprocessing.get_context("fork").Pool(1) as process:
                        cells.append(process.apply(run_stage, (name, Path(folder))))
                table[name][rows] = sorted(cells, key=lambda cell: cell["seconds"])[len(cells) // 2]
                print(rows, name, table[name][rows], file=sys.stderr, flush=True)
    return table


def growth(cells: dict[int, dict[str, float]], key: str) -> float:
    """The largest exponent of growth between two neighbouring numbers of rows."""
    sizes = sorted(cells)
    return max(math.log(cells[high][key] / cells[low][key]) / math.log(high / low) for low, high in pairwise(sizes))


@pytest.mark.bench
def test_growth_is_measured() -> None:
    table = measure((1000, 2000))
    assert all(math.isfinite(growth(cells, "seconds")) for cells in table.values())


if __name__ == "__main__":
    measured = measure(tuple(map(int, sys.argv[1:])) or ROWS)
    for stage, cells in measured.items():
        exponents = " | ".join(f"{growth(cells, key):.2f}" for key in ("seconds", "MB"))
        values = " | ".join(f"{cell['seconds']:.2f} | {cell['MB']:.0f}" for cell in cells.values())
        print(f"| {stage} | {values} | {exponents} |")
