"""The leave-one-out accuracy of ridge heads, as `zoo rank` shows it, against their accuracy on all other images.

    OMP_NUM_THREADS=1 python -m tests.claims.head_accuracy WORK --draws 3      # WORK as verdict.sh leaves it

Labels are drawn by class; one head for each source and the student.
"""

import argparse
from pathlib import Path

import numpy as np

from zoo_cli.heads.likelihood import accuracy_interval
from zoo_cli.heads.ridge import ridge
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

from .verdict import draw_labels, load_features

SIZES = (30, 60, 120)


def compare_head(features: Features, labels: np.ndarray, rows: np.ndarray) -> tuple[float, bool, float]:
    """Leave-one-out accuracy less that on the other images, whether its interval has that, and its width."""
    known = np.full(len(labels), -1)
    known[rows] = labels[rows]
    targets = TargetLabels.of(known, int(labels.max()) + 1)
    head = ridge(features, targets)
    assert head.accuracy is not None, "two labels a class"
    low, high = accuracy_interval(head.accuracy, int(targets.judged.sum()))
    answers = head.answer(features.values[targets.unlabelled]).argmax(axis=1)
    true = float((answers == labels[targets.unlabelled]).mean())
    return head.accuracy - true, low <= true <= high, high - low


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    results: dict[int, list[tuple[float, bool, float]]] = {size: [] for size in SIZES}
    print("| data set | labels | heads | leave one out less truth | interval covers | width |\n|---|" + "---:|" * 5)
    for folder in sorted(path.parent for path in arguments.work.glob("*/manifest.parquet")):
        _, features, labels = load_features(folder)
        sources = [Features.of(values) for values in features]
        for size in SIZES:
            draws = (draw_labels(labels, size, True, seed) for seed in range(arguments.draws))
            rows = [compare_head(source, labels, draw) for draw in draws if draw is not None for source in sources]
            results[size] += rows
            if rows:
                print(format_row(folder.name, size, rows))
    for size, rows in results.items():
        print(format_row("all", size, rows))


def format_row(name: str, size: int, rows: list[tuple[float, bool, float]]) -> str:
    bias, covered, width = (100 * float(np.mean(part)) for part in zip(*rows, strict=True))
    return f"| {name} | {size} | {len(rows)} | {bias:+.1f} | {covered:.0f} % | {width:.0f} |"


if __name__ == "__main__":
    main()
