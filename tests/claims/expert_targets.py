"""The domains, targets and sources of the claims about experts: prints names, and the zoo.toml of a target.

    python -m tests.claims.expert_targets domains            # what experts are trained on
    python -m tests.claims.expert_targets targets small      # three targets, drawn with seed 0
    python -m tests.claims.expert_targets network > zoo.toml # of the folder in which experts are trained
    python -m tests.claims.expert_targets toml dtd10 small --experts WORK/experts > zoo.toml

Sources of the full size: the expert of each domain, and each domain of the three experts of all domains. Of the small
size: the expert of each domain and four domains of multi-bn, the general one and three drawn with seed 0.
"""

import argparse
import random
from collections.abc import Mapping
from pathlib import Path

from ..shared_material import SHARED
from .targets import ALIASES, SIZE, format_table

DOMAINS = ("cifar10", "cifar100", "tin-animals", "tin-objects", "flowers5", "fruits24", "gtsrb", "rsscn7")
GENERAL = "tin-objects"
TARGETS = ("dtd10", "medical-mnist", "covid-xray", "asl36", "notmnist", "magnetic-tile")
KINDS = ("shared", "multi-bn", "adapter")
SMALL_TARGETS = 3
SMALL_DOMAINS = 3


def choose_targets(size: str) -> tuple[str, ...]:
    return TARGETS if size == "full" else tuple(random.Random(0).sample(TARGETS, SMALL_TARGETS))


def choose_sources(size: str) -> dict[str, str]:
    """The sources by name: the folder of each in that of the experts, with its domain."""
    if size == "full":
        several = {f"{kind}-{domain}": f"{kind}#{domain}" for kind in KINDS for domain in DOMAINS}
    else:
        others = [domain for domain in DOMAINS if domain != GENERAL]
        domains = (GENERAL, *random.Random(0).sample(others, SMALL_DOMAINS))
        several = {f"multi-bn-{domain}": f"multi-bn#{domain}" for domain in domains}
    return {**{domain: domain for domain in DOMAINS}, **several}


def image_specs(name: str) -> Mapping[str, str]:
    """The images of a domain or target: train and test."""
    assert SHARED is not None, "the images belong to the development material; set ZOO_SHARED to its folder"
    return {part: f"parquet:{SHARED / 'data' / f'{name}-{part}.parquet'}" for part in ("train", "test")}


def network(module: str = "small_resnet") -> dict[str, object]:
    """The network of every expert and of the student, with random weights: that of a module beside this one."""
    return {
        "model": f"python:{Path(__file__).with_name(f'{module}.py')}:build",
        "input_size": SIZE,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }


def format_network(module: str = "small_resnet") -> str:
    source = {"name": "network", **network(module)}
    return format_table("[task]", {"name": "experts"}) + format_table("[[source]]", source)


def format_toml(target: str, size: str, experts: Path) -> str:
    """The zoo.toml of a target. All sources are of the one network; labels come from label sets."""
    keys = {"name": target, "aliases": list(ALIASES.get(target, ())), "probe": "all", "seed": 0}
    parts = [format_table("[task]", {**keys, **image_specs(target), "labelled": "20/class"})]
    parts.append(format_table("[student]", network()))
    for name, place in choose_sources(size).items():
        parts.append(format_table("[[source]]", {"name": name, "model": f"file:{experts.resolve() / place}"}))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("domains", "targets", "kinds", "data", "network", "toml"))
    parser.add_argument("name", nargs="*")
    parser.add_argument("--experts", type=Path, default=Path("experts"))
    arguments = parser.parse_args()
    names = arguments.name
    match arguments.what:
        case "domains":
            print(*DOMAINS)
        case "targets":
            print(*choose_targets(*names))
        case "kinds":
            print(*KINDS)
        case "data":
            for name in names:
                specs = image_specs(name)
                print(f"--data {name}={specs['train']} --test {name}={specs['test']}")
        case "network":
            print(format_network(), end="")
        case "toml":
            print(format_toml(*names, arguments.experts), end="")


if __name__ == "__main__":
    main()
