"""Which tasks the claims are looked at on, and with which zoo: prints the zoo.toml of one of them.

    python -m tests.claims.targets toml mnist --experts WORK/experts --labelled 5/class > zoo.toml
    python -m tests.claims.targets kin mnist         # whose experts its zoo holds
    python -m tests.claims.targets grid mnist        # the settings of a search
    python -m tests.claims.targets all               # the targets of the full size

A task's zoo: an expert of every task of its family, and the family's pretrained networks. The expert of the task
itself stands there too, to be excluded as one that has seen the task. With all labels, as an expert is trained, there
are no sources. `--given`: no images, for a workspace that has its manifest from elsewhere.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..shared_material import SHARED


@dataclass(frozen=True)
class Family:
    """Tasks that share a kind of student: `tasks` to look at, `experts` of which tasks their zoos hold.

    `augment`: of experts. `grid`: the settings of a search, the first first: learning rate, lam, augmentation, and the
    learning rate and augmentation of labels only in their place.
    """

    tasks: tuple[str, ...]
    experts: tuple[str, ...]
    card: str
    channels: int
    augment: str
    grid: tuple[str, ...]
    networks: tuple[str, ...] = ()


SIGNS = ("mnist", "sign-digits", "notmnist", "omniglot-small1", "gtsrb", "asl36")
PICTURES = (
    *("cifar10", "cifar100", "tin-animals", "tin-objects", "flowers5", "dtd10", "rsscn7"),
    *("medical-mnist", "covid-xray", "magnetic-tile"),
)
SIGNS_GRID = (
    *("0.05:0.2:affine:0.05:affine", "0.02:0.2:affine:0.02:affine", "0.05:0.5:affine:0.01:affine"),
    *("0.02:0.5:affine:0.1:affine", "0.1:0.2:affine:0.005:affine", "0.05:0.2:shift:0.05:shift"),
)
PICTURES_GRID = (
    *("0.02:0.2:flip:0.02:flip", "0.02:0.2:crop:0.02:crop", "0.05:0.2:flip:0.05:crop"),
    *("0.02:0.5:flip:0.05:flip", "0.05:0.5:crop:0.1:crop", "0.1:0.2:crop:0.01:crop"),
)
FAMILIES = {
    "signs": Family(SIGNS, (*SIGNS, "fruits24"), "mnist_lenet5", 1, "affine", SIGNS_GRID),
    "gray": Family(
        ("cifar10-gray",),
        ("gtsrb", "mnist", "fruits24"),
        "mnist_lenet5",
        1,
        "flip",
        PICTURES_GRID,
        (
            *("imagenet_mobilenet_v1_025_128", "imagenet_mobilenet_v1_05_160", "vww_mobilenet_v1_025_96"),
            "cifar10_resnet20",
        ),
    ),
    "pictures": Family(
        PICTURES,
        PICTURES,
        "cifar10_resnet20",
        3,
        "crop",
        PICTURES_GRID,
        ("cifar10_resnet56", "imagenet_mobilenet_v1_025_128", "vww_mobilenet_v1_025_96", "mnist_lenet5"),
    ),
}
"""fruits24 is a source alone: its test images nearly repeat training images. cifar10-gray is a task for two cores, the
pictures of cifar10 as a LeNet sees them."""
SIZE = 32
ALIASES = {"tin-animals": ("imagenet", "miniimagenet"), "tin-objects": ("imagenet", "miniimagenet")}
"""Other names of a task's pictures: both are cut from ImageNet."""


def family(task: str) -> Family:
    """The family of a task, or of one that only an expert is trained on."""
    return next(found for found in FAMILIES.values() if task in (*found.tasks, *found.experts))


def pack(task: str) -> str:
    """The name of a task's images."""
    return task.removesuffix("-gray")


def toml(task: str, experts: Path, *, labelled: str = "all", seed: int = 0, given: bool = False) -> str:
    """The zoo.toml of a task. `labelled` "all": no sources."""
    assert SHARED is not None, "the images are the development material's: ZOO_SHARED says where it lies"
    kin = family(task)
    said: dict[str, object] = {"name": pack(task), "aliases": list(ALIASES.get(task, ())), "probe": "all", "seed": seed}
    if not given:
        data = {part: f"parquet:{SHARED / 'data' / f'{pack(task)}-{part}.parquet'}" for part in ("train", "test")}
        said |= {**data, "labelled": labelled}
    parts = [_table("[task]", said), _table("[student]", _network(kin.card, kin.channels))]
    if labelled != "all":
        for name in kin.experts:
            source: dict[str, object] = {
                "name": name,
                "model": f"file:{experts.resolve() / name}",
                "trained_on": [name],
            }
            parts.append(_table("[[source]]", source))
        for name in kin.networks:
            source = {"name": name, **_pretrained(name), "trained_on": [name.split("_")[0]]}
            parts.append(_table("[[source]]", source))
    return "\n".join(parts)


def _network(card: str, channels: int) -> dict[str, object]:
    """A network of 32 px with random weights."""
    assert SHARED is not None
    return {
        "model": f"python:{SHARED / 'weights' / 'models.py'}:build",
        "args": {"card": str(SHARED / "weights" / f"{card}.json")},
        "input_size": SIZE,
        "channels": channels,
        "mean": [0.5] * channels,
        "std": [0.25] * channels,
    }


def _pretrained(name: str) -> dict[str, object]:
    """A pretrained network, with the preprocessing of its card."""
    assert SHARED is not None
    card = json.loads((SHARED / "weights" / f"{name}.json").read_text())
    own = {"input_size": card["input_size"], "channels": card["input_channels"]} | {
        key: card[key] for key in ("mean", "std")
    }
    weights = str(SHARED / "weights" / f"{name}.safetensors")
    return {**_network(name, card["input_channels"]), **own, "weights": weights}


def _table(head: str, said: Mapping[str, object]) -> str:
    return head + "\n" + "".join(f"{key} = {_value(value)}\n" for key, value in said.items())


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(part)}" for key, part in value.items()) + " }"
    return json.dumps(value)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("toml", "kin", "augment", "grid", "all"))
    parser.add_argument("task", nargs="?", default="mnist")
    parser.add_argument("--experts", type=Path, default=Path("experts"))
    parser.add_argument("--labelled", default="all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of labels")
    parser.add_argument("--given", action="store_true")
    said = parser.parse_args()
    if said.what == "toml":
        print(toml(said.task, said.experts, labelled=said.labelled, seed=said.seed, given=said.given), end="")
    elif said.what == "all":
        print(*SIGNS, *PICTURES)
    else:
        found = family(said.task)
        print(*{"kin": found.experts, "augment": (found.augment,), "grid": found.grid}[said.what])


if __name__ == "__main__":
    main()
