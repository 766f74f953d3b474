"""The students of the claims side by side: accuracy on the test images, and the gain over labels only.

    python -m tests.claims.table [--only METHOD,METHOD] WORK/few WORK/many

A folder holds a workspace of every target. All in percent. Accuracy: mean of a method's runs (seeds; of "single" one of
every source, of "random" the draws), with the binomial standard error of one run, and over several seeds the standard
deviation. Gain: the difference to labels only, with its paired standard error over the test images: how much another
draw of test images would move it, not another draw of labels or weights.
"""

import argparse
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli.evaluation import flip_statistics, predictions

from .choose import method

BASE = "labels-only"
ORDER = (BASE, "fixmatch", "single", "nearest", "equal", "random", "p1", "p6", "p12")


@dataclass(frozen=True)
class Students:
    """The runs of one method for one target: by seed, the share of runs (N,) that have each test image right."""

    right: dict[int, np.ndarray]

    @property
    def share(self) -> np.ndarray:
        """The mean over seeds (N,)."""
        return np.asarray(np.mean(list(self.right.values()), axis=0))

    @property
    def spread(self) -> float | None:
        """The standard deviation of accuracy over seeds; None of a single one."""
        if len(self.right) < 2:
            return None
        return float(np.std([share.mean() for share in self.right.values()], ddof=1))


def correct(run: Path) -> np.ndarray:
    """Which of its images (N,) a run has right."""
    told = predictions.load_predictions(run)
    return np.asarray(flip_statistics.predicted_classes(told.logits) == told.labels)


def students(workspace: Path) -> dict[str, Students]:
    """Every method's finished runs in a workspace."""
    found: dict[str, dict[int, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted((workspace / "runs").glob("*/predictions.parquet")):
        name, _, seed = path.parent.name.rpartition("-s")
        found[method(name)][int(seed)].append(correct(path.parent))
    return {
        name: Students({seed: np.mean(runs, axis=0) for seed, runs in seeds.items()}) for name, seeds in found.items()
    }


def difference(after: np.ndarray, before: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of the gain over test images, from shares of runs (N,) that have each of them right."""
    gains = after - before
    return float(gains.mean()), float(gains.std(ddof=1) / math.sqrt(len(gains)))


def table(folder: Path, only: list[str]) -> str:
    """The methods of one folder of workspaces, in markdown; the gain of each averaged over targets at the end."""
    places = sorted(path.parent for path in folder.glob("*/runs"))
    targets = {place.name: students(place) for place in places}
    names = [name for name in dict.fromkeys(n for found in targets.values() for n in found) if not only or name in only]
    names.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    sizes = {target: len(found[BASE].share) for target, found in targets.items()}
    head = [f"{target}, {size} test images | gain" for target, size in sizes.items()]
    lines = [f"| method | {' | '.join(head)} | mean gain |", "|---|" + "---:|" * (2 * len(targets) + 1)]
    for name in names:
        cells, gains = [], []
        for found in targets.values():
            if name not in found:
                cells.append(" | ")
                continue
            accuracy = float(found[name].share.mean())
            error = math.sqrt(accuracy * (1 - accuracy) / len(found[name].share))
            spread = found[name].spread
            more = "" if spread is None else f" (sd {100 * spread:.1f})"
            gain, doubt = difference(found[name].share, found[BASE].share)
            gains.append(gain)
            told = "" if name == BASE else f"{100 * gain:+.1f} ± {100 * doubt:.1f}"
            cells.append(f"{100 * accuracy:.1f} ± {100 * error:.1f}{more} | {told}")
        mean = "" if name == BASE else f"{100 * sum(gains) / len(gains):+.1f}"
        lines.append(f"| {name} | {' | '.join(cells)} | {mean} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="+")
    parser.add_argument("--only", default="")
    said = parser.parse_args()
    for folder in said.folder:
        print(f"{folder.name}\n\n{table(folder, said.only.split(',') if said.only else [])}\n")


if __name__ == "__main__":
    main()
