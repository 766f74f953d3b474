"""The students of the claims side by side: accuracy on the test images, and the gain over labels only.

    python -m tests.claims.table [--only METHOD,METHOD] WORK/few WORK/many

A folder holds a workspace of every target. All in percent. Accuracy: the mean of a method's runs (its seeds; of
"single" one run of every source, of "random" the draws), with the binomial standard error of one run and, over several
seeds, the standard deviation. Gain: the difference to labels only, with its paired standard error over the test images:
how much another draw of test images would change it, not another draw of labels or weights.
"""

import argparse
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli.evaluation import flip_statistics, predictions

from .choose import method_name

BASE = "labels-only"
ORDER = (BASE, "fixmatch", "single", "nearest", "equal", "random", "p1", "p6", "p12")


@dataclass(frozen=True)
class Students:
    """The runs of one method for one target: by seed, the share of runs (N,) that predict each test image right."""

    right: dict[int, np.ndarray]

    @property
    def share(self) -> np.ndarray:
        """The mean over seeds (N,)."""
        return np.asarray(np.mean(list(self.right.values()), axis=0))

    @property
    def spread(self) -> float | None:
        """The standard deviation of the accuracy over seeds; None for a single one."""
        if len(self.right) < 2:
            return None
        return float(np.std([share.mean() for share in self.right.values()], ddof=1))


def is_correct(run: Path) -> np.ndarray:
    """Whether a run predicts each of its images right, bool (N,)."""
    stored = predictions.load_predictions(run)
    return np.asarray(flip_statistics.predicted_classes(stored.logits) == stored.labels)


def load_students(workspace: Path) -> dict[str, Students]:
    """The finished runs of every method in a workspace."""
    methods: dict[str, dict[int, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted((workspace / "runs").glob("*/predictions.parquet")):
        name, _, seed = path.parent.name.rpartition("-s")
        methods[method_name(name)][int(seed)].append(is_correct(path.parent))
    return {
        name: Students({seed: np.mean(runs, axis=0) for seed, runs in seeds.items()}) for name, seeds in methods.items()
    }


def paired_gain(after: np.ndarray, before: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of the gain over test images, from the shares of runs (N,) that predict each right."""
    gains = after - before
    return float(gains.mean()), float(gains.std(ddof=1) / math.sqrt(len(gains)))


def format_table(folder: Path, only: list[str]) -> str:
    """The methods of one folder of workspaces, in markdown; the gain of each averaged over targets at the end."""
    workspaces = sorted(path.parent for path in folder.glob("*/runs"))
    targets = {workspace.name: load_students(workspace) for workspace in workspaces}
    every = dict.fromkeys(name for methods in targets.values() for name in methods)
    names = [name for name in every if not only or name in only]
    names.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    sizes = {target: len(methods[BASE].share) for target, methods in targets.items()}
    head = [f"{target}, {size} test images | gain" for target, size in sizes.items()]
    lines = [f"| method | {' | '.join(head)} | mean gain |", "|---|" + "---:|" * (2 * len(targets) + 1)]
    for name in names:
        cells, gains = [], []
        for methods in targets.values():
            if name not in methods:
                cells.append(" | ")
                continue
            accuracy = float(methods[name].share.mean())
            binomial = math.sqrt(accuracy * (1 - accuracy) / len(methods[name].share))
            spread = methods[name].spread
            deviation = "" if spread is None else f" (sd {100 * spread:.1f})"
            gain, error = paired_gain(methods[name].share, methods[BASE].share)
            gains.append(gain)
            shown = "" if name == BASE else f"{100 * gain:+.1f} ± {100 * error:.1f}"
            cells.append(f"{100 * accuracy:.1f} ± {100 * binomial:.1f}{deviation} | {shown}")
        mean = "" if name == BASE else f"{100 * sum(gains) / len(gains):+.1f}"
        lines.append(f"| {name} | {' | '.join(cells)} | {mean} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="+")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    for folder in arguments.folder:
        only = arguments.only.split(",") if arguments.only else []
        print(f"{folder.name}\n\n{format_table(folder, only)}\n")


if __name__ == "__main__":
    main()
