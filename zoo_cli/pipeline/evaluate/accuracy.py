"""How accurate and how well calibrated stored predictions are, and by how much the runs differ from the first."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from zoo_cli import console
from zoo_cli.errors import ContractError
from zoo_cli.evaluation import accuracy_intervals, flip_statistics, named_runs
from zoo_cli.evaluation.accuracy_intervals import PairedDifference
from zoo_cli.evaluation.predictions import Predictions
from zoo_cli.pipeline.evaluate import seed_twins
from zoo_cli.pipeline.evaluate.prediction_reader import PredictionReader
from zoo_cli.store import card_accuracy

Array = np.ndarray


@dataclass(frozen=True)
class AccuracyConfig:
    """`models`: run folders, parquet files or models; without any, every finished run of the workspace."""

    workspace: Path
    models: tuple[str, ...] = ()
    device: str = "auto"
    workers: int | None = None


@dataclass(frozen=True)
class Comparison:
    """The accuracy of a run less that of the `baseline`; `p_holm`: its p, corrected for all runs that are compared."""

    baseline: str
    difference: PairedDifference
    p_holm: float


@dataclass(frozen=True)
class AccuracyRow:
    """Measures of N predictions, see `flip_statistics.prediction_quality`, and the 90 % interval of the accuracy.

    `comparison`: with the first run; None for that run itself, and for runs on other samples.
    """

    run: str
    n: int
    accuracy: float
    balanced_accuracy: float
    top5: float | None
    nll: float
    ece: float
    accuracy_low: float
    accuracy_high: float
    comparison: Comparison | None = None


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ only in their seed: their mean accuracy and its 90 % interval over seeds and images."""

    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    accuracy: float
    accuracy_low: float
    accuracy_high: float


@dataclass(frozen=True)
class AccuracyResult:
    """A row for each run, file or model, and the groups of two or more seeds among them."""

    rows: tuple[AccuracyRow, ...]
    seed_groups: tuple[SeedGroup, ...]


def evaluate_accuracy(options: AccuracyConfig) -> AccuracyResult:
    """The accuracies of runs, files and models, each compared with the first. Raises UsageError if there is none."""
    reader = PredictionReader(options.workspace, options.device, options.workers)
    models = options.models or named_runs.finished_runs(options.workspace)
    texts = [text for model in models for text in named_runs.expand_domains(model, options.workspace)]
    reference = reader.read(texts[0])
    rows: list[AccuracyRow] = []
    right: dict[int, Array] = {}
    for position, text in enumerate(texts):
        stored = reader.read(text) if position else reference
        row = _measure(named_runs.display_name(text, options.workspace), stored)
        folder = named_runs.resolve_run(Path(text), options.workspace)
        card_accuracy.add_accuracy(folder, row.n, row.accuracy, row.accuracy_low, row.accuracy_high)
        rows.append(row)
        aligned = _align(stored, reference)
        if aligned is not None:
            right[position] = aligned
    rows = _compare(rows, right)
    others = [rows[position].run for position in range(len(texts)) if position not in right]
    if others:
        console.say(
            f"{len(others):,} of {len(texts):,} are not compared with {rows[0].run}: "
            f"other samples or labels, e.g. {others[0]}"
        )
    folders = [named_runs.resolve_run(Path(text), options.workspace) for text in texts]
    return AccuracyResult(tuple(rows), _seed_groups([row.run for row in rows], folders, right))


def _measure(name: str, stored: Predictions) -> AccuracyRow:
    quality = flip_statistics.prediction_quality(stored.labels, stored.logits)
    interval = accuracy_intervals.accuracy_interval(round(quality.accuracy * quality.n), quality.n)
    return AccuracyRow(name, **asdict(quality), accuracy_low=interval.low, accuracy_high=interval.high)


def _align(stored: Predictions, reference: Predictions) -> Array | None:
    """Which samples are right (N,), bool, in the order of the reference; None for other samples or labels."""
    try:
        return np.asarray(flip_statistics.predicted_classes(stored.align_logits(reference)) == reference.labels)
    except ContractError:
        return None


def _compare(rows: Sequence[AccuracyRow], right: Mapping[int, Array]) -> list[AccuracyRow]:
    """The rows with their comparisons with the first. `right`: which samples (N,) are right, by position of the row."""
    compared = [position for position in right if position]
    differences = [accuracy_intervals.paired_difference(right[0], right[position]) for position in compared]
    corrected = flip_statistics.holm([difference.p_value for difference in differences])
    result = list(rows)
    for position, difference, p_holm in zip(compared, differences, corrected, strict=True):
        result[position] = replace(rows[position], comparison=Comparison(rows[0].run, difference, p_holm))
    return result


def _seed_groups(names: Sequence[str], folders: Sequence[Path], right: Mapping[int, Array]) -> tuple[SeedGroup, ...]:
    """The groups of two or more different seeds, on the samples of the first run, in order of their first run."""
    groups: list[tuple[object, dict[int, int]]] = []
    for position in right:
        options, seed = seed_twins.seedless_options(folders[position]), seed_twins.run_seed(folders[position])
        if options is None or seed is None:
            continue
        members = next((members for other, members in groups if other == options), None)
        if members is None:
            groups.append((options, members := {}))
        members.setdefault(seed, position)
    return tuple(_seed_group(names, members, right) for _, members in groups if len(members) > 1)


def _seed_group(names: Sequence[str], members: Mapping[int, int], right: Mapping[int, Array]) -> SeedGroup:
    """A group of runs, `members` by seed."""
    group = accuracy_intervals.seed_group_interval(np.stack([right[position] for position in members.values()]))
    runs = tuple(names[position] for position in members.values())
    return SeedGroup(runs, tuple(members), group.mean, group.low, group.high)
