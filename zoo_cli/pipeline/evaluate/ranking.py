"""How well metrics predict the accuracy of transfer: scores against accuracies, over shared sources and targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zoo_cli import console, specs
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.evaluation import named_runs, ranking_quality
from zoo_cli.evaluation.accuracies import Accuracies, load_accuracies
from zoo_cli.evaluation.controls import CONTROLS, PRIOR, RANDOM, AgainstPrior, compare_with_prior, prior_scores
from zoo_cli.evaluation.ranking_quality import MeanQuality, RankingQuality
from zoo_cli.evaluation.reference_gains import MeanGain, ReferenceGain, mean_gain, mean_over_probes, reference_gain
from zoo_cli.evaluation.score_tables import MetricKey, Scores
from zoo_cli.label_sets import load_config
from zoo_cli.pipeline.evaluate.ranking_scores import load_scores
from zoo_cli.store.model_folders import is_same_source
from zoo_cli.store.path_patterns import match_paths

TOP = 3
"""How many sources are tried, as in paper 001."""

Sources = Mapping[str, Sequence[str]]
"""The sources of each target that have both scores and an accuracy: two or more, sorted."""


@dataclass(frozen=True)
class RankingEvaluationConfig:
    """`scores`, `accuracies`: see `load_scores` and `load_accuracies`; None is the workspace.

    `accuracies` may also be a run of the workspace by name, or a pattern of such names. `labels`: the label set of the
    scores and runs of workspaces; None: the main one. `reference`: the source over whose accuracy gains are counted;
    `top`: how many sources of a metric are tried.
    """

    workspace: Path
    scores: Path | None = None
    accuracies: Path | None = None
    labels: str | None = None
    reference: str | None = None
    top: int = TOP

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ParameterError(f"`top` is {self.top}", "expected a whole number from 1 up")


@dataclass(frozen=True)
class Point:
    """A source on a target: its score, the mean over the target's probe sets, None if undefined, and its accuracy."""

    source: str
    score: float | None
    accuracy: float


@dataclass(frozen=True)
class TargetQuality:
    """One metric on one target, see `ranking_quality.judge_ranking`; the means over its `probes` probe sets.

    `target` is None if neither side names it. `gain`: over the reference, None without one, or without any score.
    """

    key: MetricKey
    target: str | None
    probes: int
    quality: RankingQuality
    points: tuple[Point, ...]
    gain: ReferenceGain | None = None

    @property
    def control(self) -> bool:
        """Whether it is an order of the sources that knows nothing of the target."""
        return self.key.metric in CONTROLS


@dataclass(frozen=True)
class MetricQuality:
    """One metric, its means over targets, see `ranking_quality.mean_over_targets`.

    `control`: whether it is an order that knows nothing of the target. `against_prior`: None for such an order, and
    where there is no prior. `gain`: over the reference, None without one.
    """

    key: MetricKey
    quality: MeanQuality
    control: bool
    against_prior: AgainstPrior | None
    gain: MeanGain | None


@dataclass(frozen=True)
class RandomOrder:
    """What a random order of the sources gives on average."""

    relative_accuracy: float | None
    regret: float | None
    trials: float | None


@dataclass(frozen=True)
class RankingQualityResult:
    """`metrics`: best Spearman correlation first; `targets`: of each metric; `level`: of the intervals over targets."""

    metrics: tuple[MetricQuality, ...]
    targets: tuple[TargetQuality, ...]
    sources: Sources
    random_order: RandomOrder
    reference: str | None
    top: int
    level: float = ranking_quality.LEVEL


def evaluate_ranking(options: RankingEvaluationConfig) -> RankingQualityResult:
    """The quality of every metric and control on the sources and targets that scores and accuracies share.

    Reports on stderr what only one side has. Raises UsageError if they share no target, or fewer than two sources, and
    for a reference without an accuracy.
    """
    if options.labels is not None and (options.scores is None or options.accuracies is None):
        load_config(options.workspace, options.labels)
    scores = load_scores(options.scores or options.workspace, options.labels)
    accuracies = load_accuracies(_resolve_accuracies(options.accuracies, options.workspace), options.labels)
    scores, accuracies = _name_target(scores, accuracies)
    sources = _shared_sources(scores, accuracies)
    reference = _name_reference(options, accuracies)
    references = _find_reference(reference, accuracies, sources)
    targets = _by_target(_with_controls(scores, accuracies, sources), accuracies, sources, references, options.top)
    return RankingQualityResult(
        _by_metric(targets),
        targets,
        sources,
        _random_order(accuracies, sources),
        reference,
        options.top,
    )


def _name_reference(options: RankingEvaluationConfig, accuracies: Accuracies) -> str | None:
    """The reference by its name as a source, where it is given as the folder of an expert, or one of its domains."""
    name = options.reference
    if name is None or any(name in by_source for by_source in accuracies.values()):
        return name
    settings = load_config(options.workspace)
    (typed,) = settings.select([f"file:{name}"])
    same = (each.name for each in settings.sources if is_same_source(each.model, typed.model, settings.root))
    named = next(same, typed.name)
    return named if any(named in by_source for by_source in accuracies.values()) else name


def _find_reference(name: str | None, accuracies: Accuracies, sources: Sources) -> dict[str, float]:
    """The accuracy of the reference by target; empty without one. Raises UsageError if no target has it."""
    if name is None:
        return {}
    references = {target: accuracies[target][name] for target in sources if name in accuracies[target]}
    if not references:
        raise specs.nearest(
            "source with an accuracy", name, {each for target in sources for each in accuracies[target]}
        )
    missing = [target for target in sources if target not in references]
    if missing:
        console.warn(f"{name} has no accuracy for {_list_some(missing)}: no gains there")
    return references


def _with_controls(scores: Scores, accuracies: Accuracies, sources: Sources) -> Scores:
    """The scores, and those of the controls, each for the sources that are judged.

    A control whose name a table uses for a metric is that metric.
    """
    prior = prior_scores(accuracies)
    by_control = {
        RANDOM: {target: dict.fromkeys(names, 0.0) for target, names in sources.items()},
        **scores.controls,
        PRIOR: {target: prior[target] for target in sources},
    }
    values = dict(scores.values)
    for control, by_target in by_control.items():
        rows = {
            target: {name: by_target[target][name] for name in names if name in by_target.get(target, {})}
            for target, names in sources.items()
        }
        if any(rows.values()) and not any(key.metric == control for key in values):
            values[MetricKey(control)] = {target: {"": row} for target, row in rows.items() if row}
    return Scores(values, scores.excluded)


def _resolve_accuracies(path: Path | None, workspace: Path) -> Path:
    """A path or a pattern of run folders as typed; if nothing matches, runs of the workspace by NAME or runs/NAME."""
    if path is None:
        return workspace
    runs = workspace / "runs" / path.name
    is_name = path in (Path(path.name), Path("runs", path.name))
    if is_name and not match_paths(path) and match_paths(runs):
        return runs
    return named_runs.resolve_run(path, workspace)


def _name_target(scores: Scores, accuracies: Accuracies) -> tuple[Scores, Accuracies]:
    """A side without a target's name takes that of the other side. Raises UsageError if the other has several."""
    scored, reached = scores.targets, sorted(accuracies)
    for side, own, other in (("SCORES", scored, reached), ("ACCURACIES", reached, scored)):
        if own == [""] and len(other) > 1:
            raise UsageError(f"{side} name no target, the other side {len(other)}", "add a column target")
    if scored == [""]:
        return scores.name_target(reached[0]), accuracies
    if reached == [""]:
        return scores, {scored[0]: accuracies[""]}
    return scores, accuracies


def _shared_sources(scores: Scores, accuracies: Accuracies) -> dict[str, list[str]]:
    """The sources of every target that have an accuracy and a score, defined or not; at least two of them.

    Warns of what only one side has. Raises UsageError if nothing is left.
    """
    shared: dict[str, list[str]] = {}
    unscored, unreached, single = [], [], []
    both = sorted(set(scores.targets) & set(accuracies))
    for target in both:
        scored, reached = scores.sources(target), set(accuracies[target])
        excluded = {source for source, seen in scores.excluded if seen == target}
        suffix = f" ({target})" if len(both) > 1 else ""
        unscored += [source + suffix for source in sorted(reached - scored - excluded)]
        unreached += [source + suffix for source in sorted(scored - reached)]
        if len(scored & reached) > 1:
            shared[target] = sorted(scored & reached)
        else:
            single.append(target)
    if not shared and not single:
        raise UsageError(
            "SCORES and ACCURACIES share no target",
            f"SCORES are for {_list_some(scores.targets) or 'none by name'}, "
            f"ACCURACIES for {_list_some(sorted(accuracies)) or 'none by name'}",
        )
    if not shared:
        raise UsageError(
            "SCORES and ACCURACIES share fewer than two sources",
            f"without an accuracy: {_list_some(unreached) or 'none'}; "
            f"without a score: {_list_some(unscored) or 'none'}",
        )
    for names, what in (
        (unscored, "sources have an accuracy and no score"),
        (unreached, "sources have a score and no accuracy"),
        (single, "targets have fewer than two sources with both"),
        (sorted(set(scores.targets) - set(accuracies)), "targets have scores and no accuracies"),
        (sorted(set(accuracies) - set(scores.targets)), "targets have accuracies and no scores"),
    ):
        if names:
            console.warn(f"{len(names):,} {what}, and are left out: {_list_some(names)}")
    return shared


def _by_target(
    scores: Scores, accuracies: Accuracies, sources: Sources, references: Mapping[str, float], top: int
) -> tuple[TargetQuality, ...]:
    """The quality of every metric on every target, in the order of the metrics."""
    rows = []
    for key, by_target in scores.values.items():
        for target, names in sources.items():
            reached = np.array([accuracies[target][name] for name in names])
            probes = [
                np.array([by_source.get(name, np.nan) for name in names])
                for by_source in by_target.get(target, {}).values()
            ]
            if not probes:
                continue
            quality = ranking_quality.mean_over_probes(
                [ranking_quality.judge_ranking(values, reached) for values in probes]
            )
            if key.metric == RANDOM:
                # Every order is as likely as every other: the correlations are 0 on average.
                quality = replace(quality, spearman=0.0, pearson=0.0, kendall=0.0, weighted_kendall=0.0, reason=None)
            gain = None
            if target in references and not all(np.isnan(values).all() for values in probes):
                gain = mean_over_probes([reference_gain(values, reached, references[target], top) for values in probes])
            points = _list_points(names, probes, reached)
            rows.append(TargetQuality(key, target or None, len(probes), quality, points, gain))
    return tuple(rows)


def _list_points(names: Sequence[str], probes: Sequence[np.ndarray], reached: np.ndarray) -> tuple[Point, ...]:
    points = []
    for position, (name, accuracy) in enumerate(zip(names, reached, strict=True)):
        scores = [float(values[position]) for values in probes if not np.isnan(values[position])]
        points.append(Point(name, sum(scores) / len(scores) if scores else None, float(accuracy)))
    return tuple(points)


def _by_metric(rows: Sequence[TargetQuality]) -> tuple[MetricQuality, ...]:
    """The means over targets of every metric, best Spearman correlation first."""
    groups: dict[MetricKey, list[TargetQuality]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    prior = _correlations(next((group for key, group in groups.items() if key.metric == PRIOR), []))
    means = []
    for key, group in groups.items():
        control = group[0].control
        gains = [row.gain for row in group if row.gain is not None]
        means.append(
            MetricQuality(
                key,
                ranking_quality.mean_over_targets([row.quality for row in group]),
                control,
                None if control or not prior else compare_with_prior(_correlations(group), prior),
                mean_gain(gains) if gains else None,
            )
        )

    def order(row: MetricQuality) -> tuple[bool, float, str]:
        spearman = row.quality.spearman
        return spearman is None, -(spearman or 0), row.key.metric

    return tuple(sorted(means, key=order))


def _correlations(rows: Sequence[TargetQuality]) -> dict[str, float]:
    """Spearman's correlation by target, where there is one."""
    return {row.target or "": row.quality.spearman for row in rows if row.quality.spearman is not None}


def _random_order(accuracies: Accuracies, sources: Sources) -> RandomOrder:
    """The quality of a metric that gives all sources the same score."""
    rows = [
        ranking_quality.judge_ranking(np.zeros(len(names)), np.array([accuracies[target][name] for name in names]))
        for target, names in sources.items()
    ]
    mean = ranking_quality.mean_over_targets(rows)
    return RandomOrder(mean.relative_accuracy, mean.regret, mean.trials)


def _list_some(names: Sequence[str], most: int = 5) -> str:
    shown = [name for name in names if name][:most]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
