"""What knows nothing of the target on the published accuracies of the PARC benchmark: the prior and the depth.

    python -m tests.claims.controls oracles/controlled.csv

The file is that of the benchmark, with the columns Architecture, Source Dataset, Target Dataset and Oracle. Its depths
are those of the benchmark's constants. Prints what `zoo evaluate ranking` says.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

from zoo_cli import __main__

DEPTHS = {"resnet50": 50, "resnet18": 18, "googlenet": 22, "alexnet": 8, "resnet101": 101}
KEYS = ("Architecture", "Source Dataset", "Target Dataset")


def write_depths(accuracies: Path, out: Path) -> None:
    """A table of scores with one metric, the depth of the source's architecture."""
    with accuracies.open(newline="") as file, out.open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow((*KEYS, "depth"))
        for row in csv.DictReader(file):
            writer.writerow((*(row[key] for key in KEYS), DEPTHS[row["Architecture"]]))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("accuracies", type=Path)
    path = parser.parse_args().accuracies
    with tempfile.TemporaryDirectory() as folder:
        scores = Path(folder) / "depth.csv"
        write_depths(path, scores)
        return __main__.main(["evaluate", "ranking", str(scores), str(path), "--format", "table"])


if __name__ == "__main__":
    sys.exit(main())
