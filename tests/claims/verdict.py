"""How often the verdict errs and how often it decides, by the number of labels: simulated and on real packs.

    OMP_NUM_THREADS=1 python -m tests.claims.verdict simulated --draws 40
    OMP_NUM_THREADS=1 python -m tests.claims.verdict packs WORK --draws 10      # WORK as verdict.sh leaves it

Simulated: ten sources of 32 features and a student, 10 classes; the classes of source k lie `EFFECTS[k]`
standard deviations apart in each feature. Packs: the stored features of real networks and of a student with random
weights. The truth is the score on all labels (simulated: on LARGE samples). Labels are drawn by class, or with --plain
at random. A source truly fits if both true gaps are above 0.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli import config, registry, specs
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.probe import Probe
from zoo_cli.pipeline import leakage
from zoo_cli.ranking import uncertainty, verdict
from zoo_cli.ranking.uncertainty import Estimate
from zoo_cli.store import feature_files
from zoo_cli.store.manifest import load_manifest

SIZES = (15, 30, 60, 120, 240)
WIDTH, CLASSES, LARGE = 32, 10, 2000
EFFECTS = (0.0, 0.0, 0.0, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
STUDENT_EFFECT = 0.1


@dataclass(frozen=True, eq=False)
class Task:
    """The features of each source and, last, of the student; all labels; the true scores and chance levels."""

    name: str
    features: list[np.ndarray]
    labels: np.ndarray
    truth: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        """The smaller true gap of each source, to chance (0 on all labels) and to the student."""
        return np.minimum(self.truth[:-1], self.truth[:-1] - self.truth[-1])


def estimate_sources(features: Sequence[np.ndarray], labels: np.ndarray, metric: str, seed: int) -> list[Estimate]:
    """The scores of the sources and, last, the student, with all that the verdict reads."""
    method, target = specs.resolve("metric", metric), Classes.of(labels)
    replicates = uncertainty.draw_replicates(target, seed=seed)
    methods = [(method, registry.METRICS[method.name])]
    estimates = []
    for inputs in features:
        (estimate,) = uncertainty.estimate_scores(methods, Probe.of(inputs, target), seed=seed, replicates=replicates)
        assert isinstance(estimate, Estimate)
        estimates.append(estimate)
    return estimates


def judge(estimates: Sequence[Estimate], size: int, classes: int, margin: float) -> verdict.Verdict:
    """The verdict on sources and, last, the student; the names are positions."""
    keys = ("value", "draws", "chance", "chance_error", "error", "error_half")
    blank = [np.nan] * uncertainty.DRAWS
    parts = [
        np.array(
            [(blank if key == "draws" else np.nan) if getattr(e, key) is None else getattr(e, key) for e in estimates]
        )
        for key in keys
    ]
    scores = verdict.Scores(*parts)
    rows = np.arange(len(estimates))
    names = [str(row) for row in rows[:-1]]
    return verdict.judge_sources(
        names, scores.take(rows[:-1]), scores.take(rows[-1:]), size=size, classes=classes, margin=margin
    )


def simulate_task(seed: int, metric: str) -> Task:
    """One task with sources of the strengths EFFECTS, on LARGE samples."""
    rng = np.random.default_rng([7, seed])
    labels = np.arange(LARGE) % CLASSES
    features = [
        rng.standard_normal((LARGE, WIDTH)) + effect * rng.standard_normal((CLASSES, WIDTH))[labels]
        for effect in (*EFFECTS, STUDENT_EFFECT)
    ]
    return _make_task(f"simulated {seed}", features, labels, metric)


def load_features(workspace: Path, *, everything: bool = False) -> tuple[str, list[np.ndarray], np.ndarray]:
    """The name of a workspace, the stored features of its sources but those that have seen its task, and its labels.

    The student's are the last. `everything`: of all training images, with the labels that the task hides.
    """
    settings = config.load(workspace)
    excluded = leakage.excluded_sources(settings, [source.name for source in settings.sources])
    images = load_manifest(workspace / "manifest.parquet", workspace)
    rows = images.where(split=("labelled", "unlabelled")) if everything else images.where(probe=True)
    labels = images.truth() if everything else images.labels
    names = [source.name for source in settings.sources if source.name not in excluded]
    features = []
    for name in [*names, config.STUDENT]:
        stored = feature_files.load_outputs(settings.features(name), ids=images.ids[rows], columns=("embedding",))
        assert stored.embedding is not None
        features.append(stored.embedding)
    return workspace.name, features, labels[rows]


def tasks_of_packs(work: Path, metric: str, *, everything: bool = False) -> Iterator[Task]:
    """The tasks of the workspaces in a folder, by name. `everything`: see `load_features`."""
    for folder in sorted(path.parent for path in work.glob("*/manifest.parquet")):
        yield _make_task(*load_features(folder, everything=everything), metric)


def _make_task(name: str, features: list[np.ndarray], labels: np.ndarray, metric: str) -> Task:
    method = specs.resolve("metric", metric)
    truth = [method.function(Probe.of(inputs, Classes.of(labels)), **method.params) for inputs in features]
    return Task(name, features, labels, np.array(truth))


def draw_labels(labels: np.ndarray, size: int, by_class: bool, seed: int) -> np.ndarray | None:
    """The rows of `size` labels, an equal number of each class or any; None where a class would have fewer than two."""
    rng = np.random.default_rng([size, seed])
    classes = np.unique(labels)
    if size < 2 * len(classes):
        return None
    if not by_class:
        return np.sort(rng.choice(len(labels), min(size, len(labels)), replace=False))
    count = size // len(classes)
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:count] for c in classes]))


@dataclass
class Counts:
    """Verdicts at one number of labels, and what was right or wrong about them."""

    draws: int = 0
    fitting: int = 0  # draws in which a source truly fits
    not_fitting: int = 0  # draws in which one does not
    false_none: int = 0
    false_no: int = 0
    false_fits: int = 0
    sources: int = 0
    unknown: int = 0
    large: int = 0  # sources with a true gap of 0.2 or more
    large_decided: int = 0
    middle: int = 0  # 0.1 or more
    middle_decided: int = 0
    kinds: dict[str, int] | None = None

    def add(self, gaps: np.ndarray, margin: float, result: verdict.Verdict) -> None:
        """Count one verdict."""
        states = np.array([result.fit.get(str(row), "unknown") for row in range(len(gaps))])
        self.draws += 1
        self.fitting += bool((gaps > margin).any())
        self.not_fitting += bool((gaps <= 0).any())
        self.false_none += result.kind == "none" and bool((gaps > margin).any())
        self.false_no += bool((states[gaps > margin] == "no").any())
        self.false_fits += bool((states[gaps <= 0] == "yes").any())
        self.sources += len(gaps)
        self.unknown += int((states == "unknown").sum())
        self.large += int((gaps >= 0.2).sum())
        self.large_decided += int((states[gaps >= 0.2] != "unknown").sum())
        self.middle += int((gaps >= 0.1).sum())
        self.middle_decided += int((states[gaps >= 0.1] != "unknown").sum())
        self.kinds = self.kinds or {}
        self.kinds[result.kind] = self.kinds.get(result.kind, 0) + 1

    def row(self, size: int) -> str:
        """A row of the table."""
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted((self.kinds or {}).items()))
        cells = (
            _share(self.false_none, self.fitting),
            _share(self.false_no, self.fitting),
            _share(self.false_fits, self.not_fitting),
            _share(self.large_decided, self.large),
            _share(self.middle_decided, self.middle),
            _share(self.unknown, self.sources),
        )
        return f"| {size} | {self.draws} | " + " | ".join(cells) + f" | {kinds} |"


TITLES = ("false none", "false no", "false fits", "gap ≥ 0.2 decided", "gap ≥ 0.1 decided", "cannot tell", "verdicts")


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.0f} % of {total}" if total else "-"


def measure(tasks: Iterator[Task], sizes: Sequence[int], draws: int, metric: str, by_class: bool) -> dict[int, Counts]:
    """The counts of each size, over `draws` draws of labels from every task."""
    margin = registry.METRICS[specs.resolve("metric", metric).name].margin
    counts = {size: Counts() for size in sizes}
    for task in tasks:
        for size in sizes:
            for seed in range(draws):
                rows = draw_labels(task.labels, size, by_class, seed)
                if rows is None or len(np.unique(task.labels[rows])) < 2:
                    continue
                estimates = estimate_sources([part[rows] for part in task.features], task.labels[rows], metric, seed)
                counts[size].add(
                    task.gaps, margin, judge(estimates, len(rows), len(np.unique(task.labels[rows])), margin)
                )
    return counts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("simulated", "packs"))
    parser.add_argument("work", type=Path, nargs="?")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--size", type=int, action="append", help="number of labels; repeatable")
    parser.add_argument("--metric", default=registry.DEFAULT_METRIC)
    parser.add_argument("--plain", action="store_true", help="draw labels at random, not by class")
    arguments = parser.parse_args()
    metric = arguments.metric
    if arguments.what == "simulated":
        tasks, draws = (simulate_task(seed, metric) for seed in range(arguments.draws)), 1
    else:
        tasks, draws = tasks_of_packs(arguments.work, metric), arguments.draws
    counts = measure(tasks, arguments.size or SIZES, draws, metric, not arguments.plain)
    print("| labels | draws | " + " | ".join(TITLES) + " |\n|---:|" + "---:|" * len(TITLES) + "---|")
    for size, count in counts.items():
        print(count.row(size))
    print(json.dumps({"metric": metric, "by class": not arguments.plain}))


if __name__ == "__main__":
    main()
