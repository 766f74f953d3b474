"""The targets, sources and candidates of the evidence (protocol.md): prints names, flags, and the zoo.toml of a target.

python -m tests.claims.evidence_targets targets                    # eight, drawn with seed 18
python -m tests.claims.evidence_targets domains                    # what experts are trained on
python -m tests.claims.evidence_targets toml dtd10 scratch small --experts WORK/experts > zoo.toml
python -m tests.claims.evidence_targets candidates small           # of a search, for zoo tune
"""

import argparse
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from .expert_targets import DOMAINS, format_network, image_specs, network
from .settings import BASE, method_slug
from .targets import ALIASES, format_table, pretrained

ELIGIBLE = (
    *("asl36", "cifar10", "covid-xray", "dtd10", "flowers5", "gtsrb", "magnetic-tile", "medical-mnist", "mnist"),
    *("notmnist", "rsscn7", "sign-digits", "tin-animals", "tin-objects"),
)
"""Not fruits24, whose test images nearly repeat training images; not omniglot-small1, which has 15 images a class; not
cifar100, on which the pretrained student was trained."""
TARGETS = 8
PRETRAINING = "cifar100"
EXPERTS = tuple(domain for domain in DOMAINS if domain != PRETRAINING)
NETWORKS = (
    *("imagenet_mobilenet_v1_025_128", "imagenet_mobilenet_v1_05_160", "cifar10_resnet20", "vww_mobilenet_v1_025_96"),
    *("mnist_lenet5", "miniimagenet_conv4_encoder", "omniglot_conv4_encoder"),
)
NETWORK = "four_convolutions"
"""The module of the student, and of the network of every expert."""
SOURCES = 10
SEED = 18
METHODS: Mapping[str, Mapping[str, object]] = {
    BASE: {"objective": BASE},
    "fixmatch": {"objective": "fixmatch"},
    "heads": {"objective": "heads"},
    **{weighting: {"objective": "cross-task", "weighting": weighting} for weighting in ("equal", "p=12")},
}
"""The methods that are searched, with the keys of their candidates."""


@dataclass(frozen=True)
class Size:
    """How much of the protocol is run. `train`, `test`: images of a target, None for all of them.

    `settings`: (learning rate, augmentation), the same for every method of a search.
    """

    train: int | None
    test: int | None
    settings: tuple[tuple[float, str], ...]


SIZES = {
    "small": Size(1500, 1000, ((0.03, "affine"), (0.03, "flip"))),
    "full": Size(None, None, ((0.03, "affine"), (0.03, "flip"), (0.1, "affine"), (0.1, "crop"))),
}


def choose_targets() -> tuple[str, ...]:
    """The targets, in the order in which they were drawn."""
    return tuple(random.Random(SEED).sample(ELIGIBLE, TARGETS))


def choose_sources(target: str) -> tuple[str, ...]:
    """Ten of the experts and networks that have not seen the target, drawn by the seed and its name."""
    names = (target, *ALIASES.get(target, ()))
    unseen = [name for name in (*EXPERTS, *NETWORKS) if name.split("_")[0] not in names]
    if "imagenet" in names:
        unseen = [name for name in unseen if name not in ALIASES]
    return tuple(sorted(random.Random(f"{SEED} {target}").sample(unseen, SOURCES)))


def make_images(target: str, size: Size, folder: Path) -> Mapping[str, str]:
    """The images of a target, train and test: its packs, or their first images, written beside the workspaces."""
    images = dict(image_specs(target))
    for part, count in (("train", size.train), ("test", size.test)):
        if count is not None:
            path = folder / f"{target}-{part}.parquet"
            if not path.exists():
                folder.mkdir(parents=True, exist_ok=True)
                pq.write_table(pq.read_table(images[part].removeprefix("parquet:")).slice(0, count), path)
            images[part] = f"parquet:{path.resolve()}"
    return images


def format_toml(target: str, student: str, size: Size, experts: Path) -> str:
    """The zoo.toml of a target for one of the students. Labels come from label sets."""
    images = make_images(target, size, experts.parent / "images")
    keys = {"name": target, "aliases": list(ALIASES.get(target, ())), **images, "labelled": "5/class", "seed": 0}
    own = network(NETWORK)
    if student == "pretrained":
        own = {"model": f"file:{experts.resolve() / PRETRAINING}"}
    parts = [format_table("[task]", keys), format_table("[student]", own)]
    parts += [format_table("[[source]]", describe_source(name, experts)) for name in choose_sources(target)]
    return "\n".join(parts)


def describe_source(name: str, experts: Path) -> dict[str, object]:
    if name in EXPERTS:
        return {"name": name, "model": f"file:{experts.resolve() / name}"}
    return {"name": name, **pretrained(name), "trained_on": [name.split("_")[0]]}


def format_networks(toml: Path, draw: str) -> str:
    """The zoo.toml of a target, and as its sources the networks that teach one another, see evidence.sh."""
    task = toml.read_text().partition("[[source]]")[0]
    sources = [{"name": name, "model": f"file:runs/{name}-{draw}"} for name in ("before", "weaker", "stronger")]
    return task + "\n".join(format_table("[[source]]", source) for source in sources)


def format_candidates(size: Size) -> str:
    """The candidates of a search: every method with the same settings. The first of labels only is not among them: all
    are compared with it."""
    tables = []
    for method, keys in METHODS.items():
        for number, (lr, augment) in enumerate(size.settings, 1):
            if (method, number) != (BASE, 1):
                name = f"{method_slug(method)}-{number}"
                tables.append(format_table("[[candidate]]", {"name": name, **keys, "lr": lr, "augment": augment}))
    return "\n".join(tables)


def format_base(size: Size) -> str:
    """The flags of labels only in a search, its first setting."""
    lr, augment = size.settings[0]
    return f"--lr {lr} --augment {augment}"


def main() -> None:
    parser = argparse.ArgumentParser()
    kinds = ("targets", "domains", "data", "network", "toml", "networks", "candidates", "base")
    parser.add_argument("what", choices=kinds)
    parser.add_argument("name", nargs="*")
    parser.add_argument("--experts", type=Path, default=Path("experts"))
    arguments = parser.parse_args()
    names = arguments.name
    match arguments.what:
        case "targets":
            print(*choose_targets())
        case "domains":
            print(PRETRAINING, *EXPERTS)
        case "data":
            images = image_specs(names[0])
            print(f"--data {names[0]}={images['train']} --test {names[0]}={images['test']}")
        case "network":
            print(format_network(NETWORK), end="")
        case "toml":
            target, student, size = names
            print(format_toml(target, student, SIZES[size], arguments.experts), end="")
        case "networks":
            print(format_networks(Path(names[0]), names[1]), end="")
        case "candidates":
            print(format_candidates(SIZES[names[0]]))
        case "base":
            print(format_base(SIZES[names[0]]))


if __name__ == "__main__":
    main()
