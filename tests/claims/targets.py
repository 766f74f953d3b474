"""The tasks of the claims and the zoo of each: prints the zoo.toml of a task.

    python -m tests.claims.targets toml mnist --experts WORK/experts --labelled 5/class > zoo.toml
    python -m tests.claims.targets experts mnist     # the tasks whose experts its zoo holds
    python -m tests.claims.targets candidates mnist --trials 3 nearest p=12    # of a search, for zoo tune
    python -m tests.claims.targets base mnist        # the flags of labels only in a search, its first setting
    python -m tests.claims.targets all               # the targets of the full size

The zoo of a task: an expert of every task of its family, and the family's pretrained networks. The expert of the task
itself is among them, to be excluded because it has seen the task. With all labels, as for training an expert, there are
no sources.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..shared_material import SHARED
from .settings import ALIKE, BASE, method_slug


@dataclass(frozen=True)
class Family:
    """Tasks with the same kind of student: `tasks` are targets, `experts` the tasks whose experts their zoos hold.

    `augment`: of experts. `grid`: the settings of a search in order: learning rate, lam, augmentation, then the
    learning rate and augmentation of labels only.
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
"""fruits24 is only a source: its test images nearly repeat training images. cifar10-gray is a task for two cores:
cifar10 in gray, for a LeNet."""
SIZE = 32
ALIASES = {"tin-animals": ("imagenet", "miniimagenet"), "tin-objects": ("imagenet", "miniimagenet")}
"""Other names of a task's images: both come from ImageNet."""


def find_family(task: str) -> Family:
    """The family of a task, or of a task that only has an expert."""
    return next(family for family in FAMILIES.values() if task in (*family.tasks, *family.experts))


def pack_name(task: str) -> str:
    """The name of the files with a task's images."""
    return task.removesuffix("-gray")


def format_candidates(task: str, trials: int, methods: Sequence[str]) -> str:
    """The candidates of a search: equally many settings of every method. The first setting of labels only is not among
    them: all are compared with it.
    """
    settings = [setting.split(":") for setting in find_family(task).grid[:trials]]
    tables = []
    for method in (method for method in methods if method not in ALIKE):
        for number, (lr, lam, augment, only_lr, only_augment) in enumerate(settings, 1):
            name: dict[str, object] = {"name": f"{method_slug(method)}-{number}"}
            keys: dict[str, object] = {"lr": float(lr), "lam": float(lam), "augment": augment}
            if method == BASE:
                if number > 1:
                    only = {"objective": BASE, "lr": float(only_lr), "augment": only_augment}
                    tables.append(format_table("[[candidate]]", {**name, **only}))
            elif method == "fixmatch":
                tables.append(format_table("[[candidate]]", {**name, "objective": method, **keys}))
            else:
                weighted = {"objective": "cross-task", "weighting": method}
                tables.append(format_table("[[candidate]]", {**name, **weighted, **keys}))
    return "\n".join(tables)


def format_base(task: str) -> str:
    """The flags of labels only in a search."""
    lr, augment = find_family(task).grid[0].split(":")[3:]
    return f"--lr {lr} --augment {augment}"


def format_toml(task: str, experts: Path, *, labelled: str = "all", seed: int = 0) -> str:
    """The zoo.toml of a task. `labelled` "all": no sources."""
    assert SHARED is not None, "the images belong to the development material; set ZOO_SHARED to its folder"
    family, name = find_family(task), pack_name(task)
    keys: dict[str, object] = {"name": name, "aliases": list(ALIASES.get(task, ())), "probe": "all", "seed": seed}
    data = {part: f"parquet:{SHARED / 'data' / f'{name}-{part}.parquet'}" for part in ("train", "test")}
    keys |= {**data, "labelled": labelled}
    parts = [format_table("[task]", keys), format_table("[student]", _network(family.card, family.channels))]
    if labelled != "all":
        for name in family.experts:
            source: dict[str, object] = {
                "name": name,
                "model": f"file:{experts.resolve() / name}",
                "trained_on": [name],
            }
            parts.append(format_table("[[source]]", source))
        for name in family.networks:
            source = {"name": name, **pretrained(name), "trained_on": [name.split("_")[0]]}
            parts.append(format_table("[[source]]", source))
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


def pretrained(name: str) -> dict[str, object]:
    """A pretrained network, with the preprocessing of its card."""
    assert SHARED is not None
    card = json.loads((SHARED / "weights" / f"{name}.json").read_text())
    view = {"input_size": card["input_size"], "channels": card["input_channels"]} | {
        key: card[key] for key in ("mean", "std")
    }
    weights = str(SHARED / "weights" / f"{name}.safetensors")
    return {**_network(name, card["input_channels"]), **view, "weights": weights}


def format_table(header: str, keys: Mapping[str, object]) -> str:
    return header + "\n" + "".join(f"{key} = {_format_value(value)}\n" for key, value in keys.items())


def _format_value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_format_value(part)}" for key, part in value.items()) + " }"
    return json.dumps(value)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("toml", "experts", "augment", "candidates", "base", "all"))
    parser.add_argument("task", nargs="?", default="mnist")
    parser.add_argument("method", nargs="*")
    parser.add_argument("--trials", type=int, default=3, help="settings of each method")
    parser.add_argument("--experts", type=Path, default=Path("experts"))
    parser.add_argument("--labelled", default="all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw of labels")
    arguments = parser.parse_intermixed_args()
    task = arguments.task
    if arguments.what == "toml":
        print(format_toml(task, arguments.experts, labelled=arguments.labelled, seed=arguments.seed), end="")
    elif arguments.what == "candidates":
        print(format_candidates(task, arguments.trials, arguments.method), end="")
    elif arguments.what == "base":
        print(format_base(task))
    elif arguments.what == "all":
        print(*SIGNS, *PICTURES)
    else:
        family = find_family(task)
        print(*(family.experts if arguments.what == "experts" else (family.augment,)))


if __name__ == "__main__":
    main()
