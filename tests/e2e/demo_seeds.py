"""The demonstration over many seeds, as a table: `python -m tests.e2e.demo_seeds --seeds 20`.

The seed decides everything random: the images and first weights of the sources, the labels, the students.
"""

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from zoo_cli import console
from zoo_cli.pipeline import demo
from zoo_cli.store import parquet_files

RELATED = "printed-digits"


def measure(place: Path, seed: int) -> dict[str, Any]:
    """One demonstration: the best-ranked source, the accuracies of the students, the flips of `heads`, seconds."""
    with console.use(console.Console(out=io.StringIO(), err=io.StringIO())):
        started = time.monotonic()
        rows = demo.run_demo(place, seed)
        seconds = time.monotonic() - started
    ranking = parquet_files.read_parquet(place / "ranking.parquet").to_pylist()
    results = {row.student: row for row in rows}
    return {
        "seed": seed,
        "first": next(row["source"] for row in ranking if row["rank"] == 1),
        **{name: row.accuracy for name, row in results.items()},
        "gained": results["heads"].gained,
        "lost": results["heads"].lost,
        "seconds": seconds,
    }


def main() -> None:
    """Print a line per seed, then means, standard deviations, and how often the expected order holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    count = parser.parse_args().seeds
    students = list(demo.STUDENTS)
    print(f"| seed | first | {' | '.join(students)} | gained | lost |")
    print("|" + "---|" * (len(students) + 4))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(count):
            row = measure(Path(folder) / str(seed), seed)
            rows.append(row)
            shown = " | ".join(f"{100 * row[name]:.1f}" for name in students)
            print(
                f"| {seed} | {row['first']} | {shown} | {row['gained']} | {row['lost']} |",
                flush=True,
            )
    for title, figure in (("mean", statistics.mean), ("standard deviation", statistics.pstdev)):
        shown = " | ".join(f"{100 * figure([row[name] for row in rows]):.1f}" for name in students)
        flips = " | ".join(f"{figure([row[name] for row in rows]):.1f}" for name in ("gained", "lost"))
        print(f"| {title} | | {shown} | {flips} |")
    first = sum(row["first"] == RELATED for row in rows)
    print(f"\n{RELATED} first in {first} of {count}; seconds a run: ", end="")
    print(f"{min(row['seconds'] for row in rows):.0f} to {max(row['seconds'] for row in rows):.0f}")
    for better, worse in (
        ("nearest", "labels-only"),
        ("weighted", "labels-only"),
        ("nearest", "equal"),
        ("weighted", "equal"),
        ("heads", "labels-only"),
        ("heads", "weighted"),
    ):
        wins = sum(row[better] > row[worse] for row in rows)
        print(f"{better} above {worse} in {wins} of {count}")


if __name__ == "__main__":
    main()
