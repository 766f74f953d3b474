"""The workspaces on which the verdict is measured: prints the zoo.toml of one pack.

    python -m tests.claims.verdict_packs flowers5 WORK/flowers5 > WORK/flowers5/zoo.toml

Its first IMAGES training images, all labelled, are the task; the student is a ResNet-20 with random weights.
"""

import argparse
from pathlib import Path

import pyarrow.parquet as pq

from ..shared_material import SHARED
from .targets import format_table, pretrained

PACKS = (
    *("flowers5", "cifar10", "rsscn7", "dtd10", "sign-digits", "mnist", "notmnist"),
    *("magnetic-tile", "medical-mnist", "covid-xray", "fruits24", "tin-objects"),
)
NETWORKS = (
    *("imagenet_mobilenet_v1_025_128", "imagenet_mobilenet_v1_05_160", "vww_mobilenet_v1_025_96"),
    *("cifar10_resnet20", "cifar10_mlperf_resnet8", "mnist_lenet5"),
    *("miniimagenet_conv4_encoder", "omniglot_conv4_encoder"),
)
IMAGES = 1600


def format_toml(pack: str, workspace: Path) -> str:
    """The zoo.toml of a pack; its images are written beside it."""
    assert SHARED is not None, "the images belong to the development material; set ZOO_SHARED to its folder"
    table = pq.read_table(SHARED / "data" / f"{pack}-train.parquet")
    workspace.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.slice(0, IMAGES), workspace / "train.parquet")
    keys: dict[str, object] = {"name": pack, "train": "parquet:train.parquet", "labelled": "all", "probe": "all"}
    if pack.startswith("tin-"):
        keys["aliases"] = ["imagenet", "miniimagenet"]
    student = {**pretrained("cifar10_resnet20"), "mean": [0.5] * 3, "std": [0.25] * 3}
    del student["weights"]
    parts = [format_table("[task]", keys), format_table("[student]", student)]
    for name in NETWORKS:
        source: dict[str, object] = {"name": name, **pretrained(name), "trained_on": [name.split("_")[0]]}
        parts.append(format_table("[[source]]", source))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pack", choices=PACKS)
    parser.add_argument("workspace", type=Path)
    arguments = parser.parse_args()
    print(format_toml(arguments.pack, arguments.workspace), end="")


if __name__ == "__main__":
    main()
