"""A workspace for every pack whose pools are measured: the first images of its train part and its zoo.

    python -m tests.claims.pool_packs WORK      # writes WORK/PACK/{train.parquet,zoo.toml}, prints the folders

The zoo is seven pretrained networks. Those that have seen a pack's images are left out of its zoo, as zoo's leakage
guard would do: the CIFAR-10 networks for cifar10, LeNet for mnist, the ImageNet networks for tin-animals.
"""

import argparse
from pathlib import Path

import pyarrow.parquet as pq

from ..shared_material import SHARED
from . import targets

PACKS = {
    **dict.fromkeys(("flowers5", "rsscn7"), 1500),
    **dict.fromkeys(("dtd10", "sign-digits", "mnist", "notmnist", "cifar10"), 1000),
    **dict.fromkeys(("magnetic-tile", "medical-mnist", "covid-xray", "fruits24"), 1000),
    **dict.fromkeys(("asl36", "tin-animals", "gtsrb"), 1700),
}
"""The number of images of each pack, or all: more where it has 36 classes and more."""
SOURCES = (
    *("imagenet_mobilenet_v1_025_128", "imagenet_mobilenet_v1_05_160", "imagenet_mobilenet_v2_10_224"),
    *("cifar10_resnet20", "cifar10_resnet56", "vww_mobilenet_v1_025_96", "mnist_lenet5"),
)
SEEN = {"cifar10": "cifar10_", "mnist": "mnist_", "tin-animals": "imagenet_"}


def sources_of(pack: str) -> list[str]:
    """The sources that have not seen a pack's images."""
    return [name for name in SOURCES if pack not in SEEN or not name.startswith(SEEN[pack])]


def write_workspace(pack: str, folder: Path) -> None:
    """Write the images and the zoo.toml of a pack; rows of a pack are in random order, so the first are a sample."""
    assert SHARED is not None, "the images belong to the development material; set ZOO_SHARED to its folder"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "train.parquet").exists():
        images = pq.read_table(SHARED / "data" / f"{pack}-train.parquet").slice(0, PACKS[pack])
        pq.write_table(images, folder / "train.parquet")
    task = {"name": pack, "train": "parquet:train.parquet", "test": "0%", "labelled": "5/class"}
    parts = [targets.format_table("[task]", task)]
    parts += [
        targets.format_table("[[source]]", {"name": name, **targets.pretrained(name)}) for name in sources_of(pack)
    ]
    (folder / "zoo.toml").write_text("\n".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    for pack in PACKS:
        write_workspace(pack, arguments.work / pack)
        print(arguments.work / pack)


if __name__ == "__main__":
    main()
