"""Whether the verdict asks for the right number of labels: those asked for, over draws, against those that decide.

    OMP_NUM_THREADS=1 python -m tests.claims.labels_asked simulated --tasks 20
    OMP_NUM_THREADS=1 python -m tests.claims.labels_asked targets WORK/scratch    # WORK as evidence.sh leaves it

A source is decided by a number of labels if at least 80 % of its draws say that it fits or that it does not, there and
at every larger number of the grid; between two numbers the share is interpolated in the logarithm. The labels asked
for are the median over the draws that cannot tell, of a source that most draws at that number cannot tell.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli import registry, specs

from .verdict import Task, draw_labels, estimate_sources, judge, simulate_task, tasks_of_packs

GRID = (20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640, 960)
ASKED = (30, 60)
DECIDED = 0.8
FACTOR = 3.0


@dataclass(frozen=True)
class Asked:
    """One source of a task: the labels asked for at `size`, and those that decide, None if the grid ends before."""

    task: str
    source: int
    size: int
    asked: float
    decides: float | None
    most: int

    @property
    def ratio(self) -> float:
        """Asked over needed; NaN if neither is known within the grid."""
        return float("nan") if self.decides is None else self.asked / self.decides

    @property
    def is_right(self) -> bool:
        """Within the factor of each other; where the grid ends before, asked for more than a third of it."""
        if self.decides is None:
            return self.asked * FACTOR >= self.most
        return 1 / FACTOR <= self.ratio <= FACTOR


def number_that_decides(sizes: Sequence[int], shares: Sequence[float]) -> float | None:
    """The number of labels from which on the share of draws that decide is DECIDED or more; None: beyond the sizes."""
    last = max((i for i, share in enumerate(shares) if share < DECIDED), default=-1)
    if last == len(sizes) - 1:
        return None
    if last == -1:
        return float(sizes[0])
    below, above = shares[last], shares[last + 1]
    place = (DECIDED - below) / (above - below)
    return float(np.exp((1 - place) * np.log(sizes[last]) + place * np.log(sizes[last + 1])))


def ask(task: Task, draws: int, metric: str) -> list[Asked]:
    """The sources of a task that most draws at a number of ASKED cannot tell."""
    margin = registry.METRICS[specs.resolve("metric", metric).name].margin
    names = [str(row) for row in range(len(task.features) - 1)]
    sizes, decided, asked = [], [], {}
    for size in GRID:
        states, numbers = [], []
        for seed in range(draws):
            rows = draw_labels(task.labels, size, True, seed)
            if rows is None or len(rows) > len(task.labels) // 2:
                continue
            labels = task.labels[rows]
            estimates = estimate_sources([part[rows] for part in task.features], labels, metric, seed)
            result = judge(estimates, len(rows), len(np.unique(labels)), margin)
            states.append([result.fit.get(name, "unknown") != "unknown" for name in names])
            numbers.append([result.labels_needed.get(name) or np.nan for name in names])
        if states:
            sizes.append(size)
            decided.append(np.mean(states, axis=0))
            asked[size] = np.array(numbers, dtype=np.float64)
    rows = []
    for size in ASKED:
        for s in range(len(names)):
            if size in asked and decided[sizes.index(size)][s] < 0.5:
                median = float(np.nanmedian(asked[size][:, s]))
                needed = number_that_decides(sizes, [float(share[s]) for share in decided])
                rows.append(Asked(task.name, s, size, median, needed, sizes[-1]))
    return rows


def format_rows(rows: Sequence[Asked]) -> str:
    """A table, a row for each number of labels."""
    lines = [
        "| labels | undecided | within a factor of 3 | asked over needed, median | 10 % | 90 % | beyond the grid |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for size in ASKED:
        chosen = [row for row in rows if row.size == size]
        ratios = [row.ratio for row in chosen if row.decides is not None]
        beyond = [row for row in chosen if row.decides is None]
        if not chosen:
            continue
        low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9)) if ratios else (np.nan,) * 3
        right = sum(row.is_right for row in chosen)
        lines.append(
            f"| {size} | {len(chosen)} | {100 * right / len(chosen):.0f} % | {middle:.2f} | {low:.2f} | {high:.2f} "
            f"| {len(beyond)}, of which {sum(row.is_right for row in beyond)} right |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("simulated", "targets"))
    parser.add_argument("work", type=Path, nargs="?")
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--metric", default=registry.DEFAULT_METRIC)
    parser.add_argument("--each", action="store_true", help="a line for each source")
    arguments = parser.parse_args()
    metric = arguments.metric
    tasks: Iterator[Task]
    if arguments.what == "simulated":
        tasks = (simulate_task(seed, metric) for seed in range(arguments.tasks))
    else:
        tasks = tasks_of_packs(arguments.work, metric, everything=True)
    rows = [row for task in tasks for row in ask(task, arguments.draws, metric)]
    if arguments.each:
        for row in rows:
            print(row.task, row.source, row.size, row.asked, row.decides, f"{row.ratio:.2f}")
    print(format_rows(rows))


if __name__ == "__main__":
    main()
