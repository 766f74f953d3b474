"""The workspaces of the comparison of defaults: packs, a heap of sources that is the same for all, two students.

    python -m tests.claims.defaults_workspaces     # prints the packs

A workspace is WORK/PACK/LABELS-DRAW-STUDENT, e.g. WORK/mnist/5-0-scratch. Workspaces of a pack share their images (the
first 2,000 of its train part, the first 1,000 of its test part), and the features of the sources, which do not depend
on the labels: made in the first workspace, linked into the others.
"""

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ..shared_material import SHARED
from .targets import ALIASES, format_table, pretrained

ELIGIBLE = (
    *("asl36", "cifar100", "covid-xray", "dtd10", "flowers5", "gtsrb", "magnetic-tile", "medical-mnist", "mnist"),
    *("notmnist", "rsscn7", "sign-digits", "tin-animals", "tin-objects"),
)
"""Not fruits24, whose test images nearly repeat training images; not omniglot-small1, which has 15 images a class; not
cifar10, the task of a source."""
PACKS = tuple(sorted(random.Random(9).sample(ELIGIBLE, 8)))
"""The packs of the comparison, drawn once."""
DEVELOPMENT = tuple(sorted(set(ELIGIBLE) - set(PACKS)))
"""The packs on which defaults are chosen."""

SOURCES = (
    *("imagenet_mobilenet_v1_025_128", "imagenet_mobilenet_v1_05_160", "cifar10_resnet20", "vww_mobilenet_v1_025_96"),
    *("mnist_lenet5", "miniimagenet_conv4_encoder", "omniglot_conv4_encoder"),
)
STUDENTS = ("scratch", "pretrained")
PRETRAINING = "cifar100"
"""The pack on whose labels the pretrained student was trained; none of the comparison."""
LABELS, DRAWS = (5, 20), (0, 1, 2)
SIZE, TRAIN, TEST = 32, 2000, 1000


@dataclass(frozen=True)
class Cell:
    """One workspace: a pack, labels a class, a draw of the labels, a student."""

    pack: str
    labels: int
    draw: int
    student: str

    def root(self, work: Path) -> Path:
        return work / self.pack / f"{self.labels}-{self.draw}-{self.student}"


def all_cells() -> Iterator[Cell]:
    """The cells in the order in which they are run: every pack once before a second draw of labels."""
    for draw in DRAWS:
        for student in STUDENTS:
            for labels in LABELS:
                for pack in PACKS:
                    yield Cell(pack, labels, draw, student)


def development_cells() -> Iterator[Cell]:
    """The cells on which defaults are chosen: one draw of labels, the student from scratch."""
    for pack in DEVELOPMENT:
        for labels in LABELS:
            if (pack, labels) != ("cifar100", 20):  # its 2,000 images would all be labelled
                yield Cell(pack, labels, 0, "scratch")


def make_workspace(cell: Cell, work: Path) -> Path:
    """The folder of a cell, with its images, its zoo.toml, and the features that another cell of the pack has."""
    root = cell.root(work)
    if (root / "zoo.toml").exists():
        return root
    root.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", TRAIN), ("test", TEST)):
        images = root.parent / f"{part}.parquet"
        if not images.exists():
            pq.write_table(pq.read_table(_shared() / "data" / f"{cell.pack}-{part}.parquet").slice(0, count), images)
    (root / "zoo.toml").write_text(_format_toml(cell, work))
    return root


def link_features(cell: Cell, work: Path) -> None:
    """Link the features of the sources from the first workspace of the pack that has them all."""
    root = cell.root(work)
    for other in sorted(root.parent.glob("*/features")):
        sources = [folder for folder in other.glob("source=*") if folder.name != "source=@student"]
        if other.parent != root and len(sources) == len(SOURCES):
            for folder in sources:
                if not (root / "features" / folder.name).exists():
                    shutil.copytree(folder, root / "features" / folder.name, copy_function=os.link)
            return


def _format_toml(cell: Cell, work: Path) -> str:
    task: dict[str, Any] = {
        "name": cell.pack,
        "aliases": list(ALIASES.get(cell.pack, ())),
        "train": "parquet:../train.parquet",
        "test": "parquet:../test.parquet",
        "labelled": f"{cell.labels}/class",
        "probe": "all",
        "seed": cell.draw,
    }
    parts = [format_table("[task]", task), format_table("[student]", _student(cell.student, work))]
    parts += [
        format_table("[[source]]", {"name": name, **pretrained(name), "trained_on": [name.split("_")[0]]})
        for name in SOURCES
    ]
    return "\n".join(parts)


def make_pretraining(work: Path) -> Path:
    """The workspace in which the pretrained student is trained, on all labels of its pack."""
    root = work / "pretraining"
    root.mkdir(parents=True, exist_ok=True)
    data = {part: f"parquet:{_shared() / 'data' / f'{PRETRAINING}-{part}.parquet'}" for part in ("train", "test")}
    task = {"name": PRETRAINING, **data, "labelled": "all", "seed": 0}
    student = _student("scratch", work)
    (root / "zoo.toml").write_text("\n".join([format_table("[task]", task), format_table("[student]", student)]))
    return root


def _student(name: str, work: Path) -> dict[str, Any]:
    """Four convolutions at 32 px, from random weights or from those trained on another pack."""
    if name == "pretrained":
        return {"model": f"file:{work.resolve() / 'pretraining' / 'runs' / 'student'}"}
    factory = f"python:{Path(__file__).with_name('four_convolutions.py')}:build"
    return {"model": factory, "input_size": SIZE, "mean": [0.5] * 3, "std": [0.25] * 3}


def _shared() -> Path:
    assert SHARED is not None, "the images belong to the development material; set ZOO_SHARED to its folder"
    return SHARED


if __name__ == "__main__":
    print(*PACKS)
