"""The code blocks of the README, and the data that its shell blocks name."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torchvision
from PIL import Image

from zoo_cli.config import Source
from zoo_cli.models import loading, student
from zoo_cli.store import files

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CLASSES = ("cat", "dog")
SEEDS = {"resnet50": 2, "resnet18": 1}
"""Of random weights that do not answer every image alike; 0 for other networks."""


@dataclass(frozen=True)
class Block:
    """A code block: the heading above it, its language and its text."""

    section: str
    language: str
    text: str


def read_blocks(language: str) -> list[Block]:
    """Every block of a language, in the order of the README."""
    return [block for block in _blocks() if block.language == language]


def _blocks() -> Iterator[Block]:
    section = ""
    pattern = r"^```(?P<language>\w+)\n(?P<text>.*?)^```$|^#+ (?P<section>[^\n]+)$"
    for match in re.finditer(pattern, README.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE):
        section = match["section"] or section
        if match["language"]:
            yield Block(section, match["language"], match["text"])


def draw_images(folder: Path) -> None:
    """Class folders with ten training and two test images each, in `train` and `test`; copies of two in `new`."""
    random = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 2)):
        for number, name in enumerate(CLASSES):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, random.integers(100, 256), (20, 24, 3), dtype=np.uint8)
                pixels[:: number + 2, :, number] = 200
                Image.fromarray(pixels).save(folder / part / name / f"{index}.jpg")
    (folder / "new").mkdir()
    for name in CLASSES:
        shutil.copy(folder / "test" / name / "0.jpg", folder / "new" / f"{name}.jpg")


def write_outputs(folder: Path) -> None:
    """birds.parquet and cars.parquet, outputs of sources; before.parquet and after.parquet, predictions."""
    random = np.random.default_rng(0)
    ids = [f"train/{name}/{index}.jpg" for name in CLASSES for index in range(10)]
    labels = np.repeat(np.arange(len(CLASSES)), 10)
    agreement = np.eye(len(CLASSES))[labels]
    for name, width, share in (("birds", 8, 2.0), ("cars", 8, 0.5), ("before", 2, 0.5), ("after", 2, 2.0)):
        values = random.standard_normal((len(ids), width))
        values[:, : len(CLASSES)] += share * agreement
        outputs = list(values.astype(np.float32))
        columns = {"logits": outputs} if width == 2 else {"embedding": outputs, "logits": outputs}
        pq.write_table(pa.table({"id": ids, "label": labels, **columns}), folder / f"{name}.parquet")


def write_student(folder: Path) -> None:
    """A small network in the layout of a run of zoo."""
    mean = (0.5, 0.5, 0.5)
    source = Source(
        folder.name,
        "torchvision:mobilenet_v3_small",
        weights="none",
        input_size=32,
        mean=mean,
        std=mean,
        args={"num_classes": 5},
    )
    trained = student.build_student(loading.load_model(source, folder.parent), CLASSES, 0)
    files.write_tensors(folder / "model.safetensors", trained.plain_state_dict(), {"format": "pt"})
    files.write_json(folder / "config.json", trained.config(folder))


def write_pretrained(home: Path) -> None:
    """A TORCH_HOME with random weights in the place of the pretrained ones that the shell blocks name."""
    text = "".join(block.text for block in read_blocks("bash"))
    checkpoints = home / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for name, tag in sorted(set(re.findall(r"torchvision:(\w+)(?:\.(\w+))?", text))):
        weights = torchvision.models.get_model_weights(name)[tag or "DEFAULT"]
        with torch.random.fork_rng():
            torch.manual_seed(SEEDS.get(name, 0))
            torch.save(torchvision.models.get_model(name).state_dict(), checkpoints / Path(weights.url).name)
