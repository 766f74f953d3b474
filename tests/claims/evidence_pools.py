"""The pools of heads of the evidence: how right they are on the unlabelled images, and what was estimated.

python -m tests.claims.evidence_pools WORK      # WORK as evidence.sh leaves it; prints a table
"""

import argparse
from pathlib import Path

from zoo_cli.store import feature_files
from zoo_cli.store.head_store import load_record
from zoo_cli.store.manifest import load_manifest

from .evidence_targets import choose_targets

POOL = "head=ridge-product"


def describe_pool(workspace: Path, labels: str) -> tuple[str, bool]:
    """How many unlabelled images a pool answers right, with its estimate, in percent; whether the interval has that."""
    folder = workspace / "labels" / labels / "pseudo" / POOL
    images = load_manifest(workspace / "labels" / labels / "manifest.parquet", workspace)
    rows = images.where(split=("unlabelled",))
    answers = feature_files.load_outputs(folder, ids=images.ids[rows], columns=("probs",), output="softmax").probs
    assert answers is not None
    right = float((answers.argmax(axis=1) == images.truth()[rows]).mean())
    estimate = load_record(folder).estimate
    low, high = 100 * estimate.low, 100 * estimate.high
    return (
        f"{100 * right:.1f}, {100 * estimate.accuracy:.1f} [{low:.1f}, {high:.1f}]",
        estimate.low <= right <= estimate.high,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--draw", type=int, default=0)
    arguments = parser.parse_args()
    print("| target | 5 labels a class: truth, estimate | 20 labels a class |\n|---|---|---|")
    inside = []
    for target in sorted(choose_targets()):
        cells = []
        for labels in ("few", "many"):
            text, has_truth = describe_pool(arguments.work / "scratch" / target, f"{labels}-{arguments.draw}")
            cells.append(text)
            inside.append(has_truth)
        print(f"| {target} | {' | '.join(cells)} |")
    print(f"\nThe interval has the truth in {sum(inside)} of {len(inside)}.")


if __name__ == "__main__":
    main()
